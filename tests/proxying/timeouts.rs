//! How long is waited, for whom, and who notices that a caller has gone.

use std::time::Duration;

use bearerd::clock::{Clock, TestClock};
use bearerd::secret::AccessTokenText;
use bearerd::token::AccessToken;

use super::front::{Options, TOKEN, token};
use crate::support::fault_proxy::{FaultProxy, Weather};
use crate::support::in_time;
use crate::support::raw::{End, Peer, Server};
use crate::support::upstream::Upstream;

const SHORT: Option<Duration> = Some(Duration::from_millis(300));

/// An upstream that reads a whole request and never answers.
fn silent() -> Server {
    Server::start(move |_, mut peer| async move {
        let head = peer.head().await;
        peer.body(&head).await;
        peer.rest().await;
    })
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_504() {
    let server = silent();
    let front = Options { response_timeout: SHORT, ..Options::to(server.address()) }.start();
    let mut peer = Peer::connect(front.address).await;
    for _ in 0..2 {
        let reply = peer.get("/", "localhost").await;
        assert_eq!((reply.status(), reply.json()["code"].as_str()), (504, Some("upstream_timeout")));
    }
    assert_eq!(server.connections(), 2, "a connection on which nothing came is closed");
}

#[tokio::test]
async fn an_upload_that_moves_is_not_cut_off() {
    const PIECES: usize = 8;
    let server = Server::start(move |_, mut peer| async move {
        let head = peer.head().await;
        peer.body(&head).await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    });
    let front = Options { response_timeout: SHORT, ..Options::to(server.address()) }.start();
    let mut peer = Peer::connect(front.address).await;
    peer.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {PIECES}\r\n\r\n")).await;
    for _ in 0..PIECES {
        tokio::time::sleep(Duration::from_millis(100)).await;
        peer.send("x").await;
    }
    assert_eq!(peer.reply().await.text(), "ok");
}

#[tokio::test]
async fn a_caller_that_stops_in_the_middle_of_its_body_gets_408() {
    let server = silent();
    let mut options = Options::to(server.address());
    options.limits.body_timeout = SHORT;
    let front = options.start();
    let mut peer = Peer::connect(front.address).await;
    let reply = peer.ask("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf").await;
    assert_eq!((reply.status(), reply.json()["code"].as_str()), (408, Some("request_timeout")));
    assert_eq!(peer.rest().await.1, End::Closed);
}

#[tokio::test]
async fn an_answer_that_falls_silent_is_broken_off_and_not_ended() {
    let server = Server::start(move |_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
        peer.rest().await;
    });
    let mut options = Options::to(server.address());
    options.limits.stream_idle_timeout = SHORT;
    let front = options.start();
    let mut peer = Peer::connect(front.address).await;
    peer.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let (answer, _) = peer.rest().await;
    assert!(answer.ends_with(b"4\r\nhalf\r\n"), "{}", String::from_utf8_lossy(&answer));
}

/// Sends `request`, waits until the upstream has read its head, and goes away; the upstream's connection ends.
async fn goes_away(request: &str, answer: &'static str) {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, mut peer| {
        let tell = tell.clone();
        async move {
            peer.head().await;
            peer.send(answer).await;
            tell.send("read").unwrap();
            peer.rest().await;
            tell.send("gone").unwrap();
        }
    });
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    peer.send(request).await;
    assert_eq!(in_time("a request upstream", told.recv()).await, Some("read"));
    drop(peer);
    assert_eq!(in_time("the end of the upstream's connection", told.recv()).await, Some("gone"));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_upstream_connection_along() {
    goes_away("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "").await;
    goes_away("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf", "").await;
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    goes_away("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", begun).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_waits_for_no_token() {
    let server = silent();
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf",
    ] {
        let mut options = Options { has_token: false, ..Options::to(server.address()) };
        options.limits.token_wait = Duration::from_secs(600);
        let front = options.start();
        let mut peer = Peer::connect(front.address).await;
        peer.send(request).await;
        let waiters = async |wanted| {
            while front.publisher.waiters() != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("a waiting request", waiters(1)).await;
        drop(peer);
        in_time("nobody waiting", waiters(0)).await;
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_body_that_came_while_its_request_waited_for_a_token_arrives_whole() {
    let length = 300_000;
    let server = Server::start(move |_, mut peer| async move {
        let head = peer.head().await;
        let body = peer.body(&head).await;
        let right = body.len() == length && head.all("authorization") == [format!("Bearer {TOKEN}")];
        let said = if right { "right" } else { "wrong" };
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{said}")).await;
    });
    for chunked in [false, true] {
        let mut front = Options { has_token: false, ..Options::to(server.address()) }.start();
        let mut peer = Peer::connect(front.address).await;
        let body = "x".repeat(length);
        let request = if chunked {
            format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n")
        } else {
            format!("Content-Length: {length}\r\n\r\n{body}")
        };
        peer.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{request}")).await;
        while front.publisher.waiters() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        front.publisher.publish(token(1));
        assert_eq!(peer.reply().await.text(), "right");
    }
}

#[tokio::test]
async fn a_token_that_expires_while_a_connection_is_made_is_not_sent() {
    let minute = Duration::from_secs(60);
    for has_successor in [true, false] {
        let upstream = Upstream::tls();
        let link = FaultProxy::to(upstream.address());
        link.weather(Weather::Blackhole);
        let clock = TestClock::starting_at(Clock::System.now());
        let options = Options::tls(link.address(), upstream.ca_file());
        let mut front = Options { has_token: false, clock: Clock::Test(clock.clone()), ..options }.start();
        let token = |text: &str, generation, expires| {
            AccessToken::bearer(AccessTokenText::new(text), generation, expires).unwrap()
        };
        front.publisher.publish(token("first", 1, clock.now().plus(minute)));
        let mut peer = Peer::connect(front.address).await;
        peer.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let dialled = async {
            while link.traffic().connections == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("a connection", dialled).await;
        clock.step_wall(60);
        if has_successor {
            front.publisher.publish(token("second", 2, clock.now().plus(minute)));
        }
        link.weather(Weather::Fair);
        let reply = peer.reply().await;
        let sent: Vec<_> =
            upstream.requests().iter().map(|seen| seen.all("authorization").concat()).collect();
        if has_successor {
            assert_eq!((reply.status(), sent), (200, vec!["Bearer second".to_owned()]));
        } else {
            assert_eq!((reply.status(), sent), (503, Vec::new()), "{}", reply.text());
            assert_eq!(reply.json()["code"], "token_unavailable");
        }
    }
}
