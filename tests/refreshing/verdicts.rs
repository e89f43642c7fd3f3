//! What a person has to mend is told in a sentence, and healed without a restart.

use std::path::PathBuf;

use bearerd::grant::status::State;

use super::bench::Bench;
use crate::support::authorization_server::{AuthorizationServer, Client};
use crate::support::in_time;

#[tokio::test]
async fn a_wrong_host_is_misconfigured_and_names_the_location_and_the_cure() {
    let server = AuthorizationServer::authgear()
        .client(Client::public("app"))
        .public_origin("http://id.example.test")
        .start();
    let mut bench = Bench::of(&server, "app");
    bench.params.server = bearerd::grant::Server::Endpoint {
        token_endpoint: format!("http://{}/oauth2/token", server.address()),
    };
    let bench = bench.start().await;
    let status = bench.is(State::Misconfigured).await;
    let problem = status.problem.clone().unwrap();
    assert!(problem.sentence.contains("http://id.example.test/oauth2/token"), "{}", problem.sentence);
    assert!(problem.sentence.contains("connect_to"), "{}", problem.sentence);
}

#[tokio::test]
async fn an_issuer_that_is_not_the_documents_is_misconfigured() {
    let server = AuthorizationServer::strict().client(Client::public("app")).start();
    let mut bench = Bench::of(&server, "app");
    let issuer = format!("{}/", server.issuer());
    bench.params.server = bearerd::grant::Server::Issuer { issuer, token_endpoint: None };
    let bench = bench.start().await;
    let status = bench.is(State::Misconfigured).await;
    assert_eq!(status.problem.as_ref().unwrap().code, "issuer_mismatch");
}

#[tokio::test]
async fn a_wrong_client_secret_is_misconfigured_and_the_refresh_token_untouched() {
    let server = AuthorizationServer::strict().client(Client::confidential("app", "right")).start();
    let mut bench = Bench::of(&server, "app");
    bench.secret(Some("wrong"));
    let bench = bench.start().await;
    let status = bench.is(State::Misconfigured).await;
    assert_eq!(status.problem.as_ref().unwrap().code, "client_rejected");
    bench.replace("secret", "right");
    bench.is(State::Active).await;
    assert_eq!(server.reuse_errors(), 0);
}

#[tokio::test]
async fn a_revoked_grant_asks_for_a_person_and_keeps_its_token_while_it_lives() {
    let server = AuthorizationServer::strict().client(Client::public("app")).expires_in(30).start();
    let bench = Bench::of(&server, "app").start().await;
    bench.is(State::Active).await;
    let issued = server.redeems().last().and_then(|exchange| exchange.refresh_token.clone()).unwrap();
    server.revoke(&issued);
    bench.refresh();
    let status = bench.is(State::SignInRequired).await;
    assert_eq!(status.problem.as_ref().unwrap().code, "grant_rejected");
    assert!(bench.handle.reader.now().is_ok());
    bench.replace("seed", &server.seed("app"));
    bench.is(State::Active).await;
}

/// A grant that had a token, has stopped, and whose record is damaged; and where that is.
async fn damaged(server: &AuthorizationServer) -> (Bench, PathBuf) {
    let bench = Bench::of(server, "app").start().await;
    bench.is(State::Active).await;
    let record = bench.record();
    let bench = bench.stopped().await;
    std::fs::write(&record, "{ half a rec").unwrap();
    (bench, record)
}

#[tokio::test]
async fn behind_a_damaged_record_no_seed_is_presented_that_may_be_older() {
    let server = AuthorizationServer::strict().client(Client::public("app")).start();
    let (bench, record) = damaged(&server).await;
    let redeems = server.redeems().len();
    let bench = bench.start().await;
    let status = bench.is(State::SignInRequired).await;
    assert_eq!(status.problem.as_ref().unwrap().code, "store_corrupt");
    let bench = bench.restart().await;
    let status = bench.is(State::SignInRequired).await;
    assert_eq!(status.problem.as_ref().unwrap().code, "no_grant", "and a restart forgets nothing");
    assert_eq!(server.redeems().len(), redeems, "nothing was presented");
    let beside = std::fs::read_dir(record.parent().unwrap()).unwrap();
    let names: Vec<_> = beside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("state.json.corrupt-")), "it was set aside: {names:?}");
    bench.replace("seed", &server.seed("app"));
    bench.is(State::Active).await;
    assert_eq!(server.reuse_errors(), 0);
}

#[tokio::test]
async fn a_damaged_record_is_left_until_the_seed_can_be_read_and_then_it_is_not_presented() {
    let server = AuthorizationServer::strict().client(Client::public("app")).start();
    let (bench, record) = damaged(&server).await;
    let redeems = server.redeems().len();
    let seed = record.with_file_name("seed");
    let kept = seed.with_file_name("kept");
    std::fs::rename(&seed, &kept).unwrap();
    std::fs::create_dir(&seed).unwrap();
    let bench = bench.start().await;
    let status = bench.is(State::Unavailable).await;
    let problem = status.problem.as_ref().unwrap();
    assert_eq!(problem.code, "store_unavailable");
    assert!(problem.sentence.contains("seed cannot be read"), "{}", problem.sentence);
    assert_eq!(std::fs::read_to_string(&record).unwrap(), "{ half a rec");
    std::fs::remove_dir(&seed).unwrap();
    std::fs::rename(&kept, &seed).unwrap();
    bench.is(State::SignInRequired).await;
    // Also at the next probe nothing is presented: it has been met.
    let bench = bench.restart().await;
    let status = bench.is(State::SignInRequired).await;
    assert_eq!(status.problem.as_ref().unwrap().code, "no_grant");
    assert_eq!((server.redeems().len(), server.reuse_errors()), (redeems, 0));
}

#[tokio::test]
async fn a_seed_that_is_a_pipe_holds_nobody_up() {
    let server = AuthorizationServer::strict().client(Client::public("app")).start();
    let bench = Bench::of(&server, "app");
    bench.seed_is_a_pipe();
    let bench = bench.start().await;
    bench.is(State::SignInRequired).await;
    in_time("its end", bench.stopped()).await;
}
