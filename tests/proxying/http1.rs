//! HTTP/1.1 upstreams: which connection is used again, and what an upstream may say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bearerd::proxy::worker::Order;

use super::front::{Options, TOKEN, ask, get, http2_caller, post};
use crate::support::http::Head;
use crate::support::in_time;
use crate::support::raw::{End, Peer, Server};
use crate::support::upstream::Upstream;

/// Requests as the upstream read them, with the number of their connection.
type Log = Arc<Mutex<Vec<(usize, Head)>>>;

/// An upstream that answers the `n`th request of a connection with the `n`th of `answers`, and every further one with
/// the last; a connection whose answer says so is closed behind it.
fn scripted(answers: &'static [&'static str]) -> (Server, Log) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let server = Server::start(move |connection, mut peer| {
        let seen = Arc::clone(&seen);
        async move {
            for request in 0.. {
                let Some(head) = peer.try_head().await else { return };
                peer.body(&head).await;
                seen.lock().unwrap().push((connection, head));
                peer.send(answers[request.min(answers.len() - 1)]).await;
            }
        }
    });
    (server, log)
}

fn connections(log: &Log) -> Vec<usize> {
    log.lock().unwrap().iter().map(|(connection, _)| *connection).collect()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Asks for `/` on a connection that is kept; HEAD's answers have no body whatever they say.
async fn ask_all(peer: &mut Peer, methods: &[&str]) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    for method in methods {
        peer.send(format!("{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        answers.push(if *method == "HEAD" {
            (peer.head().await.status(), String::new())
        } else {
            let reply = peer.reply().await;
            (reply.status(), reply.text())
        });
    }
    answers
}

#[tokio::test]
async fn answers_of_every_framing_leave_the_connection_for_the_next() {
    let (server, log) = scripted(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        OK,
    ]);
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    let answers = ask_all(&mut peer, &["HEAD", "GET", "GET", "GET", "GET"]).await;
    let expected = [(200, ""), (204, ""), (304, ""), (200, "abc"), (200, "ok")];
    assert_eq!(answers, expected.map(|(status, body)| (status, body.to_owned())));
    assert_eq!(connections(&log), [0; 5]);
}

#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    let (server, log) = scripted(&[
        "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ]);
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    let answers = ask_all(&mut peer, &["GET", "GET"]).await;
    assert_eq!(answers, [(200, "ok".to_owned()), (200, "ok".to_owned())]);
    assert_eq!(connections(&log), [0, 0]);
}

#[tokio::test]
async fn what_an_upstream_says_unasked_answers_nobody() {
    let (server, log) = scripted(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ]);
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    let answers = ask_all(&mut peer, &["GET", "GET"]).await;
    assert_eq!(answers, [(200, "ok".to_owned()), (200, "ok".to_owned())]);
    assert_eq!(connections(&log), [0, 1], "the connection is not used again (P16)");
}

#[tokio::test]
async fn a_body_where_none_may_be_ends_its_connection() {
    let (server, log) = scripted(&["HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil"]);
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    let answers = ask_all(&mut peer, &["GET", "GET"]).await;
    assert_eq!(answers, [(204, String::new()), (204, String::new())]);
    assert_eq!(connections(&log), [0, 1]);
}

#[tokio::test]
async fn an_answer_that_frames_itself_twice_arrives_whole_and_ends_its_connection() {
    for doubled in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
    ] {
        let answers: &'static [&'static str] = Vec::leak(vec![doubled, OK]);
        let (server, log) = scripted(answers);
        let front = Options::to(server.address()).start();
        let mut peer = Peer::connect(front.address).await;
        let got = ask_all(&mut peer, &["GET", "GET"]).await;
        assert_eq!(got, [(200, "whole".to_owned()), (200, "whole".to_owned())]);
        assert_eq!(connections(&log), [0, 1], "P10");
    }
}

#[tokio::test]
async fn a_connection_rests_no_longer_than_its_upstream_says() {
    let (server, log) =
        scripted(&["HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok"]);
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    ask_all(&mut peer, &["GET", "GET"]).await;
    assert_eq!(connections(&log), [0, 1], "a second less than one second is no time at all");
}

#[tokio::test]
async fn what_cannot_be_sent_twice_takes_no_connection_that_rested_long() {
    let (server, log) = scripted(&[OK]);
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    ask_all(&mut peer, &["GET"]).await;
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    ask_all(&mut peer, &["POST", "GET"]).await;
    let used = connections(&log);
    assert!(used.len() == 3 && used[1] == 1, "{used:?}");
}

/// Waits until the system has heard from the server at `port` that it ends its connections, whatever the proxy has made
/// of it by then: none is in the state ESTABLISHED (1) any more.
async fn hung_up(port: u16) {
    let remote = format!(":{port:04X}");
    let is_open = |line: &str| {
        let mut columns = line.split_ascii_whitespace().skip(2);
        columns.next().is_some_and(|address| address.ends_with(&remote)) && columns.next() == Some("01")
    };
    in_time("the end of the upstream's connection", async {
        while std::fs::read_to_string("/proc/net/tcp").unwrap().lines().any(is_open) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "the state of a connection is read from /proc")]
async fn a_connection_that_closed_while_it_rested_costs_no_request() {
    let server = Server::start(move |_, mut peer| async move {
        let head = peer.head().await;
        peer.body(&head).await;
        peer.send(OK).await;
    });
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    for _ in 0..3 {
        let answers = ask_all(&mut peer, &["POST"]).await;
        assert_eq!(answers, [(200, "ok".to_owned())]);
        hung_up(server.address().port()).await;
    }
}

#[tokio::test]
async fn an_old_connection_is_replaced() {
    let (server, log) = scripted(&[OK]);
    let mut options = Options::to(server.address());
    options.limits.upstream_age = Duration::from_millis(1);
    let front = options.start();
    let mut peer = Peer::connect(front.address).await;
    ask_all(&mut peer, &["GET"]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    ask_all(&mut peer, &["GET"]).await;
    assert_eq!(connections(&log), [0, 1]);
}

#[tokio::test]
async fn cookies_of_an_http2_caller_arrive_as_one_and_a_length_is_kept() {
    let (server, log) = scripted(&[OK]);
    let front = Options::to(server.address()).start();
    let caller = http2_caller(front.address).await;
    let mut request = post("/a//b/%2e?q=[1]", "hello");
    request.headers_mut().append("cookie", "a=1".parse().unwrap());
    request.headers_mut().append("cookie", "b=2".parse().unwrap());
    assert_eq!(ask(&caller, request).await, (200, "ok".to_owned()));
    let log = log.lock().unwrap();
    let head = &log[0].1;
    assert_eq!(head.start, "POST /a//b/%2e?q=[1] HTTP/1.1");
    assert_eq!(head.all("cookie"), ["a=1; b=2"]);
    assert_eq!(head.all("host"), [server.address().to_string()]);
    assert_eq!(head.all("authorization"), [format!("Bearer {TOKEN}")]);
    assert!(head.all("content-length") == ["5"] && head.all("transfer-encoding").is_empty());
}

#[tokio::test]
async fn nothing_is_added_to_a_request_without_a_body() {
    let (server, log) = scripted(&[OK]);
    let front = Options::to(server.address()).start();
    ask(&http2_caller(front.address).await, get("/")).await;
    let log = log.lock().unwrap();
    assert!(log[0].1.all("transfer-encoding").is_empty() && log[0].1.all("content-length").is_empty(), "P14");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (server, log) = scripted(&[
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\nAuthorization: x\r\n\r\n",
    ]);
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    peer.send("GET / HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: te, close\r\n\r\n").await;
    let (answer, _) = peer.rest().await;
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.contains("x-sum: 7") && !answer.contains("authorization"), "{answer}");
    assert_eq!(log.lock().unwrap()[0].1.all("te"), ["trailers"]);
}

#[tokio::test]
async fn a_request_that_was_there_when_the_drain_began_is_answered() {
    let upstream = Upstream::open();
    for kept in [false, true] {
        for _ in 0..20 {
            let front = Options::to(upstream.address()).start();
            let mut peer = Peer::connect(front.address).await;
            if kept {
                peer.get("/echo", "localhost").await;
            }
            peer.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            front.send(Order::Drain(Duration::from_secs(600)));
            assert_eq!(peer.reply().await.status(), 200, "kept: {kept}");
            assert_eq!(peer.rest().await.1, End::Closed);
        }
    }
}
