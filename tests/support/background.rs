//! A thread with a runtime of its own, for as long as its handle lives.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio_rustls::server::TlsStream;

/// A server's thread; dropping it ends the server and closes every connection.
pub(crate) struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Runs what `build` makes, on a thread called `name`.
    pub(crate) fn run<F: Future<Output = ()>>(
        name: &str,
        build: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = build() => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).unwrap();
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

/// A listener that can go away and come back at the same address.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    address: SocketAddr,
    wanted: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Door {
    /// Binds 127.0.0.1 at any free port.
    pub(crate) fn bind() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (Self { address, wanted: watch::Sender::new(true), open: watch::Sender::new(true) }, listener)
    }

    /// The address, which stays the same.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections are refused from the return of this on; those that exist stay.
    pub(crate) async fn close(&self) {
        self.wanted.send_replace(false);
        let mut open = self.open.subscribe();
        drop(open.wait_for(|open| !open).await);
    }

    /// Connections are accepted from the return of this on.
    pub(crate) async fn open(&self) {
        self.wanted.send_replace(true);
        let mut open = self.open.subscribe();
        drop(open.wait_for(|open| *open).await);
    }

    /// Accepts for ever and gives each connection to `serve`.
    pub(crate) async fn accept(&self, first: TcpListener, serve: impl Fn(TcpStream, SocketAddr)) {
        let mut wanted = self.wanted.subscribe();
        let mut listener = Some(first);
        loop {
            let bound = match listener.take() {
                Some(listener) => listener,
                None => self.bind_again().await,
            };
            bound.set_nonblocking(true).unwrap();
            let bound = tokio::net::TcpListener::from_std(bound).unwrap();
            self.open.send_replace(true);
            loop {
                tokio::select! {
                    Ok((stream, peer)) = bound.accept() => {
                        let _unimportant = stream.set_nodelay(true);
                        serve(stream, peer);
                    }
                    _ = wanted.wait_for(|wanted| !wanted) => break,
                }
            }
            drop(bound);
            self.open.send_replace(false);
            drop(wanted.wait_for(|wanted| *wanted).await);
        }
    }

    async fn bind_again(&self) -> TcpListener {
        loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => return listener,
                Err(_taken) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// A connection that came in, plain or through TLS.
#[derive(Debug)]
pub(crate) enum Wire {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Does the TLS handshake if there is a configuration for one.
    pub(crate) async fn accept(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        Ok(match tls {
            None => Self::Plain(stream),
            Some(config) => {
                Self::Tls(Box::new(tokio_rustls::TlsAcceptor::from(config).accept(stream).await?))
            }
        })
    }

    /// The certificate that the client has shown, in DER.
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec()),
        }
    }

    /// The TCP connection under it all.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Closing it sends RST from now on, not FIN.
    pub(crate) fn reset_on_close(&self) {
        let _closed_already = self.tcp().set_zero_linger();
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
