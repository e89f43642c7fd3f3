//! A WebSocket handshake goes through, and what follows is nobody's business but theirs.

use std::time::Duration;

use crate::proxying::front::{Options, TOKEN};
use crate::support::in_time;
use crate::support::raw::{End, Peer, Server};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: x\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: y\r\n\r\n";

#[tokio::test]
async fn early_bytes_of_both_sides_arrive_and_both_may_end_first() {
    let server = Server::start(move |_, mut peer| async move {
        let head = peer.head().await;
        assert!(head.has_token("connection", "upgrade") && head.all("upgrade") == ["websocket"]);
        assert_eq!(head.all("authorization"), [format!("Bearer {TOKEN}")]);
        assert_eq!(head.all("sec-websocket-key"), ["x"]);
        peer.send(format!("{SWITCH}upstream speaks first")).await;
        assert_eq!(peer.take(10).await, b"from early");
        peer.send("reply").await;
        assert_eq!(peer.rest().await, (b" and late".to_vec(), End::Closed));
        peer.send("the last word").await;
    });
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    peer.send(format!("{ASK}from early")).await;
    let head = peer.head().await;
    assert_eq!(
        (head.status(), head.all("upgrade"), head.all("sec-websocket-accept")),
        (101, vec!["websocket"], vec!["y"])
    );
    assert_eq!(peer.take(26).await, b"upstream speaks firstreply");
    peer.send(" and late").await;
    peer.finish().await;
    assert_eq!(peer.rest().await, (b"the last word".to_vec(), End::Closed));
}

#[tokio::test]
async fn a_refused_switch_is_an_ordinary_answer_and_its_connection_goes_on() {
    let server = Server::start(move |connection, mut peer| async move {
        for request in 0.. {
            let Some(head) = peer.try_head().await else { return };
            let expected = if request == 0 { "/ws" } else { "/after" };
            assert_eq!((head.path(), connection), (expected, 0));
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
        }
    });
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    for (request, status) in [(ASK, 403), ("GET /after HTTP/1.1\r\nHost: localhost\r\n\r\n", 403)] {
        let reply = peer.ask(request).await;
        assert_eq!((reply.status(), reply.text()), (status, "no".to_owned()));
    }
}

#[tokio::test]
async fn a_refusal_has_our_version_whatever_the_upstreams_was() {
    let server = Server::start(move |_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.0 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    });
    let front = Options::to(server.address()).start();
    let reply = Peer::connect(front.address).await.ask(ASK).await;
    assert_eq!((reply.head.start.as_str(), reply.text().as_str()), ("HTTP/1.1 403 Forbidden", "no"));
}

#[tokio::test]
async fn a_switch_to_something_else_is_refused() {
    let server = Server::start(move |_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n").await;
        peer.rest().await;
    });
    let front = Options::to(server.address()).start();
    let reply = Peer::connect(front.address).await.ask(ASK).await;
    assert_eq!((reply.status(), reply.json()["code"].as_str()), (502, Some("upstream_protocol")), "P34");
}

#[tokio::test]
async fn a_switch_that_is_not_carried_is_not_asked_for() {
    let server = Server::start(move |_, mut peer| async move {
        let head = peer.head().await;
        assert!(head.all("upgrade").is_empty() && head.all("http2-settings").is_empty());
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    });
    let front = Options::to(server.address()).start();
    let ask = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n";
    assert_eq!(Peer::connect(front.address).await.ask(ask).await.text(), "ok");
}

#[tokio::test]
async fn a_tunnel_in_which_nobody_speaks_ends_and_one_that_speaks_does_not() {
    let server = Server::start(move |_, mut peer| async move {
        peer.head().await;
        peer.send(SWITCH).await;
        peer.rest().await;
    });
    let mut options = Options::to(server.address());
    options.limits.stream_idle_timeout = Some(Duration::from_millis(600));
    options.limits.idle_timeout = Duration::from_millis(200);
    let front = options.start();
    let mut peer = Peer::connect(front.address).await;
    peer.send(ASK).await;
    peer.head().await;
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        peer.send("x").await;
    }
    in_time("the end of a silent tunnel", peer.rest()).await;
}

#[tokio::test]
async fn a_worker_that_drains_waits_for_a_tunnel() {
    use bearerd::proxy::worker::Order;
    let server = Server::start(move |_, mut peer| async move {
        if peer.head().await.path() != "/ws" {
            return peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
        peer.send(SWITCH).await;
        assert_eq!(peer.take(4).await, b"ping");
        peer.send("pong").await;
        peer.rest().await;
    });
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    peer.send(ASK).await;
    peer.head().await;
    let mut resting = Peer::connect(front.address).await;
    assert_eq!(resting.get("/", "localhost").await.status(), 204);
    front.send(Order::Drain(Duration::from_secs(600)));
    assert_eq!(resting.rest().await.1, End::Closed, "the drain has begun");
    peer.send("ping").await;
    assert_eq!(peer.take(4).await, b"pong");
}
