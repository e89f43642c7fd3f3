//! A new connection to an upstream: dial, TLS, HTTP/1.1.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Target;
use crate::clock;
use crate::net;
use crate::proxy::Limits;
use crate::proxy::error::{Code, ProxyError};
use crate::tls::{Alpn, Tls};

/// A connection, of whichever kind.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// A connection that knows whether anything has come over it: a request is sent again only when nothing has (P54).
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    heard: Rc<Cell<bool>>,
}

impl Wire {
    /// The wire, and its ear.
    pub(super) fn new(stream: Stream) -> (Self, Rc<Cell<bool>>) {
        let heard = Rc::new(Cell::new(false));
        (Self { stream, heard: Rc::clone(&heard) }, heard)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.set(true);
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connects, within the limits.
pub(super) async fn connect(target: &Target, tls: &Tls, limits: &Limits) -> Result<Stream, ProxyError> {
    match target {
        Target::Plain { host, port } => dial(host, *port, limits).await.map(Stream::Plain),
        Target::Tls { host, port } => {
            let socket = dial(host, *port, limits).await?;
            secure(host, socket, tls, limits).await.map(|stream| Stream::Tls(Box::new(stream)))
        }
        #[cfg(unix)]
        Target::Unix(path) => match tokio::net::UnixStream::connect(path).await {
            Ok(stream) => Ok(Stream::Unix(stream)),
            Err(error) => Err(unreachable(&path.display().to_string(), &error.to_string())),
        },
        #[cfg(not(unix))]
        Target::Unix(path) => Err(unreachable(&path.display().to_string(), "there are no Unix sockets here")),
    }
}

async fn dial(host: &str, port: u16, limits: &Limits) -> Result<TcpStream, ProxyError> {
    let dialled = net::dial(host, port, limits.connect_timeout).await;
    dialled.map_err(|error| unreachable(&format!("{host} port {port}"), &error.to_string()))
}

async fn secure(
    host: &str,
    socket: TcpStream,
    tls: &Tls,
    limits: &Limits,
) -> Result<TlsStream<TcpStream>, ProxyError> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| unreachable(host, "no certificate can name it"))?;
    let handshake = tls.connector(Alpn::Http1).connect(name, socket);
    match tokio::time::timeout_at(clock::in_(limits.tls_timeout), handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(host, &format!("TLS failed: {error}"))),
        Err(_elapsed) => Err(unreachable(host, "TLS took too long")),
    }
}

fn unreachable(whom: &str, why: &str) -> ProxyError {
    ProxyError::new(Code::UpstreamUnreachable, format!("The upstream {whom} cannot be reached: {why}."))
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
