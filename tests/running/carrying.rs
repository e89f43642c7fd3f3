//! What reaches the upstream, and what does not.

use super::stage::{Stage, strict};
use crate::support::raw::Peer;

#[tokio::test]
async fn a_request_arrives_with_our_token_and_never_with_the_callers() {
    let stage = Stage::of(strict(60)).await;
    let request = "GET /echo?q=[1]|2 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic one\r\n\
                   Authorization: Basic two\r\nConnection: authorization, x-hop\r\nX-Hop: 1\r\n\r\n";
    let reply = Peer::connect(stage.proxy).await.ask(request).await;
    assert_eq!(reply.status(), 200);
    let seen = stage.upstream.requests().pop().unwrap();
    let authorizations: Vec<_> =
        seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization")).collect();
    assert!(authorizations.len() == 1 && authorizations[0].1.starts_with("Bearer "), "{authorizations:?}");
    assert!(!seen.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-hop")));
    assert_eq!(seen.target, "/echo?q=[1]|2");
    stage.assert_clean();
}

#[tokio::test]
async fn strangers_get_403_and_no_upstream_sees_them() {
    let stage = Stage::of(strict(60)).await;
    stage.recovers().await;
    let before = stage.upstream.requests().len();
    for (host, field, code) in [
        ("evil.example", "", "host_not_allowed"),
        ("localhost", "Origin: https://evil.example\r\n", "origin_not_allowed"),
        ("localhost", "Sec-Fetch-Site: cross-site\r\n", "origin_not_allowed"),
        ("localhost", "Sec-Fetch-Site: same-site\r\n", "origin_not_allowed"),
    ] {
        let request = format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n{field}\r\n");
        let reply = Peer::connect(stage.proxy).await.ask(request).await;
        assert_eq!((reply.status(), reply.json()["code"].as_str()), (403, Some(code)));
    }
    assert_eq!(stage.upstream.requests().len(), before);
}

#[tokio::test]
async fn the_page_of_a_listed_origin_may_read_what_comes() {
    let guard = "\n[guard]\nallowed_origins = [\"https://app.example\"]\n";
    let stage = Box::pin(Stage::with(strict(60), guard, &[])).await;
    stage.recovers().await;
    for (target, status) in [("/echo", 200), ("/status/500", 500), ("*", 400)] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\n\r\n");
        let reply = Peer::connect(stage.proxy).await.ask(request).await;
        let allowed = reply.head.all("access-control-allow-origin");
        assert_eq!((reply.status(), allowed), (status, vec!["https://app.example"]), "{target}");
    }
    assert_eq!(stage.get("/echo").await.head.header("access-control-allow-origin"), None);
    let before = stage.upstream.requests().len();
    let preflight = "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\n\
                     Access-Control-Request-Method: PUT\r\n\r\n";
    let head = Peer::connect(stage.proxy).await.ask(preflight).await.head;
    assert_eq!((head.status(), head.all("access-control-allow-origin")), (204, vec!["https://app.example"]));
    assert_eq!(head.all("vary"), ["Origin"], "said once");
    assert_eq!(stage.upstream.requests().len(), before, "answered here");
}

#[tokio::test]
async fn requests_share_an_upstream_connection() {
    let stage = Stage::of(strict(60)).await;
    let mut peer = Peer::connect(stage.proxy).await;
    for target in ["/echo", "/bytes/100000", "/status/204", "/echo"] {
        peer.get(target, "localhost").await;
    }
    let connections: std::collections::HashSet<_> =
        stage.upstream.requests().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections.len(), 1);
}

#[tokio::test]
async fn bodies_pass_whole_in_both_directions() {
    let stage = Stage::of(strict(60)).await;
    let mut peer = Peer::connect(stage.proxy).await;
    let body = vec![b'x'; 3_000_000];
    peer.send(format!("PUT /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len()))
        .await;
    peer.send(&body).await;
    assert_eq!(peer.reply().await.json()["length"], 3_000_000);
    let chunked =
        "GET /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(peer.ask(chunked).await.json()["length"], 3, "a GET may have a body (P13)");
    assert_eq!(peer.get("/bytes/3000000", "localhost").await.body.len(), 3_000_000);
}

#[tokio::test]
async fn a_body_that_breaks_off_upstream_breaks_off_for_the_caller() {
    let stage = Stage::of(strict(60)).await;
    let mut peer = Peer::connect(stage.proxy).await;
    peer.send("GET /break/300000 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let (answer, _) = peer.rest().await;
    assert!(answer.len() < 600_000 && !answer.ends_with(b"0\r\n\r\n"), "never a clean end (P12)");
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_named() {
    let stage = Stage::of(strict(60)).await;
    stage.recovers().await;
    stage.upstream.refuse_connections().await;
    stage.upstream.close_connections();
    stage.upstream.wait_for("no open connection", |upstream| upstream.connections().1 == 0).await;
    let reply = stage.get("/echo").await;
    assert_eq!((reply.status(), reply.json()["code"].as_str()), (502, Some("upstream_unreachable")));
    assert!(reply.head.header("proxy-status").unwrap().contains("upstream_unreachable"));
    stage.upstream.accept_connections().await;
    stage.recovers().await;
}
