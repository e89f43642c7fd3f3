//! Which header fields pass and which do not, in both directions. Pure.

use std::sync::OnceLock;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName,
    HeaderValue, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{Version, request};

use super::error::{Code, ProxyError};

/// Fields of one hop alone (RFC 9110 §7.6.1), whoever names them.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("http2-settings"),
    UPGRADE,
    TRANSFER_ENCODING,
];

/// Fields of a caller's that would speak for it, or say where it is: consumed here (P6, P28), with all that
/// [`FORWARDED_AS`] begins.
const CONSUMED: [HeaderName; 4] = [PROXY_AUTHORIZATION, EXPECT, FORWARDED, HeaderName::from_static("dpop")];

/// How proxies before us name what they know of a caller; ours is the first.
const FORWARDED_AS: &str = "x-forwarded-";

/// What `Connection` may not take away: fields that the message needs, and those that the proxy itself adds (P2, P3).
const NOT_NOMINATED: [HeaderName; 7] = [AUTHORIZATION, HOST, CONTENT_LENGTH, COOKIE, TRAILER, VIA, TE];

/// What a trailer section may not hold: framing, routing, authentication (RFC 9110 §6.5.1).
const NOT_IN_TRAILERS: [HeaderName; 6] = [AUTHORIZATION, CONTENT_LENGTH, HOST, TE, TRAILER, COOKIE];

/// Strips what is not to be forwarded, in place. The token is put on afterwards, so nothing here can remove it (P2).
///
/// # Errors
/// 417 for an unknown expectation, 501 for a transfer coding besides chunked, 508 for a request that was here before.
pub fn prepare_request(head: &mut request::Parts, via: bool) -> Result<(), ProxyError> {
    let headers = &mut head.headers;
    if headers.get_all(EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(ProxyError::new(
            Code::ExpectationFailed,
            "The only expectation that is met is `100-continue`.",
        ));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if headers.get_all(TRANSFER_ENCODING).iter().nth(1).is_some() {
        // Some would unwrap the body twice, some once (RFC 9112 §6.1): whoever is behind us may be of the others.
        return Err(
            ProxyError::new(Code::Malformed, "The request names its transfer coding twice.").closing()
        );
    }
    if codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        return Err(ProxyError::new(
            Code::NotImplemented,
            "The only transfer coding that is carried is `chunked`.",
        )
        .closing());
    }
    let wants_trailers = has_token(headers, &TE, "trailers");
    strip_hop_by_hop(headers);
    headers.remove(TE);
    consume(headers);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if via { add_via(headers, head.version) } else { Ok(()) }
}

/// Strips what concerns the upstream's connection alone. A length beside a transfer coding is a lie (P10).
pub fn prepare_response(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
}

/// Strips what a trailer section may not hold.
pub fn prepare_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    for name in &NOT_IN_TRAILERS {
        trailers.remove(name);
    }
}

/// The same for a caller's, which loses there what it may not say in the head either: `credential` is where the token
/// goes.
pub fn prepare_request_trailers(trailers: &mut HeaderMap, credential: &HeaderName) {
    prepare_trailers(trailers);
    consume(trailers);
    trailers.remove(credential);
}

fn consume(headers: &mut HeaderMap) {
    for name in &CONSUMED {
        headers.remove(name);
    }
    let is_forwarded = |name: &&HeaderName| name.as_str().starts_with(FORWARDED_AS);
    while let Some(name) = headers.keys().find(is_forwarded).cloned() {
        headers.remove(name);
    }
}

/// The fields that `Connection` names, in every line of it (P1), then those of every hop.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(CONNECTION).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !NOT_NOMINATED.contains(name))
        .collect()
}

fn has_token(headers: &HeaderMap, field: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(field).iter();
    let mut members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// What this process calls itself in `Via`; another instance in the same chain is no loop.
fn pseudonym() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| format!("bearerd-{}", crate::secret::random_hex(4)))
}

/// Adds ourselves to `Via`, with the version that the request came in (RFC 9110 §7.6.3); a request that names us already
/// goes round in circles (P27).
fn add_via(headers: &mut HeaderMap, version: Version) -> Result<(), ProxyError> {
    static OURS: OnceLock<[Option<HeaderValue>; 3]> = OnceLock::new();
    let name = pseudonym();
    let been_here =
        headers.get_all(VIA).iter().any(|line| line.to_str().is_ok_and(|line| line.contains(name)));
    if been_here {
        return Err(ProxyError::new(Code::Loop, "The request has passed through this proxy before."));
    }
    let [old, usual, two] = OURS.get_or_init(|| {
        ["1.0", "1.1", "2"].map(|version| HeaderValue::try_from(format!("{version} {name}")).ok())
    });
    let ours = match version {
        Version::HTTP_10 => old,
        Version::HTTP_2 => two,
        _ => usual,
    };
    if let Some(ours) = ours {
        headers.append(VIA, ours.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(fields: &[(&str, &str)]) -> Result<Vec<(String, String)>, &'static str> {
        let mut request = http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        prepare_request(&mut head, false).map_err(|error| error.code().word())?;
        Ok(shown(&head.headers))
    }

    fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
        let mut shown: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        shown.sort();
        shown
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut pairs: Vec<_> =
            fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn fields_of_one_hop_end_here_also_those_of_a_second_connection_line() {
        let left = prepared(&[
            ("connection", "close, X-One"),
            ("connection", "x-two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("keep-alive", "5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x-sum"),
            ("x-kept", "3"),
        ]);
        assert_eq!(left.unwrap(), pairs(&[("trailer", "x-sum"), ("x-kept", "3")]));
    }

    #[test]
    fn a_caller_cannot_nominate_away_what_the_message_needs() {
        let left = prepared(&[
            ("connection", "authorization, host, content-length, cookie"),
            ("host", "h"),
            ("cookie", "c"),
        ]);
        assert_eq!(left.unwrap(), pairs(&[("host", "h"), ("cookie", "c")]));
    }

    #[test]
    fn what_speaks_for_the_caller_is_consumed() {
        let left = prepared(&[
            ("proxy-authorization", "Basic x"),
            ("dpop", "x"),
            ("x-forwarded-access-token", "x"),
            ("forwarded", "for=1"),
            ("x-forwarded-for", "1"),
            ("x-forwarded-host", "1"),
            ("x-forwarded-proto", "1"),
            ("x-forwarded-client-cert", "1"),
            ("x-forwarded-email", "1"),
            ("expect", "100-Continue"),
        ]);
        assert_eq!(left.unwrap(), []);
    }

    #[test]
    fn of_te_only_trailers_passes() {
        assert_eq!(
            prepared(&[("te", "gzip, Trailers;q=1"), ("te", "trailers")]).unwrap(),
            pairs(&[("te", "trailers")])
        );
        assert_eq!(prepared(&[("te", "gzip")]).unwrap(), []);
        assert_eq!(
            prepared(&[("connection", "te"), ("te", "trailers")]).unwrap(),
            pairs(&[("te", "trailers")])
        );
    }

    #[test]
    fn what_cannot_be_carried_is_said() {
        assert_eq!(prepared(&[("expect", "foo")]), Err("expectation_failed"));
        assert_eq!(prepared(&[("transfer-encoding", "gzip, chunked")]), Err("not_implemented"));
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(prepared(&twice), Err("malformed"));
    }

    #[test]
    fn a_request_that_comes_round_again_is_a_loop_and_another_instance_is_not() {
        let mut headers = HeaderMap::new();
        headers.insert(VIA, HeaderValue::from_static("1.1 bearerd-00000000"));
        add_via(&mut headers, Version::HTTP_11).unwrap();
        assert_eq!(headers.get_all(VIA).iter().count(), 2);
        assert_eq!(add_via(&mut headers, Version::HTTP_11).unwrap_err().code(), Code::Loop);
    }

    #[test]
    fn via_has_the_version_that_the_request_came_in() {
        for (version, shown) in
            [(Version::HTTP_10, "1.0 "), (Version::HTTP_11, "1.1 "), (Version::HTTP_2, "2 ")]
        {
            let mut headers = HeaderMap::new();
            add_via(&mut headers, version).unwrap();
            assert!(headers[VIA].to_str().unwrap().starts_with(shown), "{headers:?}");
        }
    }

    #[test]
    fn a_response_loses_its_hop_and_a_lying_length() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        prepare_response(&mut headers);
        assert_eq!(shown(&headers), []);
    }

    #[test]
    fn trailers_carry_no_credentials_and_no_framing() {
        let mut trailers = HeaderMap::new();
        for (name, value) in [("authorization", "x"), ("content-length", "5"), ("x-sum", "7")] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        prepare_trailers(&mut trailers);
        assert_eq!(shown(&trailers), pairs(&[("x-sum", "7")]));
        for name in ["proxy-authorization", "x-forwarded-for", "dpop", "x-api-key"] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        prepare_request_trailers(&mut trailers, &HeaderName::from_static("x-api-key"));
        assert_eq!(shown(&trailers), pairs(&[("x-sum", "7")]), "nor what a caller may not say");
    }
}
