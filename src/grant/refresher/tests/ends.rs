//! Grants that end when nobody uses them, and those that end whatever is done.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// An hour of life, of which 48 minutes would be used; the grant lasts half an hour from its last use, as at Keycloak
/// without `offline_access`.
const HOUR_AT_A_SHORT_SESSION: Step = Step::Says(
    200,
    r#"{"access_token":"A1","expires_in":3600,"refresh_expires_in":1800,"token_type":"Bearer"}"#,
);

#[tokio::test(start_paused = true)]
async fn a_grant_that_ends_unused_before_its_token_is_used_in_time() {
    let bench = Bench::new([HOUR_AT_A_SHORT_SESSION]);
    bench.has_token().await;
    tokio::time::sleep(14 * MINUTE).await;
    assert_eq!(bench.script.redeems(), 1);
    for redeems in 2..=4 {
        tokio::time::sleep(2 * MINUTE).await;
        assert_eq!(bench.script.redeems(), redeems, "half of the half hour is over");
        tokio::time::sleep(13 * MINUTE + SECOND).await;
        assert_eq!(bench.script.redeems(), redeems);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_told_before_a_restart_is_used_in_time_as_well() {
    let asked = START.minus(10 * MINUTE);
    let record = Record {
        grant_end: Some(GrantEnd { told: asked.wall, at: asked.wall + 30 * MINUTE }),
        ..resting("stored", asked, 3600)
    };
    let bench = Bench::resting([HOUR_AT_A_SHORT_SESSION], MemoryStore::holding(record));
    bench.has_token().await;
    tokio::time::sleep(4 * MINUTE).await;
    assert_eq!(bench.script.redeems(), 0);
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(bench.script.redeems(), 1);
}
