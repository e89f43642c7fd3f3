//! What the metadata say changes while a grant lives.

use bearerd::grant::refresher::Command;
use bearerd::grant::status::{State, Status};
use bearerd::grant::{Flow, Server};
use serde_json::Value;

use super::bench::{Bench, Running};
use crate::support::authorization_server::{AuthorizationServer, Client, Fault};

fn client() -> Client {
    Client::confidential("app", "right")
}

/// Two servers that know the client, and a grant of the first that has a token.
async fn two_servers() -> (AuthorizationServer, AuthorizationServer, Running) {
    let server = || AuthorizationServer::strict().client(client()).start();
    let (first, second) = (server(), server());
    let mut bench = Bench::of(&first, "app");
    bench.secret(Some("right"));
    let bench = bench.start().await;
    bench.is(State::Active).await;
    (first, second, bench)
}

/// Has the metadata read again: the server refuses the client once.
async fn read_again(server: &AuthorizationServer, bench: &Running) {
    server.register(Client::confidential("app", "another"));
    bench.refresh();
    bench.is(State::Misconfigured).await;
    server.register(client());
}

async fn has_moved(bench: &Running, attempts: u64) -> std::sync::Arc<Status> {
    let moved = |status: &Status| {
        status.attempts() > attempts
            && status.problem.as_ref().is_some_and(|it| it.code == "token_endpoint_moved")
    };
    bench.until("the move", moved).await
}

/// Has the first server's metadata name the second one's token endpoint, and be read.
async fn moves(
    first: &AuthorizationServer,
    second: &AuthorizationServer,
    bench: &Running,
) -> std::sync::Arc<Status> {
    first.names("token_endpoint", &second.token_endpoint());
    read_again(first, bench).await;
    bench.refresh();
    has_moved(bench, 0).await
}

/// The record, once all of the first answer is in it and nobody holds its lock.
async fn at_rest(bench: &Running) -> Value {
    let read = || -> Value { serde_json::from_slice(&std::fs::read(bench.record()).unwrap()).unwrap() };
    bench.until("the first answer at rest", |_| read().get("access_token").is_some()).await;
    read()
}

#[tokio::test]
async fn a_token_endpoint_on_another_host_is_shown_nothing_until_a_person_names_it() {
    let (first, second, bench) = two_servers().await;
    let status = moves(&first, &second, &bench).await;
    assert_eq!(status.state, State::Misconfigured);
    let sentence = &status.problem.as_ref().unwrap().sentence;
    for named in [first.address().to_string(), second.token_endpoint()] {
        assert!(sentence.contains(&named), "{sentence}");
    }
    assert!(bench.handle.reader.now().is_ok(), "callers are served while the token lives");

    // Neither a reload nor a restart is a person's word on it.
    bench.reconfigure();
    has_moved(&bench, status.attempts()).await;
    let bench = bench.restart().await;
    bench.is(State::Active).await;
    bench.refresh();
    has_moved(&bench, 0).await;
    assert!(second.requests().is_empty(), "nothing was sent there");

    let mut bench = bench.stopped().await;
    let issuer = first.issuer().to_owned();
    let named = Server::Issuer { issuer, token_endpoint: Some(second.token_endpoint()) };
    let found = std::mem::replace(&mut bench.params.server, named);
    let bench = bench.start().await;
    bench.is(State::Active).await;
    bench.refresh();
    second.wait_for_redeems(1).await;

    // It knows nothing of this refresh token, so the first one is the one that gave the tokens still.
    let mut bench = bench.stopped().await;
    bench.params.server = found;
    let bench = bench.start().await;
    bench.refresh();
    has_moved(&bench, 0).await;
    assert_eq!((first.reuse_errors(), second.redeems().len()), (0, 1));
}

#[tokio::test]
async fn metadata_that_are_right_again_are_gone_by() {
    let (first, second, bench) = two_servers().await;
    moves(&first, &second, &bench).await;
    first.names("token_endpoint", &first.token_endpoint());
    bench.refresh();
    let status = bench.is(State::Active).await;
    assert_eq!((status.generation, second.requests().len(), first.reuse_errors()), (2, 0, 0));
}

/// What was read before the move would lead the new refresh token to the old host.
#[tokio::test]
async fn a_sign_in_at_another_host_is_gone_on_with_there() {
    let (first, second, bench) = two_servers().await;
    first.names("token_endpoint", &second.token_endpoint());
    let mut record = at_rest(&bench).await;
    assert_eq!(record["token_endpoint"], first.address().to_string());
    record["lineage"] = "another".into();
    record["refresh_token"] = second.seed("app").into();
    record["token_endpoint"] = second.address().to_string().into();
    record.as_object_mut().unwrap().remove("access_token");
    let whole = bench.record().with_extension("whole");
    std::fs::copy(bench.record(), &whole).unwrap(); // for its mode
    std::fs::write(&whole, record.to_string()).unwrap();
    std::fs::rename(whole, bench.record()).unwrap();
    assert!(bench.handle.tell(Command::Look), "as a sign-in does");
    second.wait_for_redeems(1).await;
    bench.generation(2).await;
    let status = bench.is(State::Active).await;
    assert_eq!(status.totals.attempts.keys().filter(|(_, outcome)| *outcome != "success").count(), 0);
    assert_eq!((first.redeems().len(), second.redeems().len()), (1, 1));
}

/// The seed is of the server that the metadata name by now, and the refusal of what was before it is why they are read.
#[tokio::test]
async fn a_new_seed_after_a_refusal_is_presented_where_the_metadata_say_then() {
    let (first, second, bench) = two_servers().await;
    let current = first.redeems()[0].refresh_token.clone().unwrap();
    first.revoke(&current);
    bench.refresh();
    bench.is(State::SignInRequired).await;
    first.names("token_endpoint", &second.token_endpoint());
    bench.replace("seed", &second.seed("app"));
    assert!(bench.handle.tell(Command::Look));
    bench.is(State::Active).await;
    assert_eq!((first.redeems().len(), second.redeems().len()), (2, 1));
}

#[tokio::test]
async fn a_secret_without_a_refresh_token_goes_to_no_other_host_either() {
    let machine = || Client::machine("app", "right");
    let server = || AuthorizationServer::strict().client(machine()).start();
    let (first, second) = (server(), server());
    let mut bench = Bench::of(&first, "app");
    bench.secret(Some("right"));
    bench.params.flow = Flow::ClientCredentials;
    let bench = bench.start().await;
    bench.is(State::Active).await;
    first.names("token_endpoint", &second.token_endpoint());
    let bench = bench.restart().await;
    bench.is(State::Active).await;
    bench.refresh();
    let problem = has_moved(&bench, 0).await.problem.clone().unwrap();
    assert!(
        !problem.sentence.contains("sign in") && problem.sentence.contains("`token_endpoint`"),
        "{problem:?}"
    );
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn metadata_that_cannot_be_read_again_hold_no_refresh_up() {
    for fault in [Fault::Unavailable(None), Fault::Forbidden, Fault::Garbage] {
        let (server, _, bench) = two_servers().await;
        read_again(&server, &bench).await;
        server.fault_discovery(fault);
        bench.refresh();
        bench.is(State::Active).await;
        assert_eq!((server.redeems().len(), server.reuse_errors()), (3, 0), "{fault:?}: one was refused");
    }
}

/// What was read and was not good yet is gone by as well, where there is nothing better.
#[tokio::test]
async fn a_server_that_has_given_nothing_yet_is_asked_by_what_was_read_of_it() {
    let server = AuthorizationServer::strict().client(client()).start();
    let mut bench = Bench::of(&server, "app");
    bench.secret(Some("wrong"));
    let bench = bench.start().await;
    bench.is(State::Misconfigured).await;
    server.fault_discovery(Fault::Unavailable(None));
    bench.replace("secret", "right");
    bench.refresh();
    bench.is(State::Active).await;
}

/// A new seed is another server's business than the metadata that were read before it came.
#[tokio::test]
async fn a_new_seed_is_presented_by_metadata_that_are_read_for_it() {
    let (first, second, bench) = two_servers().await;
    first.names("token_endpoint", &second.token_endpoint());
    bench.replace("seed", &second.seed("app"));
    assert!(bench.handle.tell(Command::Look));
    second.wait_for_redeems(1).await;
    let status = bench.generation(2).await;
    assert_eq!(status.totals.attempts.keys().filter(|(_, outcome)| *outcome != "success").count(), 0);
    assert_eq!(first.redeems().len(), 1);
}

/// What is known of the former server is nothing to go by for a new seed, not even where nothing else is to be had.
#[tokio::test]
async fn a_new_seed_waits_for_metadata_that_cannot_be_read() {
    let (first, second, bench) = two_servers().await;
    first.names("token_endpoint", &second.token_endpoint());
    first.fault_discovery(Fault::Unavailable(None));
    bench.replace("seed", &second.seed("app"));
    assert!(bench.handle.tell(Command::Look));
    let failed = bench.until("failures", |status| status.consecutive_failures >= 2).await;
    assert_eq!(failed.problem.as_ref().unwrap().code, "discovery_failed");
    first.heal();
    second.wait_for_redeems(1).await;
    bench.generation(2).await;
    assert_eq!((first.redeems().len(), second.redeems().len()), (1, 1));
}

/// Another host's metadata that were refused are not what is gone by when they cannot be read any more.
#[tokio::test]
async fn those_that_are_gone_by_then_are_the_ones_that_were_good() {
    let (first, second, bench) = two_servers().await;
    moves(&first, &second, &bench).await;
    first.fault_discovery(Fault::Unavailable(None));
    bench.refresh();
    bench.is(State::Active).await;
    assert!(second.requests().is_empty());
}
