//! A client and a server that say exactly the bytes a test gives them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::background::{Background, Door};
use super::http::{Ends, Head, Inbound};
use super::in_time;

/// The longest body that a test reads whole.
const LONGEST_BODY: usize = 1 << 30;

/// One end of a TCP connection. Every wait ends in time or fails the test.
#[derive(Debug)]
pub(crate) struct Peer {
    inbound: Inbound<TcpStream>,
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its head.
    pub(crate) head: Head,
    /// Its body, out of its chunks.
    pub(crate) body: Vec<u8>,
}

/// How the other side ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN.
    Closed,
    /// RST.
    Reset,
}

impl Reply {
    /// The status.
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

impl Peer {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("nobody listens")
    }

    /// Connects, if anybody listens.
    pub(crate) async fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = in_time("a connection or its refusal", TcpStream::connect(address)).await.ok()?;
        stream.set_nodelay(true).unwrap();
        Some(Self { inbound: Inbound::new(stream) })
    }

    /// Sends these bytes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        in_time("room to send", self.inbound.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends FIN; the other way stays open.
    pub(crate) async fn finish(&mut self) {
        self.inbound.stream.shutdown().await.unwrap();
    }

    /// Closes with RST.
    pub(crate) fn reset(self) {
        self.inbound.stream.set_zero_linger().unwrap();
    }

    /// The next head.
    pub(crate) async fn head(&mut self) -> Head {
        in_time("a head", self.inbound.head()).await.expect("the connection ended before a head")
    }

    /// The next head; none when the connection ends first.
    pub(crate) async fn try_head(&mut self) -> Option<Head> {
        in_time("a head or the end", self.inbound.head()).await
    }

    /// The body of a request.
    pub(crate) async fn body(&mut self, head: &Head) -> Vec<u8> {
        in_time("a body", self.inbound.body(head, Ends::Framed, LONGEST_BODY)).await.unwrap()
    }

    /// The next answer, whole: to anything but HEAD.
    pub(crate) async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        self.rest_of(head).await
    }

    /// Sends these bytes and reads the answer; none when the connection has ended before any byte of one.
    pub(crate) async fn ask_if_open(&mut self, bytes: impl AsRef<[u8]>) -> Option<Reply> {
        in_time("room to send", self.inbound.stream.write_all(bytes.as_ref())).await.ok()?;
        match self.try_head().await {
            Some(head) => Some(self.rest_of(head).await),
            None => {
                let begun = String::from_utf8_lossy(&self.inbound.buffer);
                assert!(begun.is_empty(), "an answer broke off: {begun}");
                None
            }
        }
    }

    async fn rest_of(&mut self, head: Head) -> Reply {
        let ends = match head.status() {
            100..200 | 204 | 304 => Ends::Framed,
            _ => Ends::WithConnection,
        };
        let body = in_time("a body", self.inbound.body(&head, ends, LONGEST_BODY)).await.unwrap();
        Reply { head, body }
    }

    /// Exactly this many bytes.
    pub(crate) async fn take(&mut self, length: usize) -> Vec<u8> {
        in_time("more bytes", self.inbound.take(length)).await.expect("the connection ended too soon")
    }

    /// Every byte until the connection ends, and how it ended.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        let read = self.inbound.stream.read_to_end(&mut self.inbound.buffer);
        let end = match in_time("the connection's end", read).await {
            Ok(_) => End::Closed,
            Err(_reset) => End::Reset,
        };
        (std::mem::take(&mut self.inbound.buffer), end)
    }

    /// Waits until the other side has closed or reset the connection, and reads nothing of what comes before that.
    pub(crate) async fn closed(&mut self) {
        use tokio::io::{Interest, Ready};
        let stream = &self.inbound.stream;
        let closed = async {
            loop {
                let ready = stream.ready(Interest::READABLE | Interest::ERROR).await.unwrap_or(Ready::ERROR);
                if ready.is_read_closed() || ready.is_error() {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        in_time("the connection's end", closed).await;
    }

    /// Sends these bytes and reads the answer.
    pub(crate) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.send(bytes).await;
        self.reply().await
    }

    /// GET on a connection that is kept.
    pub(crate) async fn get(&mut self, target: &str, host: &str) -> Reply {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    }

    /// POST of a form on a connection that is kept. `form` is encoded already.
    pub(crate) async fn post(&mut self, target: &str, host: &str, form: &str) -> Reply {
        self.ask(post(target, host, form)).await
    }
}

/// A POST of a form. `form` is encoded already.
pub(crate) fn post(target: &str, host: &str, form: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

/// A server that runs a script on each connection.
#[derive(Debug)]
pub(crate) struct Server {
    door: Door,
    connections: Arc<AtomicUsize>,
    _running: Background,
}

impl Server {
    /// Runs `script` with each connection and its number, counted from 0.
    pub(crate) fn start<F>(script: impl Fn(usize, Peer) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (door, listener) = Door::bind();
        let connections = Arc::new(AtomicUsize::new(0));
        let (entrance, count) = (door.clone(), Arc::clone(&connections));
        let running = Background::run("raw server", move || async move {
            let serve = |stream, _peer| {
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(number, Peer { inbound: Inbound::new(stream) }));
            };
            entrance.accept(listener, serve).await;
        });
        Self { door, connections, _running: running }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// How many connections have come in.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
