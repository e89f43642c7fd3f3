//! A resource server in the test's own process: checks every token, remembers every request, streams both ways.
//!
//! HTTP/1.1, HTTP/2 with prior knowledge, and both by ALPN under TLS. The paths are listed in [`routes`]; any other
//! echoes.

mod body;
mod routes;
mod seen;
mod websocket;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::{fmt, io};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

pub(crate) use self::routes::pattern;
use self::seen::Heads;
pub(crate) use self::seen::{Check, Seen, Tally, Verdict};
pub(crate) use self::websocket::{Frame, accept_key, encode};
use super::authorization_server::AuthorizationServer;
use super::background::{Background, Door, Wire};
use super::certificates::Authority;
use super::in_time;
use super::proofs::Proofs;

/// What an HTTP/2 client sends first (RFC 9113 §3.4); no HTTP/1.1 method begins like this.
const PREFACE: &[u8; 4] = b"PRI ";

/// A running upstream. Clones talk about the same one, which ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    door: Door,
    scheme: &'static str,
    authority: Option<Arc<Authority>>,
    _running: Arc<Background>,
}

/// What the handle and the connections share.
struct Shared {
    check: Option<Check>,
    scheme: &'static str,
    memory: Mutex<Memory>,
    changed: watch::Sender<u64>,
    /// Counts releases of what waits.
    released: watch::Sender<u64>,
    /// Counts the times at which every connection was to close.
    closing: watch::Sender<u64>,
    /// Server-sent events that may go.
    events: Semaphore,
}

#[derive(Default)]
struct Memory {
    log: Vec<Seen>,
    tally: Tally,
    connections: usize,
    open: usize,
    /// What each connection's client has shown, in DER, and the connection's number.
    certificates: Vec<(usize, Option<Vec<u8>>)>,
    /// Challenges for requests to come, whatever their token.
    dislikes: VecDeque<Option<String>>,
    hang_up: bool,
    /// The proofs of possession that came beside bound tokens.
    proofs: Proofs,
    /// Bytes of answers that were taken from `/bytes` and its like.
    poured: usize,
}

impl Upstream {
    /// Takes any request, with or without a token.
    pub(crate) fn open() -> Self {
        Self::start(None, None)
    }

    /// Asks `server` about the token on every request, which it wants as `Authorization: Bearer`.
    pub(crate) fn checking(server: &AuthorizationServer) -> Self {
        Self::start(Some(Check::by(server)), None)
    }

    /// Checks tokens, or not, and does so behind TLS if there is an authority to certify it.
    pub(crate) fn start(check: Option<Check>, authority: Option<Arc<Authority>>) -> Self {
        let both: [&[u8]; 2] = [b"h2", b"http/1.1"];
        let tls =
            authority.as_ref().map(|authority| authority.asking_server(&["localhost", "127.0.0.1"], &both));
        let (door, listener) = Door::bind();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            check,
            scheme,
            memory: Mutex::default(),
            changed: watch::Sender::new(0),
            released: watch::Sender::new(0),
            closing: watch::Sender::new(0),
            events: Semaphore::new(0),
        });
        let (inside, entrance) = (Arc::clone(&shared), door.clone());
        let running = Background::run("upstream", move || async move {
            let serve = |stream, _peer| {
                tokio::spawn(connection(Arc::clone(&inside), stream, tls.clone()));
            };
            entrance.accept(listener, serve).await;
        });
        Self { shared, door, scheme, authority, _running: Arc::new(running) }
    }

    /// Behind TLS with a certificate for `localhost` and 127.0.0.1; takes any request.
    pub(crate) fn tls() -> Self {
        Self::start(None, Some(Arc::new(Authority::new())))
    }

    /// What to trust to reach it.
    ///
    /// # Panics
    /// When it does without TLS.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.authority.as_ref().expect("this upstream does without TLS").ca_file()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Its origin, for `upstream` in proxy.toml.
    pub(crate) fn url(&self) -> String {
        match self.scheme {
            "https" => format!("https://localhost:{}", self.address().port()),
            scheme => format!("{scheme}://{}", self.address()),
        }
    }

    /// The next requests, as many as there are challenges, are answered 401 with these, whatever their token; `None`
    /// is a 401 without a challenge.
    pub(crate) fn dislike<'a>(&self, challenges: impl IntoIterator<Item = Option<&'a str>>) {
        let challenges = challenges.into_iter().map(|challenge| challenge.map(str::to_owned));
        self.shared.memory().dislikes.extend(challenges);
    }

    /// Proofs have to hold a nonce from now on, and another one than before (RFC 9449 §9).
    pub(crate) fn change_nonce(&self) {
        self.shared.memory().proofs.change_nonce();
    }

    /// Sets the clock that proofs are judged by, and that of `Date`, this many seconds ahead.
    pub(crate) fn set_clock(&self, ahead: i64) {
        self.shared.memory().proofs.set_clock(ahead);
    }

    /// Lets this many more server-sent events go.
    pub(crate) fn release_events(&self, count: usize) {
        self.shared.events.add_permits(count);
    }

    /// Lets what waits go on (`/slow`, `/stall`).
    pub(crate) fn release(&self) {
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Closes the next connection as soon as it is clear which protocol is spoken.
    pub(crate) fn hang_up_once(&self) {
        self.shared.memory().hang_up = true;
    }

    /// Closes every connection at once, idle or not.
    pub(crate) fn close_connections(&self) {
        self.shared.closing.send_modify(|count| *count += 1);
    }

    /// Refuses connections from the return of this on; those that exist stay.
    pub(crate) async fn refuse_connections(&self) {
        self.door.close().await;
    }

    /// Accepts connections again, at the same address.
    pub(crate) async fn accept_connections(&self) {
        self.door.open().await;
    }

    /// Every request so far, in the order in which they were read.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.shared.memory().log.clone()
    }

    /// How many requests had which token.
    pub(crate) fn tally(&self) -> Tally {
        self.shared.memory().tally
    }

    /// How many bytes of long answers have been handed over for sending.
    pub(crate) fn poured(&self) -> usize {
        self.shared.memory().poured
    }

    /// How many connections have come in, and how many of them are open.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let memory = self.shared.memory();
        (memory.connections, memory.open)
    }

    /// The certificate that each connection's client has shown, in DER.
    pub(crate) fn certificates(&self) -> Vec<Option<Vec<u8>>> {
        self.shared.memory().certificates.iter().map(|(_, shown)| shown.clone()).collect()
    }

    /// Waits until `seen` says so of this upstream, whose requests and connections have changed.
    ///
    /// # Panics
    /// When it does not in time.
    pub(crate) async fn wait_for(&self, what: &str, seen: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        in_time(what, async {
            loop {
                changed.mark_unchanged();
                if seen(self) {
                    return;
                }
                let _gone = changed.changed().await;
            }
        })
        .await;
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        let value = change(&mut self.memory());
        self.changed.send_modify(|count| *count += 1);
        value
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstream")
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
    let mut closing = shared.closing.subscribe();
    let number = shared.change(|memory| {
        memory.connections += 1;
        memory.open += 1;
        memory.connections - 1
    });
    tokio::select! {
        () = serve(Arc::clone(&shared), stream, tls, number) => {}
        _ = closing.changed() => {}
    }
    shared.change(|memory| memory.open -= 1);
}

/// Finds out which protocol is spoken, and speaks it. What becomes of the connection shows in what was remembered.
async fn serve(shared: Arc<Shared>, stream: TcpStream, tls: Option<Arc<ServerConfig>>, number: usize) {
    let http2 = match &tls {
        None => matches!(prior_knowledge(&stream).await, Ok(true)),
        Some(_) => false,
    };
    let Ok(wire) = Wire::accept(stream, tls).await else { return };
    let certificate = wire.certificate();
    shared.change(|memory| memory.certificates.push((number, certificate)));
    let negotiated = match &wire {
        Wire::Plain(_) => false,
        Wire::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
    };
    if std::mem::take(&mut shared.memory().hang_up) {
        return;
    }
    let heads = Heads::default();
    let io = TokioIo::new(Tap { wire, heads: heads.clone() });
    if http2 || negotiated {
        let service = service_fn(|request| routes::answer(Arc::clone(&shared), number, None, request));
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _broken = builder.serve_connection(io, service).await;
    } else {
        let service =
            service_fn(|request| routes::answer(Arc::clone(&shared), number, heads.next(), request));
        let mut builder = hyper::server::conn::http1::Builder::new();
        let builder = builder.timer(TokioTimer::new()).max_buf_size(1 << 20);
        let _broken = builder.serve_connection(io, service).with_upgrades().await;
    }
}

async fn prior_knowledge(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; 4];
    loop {
        let length = stream.peek(&mut start).await?;
        if length == 0 || start[..length] != PREFACE[..length] {
            return Ok(false);
        }
        if length == start.len() {
            return Ok(true);
        }
        tokio::task::yield_now().await;
    }
}

/// A connection whose incoming bytes are looked at.
struct Tap {
    wire: Wire,
    heads: Heads,
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        let before = into.filled().len();
        let read = Pin::new(&mut tap.wire).poll_read(cx, into);
        tap.heads.feed(into.filled().get(before..).unwrap_or_default());
        read
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}
