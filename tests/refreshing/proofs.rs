//! Tokens that are bound to a key (RFC 9449), at a server that believes no proof twice.

use bearerd::grant::status::State;
use bearerd::grant::{Dpop, Flow};
use serde_json::{Value, json};

use super::bench::{Bench, Running};
use crate::support::authorization_server::{
    AuthorizationServer, Client, Exchange, Fault, Options, Phase, Stage,
};
use crate::support::keys::Key;
use crate::support::{jwt, proofs};

/// A server, and a client whose every token is bound to a key.
fn proving() -> Options {
    AuthorizationServer::strict().client(Client::public("billing").proves())
}

fn bench(server: &AuthorizationServer, dpop: Dpop) -> Bench {
    let mut bench = Bench::of(server, "billing");
    bench.params.dpop = dpop;
    bench
}

fn proof(redeem: &Exchange, part: usize) -> Value {
    jwt::part(redeem.head.header("dpop").unwrap(), part).unwrap()
}

fn statuses(server: &AuthorizationServer) -> Vec<u16> {
    server.redeems().iter().map(|redeem| redeem.status.unwrap()).collect()
}

fn record(bench: &Running) -> Value {
    serde_json::from_slice(&std::fs::read(bench.record()).unwrap()).unwrap()
}

async fn problem(bench: &Running) -> &'static str {
    bench.fails().await.problem.as_ref().unwrap().code
}

#[tokio::test]
async fn one_key_for_the_life_of_a_grant_and_a_proof_for_each_request() {
    let server = proving().expires_in(4).start();
    let first = bench(&server, Dpop::Required).start().await;
    server.wait_for_redeems(2).await;
    first.is(State::Active).await;
    let again = first.restart().await;
    let before = server.redeems().len();
    let redeems = server.wait_for_redeems(before + 1).await;
    again.is(State::Active).await;
    let keys = redeems.iter().map(|redeem| proofs::thumbprint(&proof(redeem, 0)["jwk"]));
    let keys: std::collections::BTreeSet<_> = keys.collect();
    assert_eq!((keys.len(), server.reuse_errors()), (1, 0));
    assert!(redeems.iter().all(|redeem| proof(redeem, 1)["htu"] == server.token_endpoint()));
    assert_eq!(statuses(&server), vec![200; redeems.len()]);
    let issued = redeems[0].access_token.as_deref().unwrap();
    assert_eq!(server.key_of(issued), keys.first().cloned(), "what the upstream goes by");
}

#[tokio::test]
async fn a_restart_goes_on_with_the_stored_token_and_its_key() {
    let server = proving().start();
    let again = bench(&server, Dpop::Offered).start().await;
    again.is(State::Active).await;
    let again = again.restart().await;
    again.is(State::Active).await;
    let token = again.handle.reader.now().unwrap();
    assert!(token.is_bound() && server.redeems().len() == 1);
    // Without its key it is of no use to anybody, and neither is the refresh token.
    let mut keyless = record(&again);
    assert!(keyless.as_object_mut().unwrap().remove("dpop_key").is_some());
    let place = again.record();
    let bench = again.stopped().await;
    std::fs::write(&place, keyless.to_string()).unwrap();
    let again = bench.start().await;
    again.is(State::SignInRequired).await;
    assert!(again.handle.reader.now().is_err());
}

#[tokio::test]
async fn the_key_rests_before_anything_is_bound_to_it() {
    let server = proving().start();
    server.fault_once(Fault::Hang, Phase::BeforeProcessing);
    let bench = bench(&server, Dpop::Required).start().await;
    let held = server.wait_for("a request", |log| log.iter().any(|one| one.stage == Stage::Held)).await;
    let resting = record(&bench)["dpop_key"].as_str().unwrap().to_owned();
    server.release();
    bench.is(State::Active).await;
    assert_eq!(record(&bench)["dpop_key"], resting);
    let shown = proof(held.last().unwrap(), 0)["jwk"].clone();
    let key = bearerd::jose::SigningKey::from_pem(&resting).unwrap();
    assert_eq!(key.public_jwk(), Some(shown));
}

#[tokio::test]
async fn a_nonce_costs_one_request_when_it_is_new_and_none_afterwards() {
    let server = proving().nonces().start();
    let bench = bench(&server, Dpop::Required).start().await;
    bench.is(State::Active).await;
    assert_eq!(statuses(&server), [400, 200]);
    bench.refresh();
    bench.generation(2).await;
    assert_eq!(statuses(&server), [400, 200, 200], "the one of the last answer is good");
    server.change_nonce();
    bench.refresh();
    let status = bench.generation(3).await;
    assert_eq!(statuses(&server), [400, 200, 200, 400, 200]);
    assert_eq!((status.consecutive_failures, status.history.len(), server.reuse_errors()), (0, 3, 0));
    let presented: Vec<_> =
        server.redeems().iter().filter_map(|one| one.presented().map(str::to_owned)).collect();
    assert!(presented[0] == presented[1] && presented[3] == presented[4], "nothing was used up by it");
}

#[tokio::test]
async fn a_server_whose_clock_is_another_gets_proofs_of_its_own_time() {
    let server = proving().nonces().start();
    server.set_clock(3600);
    let bench = bench(&server, Dpop::Required).start().await;
    bench.is(State::Active).await;
    assert_eq!(statuses(&server), [400, 200], "its time, and its nonce beside it");
    server.set_clock(0);
    bench.refresh();
    let status = bench.generation(2).await;
    assert_eq!(statuses(&server), [400, 200, 400, 200], "and back");
    assert_eq!(status.consecutive_failures, 0);
}

#[tokio::test]
async fn a_proof_that_stays_refused_is_a_persons_business_and_the_token_stays() {
    // Of the one the next proof would be no other; of the other, it is one more and no third.
    for (fault, requests) in [(Fault::ProofRefused, 1), (Fault::NonceWanted, 2)] {
        let server = proving().start();
        server.fault(fault, Phase::BeforeProcessing);
        let bench = bench(&server, Dpop::Required).start().await;
        bench.is(State::Misconfigured).await;
        assert_eq!((problem(&bench).await, server.redeems().len()), ("dpop_proof_rejected", requests));
        server.heal();
        bench.refresh();
        bench.is(State::Active).await;
        assert_eq!(server.reuse_errors(), 0);
    }
}

#[tokio::test]
async fn a_seed_may_be_bound_to_a_key_that_is_brought() {
    let (ours, other) = (Key::p256(), Key::p256());
    let server = proving().start();
    let mut bench = bench(&server, Dpop::Required);
    let seed = bench.seed();
    server.bind(&seed, &ours.thumbprint());
    bench.params.dpop_key = Some(bench.file("dpop.pem", &Key::rsa().pem()));
    let bench = bench.start().await;
    bench.is(State::Misconfigured).await;
    assert_eq!((problem(&bench).await, server.redeems().len()), ("dpop_key_unusable", 0));
    bench.replace("dpop.pem", &ours.pem());
    bench.refresh();
    bench.is(State::Active).await;
    // From then on it is the record's, whatever the file says.
    bench.replace("dpop.pem", &other.pem());
    bench.refresh();
    bench.generation(2).await;
    let shown =
        server.redeems().iter().map(|one| proofs::thumbprint(&proof(one, 0)["jwk"])).collect::<Vec<_>>();
    assert_eq!(shown, [ours.thumbprint(), ours.thumbprint()]);
}

#[tokio::test]
async fn a_key_that_tokens_came_of_stays_whatever_becomes_of_its_file() {
    // Also where the refresh token never is another than the seed.
    for rotates in [true, false] {
        let (ours, other) = (Key::p256(), Key::p256());
        let client = Client::public("billing").proves().rotates(rotates);
        let server = AuthorizationServer::strict().client(client).start();
        let mut bench = bench(&server, Dpop::Required);
        server.bind(&bench.seed(), &ours.thumbprint());
        bench.params.dpop_key = Some(bench.file("dpop.pem", &ours.pem()));
        let bench = bench.start().await;
        bench.is(State::Active).await;
        bench.replace("dpop.pem", &other.pem());
        bench.refresh();
        bench.generation(2).await;
        bench.remove("dpop.pem");
        bench.refresh();
        let status = bench.generation(3).await;
        assert_eq!((status.consecutive_failures, statuses(&server)), (0, vec![200; 3]), "{rotates}");
    }
}

#[tokio::test]
async fn a_key_that_is_brought_after_a_refusal_is_tried_at_once() {
    for comes_later in [false, true] {
        let key = Key::p256();
        let server = proving().start();
        let mut bench = bench(&server, Dpop::Required);
        server.bind(&bench.seed(), &key.thumbprint());
        let without = bench.start().await;
        without.is(State::SignInRequired).await;
        bench = without.stopped().await;
        bench.params.dpop_key = Some(bench.file("dpop.pem", &key.pem()));
        if comes_later {
            bench.remove("dpop.pem");
        }
        let bench = bench.start().await;
        if comes_later {
            bench.is(State::Misconfigured).await;
            assert_eq!(problem(&bench).await, "secret_unreadable");
            bench.replace("dpop.pem", &key.pem());
        }
        bench.is(State::Active).await;
        // A probe of the refusal would have waited a minute.
        assert!(bench.handle.board.look().totals.attempts.values().sum::<u64>() <= 3);
        assert_eq!(statuses(&server), [400, 200]);
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_no_key_is_taken_or_refused_as_the_policy_says() {
    let unbound = |body: &mut serde_json::Map<String, Value>| {
        body.insert("token_type".to_owned(), json!("Bearer"));
    };
    let server = proving().start();
    server.rewrite(unbound);
    let offered = bench(&server, Dpop::Offered).start().await;
    offered.is(State::Active).await;
    assert!(!offered.handle.reader.now().unwrap().is_bound());

    let server = proving().start();
    server.rewrite(unbound);
    let required = bench(&server, Dpop::Required).start().await;
    required.is(State::Misconfigured).await;
    assert_eq!(problem(&required).await, "token_binding_wrong");
    assert!(required.handle.reader.now().is_err());
    // What it rotated is kept all the same.
    let redeems = server.redeems();
    assert_eq!(record(&required)["refresh_token"].as_str(), redeems[0].refresh_token.as_deref());
    server.heal();
    required.refresh();
    required.is(State::Active).await;
    assert_eq!(server.reuse_errors(), 0);
}

#[tokio::test]
async fn at_authgear_the_refresh_token_is_bound_and_the_access_token_is_not() {
    let key = Key::p256();
    let server = AuthorizationServer::authgear().client(Client::public("billing").rotates(true)).start();
    let mut bench = bench(&server, Dpop::Offered);
    server.bind(&bench.seed(), &key.thumbprint());
    let without = bench.start().await;
    without.is(State::Misconfigured).await;
    assert_eq!(problem(&without).await, "dpop_proof_rejected");
    // The key that it is bound to takes the place of the one that was made for it.
    bench = without.stopped().await;
    bench.params.dpop_key = Some(bench.file("dpop.pem", &key.pem()));
    let bench = bench.start().await;
    bench.is(State::Active).await;
    bench.refresh();
    bench.generation(2).await;
    assert!(!bench.handle.reader.now().unwrap().is_bound());
    assert_eq!(statuses(&server), [400, 200, 200]);
}

#[tokio::test]
async fn no_proof_is_shown_unasked_and_a_bound_token_is_then_of_no_use() {
    let server = AuthorizationServer::strict().client(Client::public("billing")).start();
    server.rewrite(|body| drop(body.insert("token_type".to_owned(), json!("DPoP"))));
    let bench = bench(&server, Dpop::Off).start().await;
    bench.is(State::Misconfigured).await;
    assert_eq!(problem(&bench).await, "token_binding_wrong");
    assert!(server.redeems().iter().all(|redeem| redeem.head.header("dpop").is_none()));
}

#[tokio::test]
async fn a_server_that_cannot_read_our_proofs_is_shown_no_refresh_token() {
    let server = proving().proof_algorithms(&["RS256", "EdDSA"]).start();
    let bench = bench(&server, Dpop::Offered).start().await;
    bench.is(State::Misconfigured).await;
    assert_eq!((problem(&bench).await, server.redeems().len()), ("dpop_unsupported", 0));
}

#[tokio::test]
async fn a_client_without_a_refresh_token_proves_itself_and_its_key() {
    let key = Key::p256();
    let client = Client::keyed("billing", &key).proves();
    let server = AuthorizationServer::strict().client(client).nonces().expires_in(4).start();
    let mut bench = bench(&server, Dpop::Required);
    bench.params.credentials.key = Some(bench.file("key.pem", &key.pem()));
    bench.params.flow = Flow::ClientCredentials;
    let bench = bench.start().await;
    // An assertion is good for one use, and there are two requests.
    server.wait_for_redeems(4).await;
    bench.is(State::Active).await;
    assert_eq!(statuses(&server)[..3], [400, 200, 200]);
    let redeems = server.redeems();
    let shown = |at: usize| proofs::thumbprint(&proof(&redeems[at], 0)["jwk"]);
    assert!(shown(0) == shown(2) && shown(0) != key.thumbprint());
}

#[tokio::test]
async fn a_grant_that_had_no_key_is_given_one_when_dpop_is_switched_on() {
    let server = AuthorizationServer::strict().client(Client::public("billing")).start();
    let plain = bench(&server, Dpop::Off).start().await;
    plain.is(State::Active).await;
    let mut bench = plain.stopped().await;
    bench.params.dpop = Dpop::Required;
    server.fault_once(Fault::Hang, Phase::BeforeProcessing);
    let bench = bench.start().await;
    server.wait_for("a request", |log| log.iter().any(|one| one.stage == Stage::Held)).await;
    assert!(record(&bench)["dpop_key"].is_string(), "before anything can be bound to it");
    server.release();
    bench.is(State::Active).await;
    assert!(bench.handle.reader.now().unwrap().is_bound(), "the bearer token that rests is no longer taken");
    assert_eq!((statuses(&server), server.reuse_errors()), (vec![200, 200], 0));
}
