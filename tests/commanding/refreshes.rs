//! `bearerd refresh`: by the bearerd that runs, and by itself where none does.

use super::{Place, strict};
use crate::support::authorization_server::{Client, Fault, Phase};

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
