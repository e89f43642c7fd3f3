//! Points a request at its upstream: target, authority, version, and framing that survives the strip.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, Version, uri};
use http_body::Body as _;

use super::Target;
use crate::dpop;
use crate::proxy::body::RequestBody;

/// What requests to one upstream say of it, built once.
#[derive(Debug)]
pub(super) struct Aim {
    host: HeaderValue,
    scheme: Scheme,
    authority: Authority,
}

impl Aim {
    pub(super) fn at(target: &Target) -> Self {
        let (scheme, text) = match target {
            Target::Plain { host, port } => (Scheme::HTTP, authority(host, *port, 80)),
            Target::Tls { host, port } => (Scheme::HTTPS, authority(host, *port, 443)),
            Target::Unix(_) => (Scheme::HTTP, "localhost".to_owned()),
        };
        // The configuration has checked the host, so both of these can be made of it.
        let host = HeaderValue::try_from(&text).unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        let authority = Authority::try_from(text).unwrap_or_else(|_| Authority::from_static("localhost"));
        Self { host, scheme, authority }
    }

    /// Origin-form and one `Host`; cookies in one field, and a length or a coding for every body (P13, P18, P19).
    pub(super) fn http1(&self, head: &mut Parts, target: PathAndQuery, body: &RequestBody) {
        head.uri = Uri::from(target);
        head.version = Version::HTTP_11;
        head.headers.insert(HOST, self.host.clone());
        join_cookies(&mut head.headers);
        if !body.is_end_stream() && !head.headers.contains_key(CONTENT_LENGTH) {
            // hyper takes a GET of unknown length for one without a body, unless it is told otherwise.
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }

    /// An absolute target, from which `:scheme` and `:authority` come, and no `Host` (P19).
    pub(super) fn http2(&self, head: &mut Parts, target: PathAndQuery) {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        // All three parts are there, which is all that can be wrong.
        head.uri = Uri::from_parts(parts).unwrap_or_default();
        head.version = Version::HTTP_2;
        head.headers.remove(HOST);
        head.headers.remove(TRANSFER_ENCODING);
    }

    /// A target of this server as a proof names it.
    pub(super) fn named(&self, uri: &Uri) -> String {
        dpop::target(self.scheme.as_str(), self.authority.as_str(), uri.path())
    }

    /// From the one protocol to the other.
    pub(super) fn turn(&self, request: &mut Request<RequestBody>) {
        let placeholder = Request::new(RequestBody::none());
        let (mut head, body) = std::mem::replace(request, placeholder).into_parts();
        let target = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        match head.version {
            Version::HTTP_2 => self.http1(&mut head, target, &body),
            _ => self.http2(&mut head, target),
        }
        *request = Request::from_parts(head, body);
    }
}

/// `host[:port]`, without the scheme's own port.
pub(super) fn authority(host: &str, port: u16, default: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == default { host } else { format!("{host}:{port}") }
}

/// HTTP/2 may split cookies over several fields, HTTP/1.1 must not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: Version) -> Parts {
        let request = Request::builder().version(version).uri("http://caller/ignored");
        request
            .header("host", "caller")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    fn at(host: &str, port: u16) -> Aim {
        Aim::at(&Target::Tls { host: host.to_owned(), port })
    }

    #[test]
    fn http1_gets_a_path_one_host_and_one_cookie() {
        let mut head = head(Version::HTTP_2);
        at("api.example", 8443).http1(&mut head, PathAndQuery::from_static("/a//b?c"), &RequestBody::none());
        assert_eq!((head.uri.to_string().as_str(), head.version), ("/a//b?c", Version::HTTP_11));
        assert_eq!(head.headers.get_all(HOST).iter().collect::<Vec<_>>(), ["api.example:8443"]);
        assert_eq!(head.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        assert!(
            !head.headers.contains_key(TRANSFER_ENCODING),
            "nothing is added to a request without a body"
        );
    }

    #[test]
    fn http2_gets_an_absolute_target_and_no_host() {
        let mut head = head(Version::HTTP_11);
        at("api.example", 443).http2(&mut head, PathAndQuery::from_static("/a//b?c"));
        assert_eq!(head.uri.to_string(), "https://api.example/a//b?c");
        assert!(head.version == Version::HTTP_2 && !head.headers.contains_key(HOST));
    }

    #[test]
    fn the_authority_names_a_port_only_when_it_is_another_and_addresses_have_brackets() {
        assert_eq!(authority("h", 80, 80), "h");
        assert_eq!(authority("::1", 443, 80), "[::1]:443");
    }

    #[test]
    fn a_turned_request_says_the_same_in_the_other_protocol() {
        let aim = at("api.example", 443);
        let mut head = head(Version::HTTP_11);
        aim.http2(&mut head, PathAndQuery::from_static("/x?y"));
        let mut request = Request::from_parts(head, RequestBody::none());
        aim.turn(&mut request);
        assert_eq!((request.uri().to_string().as_str(), request.version()), ("/x?y", Version::HTTP_11));
        assert_eq!(request.headers()[HOST], "api.example");
        aim.turn(&mut request);
        assert_eq!(request.uri().to_string(), "https://api.example/x?y");
    }
}
