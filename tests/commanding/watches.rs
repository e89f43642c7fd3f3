//! `bearerd status` and `bearerd wait`: what they wait for, and what they make of it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use bearerd::config::{Config, Sources};
use rustix::process::Signal;

use super::{Place, strict};
use crate::support::in_time;
use crate::support::process::{Home, Process};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_waits_for_a_program_that_comes_later_and_for_its_token() {
    let place = Place::of(strict(600));
    let (code, said) = place.said(&["wait", "--max", "0s"]).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("no bearerd answers"), "{said}");
    place.server.refuse_connections().await;
    let mut waiting = Process::spawn(place.home.bearerd().args(["wait", "--max", "60s"]));
    let bearerd = place.runs().await;
    place.waits_until("no token yet", |grant| grant["attempts"].as_u64() >= Some(1)).await;
    let (code, said) = place.said(&["wait", "--max", "10ms"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not ready after 0.01 s: default "), "{said}");
    assert!(waiting.is_running());
    place.server.accept_connections().await;
    assert_eq!(waiting.wait().await.code(), Some(0), "{:?}", waiting.log());
    assert!(waiting.output().starts_with("ready\n"), "{}", waiting.output());
    drop(bearerd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_tells_a_sign_in_that_is_needed_by_77() {
    let place = Place::of(strict(600));
    place.server.enable_user(false);
    let bearerd = place.runs().await;
    place.waits_until("a refusal", |grant| grant["state"] == "sign_in_required").await;
    let (code, said) = place.said(&["wait", "--max", "100ms"]).await;
    assert_eq!(code, Some(77), "{said}");
    assert!(said.contains("default sign_in_required") && said.contains("bearerd login"), "{said}");
    let (code, said) = place.said(&["status", "--exit-code"]).await;
    assert_eq!(code, Some(77), "{said}");
    assert!(said.contains("→ bearerd login"), "{said}");
    assert_eq!(place.said(&["status", "nobody"]).await.0, Some(78));
    assert_eq!(place.said(&["status", "default"]).await.0, Some(0));
    drop(bearerd);
}

/// Answers each request at the home's admin socket with the next of these states, and with the last for ever.
fn answers(home: &Home, states: &'static [&'static str]) {
    let file = Some(home.path().join("proxy.toml"));
    let config = Config::load(&Sources { file, ..Sources::default() }).unwrap().config;
    let identity = bearerd::admin::identity(&config);
    let listener = UnixListener::bind(home.path().join("admin.sock")).unwrap();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let _head = stream.read(&mut [0; 4096]).unwrap();
            let state = states.get(at).or(states.last()).unwrap();
            let grants = serde_json::json!([{ "name": "default", "state": state, "used": true }]);
            let body = serde_json::json!({ "config": { "identity": identity }, "grants": grants });
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}").unwrap();
        }
    });
}

/// Answers each request at the home's admin socket with these bytes, in which `IDENTITY` stands for the home's own.
fn says(home: &Home, answer: &'static str) {
    let file = Some(home.path().join("proxy.toml"));
    let config = Config::load(&Sources { file, ..Sources::default() }).unwrap().config;
    let answer = answer.replace("IDENTITY", &bearerd::admin::identity(&config));
    let socket = home.path().join("admin.sock");
    let _none_yet = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _head = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_the_socket_steers_no_terminal() {
    const STATUS: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"config\":{\"identity\":\"IDENTITY\"},\
        \"grants\":[{\"name\":\"default\\u001b]0;x\\u0007\",\"state\":\"acti\\u001b[2Jve\"}]}";
    let health = |status: &str| {
        let head = format!("HTTP/1.1 {status}\r\nBearerd-Config: IDENTITY\r\nConnection: close\r\n\r\n");
        &*Box::leak((head + "not\u{1b}[2J ready\ndefault\u{1b}]0;x\u{7} sign\u{9b}in\n").into_boxed_str())
    };
    let place = Place::of(strict(600));
    for (answer, words) in [
        (STATUS, &["status"][..]),
        (STATUS, &["status", "nobody"]),
        (health("200 OK"), &["wait"]),
        (health("200 OK"), &["healthcheck", "--ready"]),
        (health("503 Service Unavailable"), &["wait", "--max", "0s"]),
        (health("503 Service Unavailable"), &["healthcheck"]),
    ] {
        says(&place.home, answer);
        let (_, said) = place.said(words).await;
        assert!(said.contains("\\u{1b}"), "{words:?}: {said:?}");
        let steers = said.chars().any(|c| c.is_control() && c != '\n');
        assert!(!steers, "{words:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_late_is_told_from_nobody() {
    let place = Place::of(strict(600));
    let silent = UnixListener::bind(place.home.path().join("admin.sock")).unwrap();
    let (code, said) = place.said(&["status"]).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("did not answer in time") && !said.contains("no bearerd answers"), "{said}");
    drop(silent);
    let (code, said) = place.said(&["status"]).await;
    assert!(code == Some(69) && said.contains("no bearerd answers"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_ends_at_once_where_there_is_no_such_grant_and_tells_a_program_of_an_end_in_json() {
    let place = Place::of(strict(600));
    let bearerd = place.runs().await;
    place.waits_until("a token", |grant| grant["state"] == "active").await;
    let mut typo = Process::spawn(place.home.bearerd().args(["status", "typo", "--watch"]));
    assert_eq!(typo.wait().await.code(), Some(78), "{:?}", typo.log());
    let watching = Process::spawn(place.home.bearerd().args(["status", "--watch", "--json"]));
    let lines = async |count: usize| {
        let seen = async {
            while watching.output().lines().count() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        Box::pin(in_time("a line", seen)).await;
    };
    lines(1).await;
    drop(bearerd);
    lines(2).await;
    for line in watching.output().lines() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(told["format_version"], 1, "{line}");
    }
    let output = watching.output();
    let last: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(last["exit"], 69, "{output}");
    assert!(last["error"]["sentence"].as_str().unwrap().contains("answers"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_prints_no_line_for_a_look_that_shows_the_same() {
    let place = Place::of(strict(600));
    answers(&place.home, &["active", "active", "active", "degraded", "degraded", "unavailable"]);
    for json in [false, true] {
        let words = if json { &["status", "--watch", "--json"][..] } else { &["status", "--watch"][..] };
        if json {
            std::fs::remove_file(place.home.path().join("admin.sock")).unwrap();
            answers(&place.home, &["active", "active", "active", "degraded", "degraded", "unavailable"]);
        }
        let watching = Process::spawn(place.home.bearerd().args(words));
        let seen = async {
            while !watching.output().contains("unavailable") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        Box::pin(in_time("the last state", seen)).await;
        let output = watching.output();
        assert_eq!(output.lines().count(), 3, "{output}");
        if json {
            let last: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
            assert_eq!(last["grants"][0]["state"], "unavailable");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_prints_a_line_for_each_change_and_ends_well_by_ctrl_c() {
    let place = Place::of(strict(600));
    let bearerd = place.runs().await;
    place.waits_until("a token", |grant| grant["state"] == "active").await;
    let mut watching = Process::spawn(place.home.bearerd().args(["status", "--watch", "--exit-code"]));
    let lines = async |count: usize, last: &str| {
        let seen = async {
            loop {
                let lines: Vec<String> = watching.output().lines().map(str::to_owned).collect();
                if lines.len() >= count && lines.iter().any(|line| line.contains(last)) {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        Box::pin(in_time(last, seen)).await
    };
    assert!(lines(1, "default  active — ").await[0].contains("Z  default  active — token good for"));
    place.server.enable_user(false);
    place.said(&["refresh"]).await;
    lines(2, "sign_in_required").await;
    drop(bearerd);
    let said = lines(3, "no bearerd answers").await;
    assert_eq!(said.iter().filter(|line| line.contains(" active ")).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|line| line.contains("no bearerd answers")).count(), 1, "{said:?}");
    watching.signal(Signal::INT);
    assert_eq!(watching.wait().await.code(), Some(69), "--exit-code tells the last look");
    let mut watching = Process::spawn(place.home.bearerd().args(["status", "--watch"]));
    let said = async {
        while watching.output().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    Box::pin(in_time("a line", said)).await;
    watching.signal(Signal::INT);
    assert_eq!(watching.wait().await.code(), Some(0));
}
