//! Each fault in both phases: before the server has processed the request, and after it has rotated.

use std::time::Duration;

use super::{refresh, text};
use crate::support::authorization_server::{AuthorizationServer, Exchange, Fault, Phase, Stage};
use crate::support::raw::{End, Peer, post};

const PHASES: [Phase; 2] = [Phase::BeforeProcessing, Phase::AfterProcessing];

/// Sends a refresh and does not wait for its answer.
async fn send(server: &AuthorizationServer, token: &str) -> Peer {
    let mut peer = Peer::connect(server.address()).await;
    let form = format!("grant_type=refresh_token&client_id=app&refresh_token={token}");
    peer.send(post("/token", "id.test", &form)).await;
    peer
}

/// Whether the server replaced this token, going by its memory and by what it noted of the request.
fn was_rotated(server: &AuthorizationServer, token: &str) -> bool {
    let log = server.redeems();
    let last: &Exchange = log.last().unwrap();
    let current = server.current_refresh_token(token);
    assert_eq!(last.refresh_token.is_some(), current.as_deref() != Some(token));
    assert_eq!(last.rotated_at.is_some(), last.refresh_token.is_some());
    last.refresh_token.is_some()
}

#[tokio::test]
async fn error_answers_hide_whether_the_token_was_replaced() {
    let rows = [
        (Fault::ServerError, 500, "\"server_error\"", None),
        (Fault::ErrorAsObject, 500, "{\"error\":{", None),
        (Fault::ErrorPage, 500, "<h1>", None),
        (Fault::HookVeto, 400, "\"server_error\"", None),
        (Fault::Forbidden, 403, "<h1>", None),
        (Fault::TooManyRequests(None), 429, "\"slow_down\"", None),
        (Fault::TooManyRequests(Some(7)), 429, "\"slow_down\"", Some("7")),
        (Fault::Unavailable(Some(3)), 503, "temporarily_unavailable", Some("3")),
    ];
    for (fault, status, part, retry_after) in rows {
        for phase in PHASES {
            let server = AuthorizationServer::strict().start();
            let token = server.seed("app");
            server.fault(fault, phase);
            let reply = refresh(&server, &token).await;
            assert_eq!(reply.status(), status, "{fault:?}");
            assert!(reply.text().contains(part), "{}", reply.text());
            assert_eq!(reply.head.header("retry-after"), retry_after);
            assert_eq!(was_rotated(&server, &token), phase == Phase::AfterProcessing, "{fault:?}");
            server.heal();
            let again = refresh(&server, &token).await.status();
            assert_eq!(again, if phase == Phase::BeforeProcessing { 200 } else { 400 });
        }
    }
}

#[tokio::test]
async fn broken_connections_break_where_they_are_told_to() {
    for phase in PHASES {
        for fault in [Fault::Close, Fault::Reset, Fault::Garbage, Fault::Truncate(0), Fault::Truncate(20)] {
            let server = AuthorizationServer::strict().start();
            let token = server.seed("app");
            server.fault_once(fault, phase);
            let (bytes, end) = send(&server, &token).await.rest().await;
            assert_eq!(end, if fault == Fault::Reset { End::Reset } else { End::Closed }, "{fault:?}");
            let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            match fault {
                Fault::Garbage => assert!(!bytes.starts_with(b"HTTP")),
                Fault::Truncate(length) => {
                    assert!(bytes.starts_with(b"HTTP/1.1 200 OK"), "it looked good");
                    assert_eq!(bytes.len() - head_end.unwrap(), length);
                }
                _ => assert_eq!(bytes, b"", "{fault:?}"),
            }
            let broken = server.next_redeem(0).await;
            assert_eq!((broken.written, broken.fault), (bytes.len(), Some((fault, phase))));
            assert_eq!(broken.stage, Stage::Broken);
            assert_eq!(was_rotated(&server, &token), phase == Phase::AfterProcessing);
            let current = server.current_refresh_token(&token).unwrap();
            assert_eq!(refresh(&server, &current).await.status(), 200, "it was to happen once");
        }
    }
}

#[tokio::test]
async fn what_hangs_goes_on_when_it_is_released() {
    for phase in PHASES {
        let server = AuthorizationServer::strict().start();
        let token = server.seed("app");
        server.fault_once(Fault::Hang, phase);
        let mut peer = send(&server, &token).await;
        let held = |log: &[Exchange]| log.iter().any(|one| one.stage == Stage::Held);
        server.wait_for("a request that is held", held).await;
        assert_eq!(was_rotated(&server, &token), phase == Phase::AfterProcessing);
        server.release();
        let body = peer.reply().await.json();
        assert_eq!(server.current_refresh_token(&token).as_deref(), Some(text(&body, "refresh_token")));
        let log = server.wait_for_redeems(1).await;
        assert!(log[0].last_byte_at.unwrap().boot >= log[0].rotated_at.unwrap().boot);
    }
}

#[tokio::test]
async fn a_client_that_left_is_not_served_when_the_server_heals() {
    let server = AuthorizationServer::strict().start();
    let token = server.seed("app");
    server.fault(Fault::Hang, Phase::BeforeProcessing);
    drop(send(&server, &token).await);
    let left = |log: &[Exchange]| log.iter().any(|one| one.stage == Stage::Abandoned);
    server.wait_for("the client's leaving", left).await;
    server.heal();
    assert!(!was_rotated(&server, &token));
    assert_eq!(refresh(&server, &token).await.status(), 200);
}

#[tokio::test]
async fn a_dribble_arrives_whole_in_the_end() {
    for phase in PHASES {
        let server = AuthorizationServer::strict().start();
        let token = server.seed("app");
        server.fault(Fault::Dribble(Duration::from_secs(3600)), phase);
        let mut peer = send(&server, &token).await;
        assert_eq!(peer.take(1).await, b"H");
        server.wait_for("one byte and no more", |log| log[0].written == 1).await;
        server.heal();
        let rest = peer.reply().await;
        assert_eq!(rest.head.status(), if phase == Phase::AfterProcessing { 200 } else { 503 });
        assert_eq!(rest.json().get("access_token").is_some(), phase == Phase::AfterProcessing);
    }
}

#[tokio::test]
async fn metadata_can_fail_by_themselves() {
    let server = AuthorizationServer::strict().start();
    let token = server.seed("app");
    server.fault_discovery(Fault::ErrorPage);
    let path = "/.well-known/oauth-authorization-server";
    let mut peer = Peer::connect(server.address()).await;
    assert_eq!(peer.get(path, "id.test").await.status(), 500);
    assert_eq!(refresh(&server, &token).await.status(), 200);
    server.heal();
    assert_eq!(peer.get(path, "id.test").await.status(), 200);
}
