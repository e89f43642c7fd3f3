//! What Authgear does beside answering: limits, revocation, failures, connections.

use std::time::Duration;

use bearerd::clock::Stopwatch;

use super::{TOKEN, clients, connect, error, handled, normal, refresh, with_headers};
use crate::support::authorization_server::{AuthorizationServer, Fault, Phase, Stage, TokenState};
use crate::support::raw::{Peer, post};

const LIMITED: &str =
    "{\"error\":\"x_rate_limited\",\"error_description\":\"rate limit exceeded, please try again later.\"}";

#[tokio::test]
async fn a_user_has_60_refreshes_in_a_burst_and_a_refused_one_burns_nothing() {
    let options = AuthorizationServer::authgear().refresh_takes(Duration::ZERO);
    let server = clients(options);
    let token = server.seed("calm");
    let (mut peer, host) = connect(&server).await;
    let form = format!("grant_type=refresh_token&client_id=calm&refresh_token={token}");
    let (begin, mut passed) = (Stopwatch::start(), 0);
    let refused = loop {
        let reply = peer.post(TOKEN, &host, &form).await;
        if reply.status() != 200 {
            break reply;
        }
        passed += 1;
    };
    let refilled = begin.elapsed().as_secs() as usize + 1;
    assert!((60..=60 + refilled).contains(&passed), "{passed}");
    assert_eq!(normal(&refused), handled("429 Too Many Requests", LIMITED));
    assert_eq!(LIMITED.len() + 1, 94, "as long as observed");
    assert_eq!(server.current_refresh_token(&token), Some(token));
}

#[tokio::test]
async fn an_address_has_120_requests_in_a_burst_whatever_they_come_to() {
    let server = clients(AuthorizationServer::authgear().trust_proxy());
    let (mut peer, host) = connect(&server).await;
    let (begin, mut passed) = (Stopwatch::start(), 0);
    let refused = loop {
        let reply = peer.post(TOKEN, &host, "client_id=nope").await;
        if reply.status() != 400 {
            break reply;
        }
        passed += 1;
    };
    let refilled = begin.elapsed().as_millis() as usize / 500 + 1;
    assert!((120..=120 + refilled).contains(&passed), "{passed}");
    assert_eq!(normal(&refused), handled("429 Too Many Requests", LIMITED));
    assert_eq!(refused.head.header("retry-after"), None);
    let elsewhere = with_headers(&host, "X-Forwarded-For: 192.0.2.7, 10.0.0.1", "client_id=nope");
    assert_eq!(peer.ask(elsewhere).await.status(), 400, "another address has a bucket of its own");
    assert_eq!(peer.post("/oauth2/revoke", &host, "token=x").await.status(), 200, "revocation has none");
}

#[tokio::test]
async fn revoking_the_current_refresh_token_ends_its_access_tokens_too() {
    let server = clients(AuthorizationServer::authgear());
    let first = server.seed("app");
    let reply = refresh(&server, "app", &first).await.json();
    let (access, current) =
        (reply["access_token"].as_str().unwrap(), reply["refresh_token"].as_str().unwrap());
    let (mut peer, host) = connect(&server).await;
    for nothing in [&format!("token={first}"), "token=garbage", ""] {
        let reply = peer.post("/oauth2/revoke", &host, nothing).await;
        assert_eq!((reply.status(), reply.head.header("content-length")), (200, Some("0")));
        assert_eq!(reply.head.header("content-type"), None);
        assert_eq!(server.state_of(access), TokenState::Active, "{nothing:?} does nothing");
    }
    let userinfo = |scheme: &str| {
        format!("GET /oauth2/userinfo HTTP/1.1\r\nHost: {host}\r\nAuthorization: {scheme} {access}\r\n\r\n")
    };
    assert_eq!(peer.ask(userinfo("bEaReR")).await.status(), 200);
    let revoked = peer.post("/oauth2/revoke", &host, &format!("token={current}&client_id=nope")).await;
    assert_eq!(revoked.status(), 200);
    let refused = refresh(&server, "app", current).await;
    assert_eq!(normal(&refused), error("invalid_grant", "invalid refresh token"));
    let refused = peer.ask(userinfo("Bearer")).await;
    assert_eq!((refused.status(), refused.head.header("content-length")), (401, Some("64")));
    assert_eq!(refused.text(), "{\"error\":\"invalid_grant\",\"error_description\":\"invalid session\"}\n");
    assert_eq!(
        refused.head.header("www-authenticate"),
        Some("Bearer error=\"invalid_grant\", error_description=\"invalid session\"")
    );
    assert_eq!(refused.head.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn revocation_asks_for_no_client_and_ends_jwts_with_their_grant() {
    let server = clients(AuthorizationServer::authgear().jwt());
    let token = server.seed("conf-rot");
    let reply = refresh(&server, "conf-rot", &token).await.json();
    let (access, current) =
        (reply["access_token"].as_str().unwrap(), reply["refresh_token"].as_str().unwrap());
    let (mut peer, host) = connect(&server).await;
    for _ in 0..2 {
        let revoked = peer.post("/oauth2/revoke", &host, &format!("token={current}")).await;
        assert_eq!((revoked.status(), revoked.body.len()), (200, 0), "again it is a 200");
        assert_eq!(server.state_of(access), TokenState::Revoked);
    }
}

#[tokio::test]
async fn userinfo_refuses_whatever_is_no_good_bearer_token_in_the_same_words() {
    let server = clients(AuthorizationServer::authgear().expires_in(0));
    let token = server.seed("calm");
    let expired = refresh(&server, "calm", &token).await.json()["access_token"].as_str().unwrap().to_owned();
    server.set_expires_in(60);
    let good = refresh(&server, "calm", &token).await.json()["access_token"].as_str().unwrap().to_owned();
    let (mut peer, host) = connect(&server).await;
    let body = "{\"error\":\"invalid_grant\",\"error_description\":\"invalid session\"}\n";
    for authorization in [
        "Authorization: Bearer garbage".to_owned(),
        format!("Authorization: Bearer {expired}"),
        format!("Authorization: Basic {good}"),
        format!("Authorization: DPoP {good}"),
        "X-Nothing: x".to_owned(),
    ] {
        let request = format!("GET /oauth2/userinfo HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n\r\n");
        let refused = normal(&peer.ask(request).await);
        let expected = handled("401 Unauthorized", body.trim_end())
            .replace("Cache-Control: no-store\r\n", "")
            .replace("Pragma: no-cache\r\n", "")
            .replace("Content-Type: application/json", "Content-Type: text/plain; charset=utf-8")
            .replace(
                "X-Content-Type-Options",
                "Www-Authenticate: Bearer error=\"invalid_grant\", error_description=\"invalid session\"\r\n\
                 X-Content-Type-Options",
            );
        assert_eq!(refused, expected, "{authorization}");
    }
    let request =
        format!("GET /oauth2/userinfo HTTP/1.1\r\nHost: {host}\r\nAuthorization: bearer {good}\r\n\r\n");
    assert_eq!(peer.ask(request).await.status(), 200);
}

#[tokio::test]
async fn an_opaque_access_token_can_be_revoked_and_a_jwt_cannot() {
    for (options, state) in [
        (AuthorizationServer::authgear(), TokenState::Revoked),
        (AuthorizationServer::authgear().jwt(), TokenState::Active),
    ] {
        let server = clients(options);
        let token = server.seed("calm");
        let access =
            refresh(&server, "calm", &token).await.json()["access_token"].as_str().unwrap().to_owned();
        let (mut peer, host) = connect(&server).await;
        peer.post("/oauth2/revoke", &host, &format!("token={access}")).await;
        assert_eq!(server.state_of(&access), state);
        assert_eq!(refresh(&server, "calm", &token).await.status(), 200, "the refresh token lives");
    }
}

#[tokio::test]
async fn a_disabled_user_s_token_is_refused_and_works_again_later() {
    let server = clients(AuthorizationServer::authgear());
    let token = server.seed("app");
    server.enable_user(false);
    let refused = refresh(&server, "app", &token).await;
    assert_eq!(normal(&refused), error("invalid_grant", "invalid refresh token"));
    server.enable_user(true);
    assert_eq!(refresh(&server, "app", &token).await.status(), 200);
}

#[tokio::test]
async fn failures_are_told_in_authgear_s_shapes_and_rotation_is_not_undone() {
    let object = "{\"error\":{\"name\":\"InternalError\",\"reason\":\"UnexpectedError\",\
        \"message\":\"unexpected error occurred\",\"code\":500,\"tracking_id\":\"<tracking>\"}}\n";
    let server_error = "{\"error\":\"server_error\",\"error_description\":\"internal server error\"}";
    let veto = "access token generation is disallowed by hook";
    for phase in [Phase::BeforeProcessing, Phase::AfterProcessing] {
        let server = clients(AuthorizationServer::authgear());
        let mut token = server.seed("app");
        for fault in [Fault::ErrorAsObject, Fault::ServerError, Fault::HookVeto] {
            server.fault_once(fault, phase);
            let reply = refresh(&server, "app", &token).await;
            match fault {
                Fault::ErrorAsObject => {
                    assert_eq!((reply.status(), reply.head.header("cache-control")), (500, None));
                    assert_eq!(normal(&reply).split("\r\n\r\n").nth(1), Some(object));
                }
                Fault::ServerError => {
                    assert_eq!(normal(&reply), handled("500 Internal Server Error", server_error));
                }
                _ => assert_eq!(normal(&reply), error("server_error", veto)),
            }
            let spent = server.current_refresh_token(&token) != Some(token.clone());
            assert_eq!(spent, phase == Phase::AfterProcessing, "{fault:?} {phase:?}");
            token = server.current_refresh_token(&token).unwrap();
        }
        assert_eq!(refresh(&server, "app", &token).await.status(), 200, "healed by itself");
    }
}

#[tokio::test]
async fn connections_are_kept_and_old_clients_are_understood() {
    let server = clients(AuthorizationServer::authgear());
    let (mut peer, host) = connect(&server).await;
    for _ in 0..2 {
        let reply = peer.post(TOKEN, &host, "client_id=nope").await;
        assert_eq!((reply.head.header("connection"), reply.head.header("keep-alive")), (None, None));
    }
    let expecting = with_headers(&host, "Expect: 100-continue", "client_id=nope");
    assert_eq!(peer.ask(expecting).await.status(), 100);
    assert_eq!(peer.reply().await.status(), 400);
    assert!(server.requests().iter().all(|one| one.connection == 0));

    let cookie = peer.ask(with_headers(&host, "Cookie: a=b; csp_nonce=x", "client_id=nope")).await;
    assert_eq!(cookie.head.header("set-cookie"), None, "a nonce that is there stays");
    let old = post(TOKEN, &host, "client_id=nope").replace("HTTP/1.1", "HTTP/1.0");
    let reply = peer.ask(old).await;
    assert_eq!(reply.head.start, "HTTP/1.0 400 Bad Request");
    assert_eq!(peer.rest().await.0, b"", "and the connection is closed");
}

#[tokio::test]
async fn only_the_origin_of_a_redirect_uri_may_call_from_a_browser() {
    let server = clients(AuthorizationServer::authgear().web_origin("http://127.0.0.1:8976"));
    let (mut peer, host) = connect(&server).await;
    let from = |origin: &str| with_headers(&host, &format!("Origin: {origin}"), "client_id=nope");
    let known = peer.ask(from("http://127.0.0.1:8976")).await;
    assert_eq!(known.head.header("access-control-allow-origin"), Some("http://127.0.0.1:8976"));
    assert_eq!(known.head.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(known.head.header("access-control-max-age"), Some("900"));
    let preflight = from("http://127.0.0.1:8976").replacen("POST", "OPTIONS", 1);
    let preflight = peer.ask(preflight).await;
    assert_eq!((preflight.status(), preflight.head.header("content-length")), (200, Some("0")));
    assert_eq!(preflight.head.header("access-control-allow-origin"), Some("http://127.0.0.1:8976"));
    let unknown = peer.ask(from("http://evil.example")).await;
    assert_eq!((unknown.status(), unknown.head.header("access-control-allow-origin")), (400, None));
}

#[tokio::test]
async fn a_machine_asks_for_itself_five_times_a_minute() {
    let server = clients(AuthorizationServer::authgear());
    let (mut peer, host) = connect(&server).await;
    let known = "grant_type=client_credentials&client_id=machine&client_secret=s3cret";
    let resource = "resource=https%3A%2F%2Fapi.example%2F";
    for (form, expected) in [
        (
            "grant_type=client_credentials&client_id=app".to_owned(),
            error("unauthorized_client", "grant type is not allowed for this client"),
        ),
        (
            format!("grant_type=client_credentials&client_id=machine&{resource}"),
            error("invalid_client", "client secret is required"),
        ),
        (format!("{known}x&{resource}"), error("invalid_request", "invalid client secret")),
        (known.to_owned(), error("invalid_target", "resource is required")),
        (format!("{known}&resource=x"), error("invalid_target", "resource not found")),
        (
            format!("{known}&{resource}&scope=read+nope"),
            error("invalid_scope", "specified scope is not allowed: nope"),
        ),
    ] {
        assert_eq!(normal(&peer.post(TOKEN, &host, &form).await), expected, "{form}");
    }
    let first = peer.post(TOKEN, &host, &format!("{known}&{resource}")).await.json();
    let keys: Vec<_> = first.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["access_token", "expires_in", "scope", "token_type"]);
    assert_eq!(first["scope"], "read write");
    let narrow = peer.post(TOKEN, &host, &format!("{known}&{resource}&scope=read")).await.json();
    assert_eq!(narrow["scope"], "read");
    for _ in 0..3 {
        assert_eq!(peer.post(TOKEN, &host, &format!("{known}&{resource}")).await.status(), 200);
    }
    let sixth = peer.post(TOKEN, &host, &format!("{known}&{resource}")).await;
    assert_eq!(normal(&sixth), handled("429 Too Many Requests", LIMITED));
    let confidential = "grant_type=client_credentials&client_id=conf-rot&client_secret=s3cret";
    let opaque = peer.post(TOKEN, &host, confidential).await.json();
    assert_eq!((opaque["access_token"].as_str().unwrap().len(), &opaque["scope"]), (32, &"".into()));
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_has_its_token_replaced_all_the_same() {
    let server = clients(AuthorizationServer::authgear());
    let token = server.seed("app");
    server.fault_once(Fault::Hang, Phase::AfterProcessing);
    let (mut peer, host) = connect(&server).await;
    peer.send(post(TOKEN, &host, &format!("grant_type=refresh_token&client_id=app&refresh_token={token}")))
        .await;
    server.wait_for("a request that is held", |log| log.iter().any(|one| one.stage == Stage::Held)).await;
    peer.reset();
    let seen = |stage| move |log: &[crate::support::authorization_server::Exchange]| log[0].stage == stage;
    let log = server.wait_for("the client's leaving", seen(Stage::Abandoned)).await;
    assert_eq!((log[0].written, log[0].presented()), (0, Some(token.as_str())));
    assert_eq!(log[0].refresh_token, server.current_refresh_token(&token));
    assert_ne!(log[0].refresh_token, Some(token));
    drop(Peer::connect(server.address()).await);
}
