//! Which credentials Authgear looks at, and what a stranger's request does to a refresh token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{TOKEN, clients, connect, error, handled, normal, refresh, with_headers};
use crate::support::authorization_server::{AuthorizationServer, Client, TokenState};
use crate::support::jwt;
use crate::support::raw::post;

fn basic(pair: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(pair))
}

#[tokio::test]
async fn no_secret_is_checked_on_refresh() {
    let server = clients(AuthorizationServer::authgear());
    let (mut peer, host) = connect(&server).await;
    let mut token = server.seed("conf-rot");
    for (header, more) in [
        ("X-Nothing: x".to_owned(), "&client_id=conf-rot&client_secret=wrong"),
        ("X-Nothing: x".to_owned(), "&client_id=conf-rot"),
        (basic("conf-rot:s3cret"), ""),
        (basic("conf-rot:wrong"), ""),
    ] {
        let form = format!("grant_type=refresh_token&refresh_token={token}{more}");
        let reply = peer.ask(with_headers(&host, &header, &form)).await;
        assert_eq!(reply.status(), 200, "{header} {more}: {}", reply.text());
        token = reply.json()["refresh_token"].as_str().unwrap().to_owned();
    }
    // A secret among the parameters is enough for Basic to be ignored.
    let form = format!("grant_type=refresh_token&refresh_token={token}&client_secret=s3cret");
    let reply = peer.ask(with_headers(&host, &basic("conf-rot:s3cret"), &form)).await;
    assert_eq!(normal(&reply), error("invalid_client", "invalid client ID"));
}

#[tokio::test]
async fn only_a_stranger_that_rotates_burns_a_token() {
    let server = clients(AuthorizationServer::authgear());
    let token = server.seed("app");
    for stranger in ["machine", "nope", "calm"] {
        assert_eq!(refresh(&server, stranger, &token).await.status(), 400);
        assert_eq!(server.current_refresh_token(&token).as_ref(), Some(&token), "{stranger}");
    }
    // Also a token whose own client does not rotate.
    let calm = server.seed("calm");
    assert_eq!(refresh(&server, "app", &calm).await.status(), 400);
    let burned = refresh(&server, "calm", &calm).await;
    assert_eq!(normal(&burned), error("invalid_grant", "invalid refresh token"));
}

#[tokio::test]
async fn parameters_in_parts_are_not_seen() {
    let server = clients(AuthorizationServer::authgear());
    let (mut peer, host) = connect(&server).await;
    let body = "--x\r\nContent-Disposition: form-data; name=\"client_id\"\r\n\r\napp\r\n--x--\r\n";
    let request = post(TOKEN, &host, body)
        .replace("application/x-www-form-urlencoded", "multipart/form-data; boundary=x");
    assert_eq!(normal(&peer.ask(request).await), error("invalid_client", "invalid client ID"));
}

#[tokio::test]
async fn a_machine_s_token_is_a_jwt_for_the_resource() {
    let server = clients(AuthorizationServer::authgear());
    let (mut peer, host) = connect(&server).await;
    let form = "grant_type=client_credentials&resource=https%3A%2F%2Fapi.example%2F";
    let reply = peer.ask(with_headers(&host, &basic("machine:s3cret"), form)).await;
    let body = reply.json();
    let access = body["access_token"].as_str().unwrap();
    let expected = format!(
        "{{\"access_token\":\"{access}\",\"expires_in\":1800,\"scope\":\"read write\",\"token_type\":\"Bearer\"}}"
    );
    assert_eq!(normal(&reply), handled("200 OK", &expected));
    let claims = jwt::part(access, 1).unwrap();
    assert_eq!(claims["aud"], serde_json::json!(["https://api.example/"]));
    assert_eq!(claims["sub"], "client_id_machine");
    assert_eq!(jwt::part(access, 0).unwrap()["typ"], "at+jwt");
    assert_eq!(server.state_of(access), TokenState::Active);
}

#[tokio::test]
async fn a_project_s_machines_have_twenty_tokens_a_minute_between_them() {
    let names = ["m1", "m2", "m3", "m4", "m5"];
    let options = AuthorizationServer::authgear();
    let server = names.iter().fold(options, |all, name| all.client(Client::machine(name, "s"))).start();
    let (mut peer, host) = connect(&server).await;
    let mut statuses = Vec::new();
    for name in names {
        let form = format!(
            "grant_type=client_credentials&client_id={name}&client_secret=s&resource=https%3A%2F%2Fapi.example%2F"
        );
        for _ in 0..5 {
            statuses.push(peer.post(TOKEN, &host, &form).await.status());
        }
    }
    assert_eq!(statuses[..20], [200; 20]);
    assert!(statuses[20..].contains(&429), "{statuses:?}");
}
