//! Who may ask: target, Host, Origin and Sec-Fetch-Site are looked at before any token is. Pure.
//!
//! A page that rebinds a name of its own to this address sends its own name as Host: only the Host check stops it. A
//! page of another site sends our Host, but also an Origin or a Sec-Fetch-Site. Programs send neither (proxy.md §6).

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderValue, ORIGIN,
    VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};

use super::error::{Code, ProxyError};

/// What `[guard]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// `allowed_hosts`: exact, lower case, without port; IPv6 addresses in brackets.
    pub allowed_hosts: Vec<String>,
    /// `allowed_origins`: exact `scheme://host[:port]`, lower case.
    pub allowed_origins: Vec<String>,
    /// `browser`.
    pub browser: Browser,
}

/// `browser`: what a web page may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    /// Nothing, unless its origin is in `allowed_origins`.
    Deny,
    /// A page of this very origin may ask.
    SameOrigin,
    /// Origin and Sec-Fetch-Site are not looked at; Host still is.
    Off,
}

impl Default for Params {
    fn default() -> Self {
        let hosts = ["localhost", "127.0.0.1", "[::1]"];
        Self {
            allowed_hosts: hosts.map(str::to_owned).into(),
            allowed_origins: Vec::new(),
            browser: Browser::Deny,
        }
    }
}

/// Stands before a listener.
#[derive(Clone, Debug)]
pub struct Guard {
    params: Params,
    route_hosts: Vec<String>,
}

/// What follows for a request that was not refused.
#[derive(Debug)]
pub enum Admission<'a> {
    /// It may go on to a route that takes this host.
    Forward(Host<'a>),
    /// A preflight of an allowed origin: answered here, never forwarded.
    Answer(Response<Bytes>),
}

/// The host that a request asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// Lower case and without port. HTTP/1.0 may name none.
    pub name: Option<Cow<'a, str>>,
    /// It is allowed for the routes of this host alone.
    pub of_routes: bool,
}

impl Guard {
    /// A guard that lets `route_hosts` pass beside the allowed hosts.
    #[must_use]
    pub fn new(params: &Params, route_hosts: impl IntoIterator<Item = String>) -> Self {
        Self { params: params.clone(), route_hosts: route_hosts.into_iter().collect() }
    }

    /// Whether a request may go on.
    ///
    /// # Errors
    /// 400, 403 or 405, before any token has been looked at.
    pub fn admit<'a>(&self, head: &'a Parts) -> Result<Admission<'a>, ProxyError> {
        well_formed(head)?;
        let name = host_of(head)?;
        let is_in = |hosts: &[String]| name.as_ref().is_none_or(|name| hosts.iter().any(|host| host == name));
        let of_routes = !is_in(&self.params.allowed_hosts);
        if of_routes && !is_in(&self.route_hosts) {
            return Err(host_not_allowed());
        }
        self.check_origin(head)?;
        self.check_fetch_site(head)?;
        if self.is_preflight(head) {
            return self.preflight(&head.headers).map(Admission::Answer);
        }
        Ok(Admission::Forward(Host { name, of_routes }))
    }

    /// The origin that a request comes from, if its page may read the answer: a listed one, or any with
    /// `browser = "off"`.
    #[must_use]
    pub fn reader(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (origin, None) = (origins.next()?, origins.next()) else { return None };
        let is_listed = || {
            let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
            text != "null" && self.params.allowed_origins.contains(&text)
        };
        (self.params.browser == Browser::Off || is_listed()).then(|| origin.clone())
    }

    /// An error when the request comes from an origin that may not ask.
    fn check_origin(&self, head: &Parts) -> Result<(), ProxyError> {
        let may_ask = !head.headers.contains_key(ORIGIN)
            || self.params.browser == Browser::Off
            || self.reader(&head.headers).is_some()
            || self.params.browser == Browser::SameOrigin && is_same_origin(head);
        if may_ask { Ok(()) } else { Err(foreign_page()) }
    }

    /// Browsers alone send Sec-Fetch-Site. `same-site` is another port of this machine, and as foreign as any.
    fn check_fetch_site(&self, head: &Parts) -> Result<(), ProxyError> {
        let mut sites = head.headers.get_all("sec-fetch-site").iter();
        let allowed = match self.params.browser {
            Browser::Off => true,
            Browser::Deny => sites.next().is_none(),
            Browser::SameOrigin => sites.all(|site| site == "same-origin" || site == "none"),
        };
        if allowed || self.reader(&head.headers).is_some() { Ok(()) } else { Err(foreign_page()) }
    }

    /// Whether a page asks what it may ask. With `browser = "off"` only who names its origin is taken for a page, as
    /// browsers always do: others pass like any request.
    fn is_preflight(&self, head: &Parts) -> bool {
        head.method == Method::OPTIONS
            && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && (self.params.browser != Browser::Off || self.reader(&head.headers).is_some())
    }

    /// The answer to a preflight: 204 for a page that may read the answer to what it announces.
    fn preflight(&self, headers: &HeaderMap) -> Result<Response<Bytes>, ProxyError> {
        if self.reader(headers).is_none() {
            return Err(foreign_page());
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let asked = [
            (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
            (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        ];
        for (asked, allowed) in asked {
            if let Some(value) = headers.get(asked) {
                response.headers_mut().insert(allowed, value.clone());
            }
        }
        Ok(response)
    }
}

/// 403 for a Host that is not allowed, or not for the route that would take the request.
pub(super) fn host_not_allowed() -> ProxyError {
    ProxyError::new(Code::HostNotAllowed, "The request's Host is not one of `guard.allowed_hosts`.")
}

fn foreign_page() -> ProxyError {
    ProxyError::new(
        Code::OriginNotAllowed,
        "A web page asked, and its origin is not one of `guard.allowed_origins` (see also `guard.browser`).",
    )
}

fn malformed(why: &str) -> ProxyError {
    ProxyError::new(Code::Malformed, why).closing()
}

/// Method and target, as far as a gateway can trust them (P22 to P25).
fn well_formed(head: &Parts) -> Result<(), ProxyError> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        // A tunnel would carry the token anywhere, and TRACE sends it back.
        let detail = format!("{} is not carried by this proxy.", head.method);
        return Err(ProxyError::method_not_allowed(detail, &[]).closing());
    }
    let (uri, path) = (&head.uri, head.uri.path());
    if path == "*" {
        let asks_options = head.method == Method::OPTIONS;
        return if asks_options { Ok(()) } else { Err(malformed("Only OPTIONS may ask for `*`.")) };
    }
    match uri.scheme_str() {
        None if uri.authority().is_some() => return Err(malformed("The request's target is no path.")),
        None | Some("http" | "https") => {}
        Some(_) => return Err(malformed("The request's target has a scheme other than http and https.")),
    }
    if !path.starts_with('/') {
        return Err(malformed("The request's target does not begin with `/`."));
    }
    Ok(())
}

/// The one host that a request names, in Host, in `:authority` or in an absolute target; all that are there agree.
fn host_of(head: &Parts) -> Result<Option<Cow<'_, str>>, ProxyError> {
    let mut named = head.headers.get_all(HOST).iter();
    let (host, second) = (named.next(), named.next());
    if second.is_some() {
        return Err(malformed("The request has more than one Host."));
    }
    let host = host.map(|value| value.to_str().unwrap_or_default());
    let target = head.uri.authority().map(http::uri::Authority::as_str);
    let named = match (host, target) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
            return Err(malformed("The request's target and its Host disagree."));
        }
        (Some(host), _) => host,
        (None, Some(target)) if head.version != Version::HTTP_11 => target,
        (None, None) if head.version == Version::HTTP_10 => return Ok(None),
        (None, _) => return Err(malformed("The request has no Host.")),
    };
    parse_host(named).map(Some).ok_or_else(|| malformed("The request's Host is not a host."))
}

/// `host[:port]` to the host alone, lower case; nothing else is a host. It is lower case already in nearly every
/// request, and then nothing is copied.
fn parse_host(text: &str) -> Option<Cow<'_, str>> {
    let (host, port) = match text.find(']') {
        Some(end) => text.split_at_checked(end + 1)?,
        None => text.split_at_checked(text.find(':').unwrap_or(text.len()))?,
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&byte);
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(legal),
    };
    let is_lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
    let host = if is_lower { Cow::Borrowed(host) } else { Cow::Owned(host.to_ascii_lowercase()) };
    (is_host && (port.is_empty() || is_port(port.strip_prefix(':')?))).then_some(host)
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_same_origin(head: &Parts) -> bool {
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or(head.uri.authority().map(http::uri::Authority::as_str));
    host.is_some_and(|host| origin.as_bytes().eq_ignore_ascii_case(format!("http://{host}").as_bytes()))
}

/// Lets the page of this origin read an answer, whatever the upstream said of others.
pub fn let_read(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests;
