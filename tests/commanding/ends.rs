//! `bearerd reload` and `bearerd stop`.

use super::{Place, strict};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_is_taken_or_rejected_whole_and_the_command_says_which() {
    let place = Place::of(strict(600));
    assert_eq!(place.said(&["reload"]).await.0, Some(69), "nobody runs");
    let bearerd = place.runs().await;
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    let (code, said) = place.said(&["reload"]).await;
    assert_eq!(code, Some(0), "{said}");
    place.home.configure(&toml.replace("client_id", "cleint_id"));
    let (code, said) = place.said(&["reload"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("cleint_id") && said.contains("client_id"), "{said}");
    bearerd.wait_for_events("config_reloaded", 1).await;
    bearerd.wait_for_events("config_rejected", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_returns_when_the_program_is_gone() {
    let place = Place::of(strict(600));
    let (code, said) = place.said(&["stop"]).await;
    assert_eq!(code, Some(69), "{said}");
    let mut bearerd = place.runs().await;
    place.waits_until("a token", |grant| grant["state"] == "active").await;
    let (code, said) = place.said(&["stop"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!bearerd.is_running(), "not a moment before it has ended");
    assert_eq!(bearerd.wait().await.code(), Some(0));
    assert_eq!(bearerd.events("stopped").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_another_configuration_is_told_nothing() {
    let (place, other) = (Place::of(strict(600)), Place::of(strict(600)));
    let mut bearerd = place.runs().await;
    let toml = std::fs::read_to_string(other.home.path().join("proxy.toml")).unwrap();
    let theirs = format!("{}/admin.sock", place.home.path().display());
    other.home.configure(&toml.replace(&format!("{}/admin.sock", other.home.path().display()), &theirs));
    for verb in ["stop", "reload"] {
        let (code, said) = other.said(&[verb]).await;
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains("another configuration"), "{said}");
    }
    assert!(bearerd.is_running() && bearerd.events("draining").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_read_is_told_when_nobody_is_found_without_it() {
    let place = Place::of(strict(600));
    let bearerd = place.runs().await;
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    let asks: [&[&str]; 4] = [&["reload"], &["stop"], &["wait", "--max", "0s"], &["healthcheck"]];
    let tell = async |what: &str| {
        for words in asks {
            let (code, said) = place.said(words).await;
            let exit = if words == ["healthcheck"] { 1 } else { 78 };
            assert_eq!(code, Some(exit), "{words:?}: {said}");
            assert!(said.contains(what), "{words:?}: {said}");
        }
    };
    place.home.configure(&toml.replace("[admin]", "[admin"));
    tell("this is not TOML").await;
    std::fs::remove_file(place.home.path().join("proxy.toml")).unwrap();
    tell("cannot read the configuration").await;
    let (code, said) = place.said(&["wait", "--max", "10m"]).await;
    assert_eq!(code, Some(78), "at once: {said}");
    std::fs::create_dir(place.home.path().join("proxy.toml")).unwrap();
    tell("cannot read the configuration").await;
    assert!(bearerd.events("draining").is_empty());
}
