//! One server behind us: its connections, kept by each worker in a pool of its own.

mod aim;
mod connect;
mod failure;
mod heard;
mod http1;
mod http2;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;

use self::aim::Aim;
pub(super) use self::connect::Stream as Wire;
use self::connect::{Dialer, NoConnection};
use self::failure::Failure;
pub(super) use self::failure::Spare;
use super::Limits;
use super::authorize::Authorizer;
use super::body::{RequestBody, Upload};
use super::error::ProxyError;
use crate::clock::Stopwatch;
use crate::dpop::{Rapport, Refusal};
use crate::tls::{Alpn, Tls};

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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain { host, port } => write!(f, "http://{}", aim::authority(host, *port, 80)),
            Self::Tls { host, port } => write!(f, "https://{}", aim::authority(host, *port, 443)),
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
pub struct Upstream {
    dialer: Rc<Dialer>,
    http: HttpVersion,
    aim: Aim,
    http1: Rc<http1::Pool>,
    http2: Rc<http2::Pool>,
    /// What it said of the proofs beside bound tokens.
    rapport: RefCell<Rapport>,
    /// With `http = "match"`: what it was found not to speak, and when.
    unspoken: Cell<Option<(Alpn, Stopwatch)>>,
}

/// What an answer comes over.
pub(super) type Answer = (Response<Incoming>, Hold);

/// How a request is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// How long the upstream may take until the head of its answer, once the request is on its way.
    pub(super) limit: Option<Duration>,
    /// Whether it may be asked for once more after its answer has come.
    pub(super) replay: bool,
}

impl Upstream {
    /// No connection is made before a request needs one.
    #[must_use]
    pub fn new(target: Target, http: HttpVersion, tls: Tls, limits: &Limits) -> Self {
        let aim = Aim::at(&target);
        let dialer = Rc::new(Dialer { target, limits: limits.clone(), tls: RefCell::new(tls) });
        Self {
            http1: Rc::new(http1::Pool::new(Rc::clone(&dialer))),
            http2: Rc::new(http2::Pool::new(Rc::clone(&dialer))),
            dialer,
            http,
            aim,
            rapport: RefCell::default(),
            unspoken: Cell::new(None),
        }
    }

    /// The same server after a reload: connections stay, new ones are made with these certificates.
    pub fn trust(&self, tls: Tls) {
        *self.dialer.tls.borrow_mut() = tls;
    }

    /// Points a request at this server, in the protocol that it will be spoken to in.
    pub fn aim(&self, head: &mut Parts, target: PathAndQuery, body: &RequestBody) {
        match self.version(head.version) {
            Version::HTTP_2 => self.aim.http2(head, target),
            _ => self.aim.http1(head, target, body),
        }
    }

    /// The same for a request to switch protocols: always HTTP/1.1.
    pub fn aim_http1(&self, head: &mut Parts, target: PathAndQuery) {
        self.aim.http1(head, target, &RequestBody::none());
    }

    /// The protocol that follows from `http`, from the caller's, and from what the server was found not to speak.
    fn version(&self, caller: Version) -> Version {
        match (self.http, &self.dialer.target) {
            (HttpVersion::Two, _) => Version::HTTP_2,
            (HttpVersion::One, _) | (HttpVersion::Match, Target::Plain { .. } | Target::Unix(_)) => {
                Version::HTTP_11
            }
            (HttpVersion::Match, Target::Tls { .. }) => match self.unspoken() {
                Some(Alpn::Http1) => Version::HTTP_2,
                Some(Alpn::Http2) => Version::HTTP_11,
                None if caller == Version::HTTP_2 => Version::HTTP_2,
                None => Version::HTTP_11,
            },
        }
    }

    /// A server may learn: what it did not speak is forgotten after a connection's life.
    fn unspoken(&self) -> Option<Alpn> {
        let age = self.dialer.limits.upstream_age;
        self.unspoken.get().filter(|(_, since)| since.elapsed() < age).map(|(alpn, _)| alpn)
    }

    /// Puts the token on a request that has a connection now, and a proof beside one that is bound to a key.
    fn authorize(
        &self,
        request: &mut Request<RequestBody>,
        authorizer: &Authorizer<'_>,
    ) -> Result<(), ProxyError> {
        authorizer.authorize(request.headers_mut())?;
        if !authorizer.is_bound() {
            return Ok(());
        }
        let (method, target) = (request.method().clone(), self.aim.named(request.uri()));
        authorizer.prove(&method, &target, &self.rapport.borrow(), request.headers_mut())
    }

    /// Takes up what an answer to a bound token says of the next proof.
    pub(super) fn hear(&self, headers: &HeaderMap) {
        self.rapport.borrow_mut().hear(headers);
    }

    /// Takes up what the answer to a refused proof says; whether the next will be another.
    #[cold]
    pub(super) fn heed(&self, refusal: Refusal, headers: &HeaderMap, authorizer: &Authorizer<'_>) -> bool {
        let (now, ahead) = authorizer.proved();
        self.rapport.borrow_mut().heed(refusal, headers, now, ahead)
    }

    /// Sends a request that was aimed, authorized once there is a connection, and waits for the head of its response.
    /// With the answer comes what it takes to send the request again, if the terms want that.
    ///
    /// # Errors
    /// 502 and 504, with a sentence; 408 when the caller's body fails; 503 when the token expired meanwhile.
    pub(super) async fn send(
        &self,
        mut request: Request<RequestBody>,
        authorizer: &Authorizer<'_>,
        terms: Terms,
    ) -> Result<(Answer, Option<Spare>), ProxyError> {
        let repeatable = request.body().upload().is_none() && is_idempotent(request.method());
        if request.version() != Version::HTTP_2
            && let Some(lease) = self.http1.take(repeatable)
        {
            let spare = (repeatable || terms.replay).then(|| Spare::of(&request));
            self.authorize(&mut request, authorizer)?;
            return match lease.send(request, terms.limit).await {
                Ok((response, lease)) => Ok(((response, Hold::Http1(lease)), spare.filter(|_| terms.replay))),
                Err(failure) => {
                    let request = failure.repeat(spare.filter(|_| repeatable))?;
                    Box::pin(self.send_anew(request, authorizer, terms, Some(Stopwatch::start()))).await
                }
            };
        }
        Box::pin(self.send_anew(request, authorizer, terms, None)).await
    }

    /// Sends over HTTP/2, or over a new HTTP/1.1 connection. `again` says since when this is the second time; there is
    /// no third.
    async fn send_anew(
        &self,
        mut request: Request<RequestBody>,
        authorizer: &Authorizer<'_>,
        terms: Terms,
        mut again: Option<Stopwatch>,
    ) -> Result<(Answer, Option<Spare>), ProxyError> {
        let mut than = again;
        loop {
            let link = self.link(&mut request, than).await?;
            let repeatable = request.version() == Version::HTTP_2;
            let spare = (repeatable || terms.replay).then(|| Spare::of(&request));
            self.authorize(&mut request, authorizer)?;
            let failure = match link.send(request, terms.limit).await {
                Ok(answer) => return Ok((answer, spare.filter(|_| terms.replay))),
                Err(failure) if again.is_some() => return Err(failure.into_error()),
                Err(failure) => failure,
            };
            again = Some(Stopwatch::start());
            // Connections that were there before may all be ending; after a refusal they are as good as any.
            than = again.filter(|_| !matches!(failure, Failure::Refused(_)));
            request = failure.repeat(spare.filter(|_| repeatable))?;
        }
    }

    /// A connection in the request's protocol; with `http = "match"` in the other one, if the server does not speak it.
    async fn link(
        &self,
        request: &mut Request<RequestBody>,
        than: Option<Stopwatch>,
    ) -> Result<Hold, ProxyError> {
        let upload = request.body().upload();
        let wanted = if request.version() == Version::HTTP_2 { Alpn::Http2 } else { Alpn::Http1 };
        let refusal = match upload.meanwhile(self.connect(wanted, than)).await? {
            Ok(link) => return Ok(link),
            Err(refusal) => refusal,
        };
        let may_turn = self.http == HttpVersion::Match && matches!(self.dialer.target, Target::Tls { .. });
        if !may_turn || !matches!(refusal, NoConnection::Unspoken(_)) {
            return Err(refusal.into_error(&self.dialer.target));
        }
        self.unspoken.set(Some((wanted, Stopwatch::start())));
        self.aim.turn(request);
        let other = if wanted == Alpn::Http2 { Alpn::Http1 } else { Alpn::Http2 };
        let link = upload.meanwhile(self.connect(other, than)).await?;
        link.map_err(|refusal| refusal.into_error(&self.dialer.target))
    }

    async fn connect(&self, alpn: Alpn, than: Option<Stopwatch>) -> Result<Hold, NoConnection> {
        match alpn {
            Alpn::Http1 => self.http1.connect().await.map(Hold::Http1),
            Alpn::Http2 => self.http2.stream(than).await.map(Hold::Http2),
        }
    }

    /// Sends a request to switch protocols, over a connection of its own.
    ///
    /// # Errors
    /// As [`Upstream::send`].
    pub(super) async fn send_alone(
        &self,
        mut request: Request<RequestBody>,
        authorizer: &Authorizer<'_>,
        limit: Option<Duration>,
    ) -> Result<Answer, ProxyError> {
        let lease = self.http1.connect().await.map_err(|refusal| refusal.into_error(&self.dialer.target))?;
        self.authorize(&mut request, authorizer)?;
        Hold::Http1(lease).send(request, limit).await.map_err(Failure::into_error)
    }

    /// Closes what has been idle too long or is too old.
    pub fn sweep(&self) {
        self.http1.sweep();
        self.http2.sweep();
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("target", &self.dialer.target).finish_non_exhaustive()
    }
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(method)
}

/// What a request and its response go over; whoever has it lets the connection make progress.
#[derive(Debug)]
pub(super) enum Hold {
    /// A connection.
    Http1(http1::Lease),
    /// A stream on one.
    Http2(http2::Stream),
}

impl Hold {
    async fn send(self, request: Request<RequestBody>, limit: Option<Duration>) -> Result<Answer, Failure> {
        match self {
            Self::Http1(lease) => {
                lease.send(request, limit).await.map(|(answer, lease)| (answer, Self::Http1(lease)))
            }
            Self::Http2(stream) => {
                stream.send(request, limit).await.map(|(answer, stream)| (answer, Self::Http2(stream)))
            }
        }
    }

    /// Lets the connection make progress.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Self::Http1(lease) = self {
            lease.drive(cx);
        }
    }

    /// The response has ended: an HTTP/1.1 connection goes back to the pool if it may, a stream ends.
    pub(super) fn let_go(self) {
        if let Self::Http1(mut lease) = self {
            lease.give_back();
        }
    }

    /// What the caller uploads meanwhile.
    pub(super) fn upload(&mut self) -> Upload {
        match self {
            Self::Http1(lease) => lease.exchange().1.clone(),
            Self::Http2(stream) => stream.exchange().1.clone(),
        }
    }

    /// A frame of the response has come.
    pub(super) fn moved(&mut self) {
        match self {
            Self::Http1(lease) => lease.exchange().0.moved(),
            Self::Http2(stream) => stream.exchange().0.moved(),
        }
    }

    /// Called while nothing of the response comes: ready when nothing has moved either way for `limit`.
    pub(super) fn poll_silent(&mut self, limit: Option<Duration>, cx: &mut Context<'_>) -> Poll<Duration> {
        let (patience, upload) = match self {
            Self::Http1(lease) => lease.exchange(),
            Self::Http2(stream) => stream.exchange(),
        };
        upload.poll_silent(patience, limit, cx)
    }

    /// After a 101: the bare connection, and what was read of it beyond the head.
    pub(super) async fn into_wire(self) -> Option<(Wire, Bytes)> {
        match self {
            Self::Http1(lease) => lease.into_stream().await,
            Self::Http2(_) => None,
        }
    }
}
