//! What is too much is refused, told, counted and logged.

use super::stage::{Stage, strict};
use crate::support::process::{Home, Process, field};
use crate::support::raw::Peer;

#[tokio::test]
async fn a_request_too_many_is_503_and_the_next_is_carried() {
    let limits = "\n[limits]\nrequests = 1\n";
    // The one that is held is held for as long as the test takes.
    let patient = |home: &Home| Process::spawn(home.to_run().env("BEARERD_RESPONSE_TIMEOUT", "0s"));
    let stage = Box::pin(Stage::begun(strict(60), limits, patient)).await;
    stage.recovers().await;
    let mut held = Peer::connect(stage.proxy).await;
    held.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    stage
        .upstream
        .wait_for("the request", |upstream| upstream.requests().iter().any(|seen| seen.target == "/slow"))
        .await;
    let mut refused = Peer::connect(stage.proxy).await;
    let reply = refused.get("/echo", "localhost").await;
    assert_eq!((reply.status(), reply.json()["code"].as_str()), (503, Some("overloaded")));
    assert!(reply.head.header("retry-after").is_some());
    let logged = stage.bearerd.wait_for_event("request").await;
    assert_eq!(field(&logged, "error").unwrap(), "overloaded");
    assert!(field(&logged, "detail").unwrap().as_str().unwrap().contains("Too many requests"), "{logged}");
    assert_eq!(stage.count("bearerd_requests_rejected", Some(("reason", "overloaded"))).await, 1.0);
    stage.upstream.release();
    assert_eq!(held.reply().await.status(), 200);
    assert_eq!(refused.get("/echo", "localhost").await.status(), 200, "on the same connection");
}

#[tokio::test]
async fn a_connection_too_many_ends_at_once() {
    let limits = "\n[limits]\nconnections = 2\n";
    let stage = Box::pin(Stage::with(strict(60), limits, &[])).await;
    stage.recovers().await;
    let mut kept = Vec::new();
    while kept.len() < 2 {
        let mut peer = Peer::connect(stage.proxy).await;
        // The connections of before may not have been seen to end yet.
        if peer.ask_if_open("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await.is_some() {
            kept.push(peer);
        }
    }
    let before = stage.count("bearerd_connections_rejected", None).await;
    let asked = "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert!(Peer::connect(stage.proxy).await.ask_if_open(asked).await.is_none());
    assert_eq!(stage.count("bearerd_connections_rejected", None).await, before + 1.0);
    assert_eq!(kept[0].get("/echo", "localhost").await.status(), 200);
}
