//! What an operator sees of the running program, and how it starts and ends.

use std::net::TcpListener;
use std::time::Duration;

use bearerd::clock::Stopwatch;
use rustix::process::Signal;

use super::stage::{Stage, strict};
use crate::operating::openmetrics;
use crate::support::in_time_or;
use crate::support::process::{Home, told};
use crate::support::raw::Peer;

/// A program that commands can find: its admin listener is a Unix socket.
const FINDABLE: &str = "\
listen = \"127.0.0.1:0\"
upstream = \"http://127.0.0.1:9\"
[oauth]
token_endpoint = \"@TOKEN_ENDPOINT@\"
client_id = \"billing\"
refresh_token = { file = \"seed\" }
[store]
path = \"@HOME@/state.json\"
[admin]
listen = \"unix:@HOME@/admin.sock\"
";

async fn text(address: std::net::SocketAddr, path: &str) -> String {
    Peer::connect(address).await.get(path, "localhost").await.text()
}

#[tokio::test]
async fn status_and_healthcheck_ask_the_running_program() {
    let server = strict(60).start();
    let home = Home::new();
    home.write("seed", &server.seed("billing"));
    home.configure(&FINDABLE.replace("@TOKEN_ENDPOINT@", &server.token_endpoint()));
    let mut bearerd = home.run().keeps_secrets_of(&server);
    bearerd.wait_for_event("refresh_succeeded").await;
    let ask = |arguments: &[&str]| told(home.bearerd().args(arguments));

    let healthy = async {
        while ask(&["healthcheck", "--ready"]).0 != Some(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time_or(|| format!("health: {:?}", ask(&["healthcheck", "--ready"])), healthy).await;
    let (code, out, err) = ask(&["status", "--exit-code"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("default  active — token good for"), "{out}");
    let report: serde_json::Value = serde_json::from_str(&ask(&["status", "--json"]).1).unwrap();
    assert_eq!(report["config"]["file"], home.path().join("proxy.toml").display().to_string());

    // A bad edit is what the running program survives; so does its container.
    let good = std::fs::read_to_string(home.path().join("proxy.toml")).unwrap();
    for edit in [format!("{good}\n[grant.crm]\nclient_id = 7\n"), good.replace("state.json", "other.json")] {
        home.configure(&edit);
        assert_eq!(ask(&["healthcheck", "--ready"]).0, Some(0), "{edit}");
    }
    assert_eq!(ask(&["status"]).0, Some(0), "the same file, whatever is in it by now");
    home.configure(&good);
    // Another configuration's is somebody else's, well or not.
    let other = home.write("other.toml", &good);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bearerd"));
    let (code, _, err) = told(command.env_clear().arg("--config").arg(&other).arg("healthcheck"));
    assert!(code == Some(1) && err.contains("another configuration"), "{code:?} {err}");

    bearerd.signal(Signal::INT);
    assert_eq!(bearerd.wait().await.code(), Some(0));
    assert!(!home.path().join("admin.sock").exists(), "the socket's file goes with it");
    assert_eq!((ask(&["status"]).0, ask(&["healthcheck"]).0), (Some(69), Some(1)));
}

#[tokio::test]
async fn while_it_drains_it_is_not_ready_and_a_second_signal_ends_it_at_once() {
    let mut stage = Stage::of(strict(60)).await;
    stage.is("active").await;
    assert!(text(stage.admin, "/readyz").await.starts_with("ready\n"));
    stage.get("/echo").await;
    let mut held = Peer::connect(stage.proxy).await;
    held.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    stage.upstream.wait_for("the request", |upstream| upstream.tally().requests > 1).await;
    let scrape = openmetrics::read(&text(stage.admin, "/metrics").await);
    assert_eq!(scrape["bearerd_requests_in_flight"].samples[0].value, 1.0);

    stage.bearerd.signal(Signal::TERM);
    stage.bearerd.wait_for_event("draining").await;
    assert!(text(stage.admin, "/readyz").await.starts_with("draining\n"));
    assert!(stage.bearerd.is_running(), "for the sake of the request");
    let watch = Stopwatch::start();
    stage.bearerd.signal(Signal::TERM);
    assert_eq!(stage.bearerd.wait().await.code(), Some(0));
    assert!(watch.elapsed() < Duration::from_secs(20), "shutdown_grace, 25 s, is not waited for");
}

#[tokio::test]
async fn what_is_carried_is_counted_by_route_and_answer() {
    let stage = Stage::of(strict(60)).await;
    stage.is("active").await;
    for target in ["/status/404?secret=1", "/status/500", "/status/500"] {
        stage.get(target).await;
    }
    let strange = "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    assert_eq!(Peer::connect(stage.proxy).await.ask(strange).await.status(), 403);
    let scrape = openmetrics::read(&text(stage.admin, "/metrics").await);
    let requests = &scrape["http_server_request_duration_seconds"].samples;
    let count = |status: &str| {
        let mut counts = requests.iter().filter(|sample| sample.name.ends_with("_count"));
        counts.find(|sample| sample.label("http_response_status_code") == Some(status)).unwrap().clone()
    };
    assert_eq!((count("404").value, count("404").label("http_route")), (1.0, Some("/")));
    assert_eq!((count("500").value, count("500").label("error_type")), (2.0, Some("500")));
    let rejected = &scrape["bearerd_requests_rejected"].samples;
    let host = rejected.iter().find(|sample| sample.label("reason") == Some("host_not_allowed")).unwrap();
    assert_eq!(host.value, 1.0);
    let state = &scrape["bearerd_grant_state"].samples;
    let active = state.iter().find(|sample| sample.label("state") == Some("active")).unwrap();
    assert_eq!((active.value, state.iter().map(|sample| sample.value).sum::<f64>()), (1.0, 1.0));
}

#[test]
fn what_keeps_it_from_starting_is_told_in_a_sentence() {
    let home = Home::new();
    home.write("seed", "a-refresh-token");
    let config = FINDABLE.replace("@TOKEN_ENDPOINT@", "http://127.0.0.1:9/token");
    home.configure(&config.replace("@HOME@/state.json", "/proc/self/state.json"));
    let (code, _, err) = told(home.bearerd().args(["run", "-q"]));
    assert_eq!(code, Some(78), "a store that cannot be written: {err}");
    let last = err.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains("/proc/self"), "{err}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    home.configure(&config.replace("127.0.0.1:0", &address));
    let (code, _, err) = told(home.bearerd().args(["run", "-q"]));
    assert_eq!(code, Some(1), "an address that is taken: {err}");
    let last = err.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains(&address), "{err}");
}

#[test]
fn lines_are_coloured_when_asked_and_quiet_when_asked() {
    let home = Home::new();
    let config = FINDABLE.replace("@TOKEN_ENDPOINT@", "http://127.0.0.1:9/token");
    home.configure(&config.replace("@HOME@/state.json", "/proc/self/state.json"));
    let begin = |arguments: &[&str]| told(home.bearerd().args(arguments)).2;
    let coloured = begin(&["--log-format", "pretty", "--color", "always", "run"]);
    assert!(coloured.contains("\u{1b}[") && coloured.contains("started"), "{coloured}");
    let plain = begin(&["--log-format", "pretty", "run"]);
    assert!(plain.contains("started") && !plain.contains('\u{1b}'), "{plain}");
    assert!(begin(&["run"]).lines().next().unwrap().starts_with('{'), "JSON where nobody watches");
    assert!(!begin(&["-q", "run"]).contains("started"));
}

/// Asks the admin listener for an action, as a command does.
pub(super) async fn act(admin: std::net::SocketAddr, path: &str) -> crate::support::raw::Reply {
    let fields = "Host: localhost\r\nbearerd-action: 1\r\nContent-Length: 0";
    Peer::connect(admin).await.ask(format!("POST /api/v1/{path} HTTP/1.1\r\n{fields}\r\n\r\n")).await
}

#[tokio::test]
async fn a_refresh_a_reload_and_the_end_can_be_asked_for() {
    let mut stage = Stage::of(strict(3600)).await;
    stage.is("active").await;
    let reply = act(stage.admin, "grants/default/refresh").await;
    assert_eq!(reply.status(), 202);
    let before = reply.json()["attempts"].as_u64().unwrap();
    let refreshed = async {
        loop {
            let status: serde_json::Value =
                serde_json::from_str(&text(stage.admin, "/api/v1/status").await).unwrap();
            let grant = &status["grants"][0];
            if grant["attempts"].as_u64().unwrap() > before {
                return grant["history"][0].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let attempt = Box::pin(in_time_or(|| stage.bearerd.log().join("\n"), refreshed)).await;
    assert_eq!((&attempt["cause"], &attempt["outcome"]), (&"manual".into(), &"success".into()));

    let good = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    stage.home.configure("listen = 7\n");
    let reply = act(stage.admin, "reload").await;
    let report = reply.json();
    assert_eq!((reply.status(), &report["reloaded"]), (422, &false.into()), "{report}");
    let sentence = report["sentence"].as_str().unwrap();
    assert!(sentence.contains("proxy.toml:1") && !sentence.contains('\u{1b}'), "{sentence}");
    assert_eq!(stage.get("/echo").await.status(), 200);
    for (methods, status) in [("\"POST\"", 405), ("\"GET\"", 200), ("\"PUT\"", 405)] {
        stage.home.configure(&good.replace("upstream = ", &format!("methods = [{methods}]\nupstream = ")));
        let reply = act(stage.admin, "reload").await;
        assert_eq!((reply.status(), &reply.json()["reloaded"]), (200, &true.into()));
        assert_eq!(stage.get("/echo").await.status(), status, "it is in use by now");
    }
    stage.home.configure(&good.replacen("listen = \"127.0.0.1:0\"", "listen = \"[::1]:0\"", 1));
    let sentence = act(stage.admin, "reload").await.json()["sentence"].clone();
    assert!(sentence.as_str().unwrap().ends_with("at the next start only: listen."), "{sentence}");

    assert_eq!(act(stage.admin, "stop").await.status(), 202);
    assert_eq!(stage.bearerd.wait().await.code(), Some(0));
    assert_eq!(stage.bearerd.events("stopped").len(), 1);
}

#[tokio::test]
async fn the_last_requests_are_kept_without_what_is_secret() {
    let more = "requests = 3\n[guard]\nallowed_hosts = [\"localhost\"]\n";
    let stage = Box::pin(Stage::with(strict(60), more, &[])).await;
    stage.is("active").await;
    for target in ["/status/201", "/echo?key=canary", "/status/404"] {
        stage.get(target).await;
    }
    let strange = "GET /strange HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    assert_eq!(Peer::connect(stage.proxy).await.ask(strange).await.status(), 403);
    let report = text(stage.admin, "/api/v1/requests").await;
    assert!(!report.contains("canary"), "{report}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let seen = report["requests"].as_array().unwrap().iter();
    let seen: Vec<_> =
        seen.map(|one| (one["path"].as_str(), one["status"].as_u64(), one["code"].as_str())).collect();
    assert_eq!(
        seen,
        [
            (Some("/strange"), Some(403), Some("host_not_allowed")),
            (Some("/status/404"), Some(404), None),
            (Some("/echo"), Some(200), None),
        ],
        "the latest first, and as many as were asked for"
    );
    // A reload leaves them, and takes another number.
    let config = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    assert_eq!(act(stage.admin, "reload").await.status(), 200);
    let kept = async || -> serde_json::Value {
        serde_json::from_str(&text(stage.admin, "/api/v1/requests").await).unwrap()
    };
    assert_eq!(kept().await, report);
    stage.home.configure(&config.replace("requests = 3", "requests = 0"));
    assert_eq!(act(stage.admin, "reload").await.status(), 200);
    assert_eq!(kept().await["requests"], serde_json::json!([]));
    assert!(!text(stage.admin, "/").await.contains("Recent requests"));
}

#[tokio::test]
async fn a_sign_out_erases_the_grant_and_withdraws_its_token() {
    let stage = Stage::of(strict(3600)).await;
    stage.recovers().await;
    let reply = act(stage.admin, "grants/default/sign_out").await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let told = reply.json();
    assert!(told["revoked"].is_boolean() && told["sentence"].is_string(), "{told}");
    let refused = async {
        while stage.get("/echo").await.status() != 503 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    Box::pin(in_time_or(|| stage.bearerd.log().join("\n"), refused)).await;
    let status = stage.is("sign_in_required").await;
    assert_eq!(status["grants"][0]["expires"], serde_json::Value::Null);
    let left = std::fs::read_to_string(stage.home.path().join("state.json")).unwrap();
    assert_eq!(crate::support::canaries::found(&left, &stage.server.secrets()), None);
}
