//! `bearerd token`: from the record alone, and only what is still good.

use super::{Place, strict};
use crate::support::authorization_server::TokenState;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_printed_while_nobody_runs_and_asks_nobody() {
    let place = Place::of(strict(600));
    let (code, out, err) = place.told(&["token"]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "nothing rests yet: {err}");
    assert!(err.contains("bearerd refresh"), "{err}");
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let asked = place.server.requests().len();

    let (code, token, err) = place.told(&["token"]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(place.server.state_of(token.trim_end()), TokenState::Active);
    let (code, field, _) = place.told(&["token", "default", "--header", "--min-valid", "5m"]).await;
    assert_eq!((code, field), (Some(0), format!("Authorization: Bearer {token}")));
    let (code, at, _) = place.told(&["token", "--expires-at"]).await;
    let expires = place.record()["access_token"]["expires"]["wall"].as_str().unwrap().to_owned();
    let at = at.trim_end().parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!((code, at.to_string()), (Some(0), expires.split('.').next().unwrap().to_owned()));

    let (code, said) = place.said(&["token", "--min-valid", "10m"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("good for 9 min ") && said.contains("bearerd refresh"), "{said}");
    assert_eq!(place.said(&["token", "nobody"]).await.0, Some(78));
    assert_eq!(place.said(&["token", "--min-valid", "soon"]).await.0, Some(2));
    assert_eq!(place.server.requests().len(), asked, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_not_waited_for() {
    let place = Place::of(strict(600));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let lock = std::fs::File::open(place.home.path().join("state.json.lock")).unwrap();
    lock.lock().unwrap();
    let (code, token, _) = place.told(&["token"]).await;
    assert_eq!((code, place.server.state_of(token.trim_end())), (Some(0), TokenState::Active));
    drop(lock);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_was_refused_or_is_another_clients_is_not_printed() {
    let place = Place::of(strict(5));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let path = place.home.path().join("state.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let mut record = place.record();
    for clock in ["boot", "wall"] {
        record["access_token"]["expires"][clock] = "1.000000000".into();
        std::fs::write(&path, record.to_string()).unwrap();
        let (code, said) = place.said(&["token"]).await;
        assert_eq!(code, Some(1), "by the {clock} clock: {said}");
        assert!(said.contains("expired") && said.contains("bearerd refresh"), "{said}");
        record = serde_json::from_str(&good).unwrap();
    }

    record["client_id"] = "other".into();
    std::fs::write(&path, record.to_string()).unwrap();
    let (code, said) = place.said(&["token"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("client `other`"), "{said}");

    std::fs::write(&path, &good).unwrap();
    place.server.enable_user(false);
    assert_eq!(place.said(&["refresh"]).await.0, Some(77));
    let mut refused = place.record();
    refused.as_object_mut().unwrap().remove("access_token");
    std::fs::write(&path, refused.to_string()).unwrap();
    let (code, said) = place.said(&["token"]).await;
    assert_eq!(code, Some(77), "{said}");
    assert!(said.contains("sign in again"), "{said}");
}

#[test]
fn a_store_in_memory_and_a_grant_that_was_never_begun_say_so() {
    let place = Place::of(strict(600));
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    let said = |toml: &str| {
        place.home.configure(toml);
        let (code, out, err) = crate::support::process::told(place.home.bearerd().arg("token"));
        assert_eq!(out, "");
        (code, err)
    };
    let path = format!("path = \"{}/state.json\"", place.home.path().display());
    let (code, err) = said(&toml.replace(&path, "kind = \"memory\""));
    assert!(code == Some(78) && err.contains("memory of the bearerd that runs"), "{err}");
    let (code, err) = said(&toml.replace("refresh_token = { file = \"seed\" }\n", ""));
    assert!(code == Some(77) && err.contains("no refresh token yet"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_grant_is_told_also_where_the_token_is_good_for_too_short() {
    let place = Place::of(strict(600));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    place.server.enable_user(false);
    assert_eq!(place.said(&["refresh"]).await.0, Some(77));
    assert!(place.record()["refused"].is_object());
    assert_eq!(place.told(&["token"]).await.0, Some(0), "it is good still");
    let (code, said) = place.said(&["token", "--min-valid", "1h"]).await;
    assert_eq!(code, Some(77), "no refresh will help: {said}");
    assert!(
        said.contains("is good for 9 min ") && said.contains("only, and") && said.contains("sign in again"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_is_run_for_a_seed() {
    let place = Place::of(strict(600));
    let toml = std::fs::read_to_string(place.home.path().join("proxy.toml")).unwrap();
    let exec = "refresh_token = { exec = [\"sh\", \"-c\", \"touch @HOME@/asked; cat @HOME@/seed\"] }";
    place.home.configure(&toml.replace("refresh_token = { file = \"seed\" }", exec));
    let (code, said) = place.said(&["token"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no access token rests yet") && said.contains("bearerd refresh"), "{said}");
    assert!(!place.home.path().join("asked").exists());
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    assert!(place.home.path().join("asked").exists(), "that one runs it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_could_not_be_written_is_a_failure_and_a_reader_that_has_gone_is_none() {
    let place = Place::of(strict(600));
    assert_eq!(place.said(&["refresh"]).await.0, Some(0));
    let asks: [&[&str]; 7] = [
        &["token"],
        &["status", "--watch"],
        &["check"],
        &["version"],
        &["config", "schema"],
        &["explain", "no_grant"],
        &["completions", "bash"],
    ];
    for words in asks {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.home.bearerd().args(words).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("could not be written"), "{words:?}: {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place.home.bearerd().args(words).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}");
    }
}
