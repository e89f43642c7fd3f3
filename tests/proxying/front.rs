//! A worker in the test's own process, with a fixed token, and callers that speak HTTP/2.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bearerd::clock::Clock;
use bearerd::metrics::Shard;
use bearerd::net::Listen;
use bearerd::proxy::carrying::Totals;
use bearerd::proxy::route::OnUnauthorized;
use bearerd::proxy::upstream::{self, HttpVersion, Target};
use bearerd::proxy::worker::{Order, Worker};
use bearerd::proxy::{Limits, Params, Setup, guard, listener, route};
use bearerd::secret::AccessTokenText;
use bearerd::telemetry::Access;
use bearerd::tls::{self, Roots, Tls};
use bearerd::token::{AccessToken, Credential, GrantName, Publisher, seam};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::in_time;

/// The token of every front.
pub(crate) const TOKEN: &str = "the-fixed-token";

/// What a front is to be.
pub(crate) struct Options {
    pub(crate) target: Target,
    pub(crate) http: HttpVersion,
    pub(crate) response_timeout: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) has_token: bool,
    pub(crate) clock: Clock,
    pub(crate) credential: Credential,
    pub(crate) on_401: OnUnauthorized,
}

/// A proxy that carries requests to one upstream.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) publisher: Publisher,
    worker: Option<Worker>,
}

impl Options {
    /// Towards a plaintext upstream.
    pub(crate) fn to(upstream: SocketAddr) -> Self {
        Self::at(Target::Plain { host: upstream.ip().to_string(), port: upstream.port() })
    }

    /// Towards an upstream with a certificate for `localhost`.
    pub(crate) fn tls(upstream: SocketAddr, ca_file: PathBuf) -> Self {
        let target = Target::Tls { host: "localhost".to_owned(), port: upstream.port() };
        Self { ca_file: Some(ca_file), ..Self::at(target) }
    }

    fn at(target: Target) -> Self {
        Self {
            target,
            http: HttpVersion::Match,
            response_timeout: Some(Duration::from_secs(60)),
            limits: Limits::default(),
            ca_file: None,
            has_token: true,
            clock: Clock::System,
            credential: Credential::default(),
            on_401: OnUnauthorized::default(),
        }
    }

    pub(crate) fn start(self) -> Front {
        let (mut publisher, reader) = seam(self.clock.clone());
        if self.has_token {
            publisher.publish(token(1));
        }
        let grant = GrantName::new(GrantName::DEFAULT);
        let route = route::Params {
            path: "/".to_owned(),
            host: None,
            upstream: upstream::Params { target: self.target, path: String::new(), http: self.http },
            grant: grant.clone(),
            credential: self.credential,
            response_timeout: self.response_timeout,
            on_401: self.on_401,
            methods: None,
        };
        let params =
            Params { routes: vec![route], guard: guard::Params::default(), limits: self.limits, via: false };
        let trusted = tls::Params { ca_file: self.ca_file, roots: Roots::Platform, client: None };
        let setup = Setup {
            params,
            readers: HashMap::from([(grant, reader)]),
            tls: Tls::load(&trusted).unwrap(),
            clock: self.clock,
            recent: 0,
            access: Access::Off,
        };
        let worker =
            Worker::spawn(0, Arc::new(setup), Arc::new(Shard::default()), Arc::new(Totals::default()));
        let worker = worker.unwrap();
        let bound = listener::bind(&Listen::Tcp { host: "127.0.0.1".to_owned(), port: 0 }).unwrap();
        let bound = bound.into_iter().next().unwrap();
        let address = bound.address().parse().unwrap();
        worker.send(Order::Listen(bound));
        Front { address, publisher, worker: Some(worker) }
    }
}

/// A token of this generation that is good for an hour; the first is [`TOKEN`].
pub(crate) fn token(generation: u64) -> AccessToken {
    let expires = Clock::System.now().plus(Duration::from_secs(3600));
    let text = if generation == 1 { TOKEN.to_owned() } else { format!("token-{generation}") };
    AccessToken::bearer(AccessTokenText::new(text), generation, expires).unwrap()
}

impl Front {
    /// Tells the worker something.
    pub(crate) fn send(&self, order: Order) {
        self.worker.as_ref().unwrap().send(order);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.send(Order::Drain(Duration::ZERO));
            worker.join();
        }
    }
}

/// What an HTTP/2 caller sends.
pub(crate) type Sent = BoxBody<Bytes, std::convert::Infallible>;

/// A caller that speaks HTTP/2 with prior knowledge.
pub(crate) async fn http2_caller(address: SocketAddr) -> SendRequest<Sent> {
    let stream = in_time("a connection", tokio::net::TcpStream::connect(address)).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    sender
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Request<Sent> {
    Request::builder().uri(format!("http://localhost{path}")).body(Empty::new().boxed()).unwrap()
}

/// A request with this body.
pub(crate) fn post(path: &str, body: &'static str) -> Request<Sent> {
    let body = http_body_util::Full::new(Bytes::from_static(body.as_bytes())).boxed();
    Request::post(format!("http://localhost{path}")).body(body).unwrap()
}

/// The status and the whole body.
pub(crate) async fn ask(caller: &SendRequest<Sent>, request: Request<Sent>) -> (u16, String) {
    let response = send(caller, request).await;
    let status = response.status().as_u16();
    let body = in_time("a body", response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The response, its body still to come.
pub(crate) async fn send(caller: &SendRequest<Sent>, request: Request<Sent>) -> Response<Incoming> {
    let mut caller = caller.clone();
    in_time("a response", async { caller.send_request(request).await }).await.unwrap()
}
