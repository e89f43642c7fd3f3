//! A command of the operator's is told of states, and harms nothing whatever it does.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::operating::act;
use super::stage::{Stage, addresses, furnished, strict};
use crate::support::authorization_server::{AuthorizationServer, Client};
use crate::support::canaries::found;
use crate::support::in_time_or;
use crate::support::process::{Home, field};
use crate::support::raw::Peer;

/// A command that writes what it is told into files: an object a line, and its whole environment.
const WRITES: &str = "[hooks]\nstate_changed = [\"/bin/sh\", \"@HOME@/hook\"]\n";
const HOOK: &str = "cd \"${0%/*}\"\n{ env; cat; } >> all\n";

/// What the hook has been told, once it is this often.
async fn told(home: &Home, times: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(home.path().join("all")).unwrap_or_default();
    let seen = async {
        loop {
            let text = read();
            let told: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if told.len() >= times {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time_or(|| format!("told {times} times, and not only {}", read()), seen).await
}

/// Which grant, from which word to which, and what is wrong.
fn change(told: &Value) -> [&str; 4] {
    ["grant", "previous_state", "state", "code"].map(|name| told[name].as_str().unwrap())
}

#[tokio::test]
async fn a_hook_is_told_that_a_sign_in_is_needed_and_that_all_is_well_again() {
    const SECRET: &str = "canary-client-secret";
    let options = AuthorizationServer::strict().client(Client::confidential("billing", SECRET));
    let (server, upstream, home) = furnished(options.expires_in(3600), WRITES);
    home.write("hook", HOOK);
    server.enable_user(false);
    let bearerd = home.run_with(&["--client-secret-file", "secret"]).keeps_secrets_of(&server);
    let (proxy, admin) = addresses(&bearerd).await;
    let stage = Stage { server, upstream, home, bearerd, proxy, admin };
    let status = stage.is("sign_in_required").await;
    let first = Box::pin(told(&stage.home, 1)).await;
    assert_eq!(change(&first[0]), ["default", "starting", "sign_in_required", "grant_rejected"]);
    assert_eq!(first[0]["sentence"], status["grants"][0]["problem"]["sentence"]);
    assert_eq!(first[0]["status_page"], format!("http://{}/", stage.admin));
    assert_eq!(stage.bearerd.wait_for_event("hook_ran").await["state"], "sign_in_required");

    // The pause has begun: what it holds back is told at its end.
    stage.server.enable_user(true);
    stage.home.write("seed", &stage.server.seed("billing"));
    stage.recovers().await;
    let both = Box::pin(told(&stage.home, 2)).await;
    assert_eq!(change(&both[1]), ["default", "sign_in_required", "active", ""]);
    assert_eq!(both[1]["sentence"], "");

    let text = std::fs::read_to_string(stage.home.path().join("all")).unwrap();
    assert!(text.contains("BEARERD_STATE=active\n"), "{text}");
    let secrets = stage.server.secrets();
    assert!(
        secrets.len() > 4 && secrets.iter().any(|secret| secret == SECRET),
        "there is something to be found"
    );
    assert_eq!(found(&text, &secrets), None);
}

#[tokio::test]
async fn a_hook_that_comes_with_a_reload_is_told_what_changes_from_then_on() {
    let stage = Stage::of(strict(3600)).await;
    stage.is("active").await;
    stage.home.write("hook", HOOK);
    let first = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    stage.home.configure(&format!("{first}{WRITES}"));
    stage.bearerd.signal(Signal::HUP);
    stage.bearerd.wait_for_event("config_reloaded").await;
    assert!(stage.bearerd.events("config_needs_restart").is_empty());
    stage.server.enable_user(false);
    assert_eq!(act(stage.admin, "grants/default/refresh").await.status(), 202);
    let told = Box::pin(told(&stage.home, 1)).await;
    assert_eq!(change(&told[0]), ["default", "active", "sign_in_required", "grant_rejected"]);
}

#[tokio::test]
async fn a_hook_that_fails_or_is_not_there_is_told_in_one_line_and_harms_nothing() {
    for (command, why) in [
        ("[\"/bin/sh\", \"-c\", \"echo canary-output >&2; exit 3\"]", "failed (exit status: 3)"),
        ("[\"/nowhere/to-be-found\"]", "cannot be started: "),
    ] {
        let more = format!("[hooks]\nstate_changed = {command}\n");
        let stage = Box::pin(Stage::with(strict(3600), &more, &[])).await;
        let line = stage.bearerd.wait_for_event("hook_failed").await;
        let said = line["message"].as_str().unwrap();
        assert!(said.contains(why) && said.contains("grant default is active"), "{line}");
        assert_eq!(
            (field(&line, "level").unwrap(), &line["code"], &line["grant"]),
            (&"WARN".into(), &"hook_failed".into(), &"default".into())
        );
        assert!(!stage.bearerd.log().join("\n").contains("canary-output"), "what it says is its own");
        assert_eq!(stage.get("/echo").await.status(), 200);
        assert_eq!(stage.bearerd.events("hook_failed").len(), 1);
    }
}

#[tokio::test]
async fn a_hook_that_hangs_holds_up_neither_requests_nor_a_reload_nor_the_end() {
    let (server, _upstream, home) = furnished(strict(3600), WRITES);
    home.write("hook", &format!("{HOOK}exec /bin/sleep 600\n"));
    let mut bearerd = home.run().keeps_secrets_of(&server);
    let (proxy, _) = addresses(&bearerd).await;
    Box::pin(told(&home, 1)).await;
    assert_eq!(Peer::connect(proxy).await.get("/echo", "localhost").await.status(), 200);
    let first = std::fs::read_to_string(home.path().join("proxy.toml")).unwrap();
    home.configure(&first.replace("upstream = ", "methods = [\"POST\"]\nupstream = "));
    bearerd.signal(Signal::HUP);
    bearerd.wait_for_event("config_reloaded").await;
    assert!(bearerd.events("hook_failed").is_empty(), "it still runs");
    bearerd.signal(Signal::TERM);
    assert_eq!(bearerd.wait().await.code(), Some(0));
    let line = bearerd.wait_for_event("hook_failed").await;
    assert!(line["message"].as_str().unwrap().ends_with("did not end before bearerd ends"), "{line}");
    assert!(bearerd.events("hook_ran").is_empty());
}
