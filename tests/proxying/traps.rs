//! Requests that two readers could read differently, as tables: what becomes of them, and what the upstream sees.

use bearerd::token::Credential;

use super::front::Options;
use crate::support::raw::{Peer, Server};
use crate::support::upstream::Upstream;

/// What the proxy makes of a request: the status, the problem's code if there is one, and the upstream's view of it.
async fn fate(request: &str) -> (u16, String, Vec<String>) {
    let upstream = Upstream::open();
    let front = Options::to(upstream.address()).start();
    let mut peer = Peer::connect(front.address).await;
    let reply = peer.ask(request).await;
    let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let seen = upstream.requests().into_iter().map(|seen| format!("{} {}", seen.method, seen.target));
    (reply.status(), problem["code"].as_str().unwrap_or_default().to_owned(), seen.collect())
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_reaches_no_upstream() {
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(80_000));
    let far = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(70_000));
    let host = "Host: localhost\r\n";
    // What hyper refuses by itself has no body, and so no code.
    let rows = [
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
            "malformed",
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            501,
            "not_implemented",
        ),
        (format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, gzip\r\n\r\n"), 400, ""),
        (format!("POST / HTTP/1.1\r\n{host}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), 400, ""),
        (format!("POST / HTTP/1.1\r\n{host}Content-Length: 3, 4\r\n\r\nabcd"), 400, ""),
        (format!("POST / HTTP/1.1\r\n{host}Content-Length: +3\r\n\r\nabc"), 400, ""),
        (format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, ""),
        (format!("GET / HTTP/1.1\r\n{host}X-One : 1\r\n\r\n"), 400, ""),
        (format!("GET / HTTP/1.1\r\n{host}X-One: 1\r\n folded\r\n\r\n"), 400, ""),
        (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), 400, "malformed"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET http://evil.example/ HTTP/1.0\r\n\r\n".to_owned(), 403, "host_not_allowed"),
        ("GET / HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n".to_owned(), 400, "malformed"),
        (format!("GET * HTTP/1.1\r\n{host}\r\n"), 400, "malformed"),
        (format!("CONNECT localhost:443 HTTP/1.1\r\n{host}\r\n"), 405, "method_not_allowed"),
        (format!("TRACE / HTTP/1.1\r\n{host}\r\n"), 405, "method_not_allowed"),
        (format!("GET / HTTP/9.1\r\n{host}\r\n"), 400, ""),
        (long, 431, ""),
        (far, 431, ""),
    ];
    for (request, status, code) in rows {
        let shown: String = request.chars().take(120).collect();
        assert_eq!(fate(&request).await, (status, code.to_owned(), Vec::new()), "{shown}");
    }
}

#[tokio::test]
async fn a_target_beyond_what_any_server_reads_is_too_long() {
    let server = Server::start(|_, mut peer| async move { drop(peer.rest().await) });
    let mut options = Options::to(server.address());
    // Room enough for the head, so that it is the target alone that is too much.
    options.limits.header_size = 256 * 1024;
    let front = options.start();
    let far = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(70_000));
    assert_eq!(Peer::connect(front.address).await.ask(far).await.status(), 414);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_body_whose_framing_breaks_down_is_a_bad_request_and_ends_upstream_unfinished() {
    let chunked = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["zz\r\n", "-3\r\nabc\r\n", "3\r\nabcd\r\n0\r\n\r\n", "fffffffffffffffff\r\n"] {
        let upstream = Upstream::open();
        let front = Options::to(upstream.address()).start();
        let mut peer = Peer::connect(front.address).await;
        let reply = peer.ask(format!("{chunked}{body}")).await;
        assert_eq!((reply.status(), reply.json()["code"].as_str()), (400, Some("malformed")), "{body}");
        assert_eq!(reply.head.all("connection"), ["close"], "{body}");
        let is_broken = |upstream: &Upstream| upstream.requests().iter().all(|seen| seen.broken);
        upstream.wait_for("the end of what was begun", is_broken).await;
    }
}

/// hyper reads these as most servers do, before we see them: a fragment is lost and bare line feeds are taken for line
/// ends, and neither can be refused. What goes on is written anew, so nobody behind us can read it otherwise.
#[tokio::test]
async fn what_is_read_in_one_way_everywhere_behind_us_is_carried() {
    let rows = [
        ("GET /x#fragment HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /x"),
        ("GET /lf HTTP/1.1\nHost: localhost\n\n", "GET /lf"),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "OPTIONS *"),
        ("GET /old HTTP/1.0\r\n\r\n", "GET /old"),
        ("GET http://localhost/absolute HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /absolute"),
    ];
    for (request, seen) in rows {
        assert_eq!(fate(request).await, (200, String::new(), vec![seen.to_owned()]), "{request}");
    }
}

#[tokio::test]
async fn a_length_beside_a_coding_does_not_pass() {
    let server = Server::start(|_, mut peer| async move {
        let head = peer.head().await;
        let body = peer.body(&head).await;
        let lengths = head.all("content-length").len();
        let said = format!("{lengths} lengths, {} bytes", body.len());
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len())).await;
    });
    let front = Options::to(server.address()).start();
    let request = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nabcde\r\n0\r\n\r\n";
    let reply = Peer::connect(front.address).await.ask(request).await;
    assert_eq!(reply.text(), "0 lengths, 5 bytes");
}

#[tokio::test]
async fn a_callers_trailers_say_nothing_that_its_head_may_not() {
    let upstream = Upstream::open();
    let credential = Credential::new("x-api-key".parse().unwrap(), "").unwrap();
    let front = Options { credential, ..Options::to(upstream.address()) }.start();
    // hyper writes only what `Trailer` announces: each of them could pass.
    let request = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                   Trailer: x-sum, proxy-authorization, x-forwarded-for, dpop, x-api-key, authorization\r\n\r\n\
                   3\r\nabc\r\n0\r\nX-Sum: 7\r\nProxy-Authorization: Basic x\r\nX-Forwarded-For: 1\r\nDPoP: x\r\n\
                   X-Api-Key: x\r\nAuthorization: Basic x\r\n\r\n";
    assert_eq!(Peer::connect(front.address).await.ask(request).await.status(), 200);
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[tokio::test]
async fn an_answer_has_our_version_whatever_the_upstreams_was() {
    let server = Server::start(|_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    });
    let front = Options::to(server.address()).start();
    let reply = Peer::connect(front.address).await.get("/", "localhost").await;
    assert_eq!((reply.head.start.as_str(), reply.text().as_str()), ("HTTP/1.1 200 OK", "ok"));
    let reply = Peer::connect(front.address).await.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(reply.head.start, "HTTP/1.0 200 OK", "an old caller is answered in its own");
}
