//! Answers of the proxy's own to gRPC callers: they read a status in trailers and nothing else (P38).

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{HeaderName, Response};

use super::body::Body;
use super::error::{Code, ProxyError};

/// Whether the caller speaks gRPC.
pub(super) fn is_spoken(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// A response whose head is its trailers: 200, the status, and the sentence.
pub(super) fn answer(error: &ProxyError) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    error.describe(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(status(error.code())));
    if let Ok(message) = HeaderValue::try_from(message(error)) {
        headers.insert(HeaderName::from_static("grpc-message"), message);
    }
    response
}

/// gRPC's status codes; where HTTP has a status too, as gRPC's own mapping of HTTP statuses has it.
fn status(code: Code) -> u16 {
    match code {
        Code::SignInRequired => 16, // UNAUTHENTICATED
        Code::HostNotAllowed | Code::OriginNotAllowed | Code::CallerNotAllowed => 7, // PERMISSION_DENIED
        Code::NoRoute | Code::MethodNotAllowed | Code::NotImplemented => 12, // UNIMPLEMENTED
        Code::BodyTooLarge | Code::HeaderTooLarge | Code::TargetTooLong => 8, // RESOURCE_EXHAUSTED
        Code::TokenUnavailable
        | Code::Overloaded
        | Code::UpstreamUnreachable
        | Code::UpstreamProtocol
        | Code::UpstreamTimeout => 14, // UNAVAILABLE
        Code::RequestTimeout => 1,  // CANCELLED
        Code::Malformed | Code::ExpectationFailed | Code::Internal | Code::Loop => 13, // INTERNAL
    }
}

/// Percent-encoded, as gRPC wants messages outside printable ASCII.
fn message(error: &ProxyError) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    percent_encoding::utf8_percent_encode(&error.to_string(), KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_caller_gets_a_status_and_not_a_problem() {
        let response = answer(&ProxyError::new(Code::UpstreamUnreachable, "100 % ä"));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "upstream_unreachable: 100 %25 %C3%A4");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        let status = response.headers()["proxy-status"].to_str().unwrap();
        assert!(status.contains("upstream_unreachable") && !response.headers().contains_key("retry-after"));
        let busy = answer(&ProxyError::new(Code::Overloaded, "too much"));
        assert_eq!(busy.headers()["retry-after"], "1");
    }

    #[test]
    fn grpc_is_told_from_what_only_begins_like_it() {
        let rows = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ];
        for (kind, expected) in rows {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_spoken(&headers), expected, "{kind}");
        }
    }
}
