//! An upstream that revokes the token before its time: one refresh, and no caller notices.

use std::time::Duration;

use tokio::task::JoinSet;

use super::stage::{Stage, strict};
use crate::support::raw::{Peer, Server};

/// From this age on a token is doubted (DESIGN §4: min(10 s, half its life)), and a little more.
pub(super) const OLD_ENOUGH: Duration = Duration::from_millis(10_500);

#[tokio::test]
async fn two_hundred_requests_with_a_revoked_token_cost_one_refresh_and_no_caller_sees_a_401() {
    let stage = Stage::of(strict(600)).await;
    stage.recovers().await;
    tokio::time::sleep(OLD_ENOUGH).await;
    let redeems = stage.server.redeems();
    stage.server.revoke(redeems.last().unwrap().access_token.as_deref().unwrap());
    let (proxy, mut crowd) = (stage.proxy, JoinSet::new());
    for number in 0..200 {
        let ask = match number % 2 {
            0 => "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n",
            _ => "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nonce",
        };
        crowd.spawn(async move { Peer::connect(proxy).await.ask(ask).await.status() });
    }
    assert_eq!(crowd.join_all().await, [200; 200]);
    assert_eq!(stage.server.redeems().len(), redeems.len() + 1);
    let tally = stage.upstream.tally();
    assert!(tally.revoked_tokens > 0, "the upstream has refused it: {tally:?}");
    stage.assert_clean();

    // There is one route.
    let count = async |outcome| stage.count("bearerd_retries_after_401", Some(("outcome", outcome))).await;
    assert_eq!(count("recovered").await, tally.revoked_tokens as f64);
    for other in ["still_401", "no_new_token", "body_not_replayable"] {
        assert_eq!(count(other).await, 0.0, "{other}");
    }
}

#[tokio::test]
async fn where_an_upstream_says_that_its_metadata_are_is_logged_without_the_token_and_nobody_asks_there() {
    let stage = Stage::of(strict(600)).await;
    stage.recovers().await;
    tokio::time::sleep(OLD_ENOUGH).await;
    let elsewhere = Server::start(|_, _| async {});
    let redeems = stage.server.redeems();
    let token = redeems.last().unwrap().access_token.clone().unwrap();
    let named = format!("http://{}/metadata", elsewhere.address());
    let challenge = format!(
        "Bearer error=\"invalid_token\", resource_metadata=\"{named}?for={token}&{}\"",
        "x".repeat(300)
    );
    stage.upstream.dislike([Some(challenge.as_str()); 20]);
    for _ in 0..10 {
        assert_eq!(
            stage.get("/echo").await.status(),
            401,
            "each is refused with the next token as well, if there is one"
        );
    }
    stage.recovers().await;

    let line = stage.bearerd.wait_for_event("resource_metadata_named").await;
    let shown = line["resource_metadata"].as_str().unwrap();
    assert!(
        shown.starts_with(&format!("{named}?for=[access token]&xxx")) && shown.chars().count() <= 201,
        "{line}"
    );
    assert!(!stage.bearerd.log().concat().contains(&token));
    assert_eq!(stage.bearerd.events("resource_metadata_named").len(), 1, "however often it is said");
    assert_eq!(stage.server.redeems().len(), redeems.len() + 1, "the refresh went where all went before");
    assert_eq!(elsewhere.connections(), 0, "nobody has asked there");
    stage.assert_clean();
}
