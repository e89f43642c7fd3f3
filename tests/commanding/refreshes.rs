//! `bearerd refresh`: by the bearerd that runs, and by itself where none does.

use rustix::process::Signal;

use super::{Place, strict};
use crate::support::authorization_server::{Client, Exchange, Fault, Phase, Stage};
use crate::support::process::Process;

/// `bearerd refresh`, whose refresh token the server has replaced without an answer yet.
async fn presents(place: &Place, words: &[&str]) -> Process {
    place.server.fault_once(Fault::Hang, Phase::AfterProcessing);
    let refreshing = Process::spawn(place.home.bearerd().args(words)).keeps_secrets_of(&place.server);
    let is_held = |one: &Exchange| one.is_redeem() && one.stage == Stage::Held;
    place.server.wait_for("a redeem that hangs", |log| log.iter().any(is_held)).await;
    refreshing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_one_refreshes_and_the_command_tells_how_it_went() {
    let place = Place::of(strict(600));
    let bearerd = place.runs().await;
    place.server.wait_for_redeems(1).await;
    place.waits_until("active", |grant| grant["state"] == "active").await;
    let (code, said) = place.said(&["refresh"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("refreshed: grant default is active; the token is good for "), "{said}");
    assert_eq!(place.server.redeems().len(), 2, "one refresh, and no other");
    let history = place.waits_until("a manual one", |grant| grant["attempts"] == 2).await;
    assert_eq!(history["history"][0]["cause"], "manual");

    place.server.fault(Fault::ServerError, Phase::BeforeProcessing);
    let (code, said) = place.said(&["refresh"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is degraded") && said.contains("token_endpoint_error"), "{said}");
    place.server.heal();
    place.server.enable_user(false);
    let (code, said) = place.said(&["refresh"]).await;
    assert_eq!(code, Some(77), "{said}");
    assert!(said.contains("is sign_in_required"), "{said}");
    assert_eq!(place.server.reuse_errors(), 0);
    drop(bearerd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_one_the_command_refreshes_itself_once_and_rotates_under_the_lock() {
    let place = Place::of(strict(600));
    for redeems in 1..=3 {
        let (code, said) = place.said(&["refresh"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(place.server.redeems().len(), redeems, "one each time");
    }
    let first = place.server.redeems()[0].parameter("refresh_token").unwrap().to_owned();
    let current = place.server.current_refresh_token(&first).unwrap();
    assert_eq!(place.record()["refresh_token"], current, "the last rotation rests");
    assert_eq!(place.server.reuse_errors(), 0);

    place.server.fault(Fault::Hang, Phase::BeforeProcessing);
    let (code, said) = place.said(&["refresh", "--max", "10s"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("did not answer"), "{said}");
    place.server.heal();
    assert_eq!(place.said(&["refresh"]).await.0, Some(0), "the same refresh token again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_78_and_a_taken_lock_1() {
    let options = strict(600).client(Client::confidential("secretive", "s3cret-of-the-client"));
    let place = Place::of(options);
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    place.home.write("secret", "another");
    place.home.write("seed", &place.server.seed("secretive"));
    place
        .home
        .configure(&toml.replace("\"billing\"", "\"secretive\"\nclient_secret = { file = \"secret\" }"));
    let (code, said) = place.said(&["refresh"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("is misconfigured"), "{said}");

    let lock = std::fs::File::open(place.home.path().join("state.json.lock")).unwrap();
    lock.lock().unwrap();
    let (code, said) = place.said(&["refresh"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("holds the lock"), "{said}");
    drop(lock);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_interrupts_it_after_the_refresh_token_was_presented_has_its_successor_saved_first() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::of(strict(600));
        assert_eq!(place.said(&["refresh"]).await.0, Some(0));
        let mut refreshing = presents(&place, &["refresh"]).await;
        refreshing.signal(signal);
        place.server.release();
        assert_eq!(refreshing.wait().await.code(), Some(130), "{:?}", refreshing.log());
        let said = refreshing.log().join("\n");
        assert!(said.contains("interrupted") && said.contains("grant default is active"), "{said}");
        let successor = place.server.redeems()[1].refresh_token.clone().unwrap();
        assert_eq!(place.record()["refresh_token"], successor, "{signal:?}");
        assert_eq!(place.said(&["refresh"]).await.0, Some(0));
        assert_eq!(place.server.reuse_errors(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_interrupts_it_before_that_is_told_that_nothing_was_presented() {
    let place = Place::of(strict(600));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let lock = std::fs::File::open(place.home.path().join("state.json.lock")).unwrap();
    lock.lock().unwrap();
    let before = place.record();
    let (code, said) = place.said(&["refresh", "--max", "10ms"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nothing was presented") && said.contains("lock of its store"), "{said}");
    assert!(!said.contains("goes on"), "nothing does: {said}");
    assert_eq!((place.record(), place.server.redeems().len()), (before, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_cannot_be_saved_and_ends_with_the_process_is_told_as_a_loss() {
    let place = Place::of(strict(600));
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    place.home.configure(&toml.replace("/state.json", "/state/state.json"));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let mut refreshing = presents(&place, &["refresh"]).await;
    std::fs::rename(place.home.path().join("state"), place.home.path().join("away")).unwrap();
    place.home.write("state", "no folder");
    place.server.release();
    assert_eq!(refreshing.wait().await.code(), Some(77), "{:?}", refreshing.log());
    let said = refreshing.log().join("\n");
    assert!(said.contains("store_write_failed") || said.contains("could not be written"), "{said}");
    assert!(said.contains("ended with this process") && said.contains("bearerd login"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_saved_at_the_last_moment_is_a_refresh() {
    let place = Place::of(strict(600));
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    place.home.configure(&toml.replace("/state.json", "/state/state.json"));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let mut refreshing = presents(&place, &["-vvv", "--log-format", "json", "refresh"]).await;
    let (state, away) = (place.home.path().join("state"), place.home.path().join("away"));
    std::fs::rename(&state, &away).unwrap();
    place.server.release();
    refreshing.wait_for_event("store_write_failed").await;
    std::fs::rename(&away, &state).unwrap();
    assert_eq!(refreshing.wait().await.code(), Some(0), "{:?}", refreshing.log());
    assert!(refreshing.output().starts_with("refreshed: grant default is active"), "{}", refreshing.output());
}
