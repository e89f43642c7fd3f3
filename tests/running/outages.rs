//! The authorization server fails: callers are served while the token lives, told so after, and served again soon.

use super::stage::{Stage, strict};
use crate::support::authorization_server::{Fault, Phase};
use crate::support::raw::Peer;

async fn outage(fault: Fault) {
    // Long enough for an attempt to fail, by its timeout too, while the access token lives.
    const LIFE: u64 = 10;
    let more = "\n[limits]\ntoken_wait = \"1s\"\n";
    let stage = Box::pin(Stage::with(strict(LIFE), more, &["--log-format", "json", "run"])).await;
    stage.recovers().await;
    stage.server.fault(fault, Phase::BeforeProcessing);
    stage.is("degraded").await;
    assert_eq!(stage.get("/echo").await.status(), 200, "while the access token lives");
    stage.is("unavailable").await;
    let reply = stage.get("/echo").await;
    assert_eq!((reply.status(), reply.json()["code"].as_str()), (503, Some("token_unavailable")));
    assert!(reply.head.header("retry-after").is_some() && reply.head.header("www-authenticate").is_none());
    let ready = Peer::connect(stage.admin).await.get("/readyz", "localhost").await;
    let live = Peer::connect(stage.admin).await.get("/livez", "localhost").await;
    assert_eq!((ready.status(), live.status()), (503, 200));
    stage.server.heal();
    stage.recovers().await;
    stage.assert_clean();
    assert_eq!(stage.server.reuse_errors(), 0);
}

#[tokio::test]
async fn it_answers_500() {
    Box::pin(outage(Fault::ServerError)).await;
}

#[tokio::test]
async fn it_hangs() {
    Box::pin(outage(Fault::Hang)).await;
}

#[tokio::test]
async fn it_drops_the_connection() {
    Box::pin(outage(Fault::Close)).await;
}

#[tokio::test]
async fn it_answers_garbage() {
    Box::pin(outage(Fault::Garbage)).await;
}

#[tokio::test]
async fn it_answers_429() {
    Box::pin(outage(Fault::TooManyRequests(None))).await;
}
