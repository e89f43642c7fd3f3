//! `bearerd logout`: revoked first, erased then, and never begun anew by what was there before.

use serde_json::Value;

use super::{Place, strict};
use crate::support::authorization_server::{
    AuthorizationServer, Client, Exchange, Fault, Options, Phase, Stage, TokenState,
};
use crate::support::canaries;
use crate::support::process::Process;

/// Nothing that could be presented rests at the place.
fn assert_erased(place: &Place) {
    let record = std::fs::read_to_string(place.home.path().join("state.json")).unwrap();
    assert_eq!(canaries::found(&record, &place.server.secrets()), None, "{record}");
    assert!(!record.contains("dpop_key") && record.contains("signed_out"), "{record}");
}

/// The server has no good refresh token of the one that began here.
fn is_revoked(place: &Place) -> bool {
    let seed = std::fs::read_to_string(place.home.path().join("seed")).unwrap();
    place.server.current_refresh_token(&seed).is_none()
}

async fn signs_out(options: Options) {
    let place = Place::of(options);
    let bearerd = place.runs().await;
    place.waits_until("a token", |grant| grant["state"] == "active").await;
    let (_, token, _) = place.told(&["token"]).await;

    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("has revoked the refresh token"), "{said}");
    assert!(is_revoked(&place));
    assert_eq!(place.server.revocations()[0].parameter("token_type_hint"), Some("refresh_token"));
    assert_erased(&place);
    let grant = place.waits_until("no token", |grant| grant["state"] == "sign_in_required").await;
    assert_eq!(
        (grant["problem"]["code"].as_str(), grant["expires"].as_str()),
        (Some("signed_out"), None),
        "{grant}"
    );
    let redeems = place.server.redeems().len();
    drop(bearerd);

    let bearerd = place.runs().await;
    let failed = bearerd.wait_for_event("refresh_failed").await;
    assert_eq!(failed["code"], "signed_out", "the configured seed does not bring it back");
    assert_eq!(place.server.redeems().len(), redeems);
    let (code, said) = place.said(&["token"]).await;
    assert!(code == Some(77) && said.contains("bearerd login"), "{said}");
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Nothing to sign out of"), "{said}");
    assert_eq!(place.server.revocations().len(), 1);
    assert_eq!(place.server.reuse_errors(), 0);

    place.home.write("seed", &place.server.seed("billing"));
    place.waits_until("a new seed", |grant| grant["state"] == "active").await;
    assert_ne!(place.told(&["token"]).await.1, token);
    drop(bearerd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_server_revokes_and_the_running_one_stops_at_once() {
    Box::pin(signs_out(strict(600))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_authgear() {
    Box::pin(signs_out(AuthorizationServer::authgear().client(Client::public("billing")))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_leaves_all_as_it_is_unless_a_person_insists() {
    let place = Place::of(strict(600));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let before = place.record();
    for fault in [Fault::ServerError, Fault::Unavailable(None), Fault::Close] {
        place.server.fault_revocation(fault, Phase::BeforeProcessing);
        let (code, said) = place.said(&["logout"]).await;
        assert_eq!(code, Some(69), "{fault:?}: {said}");
        assert!(said.contains("Nothing is erased") && said.contains("--force"), "{said}");
    }
    place.server.heal();
    place.server.refuse_connections().await;
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(69), "{said}");
    assert_eq!(place.record(), before);
    let (code, said) = place.said(&["logout", "--force"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("was not revoked") && said.contains("cannot connect"), "{said}");
    assert_erased(&place);
    place.server.accept_connections().await;
    assert!(!is_revoked(&place));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_moved_unasked_is_not_shown_what_it_is_to_revoke() {
    let place = Place::of(strict(600));
    let another = AuthorizationServer::strict().client(Client::public("billing")).start();
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    place.server.names("token_endpoint", &another.token_endpoint());
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("token_endpoint_moved") && said.contains("Nothing is erased"), "{said}");
    let (code, said) = place.said(&["logout", "--force"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("was not revoked") && said.contains("Nothing was sent"), "{said}");
    assert_erased(&place);
    assert!(place.server.revocations().is_empty() && another.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_endpoint_on_another_host_has_to_be_named_by_a_person() {
    let place = Place::of(strict(600));
    let another = AuthorizationServer::strict().client(Client::public("billing")).start();
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let elsewhere = format!("{}/revoke", another.issuer());
    place.server.names("revocation_endpoint", &elsewhere);
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains(&elsewhere) && said.contains("name it as `revocation_endpoint`"), "{said}");
    assert!(another.requests().is_empty(), "nothing was sent there");

    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    place.home.configure(
        &toml.replace("client_id =", &format!("revocation_endpoint = \"{elsewhere}\"\nclient_id =")),
    );
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((place.server.revocations().len(), another.revocations().len()), (0, 1));
    assert_erased(&place);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_revocation_is_told_of_and_the_tokens_are_erased() {
    let place = Place::of(strict(600));
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    let issuer = format!("issuer = \"{}\"", place.server.issuer());
    place.home.configure(
        &toml.replace(&issuer, &format!("token_endpoint = \"{}\"", place.server.token_endpoint())),
    );
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("has no revocation endpoint"), "{said}");
    assert_erased(&place);
    assert!(!is_revoked(&place));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_it_leaves_what_is_good_or_what_is_refused_and_is_finished_by_the_next() {
    for (phase, revoked) in [(Phase::BeforeProcessing, false), (Phase::AfterProcessing, true)] {
        let place = Place::of(strict(600));
        assert_eq!(place.said(&["refresh"]).await.0, Some(0));
        let before = place.record();
        place.server.fault_revocation(Fault::Hang, phase);
        let mut dies = Process::spawn(place.home.bearerd().arg("logout")).keeps_secrets_of(&place.server);
        let is_held = |one: &Exchange| one.is_revocation() && one.stage == Stage::Held;
        place.server.wait_for("a revocation that hangs", |log| log.iter().any(is_held)).await;
        dies.kill();
        let is_noticed = |one: &Exchange| one.is_revocation() && one.stage == Stage::Abandoned;
        place.server.wait_for("the client gone", |log| log.iter().any(is_noticed)).await;
        place.server.heal();
        place.server.has_settled().await;
        assert_eq!((place.record(), is_revoked(&place)), (before, revoked), "{phase:?}");
        let (code, said) = place.said(&["refresh"]).await;
        assert_eq!(code, Some(if revoked { 77 } else { 0 }), "{phase:?}: {said}");

        let (code, said) = place.said(&["logout"]).await;
        assert_eq!(code, Some(0), "{phase:?}: {said}");
        assert!(is_revoked(&place));
        assert_erased(&place);
        let (code, said) = place.said(&["refresh"]).await;
        assert!(code == Some(77) && said.contains("signed_out"), "{phase:?}: {said}");
        assert_eq!(place.server.reuse_errors(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_one_ends_what_it_has_begun_though_who_asked_is_gone() {
    let place = Place::of(strict(600));
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    let path = format!("path = \"{}/state.json\"", place.home.path().display());
    place.home.configure(&toml.replace(&path, "kind = \"memory\"").replace("\"2s\"", "\"20s\""));
    let bearerd = place.runs().await;
    place.waits_until("a token", |grant| grant["state"] == "active").await;

    place.server.fault_revocation(Fault::Hang, Phase::AfterProcessing);
    let mut asker = Process::spawn(place.home.bearerd().arg("logout")).keeps_secrets_of(&place.server);
    let is_held = |one: &Exchange| one.is_revocation() && one.stage == Stage::Held;
    place.server.wait_for("a revocation that hangs", |log| log.iter().any(is_held)).await;
    asker.kill();
    // What is answered now comes after the end of the asker's connection.
    for _ in 0..3 {
        assert_eq!(place.said(&["status"]).await.0, Some(0));
    }
    place.server.heal();
    let grant = place.waits_until("no token", |grant| grant["state"] == "sign_in_required").await;
    assert_eq!((&grant["problem"]["code"], &grant["expires"]), (&"signed_out".into(), &Value::Null));
    assert!(is_revoked(&place));
    drop(bearerd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_nobody_has_presented_is_revoked_as_well() {
    let place = Place::of(strict(600));
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(is_revoked(&place), "{said}");
    assert_erased(&place);
    let bearerd = place.runs().await;
    assert_eq!(bearerd.wait_for_event("refresh_failed").await["code"], "signed_out");
    assert_eq!(place.server.redeems().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_proves_itself_and_the_key_of_its_tokens_is_erased() {
    let secretive = Client::confidential("secretive", "s3cret-of-the-client").proves();
    let place = Place::of(strict(600).client(secretive));
    place.home.write("seed", &place.server.seed("secretive"));
    place.home.write("secret", "s3cret-of-the-client");
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    let more = "\"secretive\"\nclient_secret = { file = \"secret\" }\ndpop = true";
    place.home.configure(&toml.replace("\"billing\"", more));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    assert!(place.record()["dpop_key"].is_string());
    let (code, token, note) = place.told(&["token", "--header"]).await;
    assert_eq!(code, Some(0));
    assert!(token.starts_with("Authorization: DPoP ") && note.contains("proof"), "{note}");
    let (_, token, _) = place.told(&["token"]).await;
    assert_eq!(place.server.state_of(token.trim_end()), TokenState::Active);

    place.home.write("secret", "another");
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("client_rejected") && said.contains("Nothing is erased"), "{said}");
    place.home.write("secret", "s3cret-of-the-client");
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(is_revoked(&place));
    assert_erased(&place);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_clients_record_and_a_grant_that_nobody_signs_in_to_are_left_alone() {
    let place = Place::of(strict(600));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let mut record = place.record();
    record["client_id"] = "other".into();
    std::fs::write(place.home.path().join("state.json"), record.to_string()).unwrap();
    let (code, said) = place.said(&["logout", "--force"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("store_of_another_client"), "{said}");
    assert_eq!(place.record(), record);

    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    let seed = "refresh_token = { file = \"seed\" }";
    place
        .home
        .configure(&toml.replace(seed, "flow = \"client_credentials\"\nclient_secret = { file = \"seed\" }"));
    let (code, said) = place.said(&["logout"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("flow_without_sign_in"), "{said}");
    assert_eq!(place.server.revocations().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_memory_is_signed_out_of_by_the_running_one_and_by_force_whatever_the_server_says() {
    for forced in [false, true] {
        let place = Place::of(strict(600));
        let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
        let path = format!("path = \"{}/state.json\"", place.home.path().display());
        place.home.configure(&toml.replace(&path, "kind = \"memory\""));
        let bearerd = place.runs().await;
        place.waits_until("a token", |grant| grant["state"] == "active").await;
        place.server.fault_revocation(Fault::ServerError, Phase::BeforeProcessing);
        let (code, said) = place.said(&["logout"]).await;
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains("Nothing is erased") && said.contains("--force"), "{said}");
        place.waits_until("the same token", |grant| grant["state"] == "active").await;
        let words = if forced { &["logout", "--force"][..] } else { &["logout"] };
        if !forced {
            place.server.heal();
        }
        let (code, said) = place.said(words).await;
        assert_eq!(code, Some(0), "{said}");
        let becomes = if forced { "was not revoked" } else { "has revoked" };
        assert!(said.contains(becomes), "{said}");
        assert_eq!(is_revoked(&place), !forced);
        place.waits_until("no token", |grant| grant["state"] == "sign_in_required").await;
        drop(bearerd);
    }
}
