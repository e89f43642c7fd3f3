//! The authorization server of the tests answers as Authgear was observed, byte for byte.
//!
//! Rows are told as the wire has them; what differs from answer to answer is written `<32>` (nonce), `...` (date, and
//! the long constant of `Permissions-Policy`) and `<tracking>`.

mod addressing;
mod authorizing;
mod conduct;
mod credentials;
mod crowds;
mod proofs;

use std::time::Duration;

use crate::support::authorization_server::{AuthorizationServer, Client, Options, TokenState};
use crate::support::raw::{Peer, Reply, post};

const TOKEN: &str = "/oauth2/token";

/// The clients of most rows: two public ones, one confidential, one machine.
fn clients(options: Options) -> AuthorizationServer {
    options
        .client(Client::public("app"))
        .client(Client::public("other"))
        .client(Client::public("calm").rotates(false))
        .client(Client::confidential("conf-rot", "s3cret"))
        .client(Client::machine("machine", "s3cret"))
        .start()
}

async fn connect(server: &AuthorizationServer) -> (Peer, String) {
    (Peer::connect(server.address()).await, server.address().to_string())
}

/// Presents a refresh token as `client`.
async fn refresh(server: &AuthorizationServer, client: &str, token: &str) -> Reply {
    let (mut peer, host) = connect(server).await;
    peer.post(TOKEN, &host, &format!("grant_type=refresh_token&client_id={client}&refresh_token={token}"))
        .await
}

/// The answer as the wire has it, without what differs each time.
fn normal(reply: &Reply) -> String {
    let mut text = String::from_utf8(reply.head.bytes.clone()).unwrap();
    if let Some(nonce) = text.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()) {
        assert_eq!(nonce.len(), 32);
        let nonce = nonce.to_owned();
        text = text.replace(&nonce, "<32>");
    }
    for (name, shown) in [("date", "..."), ("permissions-policy", "accelerometer=(), ...")] {
        if let Some(value) = reply.head.header(name) {
            text = text.replace(value, shown);
        }
    }
    let mut body = reply.text();
    if let Some(id) = body.split("\"tracking_id\":\"").nth(1).and_then(|rest| rest.split('"').next()) {
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [32, 16]);
        let id = id.to_owned();
        body = body.replace(&id, "<tracking>");
    }
    text + &body
}

/// An answer that reached the token endpoint's handler.
fn handled(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n\
         Cache-Control: no-store\r\n\
         Content-Security-Policy: script-src 'self' https: 'nonce-<32>' 'strict-dynamic'; object-src 'none'; \
         base-uri 'none'; frame-ancestors 'none'\r\n\
         Content-Type: application/json\r\n\
         Permissions-Policy: accelerometer=(), ...\r\n\
         Pragma: no-cache\r\n\
         Set-Cookie: csp_nonce=<32>; Path=/; HttpOnly\r\n\
         Vary: User-Agent\r\n\
         Vary: Origin\r\n\
         X-Content-Type-Options: nosniff\r\n\
         X-Frame-Options: DENY\r\n\
         X-Robots-Tag: noindex, nofollow\r\n\
         Date: ...\r\n\
         Content-Length: {}\r\n\r\n{body}\n",
        body.len() + 1
    )
}

fn error(error: &str, description: &str) -> String {
    handled("400 Bad Request", &format!("{{\"error\":\"{error}\",\"error_description\":\"{description}\"}}"))
}

/// A POST to the token endpoint with these extra header lines.
fn with_headers(host: &str, headers: &str, form: &str) -> String {
    post(TOKEN, host, form).replacen("\r\n\r\n", &format!("\r\n{headers}\r\n\r\n"), 1)
}

#[tokio::test]
async fn every_refusal_of_a_token_request_has_authgear_s_words() {
    let server = clients(AuthorizationServer::authgear());
    let (token, host) = (server.seed("app"), server.address().to_string());
    let (uuid, secret) = token.split_once('.').unwrap();
    let form = |form: String| post(TOKEN, &host, &form);
    let present = |token: &str| form(format!("grant_type=refresh_token&client_id=app&refresh_token={token}"));
    let basic = |basic: &str, rest: &str| with_headers(&host, &format!("Authorization: Basic {basic}"), rest);
    let refused = error("invalid_grant", "invalid refresh token");
    let nobody = error("invalid_client", "invalid client ID");
    let rows = [
        ("no dot", present("garbage"), &refused),
        ("unknown uuid", present(&format!("00000000-0000-4000-a000-000000000000.{secret}")), &refused),
        ("wrong secret", present(&format!("{uuid}.AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH")), &refused),
        ("a space after it", present(&format!("{token}+")), &refused),
        ("a line end after it", present(&format!("{token}%0A")), &refused),
        ("no client", form(format!("grant_type=refresh_token&refresh_token={token}")), &nobody),
        ("empty client", form(format!("grant_type=refresh_token&client_id=&refresh_token={token}")), &nobody),
        (
            "unknown client",
            form(format!("grant_type=refresh_token&client_id=nope&refresh_token={token}")),
            &nobody,
        ),
        ("empty body", form(String::new()), &nobody),
        (
            "unknown client before unknown grant type",
            form("grant_type=magic&client_id=nope".to_owned()),
            &nobody,
        ),
        ("unknown client in Basic", basic("bm9wZTp4", "grant_type=refresh_token"), &nobody),
        (
            "bad escape in Basic",
            basic("JXp6Ong=", "grant_type=refresh_token"),
            &error("invalid_request", "invalid client_id in Authorization header"),
        ),
        (
            "no refresh token",
            form("grant_type=refresh_token&client_id=app".to_owned()),
            &error("invalid_request", "refresh token is required"),
        ),
        (
            "empty refresh token",
            form("grant_type=refresh_token&client_id=app&refresh_token=".to_owned()),
            &error("invalid_request", "refresh token is required"),
        ),
        (
            "machine, and the parameter comes first",
            form("grant_type=refresh_token&client_id=machine".to_owned()),
            &error("invalid_request", "refresh token is required"),
        ),
        (
            "machine",
            form(format!("grant_type=refresh_token&client_id=machine&refresh_token={token}")),
            &error("unauthorized_client", "grant type is not allowed for this client"),
        ),
        (
            "unsupported grant type",
            form("grant_type=magic&client_id=app".to_owned()),
            &error("unsupported_grant_type", "grant type is not supported"),
        ),
        (
            "no grant type",
            form("client_id=app".to_owned()),
            &error("unsupported_grant_type", "grant type is not supported"),
        ),
        (
            "no code",
            form("grant_type=authorization_code&client_id=app".to_owned()),
            &error("invalid_request", "code is required"),
        ),
        (
            "unknown code",
            form("grant_type=authorization_code&client_id=app&code=x&code_verifier=y".to_owned()),
            &error("invalid_grant", "invalid authorization code"),
        ),
        ("JSON", present(&token).replace("application/x-www-form-urlencoded", "application/json"), &nobody),
        ("no Content-Type", present(&token).replace("Content-Type", "X-Nothing"), &nobody),
    ];
    let mut peer = Peer::connect(server.address()).await;
    for (what, request, expected) in rows {
        assert_eq!(normal(&peer.ask(request).await), *expected, "{what}");
    }
    assert_eq!(refused.len() - refused.find("\r\n\r\n").unwrap() - 4, 70, "as long as observed");
    assert_eq!(refresh(&server, "app", &token).await.status(), 200, "none of these touched the token");
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_plain_text() {
    let server = clients(AuthorizationServer::authgear());
    let (mut peer, host) = connect(&server).await;
    let media = post(TOKEN, &host, "client_id=app").replace("urlencoded\r\n", "urlencoded x\r\n");
    let rows = [
        (post(TOKEN, &host, "client_id=%zz"), "invalid URL escape \"%zz\"\n"),
        (post(TOKEN, &host, "client_id=%a"), "invalid URL escape \"%a\"\n"),
        (post(TOKEN, &host, "client_id=app;x=y"), "invalid semicolon separator in query\n"),
        (media, "mime: unexpected content after media subtype\n"),
        (
            with_headers(&host, "DPoP: a\r\nDPoP: b", "client_id=app"),
            "multiple DPoP headers are not allowed\n",
        ),
    ];
    for (request, expected) in rows {
        let reply = peer.ask(request).await;
        assert_eq!((reply.status(), reply.text().as_str()), (400, expected));
        assert_eq!(reply.head.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let long = format!(
        "POST {TOKEN} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    );
    let reply = peer.ask(format!("{long}Content-Length: 1048577\r\n\r\n")).await;
    assert_eq!((reply.status(), reply.text().as_str()), (400, "http: request body too large\n"));
    assert_eq!(peer.rest().await.0, b"", "and the connection is closed");
}

#[tokio::test]
async fn rotation_keeps_the_uuid_and_changes_the_secret() {
    let server = clients(AuthorizationServer::authgear().expires_in(300));
    let first = server.seed("app");
    let reply = refresh(&server, "app", &first).await;
    let body = reply.json();
    let keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["access_token", "expires_in", "id_token", "refresh_token", "token_type"]);
    assert_eq!(normal(&reply), handled("200 OK", reply.text().trim_end()));
    assert_eq!((&body["expires_in"], &body["token_type"]), (&300.into(), &"Bearer".into()));
    assert_eq!(body["access_token"].as_str().unwrap().len(), 32);
    let second = body["refresh_token"].as_str().unwrap();
    assert_eq!(second.split_once('.').unwrap().0, first.split_once('.').unwrap().0);
    assert_eq!(second.split_once('.').unwrap().1.len(), 32);

    // No reuse detection: the old one is refused as often as it comes, and the new one stays good.
    for _ in 0..3 {
        let refused = refresh(&server, "app", &first).await;
        assert_eq!(normal(&refused), error("invalid_grant", "invalid refresh token"));
    }
    assert_eq!(refresh(&server, "app", second).await.status(), 200);
    assert_eq!(server.state_of(body["access_token"].as_str().unwrap()), TokenState::Active);
}

#[tokio::test]
async fn without_rotation_the_answer_names_no_refresh_token() {
    let server = clients(AuthorizationServer::authgear());
    let token = server.seed("calm");
    for _ in 0..2 {
        let reply = refresh(&server, "calm", &token).await;
        let keys: Vec<_> = reply.json().as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["access_token", "expires_in", "id_token", "token_type"]);
        assert_eq!(reply.json()["expires_in"], 1800);
    }
    // A scope is ignored, whatever it asks for; so are a secret and the second value of a parameter.
    let (mut peer, host) = connect(&server).await;
    let form = format!(
        "grant_type=refresh_token&grant_type=x&client_id=calm&refresh_token={token}&scope=nope&client_secret=wrong"
    );
    assert_eq!(peer.post(TOKEN, &host, &form).await.status(), 200);
    let query = format!("{TOKEN}?grant_type=refresh_token&client_id=calm");
    assert_eq!(peer.post(&query, &host, &format!("refresh_token={token}")).await.status(), 200);
    let charset = post(TOKEN, &host, &form).replace("urlencoded", "urlencoded; charset=UTF-8");
    assert_eq!(peer.ask(charset).await.status(), 200);
}

#[tokio::test]
async fn an_answer_with_jwts_is_sent_in_chunks_without_a_length() {
    let server = clients(AuthorizationServer::authgear().jwt());
    let token = server.seed("app");
    let reply = refresh(&server, "app", &token).await;
    assert!(reply.body.len() > 2048, "{}", reply.body.len());
    assert_eq!(reply.head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(reply.head.header("content-length"), None);
    assert_eq!(reply.json()["access_token"].as_str().unwrap().split('.').count(), 3);
}

#[tokio::test]
async fn two_refreshes_at_once_both_succeed_and_one_new_token_is_dead() {
    let server = clients(AuthorizationServer::authgear().refresh_takes(Duration::from_millis(300)));
    let token = server.seed("app");
    let (one, two) = tokio::join!(refresh(&server, "app", &token), refresh(&server, "app", &token));
    assert_eq!((one.status(), two.status()), (200, 200));
    let mut survivors = Vec::new();
    for reply in [&one, &two] {
        let successor = reply.json()["refresh_token"].as_str().unwrap().to_owned();
        survivors
            .extend((server.current_refresh_token(&token) == Some(successor.clone())).then_some(successor));
        assert_eq!(server.state_of(reply.json()["access_token"].as_str().unwrap()), TokenState::Active);
    }
    assert_eq!(survivors.len(), 1);
    assert_eq!(refresh(&server, "app", &survivors[0]).await.status(), 200);
}

#[tokio::test]
async fn another_client_s_refresh_burns_the_token_if_that_client_rotates() {
    let server = clients(AuthorizationServer::authgear());
    let mismatch = error("invalid_request", "client id doesn't match the refresh token");
    let token = server.seed("app");
    assert_eq!(normal(&refresh(&server, "calm", &token).await), mismatch);
    assert_eq!(server.current_refresh_token(&token), Some(token.clone()), "it does not rotate");
    assert_eq!(normal(&refresh(&server, "other", &token).await), mismatch);
    let burned = refresh(&server, "app", &token).await;
    assert_eq!(normal(&burned), error("invalid_grant", "invalid refresh token"));
    assert!(server.redeems()[1].rotated_at.is_some(), "and the server knows when");
}

#[tokio::test]
async fn basic_is_used_only_when_the_body_names_nobody() {
    let server = clients(AuthorizationServer::authgear());
    let (token, host) = (server.seed("conf-rot"), server.address().to_string());
    let mut peer = Peer::connect(server.address()).await;
    // conf%2Drot:wrong, because the secret is not checked on refresh.
    let basic = "Authorization: Basic Y29uZiUyRHJvdDp3cm9uZw==";
    let form = format!("grant_type=refresh_token&refresh_token={token}");
    let reply = peer.ask(with_headers(&host, basic, &form)).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let token = reply.json()["refresh_token"].as_str().unwrap().to_owned();
    let form = format!("grant_type=refresh_token&refresh_token={token}&client_id=nope");
    let reply = peer.ask(with_headers(&host, basic, &form)).await;
    assert_eq!(normal(&reply), error("invalid_client", "invalid client ID"));
}
