//! A caller that is silent is let go, and one that waits for its answer is not.

use std::time::Duration;

use super::stage::{Stage, strict};
use crate::support::raw::{End, Peer};

const LIMITS: &str =
    "\n[limits]\nfirst_byte_timeout = \"1s\"\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"\n";

async fn stage() -> Stage {
    let stage = Box::pin(Stage::with(strict(60), LIMITS, &[])).await;
    stage.recovers().await;
    stage
}

#[tokio::test]
async fn a_connection_without_a_first_byte_ends() {
    let stage = stage().await;
    assert_eq!(Peer::connect(stage.proxy).await.rest().await.1, End::Closed);
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_its_connection() {
    let stage = stage().await;
    for begun in ["GET /echo HTTP/1.1\r\nHost: loc", "PRI * HTTP/2.0"] {
        let mut peer = Peer::connect(stage.proxy).await;
        peer.send(begun).await;
        let (answer, _) = peer.rest().await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{begun}");
    }
}

#[tokio::test]
async fn a_connection_that_rests_between_requests_ends() {
    let stage = stage().await;
    let mut peer = Peer::connect(stage.proxy).await;
    assert_eq!(peer.get("/echo", "localhost").await.status(), 200);
    assert_eq!(peer.rest().await, (Vec::new(), End::Closed));
}

#[tokio::test]
async fn a_caller_that_waits_for_its_answer_is_not_idle() {
    let stage = stage().await;
    let mut peer = Peer::connect(stage.proxy).await;
    peer.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    stage
        .upstream
        .wait_for("the request", |upstream| upstream.requests().iter().any(|seen| seen.target == "/slow"))
        .await;
    // Longer than every limit above.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    stage.upstream.release();
    assert_eq!(peer.reply().await.status(), 200);
    assert_eq!(peer.rest().await.1, End::Closed, "and then it rests like any other");
}

#[tokio::test]
async fn a_caller_that_reads_nothing_of_its_answer_is_let_go() {
    let limits = "\n[limits]\nstream_idle_timeout = \"1s\"\n";
    let stage = Box::pin(Stage::with(strict(60), limits, &[])).await;
    stage.recovers().await;
    let mut peer = Peer::connect(stage.proxy).await;
    peer.send("GET /bytes/100000000 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(peer.head().await.status(), 200);
    // What was on its way already does not count: it ends before its time, and the upstream hears of it.
    stage.upstream.wait_for("the end of its connection", |upstream| upstream.connections().1 == 0).await;
    assert!(peer.rest().await.0.len() < 100_000_000);
}
