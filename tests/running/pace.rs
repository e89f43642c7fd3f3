//! However a server or an upstream behaves, the token endpoint is asked at a pace (R8, R60).

use std::time::Duration;

use super::stage::{Stage, strict};
use crate::support::wanted;

/// A minute in the long form.
const SECONDS: &str = "BEARERD_PACE_SECONDS";

#[tokio::test]
async fn a_server_that_gives_no_life_is_asked_fourteen_times_a_minute_at_most() {
    let seconds = wanted(SECONDS, 8);
    let stage = Stage::of(strict(0)).await;
    stage.server.wait_for_redeems(1).await;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    // Two at once, and one more each five seconds.
    let (asked, most) = (stage.server.redeems().len() as u64, 2 + seconds.div_ceil(5));
    println!("{asked} token requests in {seconds} s");
    assert!((2..=most).contains(&asked) && most <= 14, "{asked} in {seconds} s");
    assert_eq!(stage.get("/echo").await.status(), 503, "a token without life is no token");
    assert_eq!(stage.server.reuse_errors(), 0);
}

#[tokio::test]
async fn an_upstream_that_always_says_401_costs_two_refreshes_a_minute_at_most() {
    let seconds = wanted(SECONDS, 14);
    let stage = Stage::of(strict(600)).await;
    stage.recovers().await;
    let before = stage.server.redeems().len();
    stage.upstream.dislike(std::iter::repeat_n(Some("Bearer error=\"invalid_token\""), 100_000));
    let mut refused = 0;
    let callers = async {
        loop {
            assert_eq!(stage.get("/echo").await.status(), 401, "the upstream's own answer passes");
            refused += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _elapsed = tokio::time::timeout(Duration::from_secs(seconds), callers).await.unwrap_err();
    let refreshes = stage.server.redeems().len() - before;
    println!("{refreshes} refreshes and {refused} refused requests in {seconds} s");
    // The first token is doubted when it is ten seconds old, and then none for half a minute.
    assert!((1..=2).contains(&refreshes), "{refreshes} in {seconds} s");
    assert!(refused > 100, "{refused}");
}
