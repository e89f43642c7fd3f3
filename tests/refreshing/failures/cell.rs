//! One cell: a grant that is well, a trouble until its access token has ended, and what comes after.

use std::time::Duration;

use bearerd::clock::{Moment, TestClock};
use bearerd::grant::status::{State, Status};
use serde_json::Value;

use super::super::bench::Running;
use super::Trouble;
use super::profile::{Ground, Profile};
use crate::support::authorization_server::{AuthorizationServer, Client};

/// The most that the server is asked while it is in trouble and the access token lives: a try, and waits that double.
const MOST_DURING: usize = 7;

/// The most that it is asked once it is well: the attempt that was held up, and one more.
const MOST_AFTER: usize = 4;

/// What came of it.
pub(super) struct Ended {
    /// What the first failure was told as.
    pub(super) told_as: String,
    /// What it came to: `recovers`, or why a person has to sign in.
    pub(super) end: String,
}

pub(super) async fn cell(trouble: Trouble, profile: Profile) -> Ended {
    let what = format!("{trouble:?} at {profile:?}");
    let ground = profile.ground();
    let (server, client, clock) = (ground.server.clone(), ground.client(), ground.clock.clone());
    let bench = ground.bench.start().await;
    bench.is(State::Active).await;
    let presented = rests(&bench);
    assert_eq!(server.current_refresh_token(&presented).as_ref(), Some(&presented), "{what}: at the start");

    begin(trouble, &server, &presented, &client).await;
    bench.refresh();
    let failed = bench.fails().await;
    assert_ne!(failed.state, State::Active, "{what}");
    let told_as = failed.problem.as_ref().unwrap().code.to_owned();
    let redeems = server.redeems().len();
    kept_until_its_end(&bench, &clock, &what).await;
    let served = |status: &Status| {
        matches!(status.state, State::Active | State::Degraded)
            || status.expires.is_some_and(|expires| !expires.has_come(clock.now()))
    };
    let state = bench.until("its end to show", |status| !served(status)).await.state;
    let during = server.redeems().len();
    assert!(during <= redeems + MOST_DURING, "{what}: {during} requests");

    end(trouble, &server, &client).await;
    if matches!(state, State::SignInRequired | State::Misconfigured) {
        // A verdict is asked for again when that is due, or when a person wants it.
        bench.refresh();
    }
    let attempts = bench.handle.board.look().totals.attempts.values().sum::<u64>();
    let settled = |status: &Status| {
        let anew = status.totals.attempts.values().sum::<u64>() > attempts;
        status.state == State::Active || status.state == State::SignInRequired && anew
    };
    let status = bench.until("an end", settled).await;
    let after = server.redeems().len();
    assert!(after <= during + MOST_AFTER, "{what}: {after} requests after {during}");
    let end = match status.state {
        State::Active => recovered(&bench, &server, &presented, profile, &what),
        _ => refused(&bench, &status, &presented, &what),
    };
    Ended { told_as, end }
}

async fn begin(trouble: Trouble, server: &AuthorizationServer, current: &str, client: &Client) {
    match trouble {
        Trouble::Fault(fault, phase) => server.fault(fault, phase),
        Trouble::Unreachable => server.refuse_connections().await,
        Trouble::Revoked => server.revoke(current),
        Trouble::Disabled => server.enable_user(false),
        Trouble::ClientChanged => server.register(Ground::stranger(client)),
    }
}

async fn end(trouble: Trouble, server: &AuthorizationServer, client: &Client) {
    match trouble {
        Trouble::Fault(..) => server.heal(),
        Trouble::Unreachable => server.accept_connections().await,
        Trouble::Revoked => {}
        Trouble::Disabled => server.enable_user(true),
        Trouble::ClientChanged => server.register(client.clone()),
    }
}

/// For how long readers are watched while attempts fail, before the token's life passes; and how much of it is left to
/// be lived through then.
const WATCHED: Duration = Duration::from_secs(3);
const LEFT: Duration = Duration::from_secs(1);

/// Readers have the token until it counts as expired, and not a moment longer.
async fn kept_until_its_end(bench: &Running, clock: &TestClock, what: &str) {
    let expires = bench.handle.board.look().expires.unwrap();
    assert!(!expires.has_come(clock.now()), "{what}: the attempt was to end while the token lives");
    let watched = clock.now().plus(WATCHED);
    while !watched.has_come(clock.now()) {
        has_token_until(expires, bench, clock, what);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    clock.pass(expires.remaining(clock.now()).saturating_sub(LEFT));
    while has_token_until(expires, bench, clock, what) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(bench.handle.reader.now().is_err(), "{what}: and no longer");
}

/// Whether the token still lives, in which case readers have it.
fn has_token_until(expires: Moment, bench: &Running, clock: &TestClock, what: &str) -> bool {
    let token = bench.handle.reader.now();
    let lives = !expires.has_come(clock.now());
    assert!(!lives || token.is_ok(), "{what}: the access token is to be used while it lives");
    lives
}

/// The server and the record agree on the refresh token, and the token that readers have is good there.
fn recovered(
    bench: &Running,
    server: &AuthorizationServer,
    presented: &str,
    profile: Profile,
    what: &str,
) -> String {
    let rests = rests(bench);
    assert_eq!(server.current_refresh_token(presented).as_ref(), Some(&rests), "{what}: what rests");
    assert_eq!(rests != presented, profile.rotates(), "{what}: rotated");
    assert_eq!(server.reuse_errors(), 0, "{what}");
    assert!(bench.handle.reader.now().is_ok(), "{what}");
    "recovers".to_owned()
}

/// The refresh token is kept, whatever was said of it (R52).
fn refused(bench: &Running, status: &Status, presented: &str, what: &str) -> String {
    assert_eq!(rests(bench), presented, "{what}: what rests");
    assert!(bench.handle.reader.now().is_err(), "{what}");
    status.problem.as_ref().unwrap().code.to_owned()
}

/// The refresh token in the record.
fn rests(bench: &Running) -> String {
    let record: Value = serde_json::from_slice(&std::fs::read(bench.record()).unwrap()).unwrap();
    record["refresh_token"].as_str().unwrap().to_owned()
}
