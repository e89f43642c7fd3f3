//! The status page as it is sent, and what is told of it as it changes.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use bearerd::admin::Requests;
use bearerd::grant::status::{Problem, State, Status};
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
    let ids: BTreeSet<&str> =
        first["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(
        ids,
        first["parts"].as_object().unwrap().keys().map(String::as_str).collect(),
        "the first tells all"
    );
    assert_eq!(page.matches("class=\"live").count() + page.matches(" live\"").count(), ids.len());
    for id in ids {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        assert!(page.contains(first["parts"][id].as_str().unwrap()), "{id} is as it was sent");
    }

    let problem = Problem { code: "lost_rotation", sentence: "Lost.".to_owned() };
    stage.board.post(Status { problem: Some(problem), ..usable(State::SignInRequired) });
    let next = event(&mut peer).await;
    let changed: Vec<&String> = next["parts"].as_object().unwrap().keys().collect();
    let changed: Vec<&String> = changed.into_iter().filter(|id| *id != "up").collect();
    assert_eq!(changed, ["verdict", "announce", "default-state", "default-life", "default-problem"]);
    assert!(next["title"].as_str().unwrap().starts_with("Sign-in needed"), "{next}");
    assert_eq!(next["ids"], first["ids"]);

    // Other grants: another page.
    let mut overview = copy(&stage);
    overview.grants.pop();
    stage.overview.store(overview.into());
    assert_ne!(event(&mut peer).await["ids"], first["ids"]);
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
