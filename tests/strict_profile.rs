//! The strict authorization server rotates on each refresh, and kills the family of a refresh token that comes twice.

mod doorkeeper;
mod fapi;
mod faults;
mod signing_in;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bearerd::clock::Clock;
use serde_json::Value;

use crate::support::authorization_server::{
    AuthorizationServer, Client, ClientAuth, Exchange, Proof, Stage, TokenState,
};
use crate::support::certificates::Authority;
use crate::support::in_time;
use crate::support::raw::{Peer, Reply, post};

/// Presents a refresh token as the public client `app`.
async fn refresh(server: &AuthorizationServer, token: &str) -> Reply {
    let form = format!("grant_type=refresh_token&client_id=app&refresh_token={token}");
    Peer::connect(server.address()).await.post("/token", "id.test", &form).await
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}"))
}

#[tokio::test]
async fn each_refresh_brings_a_new_refresh_token() {
    let server = AuthorizationServer::strict().expires_in(60).start();
    let mut token = server.seed("app");
    for _ in 0..3 {
        let body = refresh(&server, &token).await.json();
        assert_eq!((text(&body, "token_type"), &body["expires_in"]), ("Bearer", &60.into()));
        assert_ne!(text(&body, "refresh_token"), token);
        assert_eq!(server.state_of(text(&body, "access_token")), TokenState::Active);
        token = text(&body, "refresh_token").to_owned();
    }
    assert_eq!(server.reuse_errors(), 0);
}

#[tokio::test]
async fn a_refresh_token_that_comes_twice_kills_its_family() {
    let server = AuthorizationServer::strict().start();
    let (first, bystander) = (server.seed("app"), server.seed("app"));
    let body = refresh(&server, &first).await.json();
    let reused = refresh(&server, &first).await;
    assert_eq!((reused.status(), text(&reused.json(), "error")), (400, "invalid_grant"));
    assert_eq!(server.reuse_errors(), 1);
    let newest = refresh(&server, text(&body, "refresh_token")).await;
    assert_eq!((newest.status(), text(&newest.json(), "error")), (400, "invalid_grant"));
    assert_eq!(server.state_of(text(&body, "access_token")), TokenState::Revoked);
    assert_eq!(server.current_refresh_token(&first), None);
    assert_eq!(refresh(&server, &bystander).await.status(), 200, "another family lives");
}

#[tokio::test]
async fn within_its_grace_the_token_before_brings_the_current_one_again() {
    let server = AuthorizationServer::strict().grace(Duration::from_secs(600)).start();
    let first = server.seed("app");
    let (one, two) = (refresh(&server, &first).await.json(), refresh(&server, &first).await.json());
    assert_eq!(text(&one, "refresh_token"), text(&two, "refresh_token"));
    assert_ne!(text(&one, "access_token"), text(&two, "access_token"));
    refresh(&server, text(&one, "refresh_token")).await;
    assert_eq!(refresh(&server, &first).await.status(), 400, "the one before that has no grace");

    let server = AuthorizationServer::strict().grace(Duration::ZERO).start();
    let first = server.seed("app");
    let body = refresh(&server, &first).await.json();
    assert_eq!(refresh(&server, &first).await.status(), 400, "nor has any once it is over");
    assert_eq!(server.reuse_errors(), 1);
    let newest = refresh(&server, text(&body, "refresh_token")).await;
    assert_eq!(newest.status(), 400, "and who comes late has killed the family");
}

#[tokio::test]
async fn without_rotation_the_refresh_token_stays() {
    let server = AuthorizationServer::strict().no_rotation().start();
    let token = server.seed("app");
    for _ in 0..2 {
        assert_eq!(refresh(&server, &token).await.json().get("refresh_token"), None);
    }
    assert_eq!(server.redeems().len(), 2);
}

#[tokio::test]
async fn clients_prove_themselves_in_the_way_that_is_theirs() {
    let server = AuthorizationServer::strict()
        .client(Client::confidential("a b", "p%w").by(Proof::Basic))
        .client(Client::confidential("form", "s3cret").by(Proof::Post))
        .client(Client::public("app"))
        .start();
    let header = |pair: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(pair));
    let rows = [
        (header("a+b:p%25w"), "", 200),
        (header("a+b:wrong"), "", 401),
        (header("a b:p%25w"), "&client_secret=p%25w", 400),
        (header("form:s3cret"), "", 401),
        (String::new(), "&client_id=form&client_secret=s3cret", 200),
        (String::new(), "&client_id=form&client_secret=wrong", 401),
        (String::new(), "&client_id=form", 401),
        (String::new(), "&client_id=a+b&client_secret=p%25w", 401),
        (String::new(), "&client_id=nobody", 401),
        (String::new(), "", 401),
        (String::new(), "&client_id=app", 400),
        (String::new(), "&client_id=form&client_secret=s3cret&client_id=form", 400),
    ];
    let mut peer = Peer::connect(server.address()).await;
    for (header, more, status) in rows {
        let form = format!("grant_type=client_credentials{more}");
        let request = post("/token", "id.test", &form).replacen("Host", &format!("{header}Host"), 1);
        let reply = peer.ask(request).await;
        assert_eq!(reply.status(), status, "{header}{more}: {}", reply.text());
        let challenged = reply.head.header("www-authenticate").is_some_and(|one| one.starts_with("Basic"));
        assert_eq!(challenged, status == 401, "{header}{more}");
    }
    let log = server.redeems();
    assert_eq!(log[0].client_auth, ClientAuth::Basic("a b".to_owned(), "p%w".to_owned()));
    assert_eq!(log[4].client_auth, ClientAuth::Post("form".to_owned(), "s3cret".to_owned()));
    assert_eq!(log[8].client_auth, ClientAuth::Public("nobody".to_owned()));
    assert_eq!(log[9].client_auth, ClientAuth::Absent);
}

#[tokio::test]
async fn a_refresh_token_is_its_client_s_alone() {
    let server = AuthorizationServer::strict().client(Client::confidential("billing", "old")).start();
    let token = server.seed("billing");
    server.seed("app");
    assert_eq!(refresh(&server, &token).await.status(), 400);
    server.register(Client::confidential("billing", "new"));
    let form = |secret: &str| {
        format!("grant_type=refresh_token&client_id=billing&client_secret={secret}&refresh_token={token}")
    };
    let mut peer = Peer::connect(server.address()).await;
    assert_eq!(peer.post("/token", "id.test", &form("old")).await.status(), 401, "the secret was changed");
    assert_eq!(peer.post("/token", "id.test", &form("new")).await.status(), 200);
}

#[tokio::test]
async fn access_tokens_end_by_the_server_s_own_clock_in_whole_seconds() {
    let server = AuthorizationServer::strict().expires_in(1).no_rotation().start();
    let token = server.seed("app");
    let body = refresh(&server, &token).await.json();
    let access = text(&body, "access_token");
    let issued = server.redeems()[0].received.wall;
    in_time("the token's end", async {
        while server.state_of(access) == TokenState::Active {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(server.state_of(access), TokenState::Expired);
    assert!(Clock::System.now().wall.as_secs() > issued.as_secs());
    server.set_expires_in(3600);
    let body = refresh(&server, &token).await.json();
    assert_eq!(
        (server.state_of(text(&body, "access_token")), &body["expires_in"]),
        (TokenState::Active, &3600.into())
    );
    server.revoke(text(&body, "access_token"));
    assert_eq!(server.state_of(text(&body, "access_token")), TokenState::Revoked);
    assert_eq!(server.state_of("never issued"), TokenState::Unknown);
}

#[tokio::test]
async fn introspection_and_revocation_go_by_the_book() {
    let server = AuthorizationServer::strict().no_rotation().jwt().start();
    let token = server.seed("app");
    let access = text(&refresh(&server, &token).await.json(), "access_token").to_owned();
    assert_eq!(access.split('.').count(), 3);
    let form = format!("client_id=app&token={access}");
    let mut peer = Peer::connect(server.address()).await;
    assert_eq!(peer.post("/introspect", "id.test", &form).await.json()["active"], true);
    assert_eq!(peer.post("/revoke", "id.test", &format!("token={access}")).await.status(), 401);
    assert_eq!(peer.post("/revoke", "id.test", &form).await.status(), 200);
    assert_eq!(peer.post("/introspect", "id.test", &form).await.json()["active"], false);
    assert_eq!(peer.post("/revoke", "id.test", &format!("client_id=app&token={token}")).await.status(), 200);
    assert_eq!(refresh(&server, &token).await.status(), 400);
}

#[tokio::test]
async fn its_metadata_lead_to_its_endpoints() {
    let server = AuthorizationServer::strict().start();
    let mut peer = Peer::connect(server.address()).await;
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let document = peer.get(path, "id.test").await.json();
        assert_eq!(text(&document, "issuer"), server.issuer());
        assert_eq!(text(&document, "token_endpoint"), server.token_endpoint());
    }
    assert_eq!(peer.get("/token", "id.test").await.status(), 405);
    assert_eq!(peer.get("/elsewhere", "id.test").await.status(), 404);
    let answered = |log: &[Exchange]| log.iter().filter(|one| one.stage == Stage::Answered).count() == 4;
    let log = server.wait_for("four answers", answered).await;
    assert_eq!((log.len(), server.redeems().len()), (4, 0));
    assert!(log.iter().all(|one| one.head.header("host") == Some("id.test") && one.written > 0));
    assert_eq!((log[3].number, log[3].body.len(), log[3].status), (3, 0, Some(404)));
}

#[tokio::test]
async fn an_answer_can_be_changed_on_its_way_out() {
    let server = AuthorizationServer::strict().start();
    let token = server.seed("app");
    server.rewrite(|body| {
        body.remove("expires_in");
        body.insert("token_type".to_owned(), "bearer".into());
    });
    let body = refresh(&server, &token).await.json();
    assert_eq!((body.get("expires_in"), text(&body, "token_type")), (None, "bearer"));
    server.heal();
    let body = refresh(&server, text(&body, "refresh_token")).await.json();
    assert_eq!((&body["expires_in"], text(&body, "token_type")), (&3600.into(), "Bearer"));
}

#[tokio::test]
async fn behind_tls_only_those_who_trust_its_authority_reach_it() {
    let authority = Authority::new();
    let server = AuthorizationServer::strict().tls(&authority).start();
    assert!(server.issuer().starts_with("https://127.0.0.1:"), "{}", server.issuer());
    for (ca_file, reached) in [(Some(authority.ca_file()), true), (None, false)] {
        let roots = bearerd::tls::Roots::Platform;
        let tls = bearerd::tls::Tls::load(&bearerd::tls::Params { ca_file, roots, client: None }).unwrap();
        let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        let connected = tls.connector(bearerd::tls::Alpn::Http1).connect(name, stream).await;
        assert_eq!(connected.is_ok(), reached);
    }
}

#[tokio::test]
async fn it_can_go_away_and_come_back_at_the_same_address() {
    let server = AuthorizationServer::strict().start();
    let token = server.seed("app");
    server.refuse_connections().await;
    let refused = tokio::net::TcpStream::connect(server.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    server.accept_connections().await;
    assert_eq!(refresh(&server, &token).await.status(), 200);
}
