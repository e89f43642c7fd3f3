//! Why no answer came from the upstream, and what the caller is told instead.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use serde_json::json;

use crate::token::{Absent, AbsentReason, GrantName};

/// `type` of a problem names it without pretending to be a place on the web; the word behind it is what
/// `bearerd explain` takes.
const TYPES: &str = "urn:bearerd:error:";

/// Every answer that the proxy itself can give (DESIGN §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request's target, Host or framing cannot be trusted.
    Malformed,
    /// The Host is not one of `allowed_hosts`.
    HostNotAllowed,
    /// A web page asked whose origin is not allowed.
    OriginNotAllowed,
    /// The caller did not prove who it is.
    CallerNotAllowed,
    /// No route has this path and host.
    NoRoute,
    /// The method is refused, everywhere or by the route.
    MethodNotAllowed,
    /// The caller stopped sending.
    RequestTimeout,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The target is longer than 65,534 bytes.
    TargetTooLong,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// The head is larger than `header_size`.
    HeaderTooLarge,
    /// A fault of the proxy's own.
    Internal,
    /// A transfer coding or upgrade that is not carried.
    NotImplemented,
    /// The upstream could not be connected to.
    UpstreamUnreachable,
    /// The upstream broke off, or does not speak HTTP.
    UpstreamProtocol,
    /// There is no usable access token now.
    TokenUnavailable,
    /// There is no grant: a person has to sign in.
    SignInRequired,
    /// Too much is going on.
    Overloaded,
    /// The upstream sent no head in time.
    UpstreamTimeout,
    /// The request has been here before.
    Loop,
}

impl Code {
    /// Every code, in the order of their statuses.
    pub const ALL: [Self; 20] = [
        Self::Malformed,
        Self::HostNotAllowed,
        Self::OriginNotAllowed,
        Self::CallerNotAllowed,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::TargetTooLong,
        Self::ExpectationFailed,
        Self::HeaderTooLarge,
        Self::Internal,
        Self::NotImplemented,
        Self::UpstreamUnreachable,
        Self::UpstreamProtocol,
        Self::TokenUnavailable,
        Self::SignInRequired,
        Self::Overloaded,
        Self::UpstreamTimeout,
        Self::Loop,
    ];

    /// The word, the status, and the error type registered for `Proxy-Status` (RFC 9209 §2.3).
    fn facts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Malformed => ("malformed", StatusCode::BAD_REQUEST, "http_request_error"),
            Self::HostNotAllowed => ("host_not_allowed", StatusCode::FORBIDDEN, "http_request_denied"),
            Self::OriginNotAllowed => ("origin_not_allowed", StatusCode::FORBIDDEN, "http_request_denied"),
            Self::CallerNotAllowed => ("caller_not_allowed", StatusCode::FORBIDDEN, "http_request_denied"),
            Self::NoRoute => ("no_route", StatusCode::NOT_FOUND, "destination_not_found"),
            Self::MethodNotAllowed => {
                ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "http_request_denied")
            }
            Self::RequestTimeout => ("request_timeout", StatusCode::REQUEST_TIMEOUT, "http_request_error"),
            Self::BodyTooLarge => ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "http_request_denied"),
            Self::TargetTooLong => ("target_too_long", StatusCode::URI_TOO_LONG, "http_request_error"),
            Self::ExpectationFailed => {
                ("expectation_failed", StatusCode::EXPECTATION_FAILED, "http_request_error")
            }
            Self::HeaderTooLarge => {
                ("header_too_large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "http_request_error")
            }
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "proxy_internal_error"),
            Self::NotImplemented => ("not_implemented", StatusCode::NOT_IMPLEMENTED, "http_request_error"),
            Self::UpstreamUnreachable => {
                ("upstream_unreachable", StatusCode::BAD_GATEWAY, "destination_unavailable")
            }
            Self::UpstreamProtocol => ("upstream_protocol", StatusCode::BAD_GATEWAY, "http_protocol_error"),
            Self::TokenUnavailable => {
                ("token_unavailable", StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_response")
            }
            Self::SignInRequired => {
                ("sign_in_required", StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_response")
            }
            Self::Overloaded => ("overloaded", StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached"),
            Self::UpstreamTimeout => {
                ("upstream_timeout", StatusCode::GATEWAY_TIMEOUT, "http_response_timeout")
            }
            Self::Loop => ("loop", StatusCode::LOOP_DETECTED, "proxy_loop_detected"),
        }
    }

    /// The word: stable, snake_case.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.facts().0
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.facts().1
    }
}

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyError {
    code: Code,
    /// A sentence for the caller: what is wrong, and what to do. Holds nothing secret.
    detail: String,
    /// For 503: when to try again.
    retry_after: Option<Duration>,
    /// For 405: the methods that would do.
    allow: Option<HeaderValue>,
    /// Whether the connection cannot carry another request.
    close: bool,
}

impl ProxyError {
    /// An error with a sentence of its own.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = (code == Code::Overloaded).then_some(Duration::from_secs(1));
        Self { code, detail: detail.into(), retry_after, allow: None, close: false }
    }

    /// There was no token for a request of `grant`.
    #[must_use]
    pub fn absent(grant: &GrantName, absent: Absent) -> Self {
        let (code, detail) = match absent.reason {
            AbsentReason::Unavailable => (
                Code::TokenUnavailable,
                format!("Grant `{grant}` has no usable access token yet; a refresh is being tried."),
            ),
            AbsentReason::Misconfigured => (
                Code::TokenUnavailable,
                format!(
                    "Grant `{grant}` is misconfigured and has no access token; `bearerd status` says why."
                ),
            ),
            AbsentReason::SignInRequired => (
                Code::SignInRequired,
                format!("Grant `{grant}` needs a person to sign in again; `bearerd status` says why."),
            ),
            AbsentReason::TooManyWaiters => (
                Code::Overloaded,
                format!("Too many requests already wait for an access token of grant `{grant}`."),
            ),
        };
        Self { retry_after: Some(absent.retry_after), ..Self::new(code, detail) }
    }

    /// 405 with the methods that would do.
    #[must_use]
    pub fn method_not_allowed(detail: impl Into<String>, allow: &[Method]) -> Self {
        let names: Vec<&str> = allow.iter().map(Method::as_str).collect();
        Self {
            allow: HeaderValue::try_from(names.join(", ")).ok(),
            ..Self::new(Code::MethodNotAllowed, detail)
        }
    }

    /// The same, on a connection that must end after the answer.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// The code, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence, for logs.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The answer: problem+json (RFC 9457), `Proxy-Status` (RFC 9209), never a `WWW-Authenticate`.
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        let (word, status, _) = self.code.facts();
        let problem = json!({
            "type": format!("{TYPES}{word}"),
            "title": status.canonical_reason().unwrap_or(word),
            "status": status.as_u16(),
            "code": word,
            "detail": self.detail,
        });
        let mut response = Response::new(Bytes::from(format!("{problem}\n")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        self.describe(headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, allow);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// What every answer of the proxy's own says in fields: `Proxy-Status`, and when to ask again.
    pub(super) fn describe(&self, headers: &mut HeaderMap) {
        let (word, _, registered) = self.code.facts();
        let proxy_status = format!("bearerd; error={registered}; details=\"{word}\"");
        if let Ok(value) = HeaderValue::try_from(proxy_status) {
            headers.insert("proxy-status", value);
        }
        if let Some(span) = self.retry_after {
            // Rounded up: asking a moment too early would only fail again.
            let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.word(), self.detail)
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_a_problem_with_a_proxy_status_and_no_challenge() {
        for code in Code::ALL {
            let response = ProxyError::new(code, "why").into_response();
            let status = response.headers().get("proxy-status").unwrap().to_str().unwrap();
            assert!(status.contains(&format!("details=\"{}\"", code.word())), "{status}");
            assert!(!response.headers().contains_key("www-authenticate"));
            let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(problem["code"], code.word());
            assert_eq!(problem["status"], response.status().as_u16());
        }
    }

    #[test]
    fn no_two_codes_share_a_word() {
        let words: std::collections::HashSet<_> = Code::ALL.iter().map(|code| code.word()).collect();
        assert_eq!(words.len(), Code::ALL.len());
    }

    #[test]
    fn a_missing_token_is_503_with_a_whole_number_of_seconds() {
        let absent = Absent { reason: AbsentReason::Unavailable, retry_after: Duration::from_millis(1200) };
        let response = ProxyError::absent(&GrantName::new("crm"), absent).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[RETRY_AFTER]),
            (503, &HeaderValue::from(2))
        );
    }
}
