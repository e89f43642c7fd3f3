//! One HTTP exchange on a connection of its own, which knows whether anything was sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

use super::io::{Counted, Gated, Stream, Written};
use super::{CONNECT, LARGEST_ANSWER};
use crate::clock::{self, Clock};
use crate::grant::wire::Answer;
use crate::net;
use crate::tls::{self, Alpn, Tls};

/// How a redeem ended: bytes only, no judgement.
#[derive(Debug)]
pub enum Redeemed {
    /// Not one byte of the request left: it is safe to try again. Says why.
    NotSent(String),
    /// Nor did one here: whoever answered could not prove to be the server. Says why.
    Untrusted(String),
    /// Something left, and no answer came: the server may have rotated. Says why.
    Unanswered(String),
    /// An answer came, perhaps cut off.
    Answer(Answer),
}

/// What to send, and where.
pub struct Exchange<'a> {
    pub(super) uri: Uri,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<String>,
    pub(super) tls: &'a Tls,
    pub(super) clock: &'a Clock,
    pub(super) connect_to: Option<&'a (String, u16)>,
    pub(super) timeout: Duration,
}

impl Exchange<'_> {
    /// Connects, sends, reads. The timeout is over all of it; below TLS nothing is written once it has passed, also
    /// when the process slept through it. What came while it slept is read.
    pub async fn run(self) -> Redeemed {
        let written = Written::default();
        let deadline = clock::in_(self.timeout);
        let sent = Arc::clone(&written.0);
        let mut attempt = Box::pin(self.attempt(written, deadline));
        let mut redeemed = tokio::time::timeout_at(deadline, &mut attempt).await;
        let sent = Written(sent);
        if redeemed.is_err()
            && sent.any()
            && let Some(last_look) = overslept(deadline, LAST_LOOK)
        {
            redeemed = tokio::time::timeout_at(last_look, &mut attempt).await;
        }
        redeemed.unwrap_or_else(|_elapsed| judge(&sent, "no answer in time"))
    }

    async fn attempt(mut self, written: Written, deadline: tokio::time::Instant) -> Redeemed {
        let stream = match self.connect(&written).await {
            Ok(stream) => stream,
            Err(unreached) => return unreached,
        };
        let (mut sender, connection) = match lenient().handshake(TokioIo::new(stream)).await {
            Ok(parts) => parts,
            Err(error) => return judge(&written, &told(&error)),
        };
        // The connection is driven beside the request, and dropped with it.
        let driver = Abort(tokio::spawn(connection));
        let request = match self.request() {
            Ok(request) => request,
            Err(why) => return Redeemed::NotSent(why),
        };
        let redeemed = match sender.send_request(request).await {
            Ok(response) => Redeemed::Answer(read(response, deadline).await),
            Err(error) => judge(&written, &told(&error)),
        };
        drop(driver);
        redeemed
    }

    fn request(&mut self) -> Result<Request<Full<Bytes>>, String> {
        let authority = self.uri.authority().ok_or("the endpoint has no host")?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
        let mut headers = std::mem::take(&mut self.headers);
        headers.insert(header::HOST, host);
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        // Who says nothing may be sent any coding (RFC 9110 §12.5.3), and no coded body is read here.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let target = self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(self.body.as_bytes())));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = target.parse().map_err(|_| "the endpoint's path is not one".to_owned())?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn connect(&self, written: &Written) -> Result<Counted<Stream>, Redeemed> {
        let secure = self.uri.scheme_str() == Some("https");
        let place = net::place(&self.uri);
        let (host, _) = &place;
        let (to, at) = self.connect_to.unwrap_or(&place);
        let deadline = self.clock.now().plus(self.timeout);
        let socket = net::dial(to, *at, CONNECT.min(self.timeout))
            .await
            .map_err(|error| Redeemed::NotSent(format!("cannot connect to {to} port {at}: {error}")))?;
        let gated = Gated::new(socket, deadline, self.clock.clone());
        if !secure {
            return Ok(Counted::new(Stream::Plain(gated), written.clone()));
        }
        let name = ServerName::try_from(host.clone())
            .map_err(|_| Redeemed::NotSent(format!("`{host}` cannot be in a certificate")))?;
        let handshake = self.tls.connector(Alpn::Http1).connect(name, gated);
        match tokio::time::timeout_at(clock::in_(CONNECT), handshake).await {
            Ok(Ok(stream)) => Ok(Counted::new(Stream::Tls(Box::new(stream)), written.clone())),
            Ok(Err(error)) if tls::is_about_certificate(&error) => {
                Err(Redeemed::Untrusted(format!("TLS with {host} failed: {error}")))
            }
            Ok(Err(error)) => Err(Redeemed::NotSent(format!("TLS with {host} failed: {error}"))),
            Err(_elapsed) => Err(Redeemed::NotSent(format!("TLS with {host} took too long"))),
        }
    }
}

/// Neither a field that is none nor one too many is a reason to lose the answer that it stands above; how long a head may
/// be is bounded all the same.
fn lenient() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.ignore_invalid_headers_in_responses(true);
    builder.max_headers(MOST_FIELDS);
    builder
}

/// hyper would give up at a hundred.
const MOST_FIELDS: usize = 4096;

const USER_AGENT: &str = concat!("bearerd/", env!("CARGO_PKG_VERSION"));

/// Nothing written means not sent; anything else is in doubt.
fn judge(written: &Written, why: &str) -> Redeemed {
    if written.any() { Redeemed::Unanswered(why.to_owned()) } else { Redeemed::NotSent(why.to_owned()) }
}

/// hyper's errors hide their cause one level down.
fn told(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// As much of the body as comes, up to the limit: even half an answer may hold a new refresh token.
async fn read(response: Response<Incoming>, deadline: tokio::time::Instant) -> Answer {
    // A little before the deadline of the whole, so that what has come by then is kept.
    let mut deadline = deadline - Duration::from_millis(50);
    let mut last_look = Some(LAST_LOOK / 2);
    let (head, mut incoming) = response.into_parts();
    let mut body = Zeroizing::new(Vec::new());
    let complete = loop {
        match tokio::time::timeout_at(deadline, incoming.frame()).await {
            Ok(None) => break true,
            Ok(Some(Err(_))) => break false,
            Err(_elapsed) => match last_look.take().and_then(|most| overslept(deadline, most)) {
                Some(later) => deadline = later,
                None => break false,
            },
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                if body.len() + data.len() > LARGEST_ANSWER {
                    break false;
                }
                body.extend_from_slice(&data);
            }
        }
    };
    Answer { status: head.status, headers: head.headers, body, complete }
}

/// The most that is waited for what came while the process slept: it lies in the socket's buffer.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Who was stopped past the deadline wakes up to find it over, and the answer perhaps there and unread: to drop that
/// would be to lose the rotation in it. So a deadline that is noticed late is moved, as far as it was late.
fn overslept(deadline: tokio::time::Instant, most: Duration) -> Option<tokio::time::Instant> {
    let now = clock::in_(Duration::ZERO);
    let late = now.saturating_duration_since(deadline).min(most);
    (!late.is_zero()).then(|| now + late)
}

struct Abort<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
