//! Good answers in odd clothes: what is used of each, which refresh token rests after it, and which is presented next.

use bearerd::grant::schedule;
use bearerd::grant::status::State;
use serde_json::Value;

use super::bench::{Bench, Running};
use crate::support::authorization_server::{
    AuthorizationServer, Class, Client, Exchange, Fault, Next, Oddity, Phase, Token,
};

#[tokio::test]
async fn each_odd_answer_is_read_as_the_catalogue_says() {
    let mut rows = tokio::task::JoinSet::new();
    for oddity in Oddity::all() {
        rows.spawn(async move { (oddity, tokio::spawn(row(oddity)).await) });
    }
    let mut wrong = Vec::new();
    while let Some(row) = rows.join_next().await {
        let (oddity, outcome) = row.unwrap();
        if outcome.is_err() {
            wrong.push(oddity.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn neither_the_token_endpoint_nor_discovery_is_left_to_choose_a_coding() {
    let server = AuthorizationServer::strict().client(Client::public("app")).start();
    Bench::of(&server, "app").start().await.is(State::Active).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.head.all("accept-encoding"), ["identity"], "{}", request.head.start);
    }
}

/// The second answer is odd, and the third waits until all has been looked at.
async fn row(oddity: &'static Oddity) {
    let options = AuthorizationServer::strict().client(Client::public("app"));
    // A server that names no new refresh token, or refuses, has not replaced the one that it was given.
    let options = if oddity.next == Next::Presented { options.no_rotation() } else { options };
    let server = options.start();
    let bench = Bench::of(&server, "app").start().await;
    bench.is(State::Active).await;
    server.fault_once(Fault::Odd(oddity), Phase::AfterProcessing);
    server.fault(Fault::Hang, Phase::BeforeProcessing);
    bench.refresh();
    let status = bench.until("the odd answer's end", |status| status.history.len() == 2).await;

    let redeem = server.redeems().remove(1);
    let (presented, issued) = (redeem.presented().unwrap().to_owned(), redeem.refresh_token.clone());
    let next = match oddity.next {
        Next::Successor => issued.clone().unwrap(),
        Next::Presented | Next::Lost => presented,
    };
    assert_eq!(issued.is_some(), oddity.next != Next::Presented, "{oddity:?}");
    let record: Value = serde_json::from_slice(&std::fs::read(bench.record()).unwrap()).unwrap();
    assert_eq!(record["refresh_token"], next.as_str(), "{oddity:?}: what rests");
    match oddity.token {
        Token::Used(seconds) => used(oddity, &bench, &redeem, seconds),
        Token::Not(class) => {
            assert_eq!(status.generation, 1, "{oddity:?}: nothing new is published");
            assert!(bench.handle.reader.now().is_ok(), "{oddity:?}: what was there is kept");
            assert_eq!(status.history[0].outcome, outcome(class), "{oddity:?}: {:?}", status.problem);
        }
    }

    server.heal();
    bench.refresh();
    let end =
        bench.until("an end", |status| status.history.len() > 2 && status.state != State::Degraded).await;
    let third = server.redeems().remove(2);
    assert_eq!(third.presented(), Some(next.as_str()), "{oddity:?}: what is presented next");
    match oddity.next {
        Next::Lost => {
            assert_eq!(end.state, State::SignInRequired, "{oddity:?}");
            assert_eq!(end.problem.as_ref().unwrap().code, "lost_rotation", "{oddity:?}");
        }
        Next::Successor | Next::Presented => {
            assert_eq!((end.state, server.reuse_errors()), (State::Active, 0), "{oddity:?}");
        }
    }
}

/// The token is in the record and with the readers, for as long as the catalogue says.
fn used(oddity: &Oddity, bench: &Running, redeem: &Exchange, seconds: u64) {
    let status = bench.handle.board.look();
    assert_eq!((status.state, status.generation), (State::Active, 2), "{oddity:?}: {:?}", status.problem);
    let (obtained, expires) = (status.obtained.unwrap(), status.expires.unwrap());
    let life = std::time::Duration::from_secs(seconds);
    assert_eq!(expires.since(obtained), schedule::expiry(obtained, life).since(obtained), "{oddity:?}");
    let record = std::fs::read_to_string(bench.record()).unwrap();
    assert!(record.contains(redeem.access_token.as_ref().unwrap()), "{oddity:?}: {record}");
}

/// The word that the metrics have for it.
fn outcome(class: Class) -> &'static str {
    match class {
        Class::Unusable => "malformed",
        Class::Unanswered => "timeout",
        Class::Busy => "rate_limited",
        Class::Refused => "invalid_grant",
    }
}
