//! A grant that ends by itself, whatever is refreshed: people are told in time.

use std::sync::atomic::{AtomicBool, Ordering};

use bearerd::clock::Clock;

use super::stage::{Stage, strict};
use crate::support::process::field;

const DAY: u64 = 24 * 3600;

#[tokio::test]
async fn people_are_warned_two_weeks_before_a_grant_ends() {
    let stage = Stage::of(strict(4)).await;
    stage.recovers().await;
    assert_eq!(stage.is("active").await["grants"][0]["grant_ends"], serde_json::Value::Null);
    let is_told = AtomicBool::new(false);
    // Once: what each answer puts off would be no end.
    stage.server.rewrite(move |answer| {
        if !is_told.swap(true, Ordering::Relaxed) {
            answer.insert("authorization_expires_in".to_owned(), (14 * DAY + 3).into());
        }
    });
    let warned = stage.bearerd.wait_for_event("grant_ends_soon").await;
    assert_eq!(field(&warned, "level").unwrap(), "WARN", "{warned}");
    let status = stage.is("active").await;
    assert_eq!(status["grants"][0]["grant_ends"], *field(&warned, "at").unwrap(), "{status}");
    let left = stage.count("bearerd_grant_end_timestamp_seconds", None).await
        - Clock::System.now().wall.as_secs_f64();
    assert!((14.0 * DAY as f64 - 60.0..14.0 * DAY as f64).contains(&left), "{left}");
    stage.server.wait_for_redeems(stage.server.redeems().len() + 1).await;
    assert_eq!(stage.bearerd.events("grant_ends_soon").len(), 1, "once");
}
