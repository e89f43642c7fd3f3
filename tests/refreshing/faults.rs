//! The token endpoint fails, before it has processed the request and after: each fault in both phases, per profile.

use bearerd::grant::status::State;

use super::bench::Bench;
use crate::support::authorization_server::{AuthorizationServer, Client, Fault, Options, Phase};

const FAULTS: [fn() -> Fault; 9] = [
    || Fault::ServerError,
    || Fault::ErrorAsObject,
    || Fault::ErrorPage,
    || Fault::TooManyRequests(None),
    || Fault::Unavailable(Some(1)),
    || Fault::Hang,
    || Fault::Close,
    || Fault::Reset,
    || Fault::Garbage,
];

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Recovers,
    LostRotation,
}

fn strict() -> Options {
    AuthorizationServer::strict().client(Client::public("app"))
}

fn authgear() -> Options {
    AuthorizationServer::authgear().client(Client::public("app").rotates(true))
}

async fn table(profile: fn() -> Options, phase: Phase, end: End) {
    let mut rows = tokio::task::JoinSet::new();
    for fault in FAULTS {
        rows.spawn(async move { row(profile(), fault(), phase, end).await });
    }
    while let Some(row) = rows.join_next().await {
        row.unwrap();
    }
}

async fn row(profile: Options, fault: Fault, phase: Phase, end: End) {
    let server = profile.expires_in(4).start();
    let bench = Bench::of(&server, "app").start().await;
    bench.is(State::Active).await;
    let what = format!("{fault:?} {phase:?}");
    server.fault(fault, phase);
    bench.fails().await;
    server.heal();
    match end {
        End::Recovers => {
            bench.is(State::Active).await;
            assert_eq!(server.reuse_errors(), 0, "{what}");
        }
        End::LostRotation => {
            let status = bench.is(State::SignInRequired).await;
            assert_eq!(status.problem.as_ref().unwrap().code, "lost_rotation", "{what}");
        }
    }
}

#[tokio::test]
async fn strict_a_fault_before_processing_costs_nothing() {
    table(strict, Phase::BeforeProcessing, End::Recovers).await;
}

#[tokio::test]
async fn authgear_a_fault_before_processing_costs_nothing() {
    table(authgear, Phase::BeforeProcessing, End::Recovers).await;
}

#[tokio::test]
async fn strict_an_answer_lost_after_rotation_is_told_as_such() {
    table(strict, Phase::AfterProcessing, End::LostRotation).await;
}

#[tokio::test]
async fn authgear_an_answer_lost_after_rotation_is_told_as_such() {
    table(authgear, Phase::AfterProcessing, End::LostRotation).await;
}

#[tokio::test]
async fn without_rotation_no_fault_costs_the_grant() {
    table(|| strict().no_rotation(), Phase::AfterProcessing, End::Recovers).await;
}

#[tokio::test]
async fn with_grace_no_fault_costs_the_grant() {
    let grace = || strict().grace(std::time::Duration::from_secs(60));
    table(grace, Phase::AfterProcessing, End::Recovers).await;
}

#[tokio::test]
async fn an_unreachable_server_is_waited_for() {
    let server = AuthorizationServer::strict().client(Client::public("app")).expires_in(4).start();
    let bench = Bench::of(&server, "app").start().await;
    bench.is(State::Active).await;
    server.refuse_connections().await;
    bench.is(State::Unavailable).await;
    assert!(bench.handle.reader.now().is_err());
    server.accept_connections().await;
    bench.is(State::Active).await;
    assert_eq!(server.reuse_errors(), 0);
}

#[tokio::test]
async fn a_truncated_answer_that_holds_the_new_refresh_token_loses_nothing() {
    let server = AuthorizationServer::strict().client(Client::public("app")).expires_in(4).start();
    let bench = Bench::of(&server, "app").start().await;
    bench.is(State::Active).await;
    // The new refresh token comes first, and the rest is cut off after it.
    server.rewrite(|answer| {
        if let Some(token) = answer.remove("refresh_token") {
            let rest = std::mem::take(answer);
            answer.insert("refresh_token".to_owned(), token);
            answer.extend(rest);
            answer.insert("padding".to_owned(), "x".repeat(2000).into());
        }
    });
    server.fault_once(Fault::Truncate(1500), Phase::AfterProcessing);
    bench.fails().await;
    server.wait_for_redeems(3).await;
    bench.is(State::Active).await;
    assert_eq!(server.reuse_errors(), 0);
}
