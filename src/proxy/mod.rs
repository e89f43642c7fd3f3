//! Carries requests: downstream -> upstream, with the grant's access token on them.

mod authorize;
pub mod body;
pub mod carrying;
pub(crate) mod challenge;
pub mod connection;
pub mod error;
mod grpc;
pub mod guard;
pub mod headers;
pub mod inherited;
pub mod listener;
pub mod recent;
pub mod route;
pub mod upgrade;
pub mod upstream;
pub mod worker;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use self::authorize::Authorizer;
use self::body::{Body, RequestBody, Upload};
use self::error::{Code, ProxyError};
use self::guard::{Admission, Guard, Host};
use self::recent::Recent;
use self::upstream::{Spare, Upstream};
use crate::clock::{Clock, Stopwatch};
use crate::dpop::Refusal;
use crate::metrics::{Retried, RouteSeries, Shard};
use crate::panics::caught;
use crate::telemetry::Access;
use crate::tls::Tls;
use crate::token::{GrantName, Reader};

/// Everything that a worker needs to carry requests; one for all workers, replaced whole by a reload.
pub struct Setup {
    /// Routes, guard, limits.
    pub params: Params,
    /// The grants' tokens.
    pub readers: HashMap<GrantName, Reader>,
    /// Towards https upstreams.
    pub tls: Tls,
    /// The clocks.
    pub clock: Clock,
    /// Which requests get a line in the log.
    pub access: Access,
    /// How many of the last requests are kept for people.
    pub recent: usize,
}

/// Carries requests for one worker.
pub struct Proxy {
    setup: Arc<Setup>,
    shard: Arc<Shard>,
    guard: Guard,
    table: route::Table,
    routes: Vec<Route>,
    recent: Rc<Recent>,
}

/// A route with what it needs at hand.
struct Route {
    params: route::Params,
    reader: Reader,
    upstream: Rc<Upstream>,
    series: Arc<RouteSeries>,
    label: String,
}

impl Proxy {
    /// Builds routes, and keeps the connections of `previous` to upstreams that are still the same.
    ///
    /// # Errors
    /// The name of a grant that a route wants and nobody keeps.
    pub fn build(setup: Arc<Setup>, shard: &Arc<Shard>, previous: Option<&Self>) -> Result<Self, GrantName> {
        let mut known = HashMap::new();
        if let Some(previous) =
            previous.filter(|previous| previous.setup.params.limits == setup.params.limits)
        {
            for route in &previous.routes {
                route.upstream.trust(setup.tls.clone());
                known.insert(route.server(), Rc::clone(&route.upstream));
            }
        }
        let mut routes = Vec::new();
        for params in &setup.params.routes {
            let reader = setup.readers.get(&params.grant).ok_or_else(|| params.grant.clone())?.clone();
            let (target, http) = (params.upstream.target.clone(), params.upstream.http);
            let fresh = || {
                let (target, tls) = (target.clone(), setup.tls.clone());
                Rc::new(Upstream::new(target, http, tls, &setup.params.limits))
            };
            let upstream = Rc::clone(known.entry((target.clone(), http)).or_insert_with(fresh));
            let label = params.label();
            let series = shard.route(&label);
            routes.push(Route { params: params.clone(), reader, upstream, series, label });
        }
        let hosts = setup.params.routes.iter().filter_map(|route| route.host.clone());
        let guard = Guard::new(&setup.params.guard, hosts);
        let table = route::Table::new(&setup.params.routes);
        let recent = previous.map(|previous| &previous.recent).filter(|kept| kept.most() == setup.recent);
        let recent = recent.map_or_else(|| Rc::new(Recent::new(setup.recent)), Rc::clone);
        Ok(Self { setup, shard: Arc::clone(shard), guard, table, routes, recent })
    }

    /// What the configuration limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.setup.params.limits
    }

    /// The last requests, for people.
    #[must_use]
    pub fn recent(&self) -> Vec<recent::Request> {
        self.recent.all()
    }

    /// Closes connections to upstreams that rested too long.
    pub fn sweep(&self) {
        self.routes.iter().for_each(|route| route.upstream.sweep());
    }

    /// Answers one request. Every failure becomes a response here.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let asked = self.asked(&request);
        let course = Course::default();
        let answered = caught(pin!(self.forward(request, &course))).await.unwrap_or_else(|| Err(fault()));
        self.answer(&asked, &course, answered)
    }

    /// Answers a request that there is no place for.
    #[cold]
    pub fn overloaded(&self, request: &Request<Incoming>) -> Response<Body> {
        let error = ProxyError::new(Code::Overloaded, "Too many requests are being carried already.");
        self.answer(&self.asked(request), &Course::default(), Err(error))
    }

    /// THE HOT PATH: guard, route, token; strip, aim; connect, authorize, send. `course` tells what became of it.
    async fn forward<'a>(
        &'a self,
        request: Request<Incoming>,
        course: &Course<'a>,
    ) -> Result<Response<Body>, ProxyError> {
        let (mut head, body) = request.into_parts();
        let host = match self.guard.admit(&head)? {
            Admission::Forward(host) => host,
            Admission::Answer(answer) => return Ok(answer.map(Body::from_bytes)),
        };
        let route = self.route(&host, &head)?;
        course.route.set(Some(route));
        let target = route::target(&route.params, &head.uri)?;
        let body = RequestBody::new(body, self.limits(), route.params.credential.header());
        let authorizer = self.authorizer(route, &body.upload()).await?;
        if head.headers.contains_key(UPGRADE) && upgrade::is_asked(&head) && body.upload().is_none() {
            return Box::pin(self.switch(route, &authorizer, head, target)).await;
        }

        headers::prepare_request(&mut head, self.setup.params.via)?;
        route.upstream.aim(&mut head, target, &body);
        let request = Request::from_parts(head, body);
        let terms = route.terms(request.method(), &authorizer);
        let (mut answer, spare) = route.send(request, &authorizer, terms).await?;
        if answer.0.status() == StatusCode::UNAUTHORIZED {
            answer = Box::pin(self.refused(route, &authorizer, answer, spare, course)).await?;
        }
        let (mut response, hold) = answer;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(unasked());
        }
        headers::prepare_response(response.headers_mut());
        let silence = self.limits().stream_idle_timeout;
        Ok(response.map(|body| Body::from_upstream(body, hold, silence)))
    }

    /// The upstream answered 401. If it took no proof, the request is sent once more with the next, where that will be
    /// another. If the 401 may mean the token, the token is doubted, and the request is sent once more with its successor,
    /// if it can be and there is one. On each ground once; a 401 that is left passes.
    async fn refused(
        &self,
        route: &Route,
        authorizer: &Authorizer<'_>,
        mut answer: upstream::Answer,
        mut spare: Option<Spare>,
        course: &Course<'_>,
    ) -> Result<upstream::Answer, ProxyError> {
        let mut grounds = Vec::new();
        let outcome = loop {
            let so_far = (!grounds.is_empty()).then_some(Retried::StillRefused);
            if answer.0.status() != StatusCode::UNAUTHORIZED {
                break Some(Retried::Recovered);
            }
            let Some(ground) = route.ground(authorizer, answer.0.headers(), &grounds) else { break so_far };
            // A bound token's request is kept for the sake of its proof, whatever is to be done about the token.
            let replays =
                |spare: &Spare| ground != Ground::Token || route.params.on_401.replays(spare.method());
            let Some(spared) = spare.take().filter(replays) else { break so_far };
            if !spared.is_held() {
                break Some(Retried::BodyNotHeld);
            }
            if ground == Ground::Token {
                let successor = route.reader.successor(authorizer.generation(), self.limits().token_wait);
                let Some(token) = successor.await else { break Some(Retried::NoSuccessor) };
                authorizer.replace(token);
                course.renewed.set(true);
            }
            grounds.push(ground);
            (answer, spare) = route.send_again(spared, answer, authorizer).await?;
        };
        outcome.into_iter().for_each(|outcome| route.series.retried(outcome));
        Ok(answer)
    }

    /// The same for a request to switch protocols, which has a connection of its own.
    async fn switch(
        &self,
        route: &Route,
        authorizer: &Authorizer<'_>,
        mut head: http::request::Parts,
        target: http::uri::PathAndQuery,
    ) -> Result<Response<Body>, ProxyError> {
        headers::prepare_request(&mut head, self.setup.params.via)?;
        route.upstream.aim_http1(&mut head, target);
        upgrade::ask(&mut head.headers);
        let spare = authorizer.is_bound().then(|| head.clone());
        let mut answer = route.switch(head, authorizer).await?;
        let mut grounds = Vec::new();
        while answer.0.status() == StatusCode::UNAUTHORIZED
            && let Some(ground @ Ground::Proof(_)) = route.ground(authorizer, answer.0.headers(), &grounds)
            && let Some(head) = &spare
        {
            grounds.push(ground);
            answer = route.switch(head.clone(), authorizer).await?;
        }
        if !grounds.is_empty() {
            let is_refused = answer.0.status() == StatusCode::UNAUTHORIZED;
            route.series.retried(if is_refused { Retried::StillRefused } else { Retried::Recovered });
        }
        upgrade::answered(answer, self.limits().stream_idle_timeout).await
    }

    fn route(&self, host: &Host<'_>, head: &http::request::Parts) -> Result<&Route, ProxyError> {
        let index = self.table.find(host, &head.method, head.uri.path())?;
        self.routes.get(index).ok_or_else(|| ProxyError::new(Code::Internal, "The route is not there."))
    }

    /// Has the route's token: the current one, or what comes within `token_wait`.
    async fn authorizer<'a>(
        &'a self,
        route: &'a Route,
        upload: &Upload,
    ) -> Result<Authorizer<'a>, ProxyError> {
        let token = match route.reader.current(self.setup.clock.now()) {
            Err(_absent) => {
                let waiting = route.reader.ready(self.limits().token_wait);
                Box::pin(upload.meanwhile(waiting)).await?
            }
            token => token,
        };
        let (grant, credential) = (&route.params.grant, &route.params.credential);
        let token = RefCell::new(token.map_err(|absent| ProxyError::absent(grant, absent))?);
        let (reader, clock, ahead) = (&route.reader, &self.setup.clock, Cell::default());
        Ok(Authorizer { grant, reader, credential, clock, token, ahead })
    }

    fn asked(&self, request: &Request<Incoming>) -> Asked {
        Asked {
            since: Stopwatch::start(),
            method: request.method().clone(),
            uri: (self.setup.access != Access::Off || self.setup.recent > 0).then(|| request.uri().clone()),
            is_grpc: grpc::is_spoken(request.headers()),
            page: self.guard.reader(request.headers()),
        }
    }

    /// What the caller gets, counted and logged.
    fn answer(
        &self,
        asked: &Asked,
        course: &Course<'_>,
        answered: Result<Response<Body>, ProxyError>,
    ) -> Response<Body> {
        let (mut response, error) = match answered {
            Ok(response) => (response, None),
            Err(error) => (self.refuse(&error, asked.is_grpc), Some(error)),
        };
        // A message has the version of who sends it (RFC 9112 §2.3); hyper writes what its caller speaks.
        *response.version_mut() = Version::HTTP_11;
        if let Some(origin) = &asked.page {
            guard::let_read(response.headers_mut(), origin.clone());
        }
        let (status, took, route) = (response.status(), asked.since.elapsed(), course.route.get());
        if let Some(route) = route {
            route.series.answered(&asked.method, status, took, error.as_ref().map(ProxyError::code));
        }
        if let Some(uri) = asked.uri.as_ref().filter(|_| self.setup.recent > 0) {
            let label = route.map_or("", |route| route.label.as_str());
            self.recent.note(uri.path(), label, |path, route| recent::Request {
                at: self.setup.clock.now().minus(took),
                method: asked.method.clone(),
                path,
                route,
                status,
                took,
                renewed: course.renewed.get(),
                code: error.as_ref().map(|error| error.code().word()),
            });
        }
        let notable = error.is_some() || status.is_server_error();
        if self.setup.access == Access::All || notable && self.setup.access != Access::Off {
            self.log(asked, route, status, error.as_ref(), took);
        }
        response
    }

    #[cold]
    fn refuse(&self, error: &ProxyError, is_grpc: bool) -> Response<Body> {
        self.shard.rejected(error.code());
        if is_grpc { grpc::answer(error) } else { error.clone().into_response().map(Body::from_bytes) }
    }

    fn log(
        &self,
        asked: &Asked,
        route: Option<&Route>,
        status: StatusCode,
        error: Option<&ProxyError>,
        took: Duration,
    ) {
        let Asked { method, uri: Some(uri), .. } = asked else { return };
        let (path, duration_ms) = (uri.path(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let (code, detail) = (error.map(|error| error.code().word()), error.map(ProxyError::detail));
        let (status, route) = (status.as_u16(), route.map(|route| route.label.as_str()));
        tracing::info!(event = "request", %method, path, route, status, duration_ms, error = code, detail, "{method} {path} {status}");
    }
}

/// What becomes of a request on its way.
#[derive(Default)]
struct Course<'a> {
    /// Which route took it.
    route: Cell<Option<&'a Route>>,
    /// Whether it was sent again with another token.
    renewed: Cell<bool>,
}

/// What is remembered of a request for when it has been answered.
struct Asked {
    since: Stopwatch,
    method: Method,
    /// None when nothing is logged or kept.
    uri: Option<Uri>,
    is_grpc: bool,
    /// The origin whose page may read the answer.
    page: Option<HeaderValue>,
}

impl Route {
    fn server(&self) -> (upstream::Target, upstream::HttpVersion) {
        (self.params.upstream.target.clone(), self.params.upstream.http)
    }

    /// Doubts the token that was answered with a 401 of these headers, if that may mean the token; whether it does.
    #[cold]
    fn doubts(&self, authorizer: &Authorizer<'_>, headers: &HeaderMap) -> bool {
        let refused = challenge::refuses_token(headers);
        if refused {
            self.series.doubted();
            if self.reader.doubt(authorizer.generation()) {
                self.tell_metadata(authorizer, headers);
            }
        }
        refused
    }

    /// Tells where an upstream says that its metadata are (RFC 9728 §5.1). For a person to compare: which server is asked
    /// for tokens is never an upstream's to say (R62). No more often than doubts lead to refreshes.
    fn tell_metadata(&self, authorizer: &Authorizer<'_>, headers: &HeaderMap) {
        let Some(named) = challenge::resource_metadata(headers) else { return };
        let (resource_metadata, route) = (authorizer.token.borrow().kept_out_of(&named), &self.label);
        let grant = authorizer.grant;
        tracing::info!(event = "resource_metadata_named", %grant, route, resource_metadata, "The upstream of {route} refuses the token of grant {grant} and names its metadata: {resource_metadata}; they are not read");
    }

    /// On what ground the request that was answered with a 401 of these headers may be sent again; each counts once. A
    /// token that the 401 may mean is doubted.
    #[cold]
    fn ground(&self, authorizer: &Authorizer<'_>, headers: &HeaderMap, before: &[Ground]) -> Option<Ground> {
        let refusal = challenge::refuses_proof(headers).filter(|_| authorizer.is_bound());
        let ground = refusal.map_or(Ground::Token, Ground::Proof);
        let is_new = !before.contains(&ground);
        let may_help = is_new
            && match refusal {
                Some(refusal) => self.upstream.heed(refusal, headers, authorizer),
                None => self.doubts(authorizer, headers),
            };
        may_help.then_some(ground)
    }

    /// How a request of this method is sent for the first time. A proof may be refused for want of a nonce, which the
    /// caller can do nothing about.
    fn terms(&self, method: &Method, authorizer: &Authorizer<'_>) -> upstream::Terms {
        let replay = self.params.on_401.replays(method) || authorizer.is_bound();
        upstream::Terms { limit: self.params.response_timeout, replay }
    }

    /// Sends a request, and hears what the answer says of the next proof.
    async fn send(
        &self,
        request: Request<RequestBody>,
        authorizer: &Authorizer<'_>,
        terms: upstream::Terms,
    ) -> Result<(upstream::Answer, Option<Spare>), ProxyError> {
        let sent = self.upstream.send(request, authorizer, terms).await;
        if let Ok((answer, _)) = &sent
            && authorizer.is_bound()
        {
            self.upstream.hear(answer.0.headers());
        }
        sent
    }

    /// Sends a request once more, in place of its answer. One whose token is bound may have to be sent yet again.
    async fn send_again(
        &self,
        spare: Spare,
        (response, hold): upstream::Answer,
        authorizer: &Authorizer<'_>,
    ) -> Result<(upstream::Answer, Option<Spare>), ProxyError> {
        // First, because a connection goes on only after a body that was sent to its end.
        Body::from_upstream(response.into_body(), hold, None).spill();
        let request = spare.again().ok_or_else(fault)?;
        let terms = upstream::Terms { limit: self.params.response_timeout, replay: authorizer.is_bound() };
        self.send(request, authorizer, terms).await
    }

    /// Sends a request to switch protocols.
    async fn switch(
        &self,
        head: http::request::Parts,
        authorizer: &Authorizer<'_>,
    ) -> Result<upstream::Answer, ProxyError> {
        let request = Request::from_parts(head, RequestBody::none());
        let limit = self.params.response_timeout;
        let answer = self.upstream.send_alone(request, authorizer, limit).await?;
        if authorizer.is_bound() {
            self.upstream.hear(answer.0.headers());
        }
        Ok(answer)
    }
}

/// Why a request is sent once more after a 401.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// The token was refused, and there is another.
    Token,
    /// The proof beside it was, and the next is another.
    Proof(Refusal),
}

#[cold]
fn fault() -> ProxyError {
    ProxyError::new(Code::Internal, "The request met a fault of the proxy's own.")
}

#[cold]
fn unasked() -> ProxyError {
    ProxyError::new(Code::UpstreamProtocol, "The upstream switched protocols, and nobody had asked it to.")
}

/// What the data plane is told by the configuration; a reload sends workers a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// The routes, in the order of the file.
    pub routes: Vec<route::Params>,
    /// `[guard]`.
    pub guard: guard::Params,
    /// `[limits]`.
    pub limits: Limits,
    /// `via`.
    pub via: bool,
}

/// What `[limits]` says; `None` for a duration means no limit (`"0s"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `token_wait`.
    pub token_wait: Duration,
    /// `connect_timeout`.
    pub connect_timeout: Duration,
    /// `tls_timeout`.
    pub tls_timeout: Duration,
    /// `first_byte_timeout`.
    pub first_byte_timeout: Duration,
    /// `header_timeout`.
    pub header_timeout: Duration,
    /// `idle_timeout`.
    pub idle_timeout: Duration,
    /// `body_timeout`.
    pub body_timeout: Option<Duration>,
    /// `stream_idle_timeout`.
    pub stream_idle_timeout: Option<Duration>,
    /// `header_size`, bytes.
    pub header_size: usize,
    /// `connections`: over all workers.
    pub connections: usize,
    /// `requests`: in flight over all workers.
    pub requests: usize,
    /// `replay_body`, bytes.
    pub replay_body: usize,
    /// `upstream_idle`.
    pub upstream_idle: Duration,
    /// `upstream_age`; jittered by a tenth.
    pub upstream_age: Duration,
}

impl Default for Limits {
    /// The defaults of DESIGN §2; `proxy.toml` is held against them by a test.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            token_wait: seconds(10),
            connect_timeout: seconds(5),
            tls_timeout: seconds(5),
            first_byte_timeout: seconds(10),
            header_timeout: seconds(10),
            idle_timeout: seconds(75),
            body_timeout: Some(seconds(60)),
            stream_idle_timeout: Some(seconds(300)),
            header_size: 64 * 1024,
            connections: 10_000,
            requests: 4096,
            replay_body: 64 * 1024,
            upstream_idle: seconds(55),
            upstream_age: seconds(600),
        }
    }
}
