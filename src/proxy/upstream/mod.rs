//! One server behind us: its connections, kept by each worker in a pool of its own.

mod connect;
mod pool;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use http::header::{COOKIE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;

pub use self::pool::Lease;
use self::pool::{Outcome, Pool};
use super::Limits;
use super::body::RequestBody;
use super::error::{Code, ProxyError};
use crate::tls::Tls;

/// Where a route leads. Two routes with equal values share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    /// Where to connect.
    pub target: Target,
    /// The path of `upstream`, without a trailing slash; it replaces the route's prefix. Empty: the target passes unchanged.
    pub path: String,
    /// `http`.
    pub http: HttpVersion,
}

/// Where to connect, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `http://host[:port]`.
    Plain {
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `https://host[:port]`; the host is also what the certificate must name.
    Tls {
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:/path`: plaintext over a Unix socket; `Host` is `localhost`.
    Unix(PathBuf),
}

impl Target {
    /// What `Host` says: the default port is left out.
    fn authority(&self) -> String {
        let (host, port, default) = match self {
            Self::Plain { host, port } => (host, *port, 80),
            Self::Tls { host, port } => (host, *port, 443),
            Self::Unix(_) => return "localhost".to_owned(),
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if port == default { host } else { format!("{host}:{port}") }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain { .. } => write!(f, "http://{}", self.authority()),
            Self::Tls { .. } => write!(f, "https://{}", self.authority()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `http`: which protocol the upstream is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// The caller's protocol towards https, HTTP/1.1 towards plaintext.
    #[default]
    Match,
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

/// One server behind us.
#[derive(Debug)]
pub struct Upstream {
    pool: Rc<Pool>,
    host: HeaderValue,
}

impl Upstream {
    /// No connection is made before a request needs one.
    #[must_use]
    pub fn new(target: Target, tls: Tls, limits: &Limits) -> Self {
        // `Target` holds a host that the configuration has checked.
        let host = HeaderValue::try_from(target.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        Self { pool: Rc::new(Pool::new(target, tls, limits)), host }
    }

    /// Points a request at this server: target, `Host`, version, and framing that survives the strip (P13, P18, P19).
    pub fn aim(&self, head: &mut Parts, target: PathAndQuery, body: &RequestBody) {
        head.uri = Uri::from(target);
        head.version = Version::HTTP_11;
        head.headers.insert(HOST, self.host.clone());
        join_cookies(&mut head.headers);
        if !body.is_end_stream() && body.size_hint().exact().is_none() {
            // hyper takes a GET of unknown length for one without a body, unless it is told otherwise.
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }

    /// Sends a request and waits for the head of its response, at most `patience` once the request is on its way.
    ///
    /// Sent again on two grounds alone, once: it came back unsent, or an idempotent request without a body met a
    /// reused connection that closed before any byte of an answer (P54).
    ///
    /// # Errors
    /// 502 and 504, with a sentence.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        patience: Option<Duration>,
    ) -> Result<(Response<Incoming>, Lease), ProxyError> {
        let upload = request.body().upload();
        let retriable = upload.is_done() && is_idempotent(request.method());
        let mut request = request;
        for attempt in 0..2 {
            let lease = match self.pool.take(retriable) {
                Some(idle) if attempt == 0 => idle,
                _ => Box::pin(self.pool.connect()).await?,
            };
            let copy = (retriable && lease.is_reused()).then(|| copy_of(&request));
            match lease.send(request, upload.clone(), patience).await {
                Outcome::Answered(answer) => return Ok(*answer),
                Outcome::Unsent(unsent) => request = *unsent,
                Outcome::Closed(error) => match copy {
                    Some(copy) => request = copy,
                    None => return Err(error),
                },
                Outcome::Failed(error) => return Err(error),
            }
        }
        Err(ProxyError::new(
            Code::UpstreamProtocol,
            "The upstream closed the connection twice without an answer.",
        ))
    }

    /// Closes what has been idle too long or is too old.
    pub fn sweep(&self) {
        self.pool.sweep();
    }
}

fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::none());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(method)
}

/// HTTP/2 may split cookies over several fields, HTTP/1.1 must not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}
