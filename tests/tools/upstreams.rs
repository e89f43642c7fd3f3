//! The upstream judges every token by the server's own clock, remembers every byte, and streams.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::authorization_server::{AuthorizationServer, TokenState};
use crate::support::certificates::Authority;
use crate::support::raw::{End, Peer};
use crate::support::upstream::{Check, Frame, Seen, Upstream, Verdict, accept_key, encode, pattern};

/// A server with one client, and an access token of its.
async fn access_token(server: &AuthorizationServer) -> String {
    let form = format!("grant_type=refresh_token&client_id=app&refresh_token={}", server.seed("app"));
    let mut peer = Peer::connect(server.address()).await;
    peer.post("/token", "id.test", &form).await.json()["access_token"].as_str().unwrap().to_owned()
}

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: api.test\r\n{headers}\r\n")
}

#[tokio::test]
async fn every_token_is_judged_and_counted() {
    let server = AuthorizationServer::strict().no_rotation().start();
    let upstream = Upstream::checking(&server);
    let good = access_token(&server).await;
    let revoked = access_token(&server).await;
    server.revoke(&revoked);
    server.set_expires_in(0);
    let expired = access_token(&server).await;
    server.revoke(&expired);
    let mut peer = Peer::connect(upstream.address()).await;
    for (headers, status, challenge) in [
        (format!("Authorization: Bearer {good}\r\n"), 200, None),
        (format!("Authorization: Bearer {expired}\r\n"), 401, Some("Bearer error=\"invalid_token\"")),
        (format!("Authorization: Bearer {revoked}\r\n"), 401, Some("Bearer error=\"invalid_token\"")),
        ("Authorization: Bearer nonsense\r\n".to_owned(), 401, Some("Bearer error=\"invalid_token\"")),
        (format!("Authorization: Basic {good}\r\n"), 401, Some("Bearer error=\"invalid_token\"")),
        (String::new(), 401, Some("Bearer")),
        (
            format!("Authorization: Bearer {good}\r\nauthorization: Bearer {good}\r\n"),
            401,
            Some("Bearer error=\"invalid_request\""),
        ),
    ] {
        let reply = peer.ask(get("/echo", &headers)).await;
        assert_eq!((reply.status(), reply.head.header("www-authenticate")), (status, challenge), "{headers}");
    }
    let tally = upstream.tally();
    assert_eq!((tally.requests, tally.good, tally.missing, tally.several), (7, 1, 1, 1));
    assert_eq!((tally.expired_tokens, tally.revoked_tokens, tally.unknown_tokens), (1, 1, 2));
    let expired = Verdict::Bad(TokenState::Expired);
    assert_eq!(upstream.requests()[1].verdict, expired, "revoked or not: it should not have been sent");
}

#[tokio::test]
async fn a_token_may_come_in_a_field_of_its_own() {
    let server = AuthorizationServer::strict().start();
    let check = Check { header: "x-api-key".to_owned(), scheme: String::new(), ..Check::by(&server) };
    let upstream = Upstream::start(Some(check), None);
    let token = access_token(&server).await;
    let mut peer = Peer::connect(upstream.address()).await;
    assert_eq!(peer.ask(get("/echo", &format!("X-Api-Key: {token}\r\n"))).await.status(), 200);
    assert_eq!(peer.ask(get("/echo", &format!("Authorization: Bearer {token}\r\n"))).await.status(), 401);
}

#[tokio::test]
async fn a_disliked_request_gets_the_challenge_of_the_test() {
    let upstream = Upstream::open();
    upstream.dislike([Some("Bearer error=\"insufficient_scope\""), None]);
    let mut peer = Peer::connect(upstream.address()).await;
    let first = peer.get("/echo", "api.test").await;
    assert_eq!(first.head.header("www-authenticate"), Some("Bearer error=\"insufficient_scope\""));
    let second = peer.get("/echo", "api.test").await;
    assert_eq!((second.status(), second.head.header("www-authenticate")), (401, None));
    assert_eq!(peer.get("/echo", "api.test").await.status(), 200);
}

#[tokio::test]
async fn heads_are_remembered_as_they_were_written() {
    let upstream = Upstream::open();
    let mut peer = Peer::connect(upstream.address()).await;
    let chunked = "POST /upload?a=%2F HTTP/1.1\r\nHoSt: api.test\r\nX-B: 1\r\nTransfer-Encoding: chunked\r\nX-A: \
        2\r\nx-b: 3\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-End: now\r\n\r\n";
    let reply = peer.ask(chunked).await.json();
    assert_eq!(reply["length"], 5);
    assert_eq!(reply["sha256"], "36bbe50ed96841d10443bcb670d6554f0a34b761be67ec9c4a8ad2c0c44ca42c");
    let again = peer.ask("PUT /x HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nhi").await.json();
    assert_eq!(
        (&again["body"], &again["headers"]),
        (&json!("hi"), &json!([["Host", "b"], ["Content-Length", "2"]]))
    );
    let log = upstream.requests();
    let first: &Seen = &log[0];
    let names: Vec<&str> = first.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["HoSt", "X-B", "Transfer-Encoding", "X-A", "x-b"]);
    assert_eq!((first.all("X-B"), first.target.as_str()), (vec!["1", "3"], "/upload?a=%2F"));
    assert_eq!(first.head.as_deref(), Some(&chunked.as_bytes()[..chunked.find("3\r\nabc").unwrap()]));
    assert_eq!(first.trailers, [("x-end".to_owned(), "now".to_owned())]);
    assert_eq!((first.body_length, first.broken, first.version), (5, false, Version::HTTP_11));
    assert_eq!(first.body_sha256.as_deref(), reply["sha256"].as_str());
    assert_eq!((log[1].connection, log[1].number, log[1].method.as_str()), (0, 1, "PUT"));
    assert!(log[1].received.boot >= first.received.boot);
}

#[tokio::test]
async fn statuses_bytes_and_trailers_come_as_asked() {
    let upstream = Upstream::open();
    let mut peer = Peer::connect(upstream.address()).await;
    for status in [204, 304, 404, 503] {
        let reply = peer.get(&format!("/status/{status}"), "api.test").await;
        assert_eq!((reply.status(), reply.body.is_empty()), (status, status < 400));
    }
    let bytes = peer.get("/bytes/100000", "api.test").await;
    assert_eq!(bytes.head.header("content-length"), Some("100000"));
    assert!(bytes.body.iter().enumerate().all(|(at, byte)| *byte == pattern(at)));
    peer.send(get("/trailers", "TE: trailers\r\nConnection: close\r\n")).await;
    let (rest, _) = peer.rest().await;
    assert!(
        String::from_utf8(rest).unwrap().ends_with("before the trailers\n\r\n0\r\nx-end: reached\r\n\r\n")
    );
}

#[tokio::test]
async fn events_go_when_the_test_lets_them() {
    let upstream = Upstream::open();
    let mut peer = Peer::connect(upstream.address()).await;
    peer.send(get("/sse?n=2", "")).await;
    assert_eq!(peer.head().await.header("content-type"), Some("text/event-stream"));
    for number in 0..2 {
        upstream.release_events(1);
        let event = format!("id: {number}\ndata: event {number}\n\n");
        let chunk = format!("{:X}\r\n{event}\r\n", event.len());
        assert_eq!(String::from_utf8(peer.take(chunk.len()).await).unwrap(), chunk);
    }
    assert_eq!(peer.take(5).await, b"0\r\n\r\n");
}

#[tokio::test]
async fn what_waits_goes_on_when_it_is_released() {
    let upstream = Upstream::open();
    let (mut slow, mut stall) =
        (Peer::connect(upstream.address()).await, Peer::connect(upstream.address()).await);
    slow.send(get("/slow", "")).await;
    stall.send(get("/stall/10", "")).await;
    assert_eq!(stall.head().await.header("content-length"), Some("20"));
    stall.take(10).await;
    upstream.wait_for("both requests", |upstream| upstream.requests().len() == 2).await;
    upstream.release();
    assert_eq!(slow.reply().await.text(), "at last\n");
    assert_eq!(stall.take(10).await, (10..20).map(pattern).collect::<Vec<u8>>());
}

#[tokio::test]
async fn an_echo_streams_while_the_request_is_still_being_sent() {
    let upstream = Upstream::open();
    let mut peer = Peer::connect(upstream.address()).await;
    peer.send("POST /echo-stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n").await;
    assert_eq!(peer.head().await.status(), 200);
    assert_eq!(peer.take(7).await, b"2\r\nhi\r\n");
    peer.send("3\r\nyou\r\n0\r\n\r\n").await;
    assert_eq!(peer.take(13).await, b"3\r\nyou\r\n0\r\n\r\n");
}

#[tokio::test]
async fn breaks_are_breaks_on_either_side() {
    let upstream = Upstream::open();
    let mut peer = Peer::connect(upstream.address()).await;
    peer.send(get("/break/10", "")).await;
    peer.head().await;
    assert_eq!(peer.rest().await.0.len(), 10);
    let mut peer = Peer::connect(upstream.address()).await;
    peer.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    peer.finish().await;
    let broken =
        |upstream: &Upstream| upstream.requests().iter().any(|one| one.broken && one.body_length == 4);
    upstream.wait_for("a broken body", broken).await;
    let mut peer = Peer::connect(upstream.address()).await;
    peer.send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").await;
    assert_eq!(peer.reply().await.text(), "ignored\n", "it does not wait for the body");
}

#[tokio::test]
async fn connections_are_counted_and_closed() {
    let upstream = Upstream::open();
    let mut peer = Peer::connect(upstream.address()).await;
    peer.get("/echo", "a").await;
    assert_eq!(upstream.connections(), (1, 1));
    upstream.close_connections();
    assert_eq!(peer.rest().await.1, End::Closed);
    upstream.wait_for("the close", |upstream| upstream.connections() == (1, 0)).await;
    upstream.refuse_connections().await;
    assert!(TcpStream::connect(upstream.address()).await.is_err());
    upstream.accept_connections().await;
    assert_eq!(Peer::connect(upstream.address()).await.get("/echo", "a").await.status(), 200);
}

#[tokio::test]
async fn a_web_socket_echoes() {
    // The example of RFC 6455 §1.3.
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let upstream = Upstream::open();
    let mut peer = Peer::connect(upstream.address()).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    peer.send(get("/ws", upgrade)).await;
    let head = peer.head().await;
    assert_eq!(
        (head.status(), head.header("sec-websocket-accept")),
        (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    );
    for (opcode, answered, length) in [(1, 1, 5), (2, 2, 300), (2, 2, 70_000), (9, 10, 3), (8, 8, 2)] {
        let payload: Vec<u8> = (0..length).map(pattern).collect();
        peer.send(encode(&Frame { opcode, payload: payload.clone() }, Some([1, 2, 3, 4]))).await;
        let expected = encode(&Frame { opcode: answered, payload }, None);
        assert_eq!(peer.take(expected.len()).await, expected);
    }
    assert_eq!(peer.rest().await.0, b"");
    let mut peer = Peer::connect(upstream.address()).await;
    assert_eq!(peer.get("/ws", "a").await.status(), 426);
}

/// GET over HTTP/2, on a connection that was made for it.
async fn get_over_http2<S>(stream: S, url: &str) -> (Bytes, HeaderMap)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let running = tokio::spawn(connection);
    let request =
        Request::get(url).header("x-b", "1").header("x-b", "2").body(Empty::<Bytes>::new()).unwrap();
    let collected = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    running.abort();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (collected.to_bytes(), trailers)
}

#[tokio::test]
async fn http2_is_understood_with_prior_knowledge() {
    let upstream = Upstream::open();
    let stream = TcpStream::connect(upstream.address()).await.unwrap();
    let (body, trailers) = get_over_http2(stream, &format!("{}/trailers", upstream.url())).await;
    assert_eq!(
        (body.as_ref(), trailers["x-end"].as_bytes()),
        (&b"before the trailers\n"[..], &b"reached"[..])
    );
    let seen = &upstream.requests()[0];
    assert_eq!((seen.version, seen.target.as_str(), &seen.head), (Version::HTTP_2, "/trailers", &None));
    assert_eq!(
        (seen.all("x-b"), seen.authority.clone()),
        (vec!["1", "2"], Some(upstream.address().to_string()))
    );
}

#[tokio::test]
async fn behind_tls_both_protocols_are_negotiated() {
    use bearerd::tls::{Alpn, Params, Roots, Tls};
    let plain = Upstream::tls();
    let server = AuthorizationServer::strict().start();
    let checking = Upstream::start(Some(Check::by(&server)), Some(Arc::new(Authority::new())));
    for (upstream, verdict) in [(plain, Verdict::Good), (checking, Verdict::Missing)] {
        assert!(upstream.url().starts_with("https://localhost:"));
        let tls = Tls::load(&Params { ca_file: Some(upstream.ca_file()), roots: Roots::File, client: None })
            .unwrap();
        for (alpn, version) in [(Alpn::Http1, Version::HTTP_11), (Alpn::Http2, Version::HTTP_2)] {
            let stream = TcpStream::connect(upstream.address()).await.unwrap();
            let name = "localhost".try_into().unwrap();
            let stream = tls.connector(alpn).connect(name, stream).await.unwrap();
            match alpn {
                Alpn::Http2 => drop(get_over_http2(stream, &format!("{}/echo", upstream.url())).await),
                Alpn::Http1 => {
                    let (mut sender, connection) =
                        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                    tokio::spawn(connection);
                    let request =
                        Request::get("/echo").header("host", "a").body(Empty::<Bytes>::new()).unwrap();
                    sender.send_request(request).await.unwrap();
                }
            }
            let log = upstream.requests();
            let seen = log.last().unwrap();
            assert_eq!((seen.version, seen.verdict), (version, verdict));
        }
    }
}
