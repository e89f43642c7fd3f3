//! Two wrappers around a connection: one counts what was written, one stops writing at a deadline.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::clock::{Clock, Moment};

/// How many bytes of a request were handed on.
#[derive(Clone, Default)]
pub(super) struct Written(pub(super) Arc<AtomicU64>);

impl Written {
    /// Whether even one was.
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

/// Refuses writes from the deadline on, by either clock: a process that was stopped must not send a refresh token
/// that another holder may have presented meanwhile. Sits below TLS, where bytes really leave.
pub(super) struct Gated {
    socket: TcpStream,
    deadline: Moment,
    clock: Clock,
}

impl Gated {
    pub(super) fn new(socket: TcpStream, deadline: Moment, clock: Clock) -> Self {
        Self { socket, deadline, clock }
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.deadline.has_come(self.clock.now()) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the deadline has passed")));
        }
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A connection, plain or not.
pub(super) enum Stream {
    Plain(Gated),
    Tls(Box<TlsStream<Gated>>),
}

/// Counts what is written into it. Sits above TLS, so that a handshake does not count.
pub(super) struct Counted<T> {
    inner: T,
    written: Written,
}

impl<T> Counted<T> {
    pub(super) fn new(inner: T, written: Written) -> Self {
        Self { inner, written }
    }
}

impl AsyncRead for Counted<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Counted<Stream> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = match &mut self.inner {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        match wrote {
            Poll::Ready(Ok(bytes)) => {
                self.written.0.fetch_add(bytes as u64, Ordering::AcqRel);
            }
            // TLS may have sealed a record before the socket failed: in doubt.
            Poll::Ready(Err(_)) if matches!(self.inner, Stream::Tls(_)) => {
                self.written.0.fetch_add(1, Ordering::AcqRel);
            }
            _ => {}
        }
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
