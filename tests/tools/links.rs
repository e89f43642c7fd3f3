//! The raw ends say what they are told, and the link between breaks where it is told to.

use std::time::Duration;

use bearerd::clock::Stopwatch;

use crate::support::fault_proxy::{FaultProxy, Traffic, Weather};
use crate::support::in_time;
use crate::support::raw::{End, Peer, Server};

/// Answers each request with these bytes.
fn answering(bytes: &'static [u8]) -> Server {
    Server::start(move |_number, mut peer| async move {
        while let Some(head) = peer.try_head().await {
            peer.body(&head).await;
            peer.send(bytes).await;
        }
    })
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_raw_server_tells_its_script_which_connection_it_is() {
    let server = Server::start(|number, mut peer| async move {
        let head = peer.head().await;
        let body = peer.body(&head).await;
        peer.send(format!("HTTP/1.1 200 OK\r\n\r\n{number} {} {}", head.target(), body.len())).await;
    });
    for number in 0..2 {
        let mut peer = Peer::connect(server.address()).await;
        let reply = peer.post("/x", "a", "a=b").await;
        assert_eq!(reply.text(), format!("{number} /x 3"), "to the connection's end");
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_fair_link_passes_everything_and_counts_it() {
    let server = answering(OK);
    let link = FaultProxy::to(server.address());
    let mut peer = Peer::connect(link.address()).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(peer.ask(request).await.text(), "ok");
    let expected = Traffic { connections: 1, to_server: request.len(), to_client: OK.len() };
    assert_eq!(link.traffic(), expected);
    peer.finish().await;
    assert_eq!(peer.rest().await, (Vec::new(), End::Closed), "FIN passes too");
}

#[tokio::test]
async fn a_slow_link_takes_its_time() {
    let server = answering(OK);
    let link = FaultProxy::to(server.address());
    link.weather(Weather::Slow(Duration::from_millis(50)));
    let mut peer = Peer::connect(link.address()).await;
    let begin = Stopwatch::start();
    assert_eq!(peer.get("/", "a").await.text(), "ok");
    assert!(begin.elapsed() >= Duration::from_millis(100), "there and back");
}

#[tokio::test]
async fn a_cut_comes_after_the_byte_it_was_told() {
    let server = answering(OK);
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (weather, end, there, back) in [
        (Weather::CutToClient(10), End::Closed, request.len(), 10),
        (Weather::ResetToClient(1), End::Reset, request.len(), 1),
        (Weather::CutToServer(7), End::Closed, 7, 0),
        (Weather::ResetToServer(7), End::Reset, 7, 0),
    ] {
        let link = FaultProxy::to(server.address());
        let mut peer = Peer::connect(link.address()).await;
        peer.get("/", "a").await;
        let before = link.traffic();
        link.weather(weather);
        peer.send(request).await;
        let (bytes, ended) = peer.rest().await;
        assert_eq!(ended, end, "{weather:?}");
        // RST overtakes bytes that are still under way.
        let lost = end == End::Reset && bytes.is_empty();
        assert!(lost || bytes == OK[..back], "{weather:?}: {bytes:?}");
        let passed = link.traffic();
        let (to_server, to_client) =
            (passed.to_server - before.to_server, passed.to_client - before.to_client);
        assert_eq!((to_server, to_client), (there, back), "{weather:?}");
    }
}

#[tokio::test]
async fn a_black_hole_swallows_until_the_weather_changes() {
    let server = answering(OK);
    let link = FaultProxy::to(server.address());
    link.weather(Weather::Blackhole);
    let mut peer = Peer::connect(link.address()).await;
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    in_time("the connection", async {
        while link.traffic().connections == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(link.traffic().to_server, 0);
    link.weather(Weather::Fair);
    assert_eq!(peer.reply().await.text(), "ok");
    link.refuse_connections().await;
    assert!(tokio::net::TcpStream::connect(link.address()).await.is_err());
    link.accept_connections().await;
    assert_eq!(Peer::connect(link.address()).await.get("/", "a").await.text(), "ok");
}
