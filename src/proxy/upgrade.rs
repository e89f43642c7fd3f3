//! Switching protocols: a WebSocket handshake goes through, and after its 101 the two sides talk to each other.
//!
//! Nothing of the caller's beyond its head crosses before the upstream has said 101 (P33): the tunnel begins when the
//! caller's own connection has sent that answer, and takes both sides' early bytes with it.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional};

use super::body::Body;
use super::error::{Code, ProxyError};
use super::headers;
use super::upstream::{Answer, Wire};
use crate::clock::{self, Stopwatch};

/// The one protocol that is carried.
const WEBSOCKET: &str = "websocket";

/// Whether the request asks for a switch that is carried. Looked at before the strip takes the fields away.
#[must_use]
pub fn is_asked(head: &Parts) -> bool {
    head.version == Version::HTTP_11 && head.method == Method::GET && is_websocket(&head.headers)
}

/// One `Upgrade`, nominated by `Connection`, for the one protocol.
fn is_websocket(headers: &HeaderMap) -> bool {
    let mut upgrades = headers.get_all(UPGRADE).iter();
    let (Some(only), None) = (upgrades.next(), upgrades.next()) else { return false };
    let lines = headers.get_all(CONNECTION).iter();
    let mut members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    only.as_bytes().trim_ascii().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
        && members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// Asks for the switch, or grants it.
pub fn ask(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

/// The answer to a request that asked for the switch: a tunnel after a 101, an ordinary answer otherwise.
///
/// # Errors
/// 502 when the upstream switches to something else.
pub(super) async fn answered(
    answer: Answer,
    limit: Option<Duration>,
) -> Result<http::Response<Body>, ProxyError> {
    let (mut response, hold) = answer;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers::prepare_response(response.headers_mut());
        return Ok(response.map(|body| Body::from_upstream(body, hold, limit)));
    }
    let protocol = |sentence| ProxyError::new(Code::UpstreamProtocol, sentence);
    if !is_websocket(response.headers()) {
        return Err(protocol("The upstream switched to another protocol than it was asked to."));
    }
    let wire = hold.into_wire().await;
    let (wire, early) =
        wire.ok_or_else(|| protocol("The upstream broke off while it switched protocols."))?;
    headers::prepare_response(response.headers_mut());
    ask(response.headers_mut());
    Ok(response.map(|_| Body::from_tunnel(Tunnel { wire, early, limit })))
}

/// The upstream's half of a tunnel.
pub struct Tunnel {
    wire: Wire,
    /// What the upstream said right behind its 101.
    early: Bytes,
    /// How long both may be silent.
    limit: Option<Duration>,
}

impl Tunnel {
    /// Carries bytes both ways until both sides have ended, one has broken off, or both have been silent too long.
    /// `said` is what the caller sent right behind its request.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self, caller: S, said: Bytes) {
        let heard = Rc::new(Cell::new(true));
        let mut caller = Counted { stream: caller, heard: Rc::clone(&heard) };
        let carried = async {
            caller.write_all(&self.early).await?;
            caller.flush().await?;
            self.wire.write_all(&said).await?;
            self.wire.flush().await?;
            copy_bidirectional(&mut caller, &mut self.wire).await
        };
        // How a tunnel ends is its two sides' business: both see it.
        tokio::select! {
            _ = carried => {}
            () = silence(&heard, self.limit) => {}
        }
    }
}

/// Returns once nothing was heard for `limit`.
async fn silence(heard: &Cell<bool>, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    // Looked at four times within the limit, so that bytes need no clock.
    let mut last = Stopwatch::start();
    while last.elapsed() < limit {
        tokio::time::sleep_until(clock::in_(limit / 4)).await;
        if heard.take() {
            last = Stopwatch::start();
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("early", &self.early.len()).finish_non_exhaustive()
    }
}

/// The caller's half: every byte of a tunnel passes it, whichever way.
struct Counted<S> {
    stream: S,
    heard: Rc<Cell<bool>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.heard.set(self.heard.get() || polled.is_ready());
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.heard.set(self.heard.get() || polled.is_ready());
        polled
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
    use super::*;

    fn asked(fields: &[(&str, &str)]) -> bool {
        let mut request = http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        is_asked(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_a_nominated_websocket_is_carried() {
        assert!(asked(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]));
        assert!(!asked(&[("upgrade", "websocket")]), "not nominated");
        assert!(!asked(&[("connection", "upgrade"), ("upgrade", "h2c")]));
        assert!(!asked(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")]));
        assert!(!asked(&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")]));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_told_from_speech() {
        let heard = Cell::new(false);
        let minute = Duration::from_secs(60);
        let watch = Stopwatch::start();
        let talk = async {
            for _ in 0..4 {
                tokio::time::sleep(minute / 2).await;
                heard.set(true);
            }
            std::future::pending::<()>().await
        };
        tokio::select! {
            () = silence(&heard, Some(minute)) => {}
            () = talk => {}
        }
        assert!(watch.elapsed() >= 3 * minute && watch.elapsed() <= 4 * minute, "{:?}", watch.elapsed());
    }
}
