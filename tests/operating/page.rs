//! The status page as it is sent, and what is told of it as it changes.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use bearerd::admin::Requests;
use bearerd::grant::status::{Problem, State, Status};
use bearerd::store::GrantEnd;
use serde_json::Value;

use super::{Overview, Stage, as_told, get, stage, usable};
use crate::support::in_time;
use crate::support::raw::Peer;

const EVENTS: &str = "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What stands between these, the first time.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    text.split_once(begin).unwrap().1.split_once(end).unwrap().0
}

#[tokio::test]
async fn what_is_shown_is_escaped_and_nothing_runs_but_the_pages_own_script() {
    let stage = stage().await;
    let problem = Problem { code: "invalid_grant", sentence: "<script>alert(1)</script> `a`".to_owned() };
    stage.board.post(Status { problem: Some(problem), ..usable(State::SignInRequired) });
    let reply = get(stage.admin, "/").await;
    let page = reply.text();
    assert!(
        page.contains("Sign-in needed") && page.contains("&lt;script&gt;") && page.contains("/&lt;a&gt;")
    );
    assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1));
    assert!(page.contains("<code>bearerd login</code>"), "what to do, to the letter");
    for tag in page.split('<') {
        let tag = tag.split_once('>').map_or(tag, |(tag, _)| tag);
        assert!(tag.matches(" class=").count() <= 1, "an attribute stands once: {tag}");
    }

    let policy = reply.head.header("content-security-policy").unwrap();
    for (directive, begin, end) in
        [("style-src", "<style>", "</style>"), ("script-src", "<script>", "</script>")]
    {
        let digest = digest(&SHA256, between(&page, begin, end).as_bytes());
        let digest = base64::engine::general_purpose::STANDARD.encode(digest);
        assert!(policy.contains(&format!("{directive} 'sha256-{digest}';")), "{policy}");
    }
    assert!(
        policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe") && !policy.contains("http")
    );
    for directive in ["connect-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
    {
        assert!(policy.contains(directive), "{policy}");
    }
    for foreign in ["src=\"", "href=\"http", "href=\"//", "style=\"", "onclick", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(reply.head.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_page_without_a_script_is_loaded_again_by_whoever_wants_that() {
    let stage = stage().await;
    let has_refresh =
        async |path| get(stage.admin, path).await.text().contains("<noscript><meta http-equiv=\"refresh\"");
    assert!(!has_refresh("/").await, "nobody's reading is cut short");
    assert!(has_refresh("/?every=10").await);
}

#[tokio::test]
async fn the_last_requests_are_told_without_their_secrets() {
    let stage = stage().await;
    let report = get(stage.admin, "/api/v1/requests").await.json();
    let requests = report["requests"].as_array().unwrap();
    assert_eq!((&report["kept"], requests.len()), (&200.into(), 60));
    assert_eq!((&requests[0]["path"], &requests[59]["path"]), (&"/number/59".into(), &"/number/0".into()));
    assert_eq!(
        (&requests[0]["answered_by"], &requests[0]["code"]),
        (&"proxy".into(), &"token_unavailable".into())
    );
    assert_eq!((&requests[1]["answered_by"], &requests[1]["renewed"]), (&"upstream".into(), &true.into()));
    assert_eq!(requests[2]["at"], "2027-01-15T08:00:57Z");
    let page = get(stage.admin, "/").await.text();
    assert!(page.contains("50 earlier") && page.contains("401, refreshed,"));

    let off = Overview { requests: Requests::new(0, || vec![as_told(super::requests())]), ..copy(&stage) };
    stage.overview.store(off.into());
    assert!(!get(stage.admin, "/").await.text().contains("Recent requests"));
    assert_eq!(get(stage.admin, "/api/v1/requests").await.json()["requests"], Value::Array(Vec::new()));
}

fn copy(stage: &Stage) -> Overview {
    Overview::clone(&stage.overview.load())
}

/// Somebody who is told what changes.
async fn listener(stage: &Stage) -> Peer {
    let mut peer = Peer::connect(stage.admin).await;
    peer.send(EVENTS).await;
    let head = peer.head().await;
    assert_eq!((head.status(), head.header("content-type")), (200, Some("text/event-stream")));
    peer
}

/// The next event, as JSON.
async fn event(peer: &mut Peer) -> Value {
    let mut bytes = Vec::new();
    let whole = async {
        while !bytes.ends_with(b"}\n\n\r\n") {
            bytes.extend(peer.take(1).await);
        }
    };
    in_time("an event", whole).await;
    let text = String::from_utf8(bytes).unwrap();
    serde_json::from_str(&text[text.find("data: ").unwrap() + 6..text.rfind('}').unwrap() + 1]).unwrap()
}

#[tokio::test]
async fn what_changes_is_told_and_nothing_else() {
    let stage = stage().await;
    stage.board.post(usable(State::Active));
    let page = get(stage.admin, "/").await.text();
    let mut peer = listener(&stage).await;
    let first = event(&mut peer).await;
    let ids: Vec<&String> = first["parts"].as_object().unwrap().keys().collect();
    assert_eq!(
        page.matches("class=\"live").count() + page.matches(" live\"").count(),
        ids.len(),
        "the first tells all"
    );
    for id in ids {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        assert!(page.contains(first["parts"][id].as_str().unwrap()), "{id} is as it was sent");
    }
    assert_eq!(first["edition"], between(&page, "data-edition=\"", "\""));

    let problem = Problem { code: "lost_rotation", sentence: "Lost.".to_owned() };
    stage.board.post(Status { problem: Some(problem), ..usable(State::SignInRequired) });
    let next = event(&mut peer).await;
    let changed: Vec<&String> = next["parts"].as_object().unwrap().keys().collect();
    let changed: Vec<&String> = changed.into_iter().filter(|id| *id != "up").collect();
    assert_eq!(changed, ["verdict", "announce", "default-state", "default-life", "default-problem"]);
    assert!(next["title"].as_str().unwrap().starts_with("Sign-in needed"), "{next}");
    assert_eq!(next["edition"], first["edition"]);
}

#[tokio::test]
async fn what_stands_still_on_the_page_makes_another_page_once_it_changes() {
    let stage = stage().await;
    let mut editions = BTreeSet::new();
    let mut peer = listener(&stage).await;
    editions.insert(event(&mut peer).await["edition"].to_string());
    let changes: [fn(&mut Overview); 5] = [
        |overview| overview.routes[0].upstream = "https://other.test".to_owned(),
        |overview| overview.config_file = Some("/etc/other.toml".into()),
        |overview| drop(overview.grants.pop()),
        |overview| overview.requests = Requests::new(0, Vec::new),
        |overview| overview.started = overview.started.minus(Duration::from_secs(1)),
    ];
    for (done, change) in changes.iter().enumerate() {
        let mut overview = copy(&stage);
        change(&mut overview);
        stage.overview.store(overview.into());
        let edition = event(&mut peer).await["edition"].to_string();
        assert!(editions.insert(edition.clone()), "after {done} changes");
        let page = get(stage.admin, "/").await.text();
        assert_eq!(format!("\"{}\"", between(&page, "data-edition=\"", "\"")), edition);
    }
}

#[tokio::test]
async fn the_end_of_a_sign_in_is_told_and_warned_of() {
    let stage = stage().await;
    let day = Duration::from_secs(86_400);
    let told = async |left: Duration| {
        let grant_end =
            Some(GrantEnd { told: super::NOW.wall.saturating_sub(day * 30), at: super::NOW.wall + left });
        stage.board.post(Status { grant_end, ..usable(State::Active) });
        get(stage.admin, "/").await.text()
    };
    let page = told(day * 15).await;
    assert!(page.contains("<dt>Sign-in ends</dt><dd><time datetime=\"2027-01-30T08:00:00Z\""), "{page}");
    assert!(!page.contains("puts that off"), "there is time");
    let page = told(day * 13).await;
    assert!(
        page.contains("The sign-in ends in 1") && page.contains(" days, and no refresh puts that off"),
        "{page}"
    );
    stage.board.post(usable(State::Active));
    assert!(!get(stage.admin, "/").await.text().contains("Sign-in ends"), "the server has not said");
}

#[tokio::test]
async fn a_grant_that_may_be_gone_is_told_on_the_page_to_programs_and_to_whoever_measures() {
    let stage = stage().await;
    for reauth_suspected in [false, true] {
        stage.board.post(Status { reauth_suspected, ..usable(State::Degraded) });
        let page = get(stage.admin, "/").await.text();
        let problem = between(&page, "id=\"default-problem\"", "</dl>");
        assert_eq!(problem.contains("Some servers answer so for ever"), reauth_suspected, "{problem}");
        assert_eq!(problem.contains("<code>bearerd login</code>"), reauth_suspected, "{problem}");
        let report = get(stage.admin, "/api/v1/status").await.json();
        assert_eq!(report["grants"][0]["reauth_suspected"], reauth_suspected);
        let sample =
            format!("bearerd_reauth_suspected{{grant=\"default\"}} {}.0", u8::from(reauth_suspected));
        let scrape = get(stage.probes, "/metrics").await.text();
        assert!(scrape.lines().any(|line| line == sample), "{sample} in\n{scrape}");
    }
}

#[tokio::test]
async fn the_command_that_signs_in_names_the_file_that_is_meant() {
    let stage = stage().await;
    for (file, command) in [
        ("/etc/bearerd/proxy.toml", "bearerd login -c /etc/bearerd/proxy.toml"),
        ("/my files/proxy.toml", "bearerd login -c &#39;/my files/proxy.toml&#39;"),
    ] {
        stage.overview.store(Overview { config_file: Some(file.into()), ..copy(&stage) }.into());
        let page = get(stage.admin, "/").await.text().replace("'", "&#39;");
        assert!(page.contains(&format!("<code>{command}</code>")), "{command}");
        assert!(page.contains("where bearerd keeps this grant"));
    }
}

#[tokio::test]
async fn a_link_of_another_site_leads_to_a_page_that_leads_on_and_shows_nothing() {
    let stage = stage().await;
    stage.board.post(usable(State::Active));
    let ask = async |path: &str, fields: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n{fields}\r\n\r\n"
        );
        Peer::connect(stage.admin).await.ask(request).await
    };
    let link = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document";
    let reply = ask("/", link).await;
    let page = reply.text();
    assert_eq!((reply.status(), reply.head.header("content-type")), (403, Some("text/html; charset=utf-8")));
    assert!(page.contains("Another site's link led here") && page.contains("<a href=\"/\">"), "{page}");
    let shown = page.split("</style>").last().unwrap();
    for hidden in ["default", "billing", "token\"", "<script", "<form", env!("CARGO_PKG_VERSION")] {
        assert!(!shown.contains(hidden), "{hidden}");
    }
    assert!(reply.head.header("proxy-status").unwrap().contains("origin_not_allowed"));
    for (path, fields) in [
        ("/api/v1/status", link),
        ("/", "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe"),
        ("/", "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: document"),
        ("/", "Sec-Fetch-Mode: cors"),
    ] {
        let reply = ask(path, fields).await;
        let (status, told) = (reply.status(), reply.json());
        assert_eq!((status, &told["code"]), (403, &"origin_not_allowed".into()), "{path} {fields}");
        let sentence = told["sentence"].as_str().unwrap();
        assert!(
            sentence.contains("another site") && !sentence.contains("guard."),
            "no advice for the proxy: {sentence}"
        );
    }
}

#[tokio::test]
async fn every_answer_forbids_to_be_kept_sniffed_framed_or_embedded() {
    let stage = stage().await;
    for (fields, path) in [
        ("Host: localhost", "/"),
        ("Host: localhost", "/icon.svg"),
        ("Host: localhost", "/api/v1/status"),
        ("Host: localhost", "/no_such_page"),
        ("Host: evil.test", "/"),
        ("Host: localhost\r\nOrigin: https://evil.test", "/"),
        (
            "Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document",
            "/",
        ),
        ("Host: localhost\r\nHost: localhost", "/"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n");
        let reply = Peer::connect(stage.admin).await.ask(request).await;
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "same-origin"),
        ] {
            assert_eq!(reply.head.header(name), Some(value), "{fields} {path}");
        }
        let policy = reply.head.header("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{fields} {path}");
    }
}

#[tokio::test]
async fn who_listens_has_a_place_that_is_bounded_and_that_nobody_takes() {
    let stage = stage().await;
    let mut listeners = Vec::new();
    for _ in 0..16 {
        listeners.push(listener(&stage).await);
        event(listeners.last_mut().unwrap()).await;
    }
    let one_more = async || Peer::connect(stage.admin).await.ask_if_open(EVENTS).await.unwrap();
    let reply = one_more().await;
    assert_eq!((reply.status(), reply.json()["code"].clone()), (503, "overloaded".into()));
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(Peer::connect(stage.admin).await);
    }
    assert_eq!(get(stage.admin, "/livez").await.status(), 200);
    stage.board.post(usable(State::Active));
    for listener in &mut listeners {
        event(listener).await;
    }
    drop(listeners.pop());
    let freed = async {
        loop {
            let mut peer = Peer::connect(stage.admin).await;
            peer.send(EVENTS).await;
            if peer.head().await.status() == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time("a place", freed).await;
}
