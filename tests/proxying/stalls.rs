//! Who is slow, or silent, stalls nobody else, and is let go.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;

use super::front::{Options, ask, get, http2_caller, post, send};
use super::http2::prior_knowledge_of;
use crate::support::in_time;
use crate::support::raw::{Peer, Server};
use crate::support::upstream::Upstream;

const SHORT: Option<Duration> = Some(Duration::from_secs(1));

/// Waits until `count` does not grow any more: everything that holds bytes is full.
async fn stands_still(count: impl Fn() -> usize) {
    let still = async {
        let (mut last, mut looks) = (0, 0);
        while looks < 10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            looks = if count() == last && last > 0 { looks + 1 } else { 0 };
            last = count();
        }
    };
    in_time("everything full", still).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_stall_no_other_answer_of_an_http2_upstream() {
    let upstream = Upstream::open();
    let front = prior_knowledge_of(upstream.address()).start();
    let mut unread = Vec::new();
    for _ in 0..6 {
        let mut slow = Peer::connect(front.address).await;
        slow.send("GET /bytes/1000000000 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(slow.head().await.status(), 200);
        unread.push(slow);
    }
    stands_still(|| upstream.poured()).await;
    for _ in 0..3 {
        let mut quick = Peer::connect(front.address).await;
        assert_eq!(quick.get("/bytes/500000", "localhost").await.body.len(), 500_000);
    }
    assert_eq!(upstream.connections().0, 1, "all of it over one connection");
}

/// An upstream that reads nothing of the body of `/stuck`, and all of any other.
fn stuck() -> Server {
    Server::start(|_, mut peer| async move {
        while let Some(head) = peer.try_head().await {
            if head.path() == "/stuck" {
                return std::future::pending().await;
            }
            let length = peer.body(&head).await.len().to_string();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len())).await;
        }
    })
}

/// A body without an end that counts what is taken of it.
struct Endless(Arc<AtomicUsize>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        const PIECE: &[u8] = &[b'x'; 16 * 1024];
        self.0.fetch_add(PIECE.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(PIECE)))))
    }
}

#[tokio::test]
async fn uploads_that_nobody_takes_stall_no_other_upload_of_their_caller() {
    let server = stuck();
    let front = Options::to(server.address()).start();
    let caller = http2_caller(front.address).await;
    let sent = Arc::new(AtomicUsize::new(0));
    for _ in 0..6 {
        let (mut caller, endless) = (caller.clone(), Endless(Arc::clone(&sent)).boxed());
        let request = Request::post("http://localhost/stuck").body(endless).unwrap();
        tokio::spawn(async move { drop(caller.send_request(request).await) });
    }
    stands_still(|| sent.load(Ordering::Relaxed)).await;
    let body: &'static str = Box::leak("x".repeat(1_000_000).into_boxed_str());
    let (status, length) = ask(&caller, post("/taken", body)).await;
    assert_eq!((status, length), (200, "1000000".to_owned()));
}

#[tokio::test]
async fn an_upload_whose_answer_has_ended_is_given_up() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await;
            peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch").await;
            // It reads no more, and closes nothing: whoever waits for it waits for ever.
            peer.closed().await;
            tell.send(()).unwrap();
        }
    });
    let front = Options::to(server.address()).start();
    for reads_on in [true, false] {
        let mut peer = Peer::connect(front.address).await;
        peer.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\nsome").await;
        if reads_on {
            assert_eq!(peer.reply().await.status(), 413);
            peer.rest().await;
        } else {
            peer.head().await;
            peer.reset();
        }
        in_time("the end of the upstream's connection", told.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_whose_caller_gives_no_room_is_ended() {
    let upstream = Upstream::open();
    let mut options = Options::to(upstream.address());
    options.limits.stream_idle_timeout = SHORT;
    let front = options.start();
    let caller = http2_caller(front.address).await;
    // hyper gives no more room until what has come is read.
    let unread = send(&caller, get("/bytes/100000000")).await;
    upstream.wait_for("the end of its connection", |upstream| upstream.connections().1 == 0).await;
    assert_eq!(ask(&caller, get("/echo")).await.0, 200, "the connection goes on");
    assert!(in_time("the end", unread.into_body().collect()).await.is_err(), "and it did not end well");
}

#[tokio::test]
async fn a_stream_on_which_something_moves_is_not_ended() {
    let upstream = Upstream::open();
    let mut options = Options::to(upstream.address());
    options.limits.stream_idle_timeout = SHORT;
    let front = options.start();
    let caller = http2_caller(front.address).await;
    let mut body = send(&caller, get("/sse?n=8")).await.into_body();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        upstream.release_events(1);
        in_time("an event", body.frame()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_http2_caller_that_rests_is_told_to_go() {
    const GOAWAY: u8 = 7;
    let server = stuck();
    let mut options = Options::to(server.address());
    options.limits.idle_timeout = Duration::from_millis(200);
    options.limits.header_timeout = Duration::from_millis(200);
    let front = options.start();
    let mut peer = Peer::connect(front.address).await;
    peer.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    peer.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let (bytes, _) = peer.rest().await;
    let (mut kinds, mut rest) = (Vec::new(), bytes.as_slice());
    while let [one, two, three, kind, ..] = rest {
        let length = usize::from(*one) << 16 | usize::from(*two) << 8 | usize::from(*three);
        kinds.push(*kind);
        rest = &rest[9 + length..];
    }
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
}
