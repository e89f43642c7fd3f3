//! A reload takes a new configuration whole or not at all, and nobody who is being served notices.

use std::collections::HashMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::load::{answers, crowd};
use super::stage::{Stage, strict};
use crate::support::authorization_server::Client;
use crate::support::in_time;
use crate::support::process::{Home, Process};
use crate::support::raw::Peer;

#[tokio::test]
async fn a_reload_takes_a_good_file_and_leaves_a_bad_one() {
    let stage = Stage::of(strict(60)).await;
    stage.recovers().await;
    let good = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    stage.home.configure("listen = 7\n");
    stage.bearerd.signal(Signal::HUP);
    stage.bearerd.wait_for_event("config_rejected").await;
    assert_eq!(stage.get("/echo").await.status(), 200);
    stage.home.configure(&good.replace("upstream = ", "methods = [\"POST\"]\nupstream = "));
    stage.bearerd.signal(Signal::HUP);
    stage.bearerd.wait_for_event("config_reloaded").await;
    let refused = async {
        while stage.get("/echo").await.status() != 405 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("the new configuration", refused).await;
}

#[tokio::test]
async fn a_reload_takes_the_log_level() {
    // No level on the command line, which would win.
    let begin = |home: &Home| Process::spawn(home.bearerd().args(["--log-format", "json", "run"]));
    let mut stage = Box::pin(Stage::begun(strict(60), "", begin)).await;
    stage.recovers().await;
    let first = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    for (level, method) in [("warn", "POST"), ("info", "PUT")] {
        let config = first.replace("upstream = ", &format!("methods = [\"{method}\"]\nupstream = "));
        stage.home.configure(&format!("{config}[log]\nlevel = \"{level}\"\n"));
        stage.bearerd.signal(Signal::HUP);
        let request = format!("{method} /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let taken = async {
            while Peer::connect(stage.proxy).await.ask(&request).await.status() != 200
                || stage.get("/echo").await.status() != 405
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        Box::pin(in_time("the new configuration", taken)).await;
    }
    let status = Peer::connect(stage.admin).await.get("/api/v1/status", "localhost").await.json();
    stage.bearerd.signal(Signal::TERM);
    stage.bearerd.wait().await;
    assert_eq!(stage.bearerd.events("config_reloaded").len(), 1, "the first was under `warn`");
    assert_eq!(stage.bearerd.events("stopped").len(), 1, "and `info` is back");
    let warnings = stage.bearerd.events("config_warning");
    assert_eq!(warnings.len(), 3, "at the start and at each reload: the seed can be read by all");
    assert_eq!(warnings[0]["code"], "secret_file_mode");
    assert!(
        warnings[0]["message"].as_str().unwrap().contains("; "),
        "what is wrong, and the cure: {warnings:?}"
    );
    assert_eq!(status["warnings"][0], warnings[0]["message"], "and the status tells them too");
}

#[tokio::test]
async fn no_request_notices_a_reload() {
    let mut stage = Stage::of(strict(60)).await;
    stage.recovers().await;
    let mut crowd = crowd(stage.proxy);
    let config = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    for reload in 1..=5 {
        let seen = stage.upstream.tally().requests;
        stage.home.configure(&format!("{config}[limits]\ntoken_wait = \"{reload}s\"\n"));
        stage.bearerd.signal(Signal::HUP);
        stage.bearerd.wait_for_events("config_reloaded", reload).await;
        stage.upstream.wait_for("load", |upstream| upstream.tally().requests > seen + 50).await;
    }
    assert!(crowd.try_join_next().is_none(), "nobody's connection was ended");
    stage.bearerd.signal(Signal::TERM);
    Box::pin(answers(crowd)).await;
    assert_eq!(stage.bearerd.wait().await.code(), Some(0));
    stage.assert_clean();
}

#[tokio::test]
async fn what_only_a_restart_can_change_is_told_by_key_and_the_rest_is_taken() {
    let stage = Stage::of(strict(60)).await;
    stage.recovers().await;
    let first = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    let changed = first
        .replacen("listen = \"127.0.0.1:0\"", "listen = \"[::1]:0\"\nworkers = 2\nmethods = [\"POST\"]", 1)
        .replace("/state.json", "/other.json");
    stage.home.configure(&changed);
    stage.bearerd.signal(Signal::HUP);
    let event = stage.bearerd.wait_for_event("config_needs_restart").await;
    assert_eq!(event["keys"], "listen, workers, store");
    stage.bearerd.wait_for_event("config_reloaded").await;
    let taken = async {
        while stage.get("/echo").await.status() != 405 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    Box::pin(in_time("the methods", taken)).await;
    assert!(!stage.home.path().join("other.json").exists());
    // Once more, with nothing left to take back: what runs is remembered, not what was written.
    stage.home.configure(&first);
    stage.bearerd.signal(Signal::HUP);
    stage.bearerd.wait_for_events("config_reloaded", 2).await;
    assert_eq!(stage.bearerd.events("config_needs_restart").len(), 1);
}

/// The state of each grant that the running program has.
async fn states(stage: &Stage) -> HashMap<String, String> {
    let status = Peer::connect(stage.admin).await.get("/api/v1/status", "localhost").await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    status["grants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|grant| (text(&grant["name"]), text(&grant["state"])))
        .collect()
}

async fn come_to(stage: &Stage, wanted: &[(&str, &str)]) {
    let wanted: HashMap<_, _> =
        wanted.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect();
    let come = async {
        while states(stage).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    Box::pin(in_time(&format!("{wanted:?}"), come)).await;
}

#[tokio::test]
async fn grants_come_and_go_and_are_pointed_elsewhere() {
    let options = strict(3600).client(Client::public("crm")).client(Client::public("other"));
    let stage = Stage::of(options).await;
    stage.is("active").await;
    stage.home.write("crm", &stage.server.seed("crm"));
    let alone = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    let both = |client: &str| {
        let upstream = stage.upstream.url();
        let route = |path: &str, grant: &str| {
            format!("[[route]]\npath = \"{path}\"\nupstream = \"{upstream}\"\ngrant = \"{grant}\"\n")
        };
        let routes = route("/", "default") + &route("/crm", "crm");
        let crm = format!(
            "[grant.crm]\nissuer = \"{}\"\nclient_id = \"{client}\"\nrefresh_token = {{ file = \"crm\" }}\n",
            stage.server.issuer()
        );
        alone.replace(&format!("upstream = \"{upstream}\"\n"), "") + &routes + &crm
    };
    let reload = async |config: &str, count| {
        stage.home.configure(config);
        stage.bearerd.signal(Signal::HUP);
        stage.bearerd.wait_for_events("config_reloaded", count).await;
    };
    let token_of = async |target: &str| {
        assert_eq!(stage.get(target).await.status(), 200);
        stage.upstream.requests().pop().unwrap().all("authorization").concat()
    };

    let first = token_of("/echo").await;
    Box::pin(reload(&both("crm"), 1)).await;
    Box::pin(come_to(&stage, &[("default", "active"), ("crm", "active")])).await;
    let crm = Box::pin(token_of("/crm")).await;
    assert_ne!(crm, first, "a new grant has a token of its own");
    assert_eq!(Box::pin(token_of("/echo")).await, first, "and the old one keeps its");

    Box::pin(reload(&both("other"), 2)).await;
    Box::pin(come_to(&stage, &[("default", "active"), ("crm", "misconfigured")])).await;
    assert_eq!(stage.get("/crm").await.status(), 503, "what rests there was issued to another client");

    Box::pin(reload(&alone, 3)).await;
    Box::pin(come_to(&stage, &[("default", "active")])).await;
    assert_eq!(Box::pin(token_of("/crm")).await, first);

    Box::pin(reload(&both("crm"), 4)).await;
    Box::pin(come_to(&stage, &[("default", "active"), ("crm", "active")])).await;
    assert_eq!(Box::pin(token_of("/crm")).await, crm, "the record waited for it (R12)");
    assert_eq!(stage.server.redeems().len(), 2);
    assert_eq!(stage.server.reuse_errors(), 0);
    stage.assert_clean();
}

#[tokio::test]
async fn a_new_grant_that_cannot_be_kept_leaves_everything_as_it_was() {
    let stage = Stage::of(strict(3600)).await;
    stage.is("active").await;
    std::fs::create_dir(stage.home.path().join("state.crm.json")).unwrap();
    let alone = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    let crm = format!("[grant.crm]\nissuer = \"{}\"\nclient_id = \"crm\"\n", stage.server.issuer());
    stage
        .home
        .configure(&format!("{}{crm}", alone.replace("upstream = ", "methods = [\"POST\"]\nupstream = ")));
    stage.bearerd.signal(Signal::HUP);
    let event = stage.bearerd.wait_for_event("config_rejected").await;
    assert!(event["message"].as_str().unwrap().contains("state.crm.json"), "{event}");
    assert_eq!(stage.get("/echo").await.status(), 200, "the methods are the old ones, too");
    assert_eq!(Box::pin(states(&stage)).await.len(), 1);
}

#[tokio::test]
async fn a_rotation_that_is_not_saved_yet_outlives_the_reload_that_lets_its_grant_go() {
    let mut stage = Stage::of(strict(8)).await;
    stage.is("active").await;
    let folder = stage.home.path().join("store");
    std::fs::create_dir(&folder).unwrap();
    let first = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    let moved = first.replace("/state.json", "/store/state.json");
    stage.home.write("seed", &stage.server.seed("billing"));
    // A store needs a restart.
    stage.home.configure(&moved);
    stage.bearerd.signal(Signal::TERM);
    stage.bearerd.wait().await;
    stage.restart().await;
    stage.is("active").await;

    // A file takes the folder's place while the server answers: after the intent, before the new refresh token is saved.
    let (from, away) = (folder.clone(), stage.home.path().join("away"));
    let to = away.clone();
    stage.server.rewrite(move |_| {
        if std::fs::rename(&from, &to).is_ok() {
            std::fs::write(&from, "").unwrap();
        }
    });
    stage.bearerd.wait_for_event("store_write_failed").await;
    let typo = moved.replace("client_id = \"billing\"", "client_id = \"biling\"");
    stage.home.configure(&typo);
    stage.bearerd.signal(Signal::HUP);
    stage.bearerd.wait_for_event("config_reloaded").await;
    // Longer than a stop would wait.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(stage.bearerd.events("rotation_unsaved_at_exit").is_empty(), "the process goes on");
    stage.server.rewrite(|_| {});
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    stage.bearerd.wait_for_event("store_recovered").await;

    stage.home.configure(&moved);
    stage.bearerd.signal(Signal::HUP);
    stage.bearerd.wait_for_events("config_reloaded", 2).await;
    stage.recovers().await;
    assert_eq!(stage.server.reuse_errors(), 0);
    stage.assert_clean();
}

#[tokio::test]
async fn a_file_that_cannot_be_read_to_its_end_holds_nothing_up() {
    let mut stage = Stage::of(strict(60)).await;
    stage.recovers().await;
    let file = stage.home.path().join("proxy.toml");
    std::fs::remove_file(&file).unwrap();
    // Nobody ever writes to it: whoever opens it waits.
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    stage.bearerd.signal(Signal::HUP);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stage.get("/echo").await.status(), 200);
    let live = Peer::connect(stage.admin).await.get("/livez", "localhost").await;
    assert_eq!(live.status(), 200);
    stage.bearerd.signal(Signal::TERM);
    assert_eq!(stage.bearerd.wait().await.code(), Some(0));
}
