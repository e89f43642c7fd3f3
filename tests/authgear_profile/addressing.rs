//! Where Authgear is found: by its Host, at its paths, with its methods.

use super::{TOKEN, clients, connect, normal, with_headers};
use crate::support::authorization_server::AuthorizationServer;
use crate::support::raw::{Peer, Reply};

const OIDC: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

#[tokio::test]
async fn another_host_is_sent_to_the_public_origin_and_nothing_is_executed() {
    let server = clients(AuthorizationServer::authgear().public_origin("http://id.example.test"));
    let token = server.seed("app");
    let mut peer = Peer::connect(server.address()).await;
    let form = format!("grant_type=refresh_token&client_id=app&refresh_token={token}");
    let reply = peer.post(TOKEN, "id.default.svc", &form).await;
    assert_eq!(
        normal(&reply),
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://id.example.test/oauth2/token\r\nDate: ...\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(server.current_refresh_token(&token), Some(token));
    let reply = peer.get(OIDC, "id.default.svc").await;
    assert_eq!(
        (reply.status(), reply.head.header("location")),
        (307, Some("http://id.example.test/.well-known/openid-configuration"))
    );
    assert_eq!(
        reply.text(),
        "<a href=\"http://id.example.test/.well-known/openid-configuration\">Temporary Redirect</a>.\n\n"
    );
    let forwarded = "X-Forwarded-Host: id.example.test\r\nX-Forwarded-Proto: http";
    let ignored = peer.ask(with_headers("id.default.svc", forwarded, "")).await;
    assert_eq!(ignored.status(), 307, "X-Forwarded-Host is not believed");
    for path in ["/oauth2/token/", "//oauth2/token"] {
        let reply = peer.post(path, "id.example.test", &form).await;
        assert_eq!((reply.status(), reply.head.header("location")), (307, Some(TOKEN)));
    }
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_the_host() {
    let options = AuthorizationServer::authgear().public_origin("http://id.example.test");
    let server = clients(options.trust_proxy());
    let mut peer = Peer::connect(server.address()).await;
    let forwarded = "X-Forwarded-Host: id.example.test\r\nX-Forwarded-Proto: http";
    let request = format!("GET {OIDC} HTTP/1.1\r\nHost: id.default.svc\r\n{forwarded}\r\n\r\n");
    let reply = peer.ask(request).await;
    assert_eq!((reply.status(), &reply.json()["issuer"]), (200, &"http://id.example.test".into()));
    let other = peer.get(OIDC, "id.default.svc").await;
    assert_eq!(other.status(), 307);
    let misled = forwarded.replace("id.example.test", "evil.example");
    let request = format!("GET {OIDC} HTTP/1.1\r\nHost: id.example.test\r\n{misled}\r\n\r\n");
    assert_eq!(peer.ask(&request).await.status(), 307, "and speaks for it alone");

    let server = clients(AuthorizationServer::authgear().public_origin("http://id.example.test"));
    let mut peer = Peer::connect(server.address()).await;
    let reply = peer.ask(&request).await;
    let issuer = &reply.json()["issuer"];
    assert_eq!((reply.status(), issuer), (200, &"http://id.example.test".into()), "one that is not trusted");
}

#[tokio::test]
async fn behind_https_the_nonce_s_cookie_goes_nowhere_else() {
    let options = AuthorizationServer::authgear().public_origin("https://id.example.test");
    let server = clients(options.trust_proxy());
    let mut peer = Peer::connect(server.address()).await;
    let forwarded = "X-Forwarded-Host: id.example.test\r\nX-Forwarded-Proto: https";
    let reply = peer.ask(with_headers("10.0.0.7", forwarded, "client_id=nope")).await;
    let cookie = reply.head.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/; HttpOnly; Secure; SameSite=None"), "{cookie}");
}

#[tokio::test]
async fn the_nonce_s_cookie_comes_with_every_page() {
    let server = clients(AuthorizationServer::authgear());
    let (mut peer, host) = connect(&server).await;
    let pages = [
        peer.get(OIDC, &host).await,
        peer.post("/oauth2/revoke", &host, "token=x").await,
        peer.get("/oauth2/userinfo", &host).await,
        peer.post(TOKEN, &host, "client_id=nope").await,
    ];
    for page in pages {
        let cookie = page.head.header("set-cookie").unwrap();
        assert!(cookie.starts_with("csp_nonce=") && cookie.ends_with("; Path=/; HttpOnly"), "{cookie}");
    }
}

#[tokio::test]
async fn apps_that_are_found_by_host_are_404_under_another() {
    let options = AuthorizationServer::authgear().public_origin("http://id.example.test");
    let server = clients(options.apps_by_host(&["id.example.test", "old.example.test"]));
    let mut peer = Peer::connect(server.address()).await;
    let unknown = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nDate: ...\r\nContent-Length: 184\r\n\r\n\
        {\"error\":{\"name\":\"NotFound\",\"reason\":\"ResourceNotFound\",\"message\":\"specified resource is not configured\",\
        \"code\":404,\"tracking_id\":\"<tracking>\"}}\n";
    assert_eq!(normal(&peer.get(OIDC, "127.0.0.1").await), unknown);
    assert_eq!(normal(&peer.post(TOKEN, "127.0.0.1", "client_id=app").await), unknown);
    assert_eq!(
        peer.get(OIDC, "old.example.test").await.status(),
        307,
        "a domain that is not the public origin"
    );
    assert_eq!(peer.get(OIDC, "id.example.test").await.status(), 200);
    let nowhere = peer.get(&format!("{OAUTH}/foo"), "id.example.test").await;
    assert_eq!(
        (nowhere.status(), nowhere.text().as_str()),
        (
            404,
            "{\"error\":{\"name\":\"NotFound\",\"reason\":\"ResourceNotFound\",\"message\":\"specified resource is not configured\",\"code\":404}}\n"
        )
    );
}

#[tokio::test]
async fn both_metadata_documents_are_the_same_bytes() {
    let server = clients(AuthorizationServer::authgear());
    let (mut peer, host) = connect(&server).await;
    let (one, two) = (peer.get(OIDC, &host).await, peer.get(OAUTH, &host).await);
    assert_eq!(one.body, two.body);
    assert!(one.text().ends_with("}\n"));
    let document = one.json();
    assert_eq!(document["issuer"], server.issuer());
    assert_eq!(document["token_endpoint"], server.token_endpoint());
    assert_eq!(document["code_challenge_methods_supported"], serde_json::json!(["S256"]));
    for absent in ["registration_endpoint", "introspection_endpoint", "device_authorization_endpoint"] {
        assert!(document.get(absent).is_none(), "{absent}");
    }
    for (name, value) in [
        ("content-type", Some("application/json")),
        ("access-control-allow-origin", Some("*")),
        ("access-control-max-age", Some("900")),
        ("cache-control", None),
    ] {
        assert_eq!(one.head.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn the_document_is_as_long_as_it_was_at_the_observed_origin() {
    let server = clients(AuthorizationServer::authgear().public_origin("http://127.0.0.1:3100"));
    let reply = Peer::connect(server.address()).await.get(OIDC, "127.0.0.1:3100").await;
    assert_eq!((reply.status(), reply.body.len()), (200, 1433));
    let document = reply.json();
    let names: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[tokio::test]
async fn other_methods_are_405_in_plain_text() {
    let server = clients(AuthorizationServer::authgear());
    let host = server.address().to_string();
    let refused = |allow: &str| {
        format!(
            "HTTP/1.1 405 Method Not Allowed\r\nAllow: {allow}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             X-Content-Type-Options: nosniff\r\nDate: ...\r\nContent-Length: 19\r\n\r\n"
        )
    };
    for (method, target, allow) in [
        ("GET", TOKEN, "OPTIONS, POST"),
        ("PUT", TOKEN, "OPTIONS, POST"),
        ("DELETE", TOKEN, "OPTIONS, POST"),
        ("HEAD", TOKEN, "OPTIONS, POST"),
        ("GET", "/oauth2/revoke", "OPTIONS, POST"),
        ("HEAD", OIDC, "GET, OPTIONS"),
        ("POST", OAUTH, "GET, OPTIONS"),
    ] {
        let mut peer = Peer::connect(server.address()).await;
        peer.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        let head = peer.head().await;
        let body = peer.rest().await.0;
        assert_eq!(
            body,
            if method == "HEAD" { &b""[..] } else { b"Method Not Allowed\n" },
            "{method} {target}"
        );
        assert_eq!(normal(&Reply { head, body: Vec::new() }), refused(allow), "{method} {target}");
    }
    let mut peer = Peer::connect(server.address()).await;
    let reply = peer.ask(format!("OPTIONS {TOKEN} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    assert_eq!((reply.status(), reply.head.header("content-length")), (200, Some("0")));
    assert_eq!(peer.get("/anything", &host).await.status(), 404);
}
