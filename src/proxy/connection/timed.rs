//! A caller's side of a connection, with a clock on every kind of silence.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::clock::{self, Stopwatch};
use crate::proxy::Limits;
use crate::proxy::carrying::Caller;

/// What HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that ends silences: a head that does not end, a pause between requests that lasts too long, an answer that
/// nobody reads. Each has a timer, made when something is first waited for and looked at when it fires.
pub(super) struct Timed<S> {
    stream: S,
    /// What the sniff read.
    seen: Vec<u8>,
    caller: Rc<Caller>,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// The head being read: after how many requests, and since when.
    begun: Option<(u64, Stopwatch)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// HTTP/2: bytes between requests are no head, and a pause is ended by a word (see [`super::rested`]).
    multiplexed: bool,
    /// How long the caller may read nothing while it sends nothing.
    stream_idle_timeout: Option<Duration>,
    /// Set while a write waits for the caller to read.
    unread: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, caller: Rc<Caller>, limits: &Limits) -> Self {
        let (header_timeout, idle_timeout) = (limits.header_timeout, limits.idle_timeout);
        Self {
            stream,
            seen: Vec::new(),
            caller,
            header_timeout,
            idle_timeout,
            begun: None,
            timer: None,
            multiplexed: false,
            stream_idle_timeout: limits.stream_idle_timeout,
            unread: None,
        }
    }

    /// Reads until it is plain whether HTTP/2 is spoken, and keeps the bytes for whoever reads next.
    pub(super) async fn sniff(&mut self) -> io::Result<bool>
    where
        S: AsyncRead + Unpin,
    {
        let mut seen = Vec::with_capacity(PREFACE.len());
        while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
            let mut buf = [0; PREFACE.len()];
            let room = PREFACE.len() - seen.len();
            let read = self.stream.read(buf.get_mut(..room).unwrap_or_default()).await?;
            if read == 0 {
                break;
            }
            seen.extend_from_slice(buf.get(..read).unwrap_or_default());
        }
        self.multiplexed = seen == PREFACE;
        self.begun = (!seen.is_empty()).then(|| (0, Stopwatch::start()));
        self.seen = seen;
        Ok(self.multiplexed)
    }

    /// Called while no byte comes: ready when that has lasted too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.multiplexed {
            return Poll::Pending;
        }
        loop {
            let (since, span) = match self.begun.filter(|(served, _)| *served == self.caller.served()) {
                Some((_, since)) => (since, self.header_timeout),
                None => (self.caller.quiet_since(), self.idle_timeout),
            };
            // A request in flight has clocks of its own. We look again after the span: whoever ends the request may not
            // poll this connection, and it must not rest for ever.
            let next = if self.caller.is_busy() { clock::in_(span) } else { since.deadline(span) };
            if !self.caller.is_busy() && since.elapsed() >= span {
                return Poll::Ready(());
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            // Unless the end has become earlier than the timer's, because a head has begun meanwhile.
            if timer.as_mut().poll(cx).is_pending() && timer.deadline() <= next {
                return Poll::Pending;
            }
            timer.as_mut().reset(next);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// What came of a write; an error once the caller has read nothing for too long.
    fn watched<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let Some(limit) = self.stream_idle_timeout else { return Poll::Pending };
        let timer = self.unread.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(clock::in_(limit))));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.seen.is_empty() {
            let count = this.seen.len().min(buf.remaining());
            buf.put_slice(this.seen.drain(..count).as_slice());
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if Pin::new(&mut this.stream).poll_read(cx, buf)?.is_pending() {
            return this.poll_over(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        if let (Some(timer), Some(limit)) = (&mut this.unread, this.stream_idle_timeout) {
            timer.as_mut().reset(clock::in_(limit));
        }
        let served = this.caller.served();
        let known = this.begun.is_some_and(|(count, _)| count == served);
        if buf.filled().len() > before && !this.caller.is_busy() && !known {
            this.begun = Some((served, Stopwatch::start()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watched(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watched(written, cx)
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Shard;
    use crate::proxy::carrying::{Alive, Totals};

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_is_not_looked_in_on_ten_times_a_second() {
        let (totals, alive) = (Arc::new(Totals::default()), Rc::new(Alive::default()));
        let caller = Caller::enter(&totals, &alive, &Arc::new(Shard::default()), 1).unwrap();
        let _carrying = caller.carry(1).unwrap();
        let limits = Limits { idle_timeout: Duration::from_secs(10), ..Limits::default() };
        let (near, _far) = tokio::io::duplex(64);
        let (mut timed, mut looks) = (Timed::new(near, caller, &limits), 0);
        let reading = poll_fn(|cx| {
            looks += 1;
            let mut room = [0; 8];
            Pin::new(&mut timed).poll_read(cx, &mut ReadBuf::new(&mut room))
        });
        let hour = tokio::time::timeout(Duration::from_secs(3600), reading).await;
        assert!(hour.is_err(), "a request in flight is no silence");
        assert!(looks <= 400, "{looks} looks in an hour");
    }
}
