//! What people may have done: by a command or by the page's own form, and never by another site's page.

use std::net::SocketAddr;

use bearerd::grant::refresher::Command;

use super::{Stage, get, stage};
use crate::support::in_time;
use crate::support::raw::{Peer, Reply};

const REFRESH: &str = "/api/v1/grants/default/refresh";
const LOOK: &str = "/api/v1/grants/default/look";
const SIGN_OUT: &str = "/api/v1/grants/default/sign_out";
const ACTIONS: [&str; 5] = [REFRESH, LOOK, SIGN_OUT, "/api/v1/reload", "/api/v1/stop"];

const COMMAND: &str = "Host: localhost\r\nbearerd-action: 1";
const FORM: &str = "Host: localhost\r\nContent-Type: application/x-www-form-urlencoded";

async fn post(admin: SocketAddr, path: &str, fields: &str, body: &str) -> Reply {
    let length = body.len();
    let request = format!("POST {path} HTTP/1.1\r\n{fields}\r\nContent-Length: {length}\r\n\r\n{body}");
    Peer::connect(admin).await.ask(request).await
}

/// What has been done so far is this, and nothing else.
fn nothing_was_done(stage: &mut Stage) {
    assert!(stage.told.try_recv().is_err() && stage.reloads.try_recv().is_err());
    assert!(stage.stops.try_recv().is_err() && stage.ended.try_recv().is_err());
}

/// The token that the page's forms carry.
async fn form_token(stage: &Stage) -> String {
    let page = get(stage.admin, "/").await.text();
    let (_, rest) = page.split_once("name=\"token\" value=\"").expect("a form");
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_refresh_tells_how_many_attempts_had_ended_before() {
    let mut stage = stage().await;
    let mut status = super::starting();
    status.totals.attempts.insert(("startup", "success"), 3);
    status.totals.attempts.insert(("schedule", "timeout"), 2);
    stage.board.post(status);
    let reply = post(stage.admin, REFRESH, COMMAND, "").await;
    assert_eq!(
        (reply.status(), reply.json()),
        (202, serde_json::json!({ "grant": "default", "attempts": 5 }))
    );
    assert!(matches!(stage.told.try_recv(), Ok(Command::Refresh)));
    assert_eq!(get(stage.admin, "/api/v1/status").await.json()["grants"][0]["attempts"], 5);
    assert_eq!(post(stage.admin, LOOK, COMMAND, "").await.status(), 202);
    assert!(matches!(stage.told.try_recv(), Ok(Command::Look)));
    nothing_was_done(&mut stage);
}

#[tokio::test]
async fn a_reload_is_answered_once_it_is_known_what_became_of_it() {
    let mut stage = stage().await;
    for (outcome, status) in [(Ok("In use."), 200), (Err("Line 3."), 422)] {
        let answered = async {
            let (reply, asker) = tokio::join!(post(stage.admin, "/api/v1/reload", COMMAND, ""), async {
                stage.reloads.recv().await.unwrap().send(outcome.map(str::to_owned).map_err(str::to_owned))
            });
            asker.unwrap();
            reply
        };
        let reply = in_time("an answer", answered).await;
        let report = reply.json();
        assert_eq!((reply.status(), &report["reloaded"]), (status, &outcome.is_ok().into()), "{report}");
        assert_eq!(report["sentence"], outcome.unwrap_or_else(|why| why));
    }
    let (reply, ()) = tokio::join!(post(stage.admin, "/api/v1/reload", COMMAND, ""), async {
        drop(stage.reloads.recv().await);
    });
    assert_eq!((reply.status(), reply.json()["code"].clone()), (503, "stopping".into()));
}

#[tokio::test]
async fn a_sign_out_tells_what_was_done_and_the_refresher_looks_at_once() {
    let mut stage = stage().await;
    let reply = post(stage.admin, SIGN_OUT, COMMAND, "").await;
    assert_eq!(
        (reply.status(), reply.json()),
        (200, serde_json::json!({ "revoked": true, "sentence": "Revoked." }))
    );
    assert!(stage.ended.try_recv().is_ok() && matches!(stage.told.try_recv(), Ok(Command::Look)));
    // The server cannot be told.
    stage.ended.close();
    let reply = post(stage.admin, SIGN_OUT, COMMAND, "").await;
    assert_eq!((reply.status(), reply.json()["code"].clone()), (502, "no_grant".into()));
    assert!(stage.told.try_recv().is_err());
}

#[tokio::test]
async fn a_browser_without_a_script_is_told_in_a_page_what_came_of_it() {
    let mut stage = stage().await;
    let form = format!("{FORM}\r\nAccept: text/html,application/xhtml+xml;q=0.9");
    let good = format!("token={}", form_token(&stage).await);
    let told = async |path, body: &str, fields: &str| {
        let reply = post(stage.admin, path, fields, body).await;
        assert_eq!(reply.head.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        let page = reply.text();
        assert!(page.contains("<a href=\"/\">Back to the status page</a>"), "{page}");
        (reply.status(), page)
    };
    let (status, page) = told(SIGN_OUT, &good, &form).await;
    assert!(status == 200 && page.contains("Revoked.") && page.contains("<h1>Done</h1>"), "{page}");
    assert!(stage.ended.try_recv().is_ok() && stage.told.try_recv().is_ok());
    stage.ended.close();
    let (status, page) = told(SIGN_OUT, &good, &form).await;
    assert!(
        status == 502 && page.contains("<h1>That did not work</h1>") && page.contains("channel closed"),
        "{page}"
    );
    // The page is of a process that has ended.
    let (status, page) = told(REFRESH, "token=00", &form).await;
    assert!(status == 403 && page.contains("load the page again"), "{page}");
    assert_eq!(told("/api/v1/grants/crm/sign_out", &good, &form).await.0, 404);
    assert_eq!(told(REFRESH, &"x".repeat(17 * 1024), &form).await.0, 413);
    // What a program asks for, it is told as a program.
    let reply = post(stage.admin, SIGN_OUT, &format!("{form}\r\nbearerd-action: 1"), &good).await;
    assert_eq!((reply.status(), reply.json()["code"].clone()), (502, "no_grant".into()));
    nothing_was_done_but_the_sign_out(&mut stage);
}

/// Nothing else was asked for.
fn nothing_was_done_but_the_sign_out(stage: &mut Stage) {
    assert!(
        stage.told.try_recv().is_err()
            && stage.reloads.try_recv().is_err()
            && stage.stops.try_recv().is_err()
    );
}

#[tokio::test]
async fn a_stop_is_passed_on() {
    let mut stage = stage().await;
    assert_eq!(post(stage.admin, "/api/v1/stop", COMMAND, "").await.status(), 202);
    assert!(stage.stops.try_recv().is_ok());
    nothing_was_done(&mut stage);
}

#[tokio::test]
async fn the_pages_own_form_is_let_through_and_leads_back_to_the_page() {
    let mut stage = stage().await;
    let token = form_token(&stage).await;
    let own = format!("{FORM}\r\nOrigin: http://localhost\r\nSec-Fetch-Site: same-origin");
    let reply = post(stage.admin, REFRESH, &own, &format!("token={token}")).await;
    assert_eq!((reply.status(), reply.head.header("location")), (303, Some("/")));
    assert!(matches!(stage.told.try_recv(), Ok(Command::Refresh)));
    let page = get(stage.admin, "/").await;
    assert_eq!(page.head.header("referrer-policy"), Some("same-origin"), "else its Origin would be null");
}

#[tokio::test]
async fn without_the_header_or_the_forms_token_nothing_is_done() {
    let mut stage = stage().await;
    let token = form_token(&stage).await;
    let other = "0".repeat(token.len());
    for path in ACTIONS {
        for (fields, body) in [
            ("Host: localhost", String::new()),
            ("Host: localhost\r\nbearerd-action: 0", String::new()),
            ("Host: localhost\r\nbearerd-action: 1\r\nbearerd-action: 1", String::new()),
            (FORM, String::new()),
            (FORM, "token=".to_owned()),
            (FORM, format!("token={other}")),
            (FORM, format!("token={token}0")),
            ("Host: localhost\r\nContent-Type: text/plain", format!("token={token}")),
        ] {
            let reply = post(stage.admin, path, fields, &body).await;
            assert_eq!(
                (reply.status(), reply.json()["code"].clone()),
                (403, "action_not_allowed".into()),
                "{body}"
            );
        }
    }
    nothing_was_done(&mut stage);
}

#[tokio::test]
async fn another_origin_can_neither_read_nor_act() {
    let mut stage = stage().await;
    let token = form_token(&stage).await;
    for foreign in [
        "Host: evil.test",
        "Host: evil.test\r\nOrigin: http://evil.test\r\nSec-Fetch-Site: same-origin",
        "Host: localhost\r\nOrigin: https://evil.test",
        "Host: localhost\r\nOrigin: http://localhost:1",
        "Host: localhost\r\nOrigin: null",
        "Host: localhost\r\nSec-Fetch-Site: cross-site",
        "Host: localhost\r\nSec-Fetch-Site: same-site",
    ] {
        for path in ACTIONS {
            for (more, body) in
                [("bearerd-action: 1", ""), ("Content-Type: application/x-www-form-urlencoded", &token)]
            {
                let reply =
                    post(stage.admin, path, &format!("{foreign}\r\n{more}"), &format!("token={body}")).await;
                assert_eq!(reply.status(), 403, "{path} {foreign}");
            }
            let preflight = format!(
                "OPTIONS {path} HTTP/1.1\r\n{foreign}\r\nAccess-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: bearerd-action\r\n\r\n"
            );
            let reply = Peer::connect(stage.admin).await.ask(preflight).await;
            assert_eq!(reply.status(), 403, "{path} {foreign}");
            assert_eq!(reply.head.header("access-control-allow-origin"), None);
        }
        for path in ["/", "/api/v1/status", "/metrics"] {
            let request = format!("GET {path} HTTP/1.1\r\n{foreign}\r\n\r\n");
            let reply = Peer::connect(stage.admin).await.ask(request).await;
            assert!(reply.status() == 403 && !reply.text().contains("default"), "{path} {foreign}");
            assert_eq!(reply.head.header("access-control-allow-origin"), None);
        }
    }
    nothing_was_done(&mut stage);
}

#[tokio::test]
async fn a_browser_can_open_the_page_and_ask_from_it() {
    let stage = stage().await;
    for own in ["Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin", "Origin: http://localhost"] {
        for path in ["/", "/api/v1/status"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{own}\r\n\r\n");
            assert_eq!(Peer::connect(stage.admin).await.ask(request).await.status(), 200, "{own}");
        }
    }
}

#[tokio::test]
async fn what_is_no_action_is_refused_in_kind() {
    let mut stage = stage().await;
    for path in ACTIONS {
        let reply = get(stage.admin, path).await;
        assert_eq!((reply.status(), reply.head.header("allow")), (405, Some("POST")), "{path}");
        assert_eq!(reply.json()["code"], "method_not_allowed");
        let probes = format!("POST {path} HTTP/1.1\r\n{COMMAND}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(Peer::connect(stage.probes).await.ask(probes).await.status(), 404, "{path}");
    }
    let reply = post(stage.admin, "/api/v1/grants/crm/refresh", COMMAND, "").await;
    assert_eq!((reply.status(), reply.json()["code"].clone()), (404, "no_such_grant".into()));
    assert!(reply.json()["sentence"].as_str().unwrap().contains("`default`"));
    let reply = post(stage.admin, "/api/v1/grants/default/forget", COMMAND, "").await;
    assert_eq!((reply.status(), reply.json()["code"].clone()), (404, "no_such_page".into()));
    let reply = post(stage.admin, REFRESH, COMMAND, &"x".repeat(17 * 1024)).await;
    assert_eq!((reply.status(), reply.json()["code"].clone()), (413, "body_too_large".into()));
    // The refresher of `spare` has ended.
    let reply = post(stage.admin, "/api/v1/grants/spare/refresh", COMMAND, "").await;
    assert_eq!((reply.status(), reply.json()["code"].clone()), (503, "stopping".into()));
    nothing_was_done(&mut stage);
}
