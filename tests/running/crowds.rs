//! Many at once, and many times over: neither makes more than the one redeem that is needed.

use std::time::Duration;

use bearerd::token::MAX_WAITERS;
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::stage::{Stage, strict};
use crate::proxying::front::{ask, get, http2_caller};
use crate::support::authorization_server::{Fault, Phase};
use crate::support::in_time;
use crate::support::process::{Home, Process};
use crate::support::raw::Peer;

#[tokio::test]
async fn five_thousand_requests_at_the_moment_of_expiry_make_one_redeem() {
    const CALLERS: usize = 50;
    const EACH: usize = 100;
    // The server takes its time, so that the token's end comes before its successor.
    let patient = |home: &Home| {
        let mut bearerd = home.to_run();
        bearerd.env("BEARERD_OAUTH_TIMEOUT", "50s").env("BEARERD_LIMITS_TOKEN_WAIT", "50s");
        Process::spawn(bearerd.env("BEARERD_LIMITS_REQUESTS", "6000"))
    };
    let stage = Box::pin(Stage::begun(strict(4), "", patient)).await;
    stage.recovers().await;
    stage.server.set_expires_in(3600);
    stage.server.fault_once(Fault::Hang, Phase::BeforeProcessing);
    // The page may know of the first token a little later than the callers.
    for is_ready in [true, false] {
        let told = async {
            while (Peer::connect(stage.admin).await.get("/readyz", "localhost").await.status() == 200)
                != is_ready
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        in_time("the beginning, then the end of the token", told).await;
    }
    let before = stage.server.redeems().len();

    let mut crowd = JoinSet::new();
    for _ in 0..CALLERS {
        let caller = http2_caller(stage.proxy).await;
        for _ in 0..EACH {
            let caller = caller.clone();
            crowd.spawn(async move { ask(&caller, get("/echo")).await.0 });
        }
    }
    // As many wait as may; the rest is answered at once (R17).
    let mut answers = Vec::new();
    while answers.len() < CALLERS * EACH - MAX_WAITERS {
        answers.push(in_time("an answer", crowd.join_next()).await.unwrap().unwrap());
    }
    answers.retain(|status| *status != 503);
    assert!(answers.is_empty(), "nothing but an expired token is there to be sent: {answers:?}");
    stage.server.release();
    assert_eq!(in_time("the others", crowd.join_all()).await, [200; MAX_WAITERS]);
    assert_eq!(stage.server.redeems().len(), before, "the one that was under way");
    stage.assert_clean();
}

/// Nobody is on the way to a token when the crowd comes: the last attempt has failed and the next is not due.
#[tokio::test]
async fn a_crowd_that_comes_between_two_attempts_makes_no_more_of_them() {
    const CALLERS: usize = 1000;
    let stage = Box::pin(Stage::with(strict(4), "\n[limits]\ntoken_wait = \"50s\"\n", &[])).await;
    stage.recovers().await;
    stage.server.fault(Fault::ServerError, Phase::BeforeProcessing);
    stage.is("unavailable").await;
    let issued = || stage.server.redeems().iter().filter(|redeem| redeem.refresh_token.is_some()).count();
    let (before, tried) = (issued(), stage.server.redeems().len());
    let caller = http2_caller(stage.proxy).await;
    let mut crowd = JoinSet::new();
    for _ in 0..CALLERS {
        let caller = caller.clone();
        crowd.spawn(async move { ask(&caller, get("/echo")).await.0 });
    }
    let attempts = stage.server.wait_for_redeems(tried + 3).await;
    let apart: Vec<_> =
        attempts.windows(2).skip(tried - 1).map(|pair| pair[1].received.since(pair[0].received)).collect();
    assert!(
        apart.iter().all(|gap| *gap > Duration::from_millis(500)),
        "nobody is hurried by them: {apart:?}"
    );
    stage.server.set_expires_in(3600);
    stage.server.heal();
    assert_eq!(in_time("the crowd", crowd.join_all()).await, [200; CALLERS]);
    assert_eq!(issued(), before + 1);
    stage.assert_clean();
}

#[tokio::test]
async fn fifty_restarts_make_no_redeem_while_the_stored_token_is_good() {
    let mut stage = Stage::of(strict(3600)).await;
    stage.recovers().await;
    for round in 0..50 {
        let how = if round % 2 == 0 { Signal::TERM } else { Signal::KILL };
        stage.bearerd.signal(how);
        stage.bearerd.wait().await;
        stage.restart().await;
        assert_eq!(stage.get("/echo").await.status(), 200, "at once, in round {round}");
    }
    assert_eq!(stage.server.redeems().len(), 1, "the first start's");
    stage.assert_clean();
}
