//! Authgear's authorization endpoint, and what becomes of its codes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{TOKEN, connect, error, handled, normal, refresh, with_headers};
use crate::support::authorization_server::{AuthorizationServer, Client, Person, Press, TokenState};
use crate::support::browser;
use crate::support::jwt;
use crate::support::raw::{Peer, Reply};

const CALLBACK: &str = "http://127.0.0.1:8976/callback";
/// The verifier of RFC 7636 Appendix B, and its challenge.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str =
    "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";

fn server() -> AuthorizationServer {
    AuthorizationServer::authgear()
        .client(Client::public("app").redirects_to(CALLBACK))
        .client(Client::public("other").redirects_to(CALLBACK))
        .client(Client::confidential("conf", "s3cret").redirects_to(CALLBACK))
        .client(Client::machine("machine", "s3cret"))
        .start()
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Asks for authorization with these parameters.
async fn authorize(server: &AuthorizationServer, query: &str) -> Reply {
    let (mut peer, host) = connect(server).await;
    peer.get(&format!("/oauth2/authorize?{query}"), &host).await
}

/// A request that is good but for `scope`.
fn query(client: &str, scope: &str) -> String {
    let (redirect, scope) = (escaped(CALLBACK), escaped(scope));
    format!(
        "client_id={client}&redirect_uri={redirect}&response_type=code&scope={scope}&state=st&{CHALLENGE}"
    )
}

/// Signs in, and returns the code.
async fn code(server: &AuthorizationServer, query: &str) -> String {
    let entrance = authorize(server, query).await;
    let location = entrance.head.header("location").unwrap().to_owned();
    let (mut peer, host) = connect(server).await;
    let back = peer.get(location.strip_prefix(server.issuer()).unwrap(), &host).await;
    let location = back.head.header("location").unwrap();
    assert_eq!(back.status(), 303);
    assert!(back.text().contains("<meta http-equiv=\"refresh\""), "{}", back.text());
    let code =
        location.strip_prefix(&format!("{CALLBACK}?code=")).and_then(|rest| rest.strip_suffix("&state=st"));
    let code = code.unwrap_or_else(|| panic!("a code and the state, and no more: {location}"));
    assert_eq!(code.len(), 32);
    code.to_owned()
}

fn exchange(client: &str, code: &str) -> String {
    let redirect = escaped(CALLBACK);
    format!(
        "grant_type=authorization_code&client_id={client}&code={code}&redirect_uri={redirect}&code_verifier={VERIFIER}"
    )
}

async fn ask(server: &AuthorizationServer, form: &str) -> Reply {
    let (mut peer, host) = connect(server).await;
    peer.post(TOKEN, &host, form).await
}

fn keys(body: &Value) -> Vec<&str> {
    body.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_client_that_cannot_be_trusted_to_be_told_is_refused_in_plain_text() {
    let server = server();
    let with = |redirect: &str| query("app", "openid").replace(&escaped(CALLBACK), &escaped(redirect));
    let not_allowed = ("invalid_request", "redirect URI is not allowed");
    for (query, (error, description)) in [
        (with("http://127.0.0.1:9999/callback"), not_allowed),
        (with("http://localhost:8976/callback"), not_allowed),
        (with("http://127.0.0.1:8976/callback/"), not_allowed),
        (with("http://127.0.0.1:8976/callback?x=1"), not_allowed),
        (with("http://127.0.0.1:8976/Callback"), not_allowed),
        (with("https://evil.example/"), not_allowed),
        (with(&format!("{}.evil.example/", server.issuer())), not_allowed),
        (query("nope", "openid"), ("unauthorized_client", "invalid client ID")),
        ("response_type=code".to_owned(), ("unauthorized_client", "invalid client ID")),
        (
            query("machine", "openid"),
            ("unauthorized_client", "m2m clients are not allowed to use the authorize endpoint"),
        ),
    ] {
        let reply = authorize(&server, &query).await;
        let text = format!(
            "Invalid OAuth authorization request:\nerror: {error}\nerror_description: {description}\n"
        );
        assert_eq!((reply.status(), reply.text()), (400, text), "{query}");
        assert_eq!(reply.head.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(reply.head.header("location"), None);
    }
    let reply = authorize(&server, &with("https://evil.example/")).await;
    assert_eq!(reply.body.len(), 107, "as long as observed");
}

#[tokio::test]
async fn whoever_is_known_is_told_by_a_redirect_with_303() {
    let server = server();
    let good = query("app", "openid");
    let required = "invalid_request&error_description=PKCE+code+challenge+is+required+for+public+clients";
    let transform = "invalid_request&error_description=only+%27S256%27+PKCE+transform+is+supported";
    for (query, told) in [
        (query("app", "offline_access"), "invalid_scope&error_description=must+request+%27openid%27+scope"),
        (query("app", ""), "invalid_request&error_description=scope+is+required"),
        (good.replace("&scope=openid", ""), "invalid_request&error_description=scope+is+required"),
        (query("app", "openid foo"), "invalid_scope&error_description=specified+scope+is+not+allowed%3A+foo"),
        (good.replace(CHALLENGE, ""), required),
        (good.replace("S256", "plain"), transform),
        (good.replace("&code_challenge_method=S256", ""), transform),
        (
            good.replace("response_type=code", "response_type=token"),
            "unsupported_response_type&error_description=response_type%3A+token+is+not+supported",
        ),
        (
            good.replace("&response_type=code", ""),
            "unauthorized_client&error_description=response+type+is+not+allowed+for+this+client",
        ),
        (format!("{good}&prompt=none"), "login_required&error_description=authentication+required"),
    ] {
        let reply = authorize(&server, &query).await;
        let location = format!("{CALLBACK}?error={told}&state=st");
        assert_eq!(
            (reply.status(), reply.head.header("location")),
            (303, Some(location.as_str())),
            "{query}"
        );
        assert!(reply.head.header("content-type").unwrap().starts_with("text/html"));
        assert!(reply.text().contains(&location.replace('&', "&amp;")), "{}", reply.text());
        assert!(reply.text().contains("<script>"), "{}", reply.text());
    }
    // Without a state none comes back.
    let reply = authorize(&server, &query("app", "").replace("&state=st", "")).await;
    assert!(reply.head.header("location").unwrap().ends_with("scope+is+required"));
}

#[tokio::test]
async fn a_good_request_is_sent_to_sign_in_with_302() {
    let server = server();
    let (redirect, own) = (escaped(CALLBACK), escaped(&format!("{}/anything", server.issuer())));
    for query in [
        query("app", "openid offline_access"),
        query("app", "openid").replace(&format!("&redirect_uri={redirect}"), ""),
        query("app", "openid").replace(&redirect, &own),
        query("conf", "openid").replace(CHALLENGE, ""),
    ] {
        let reply = authorize(&server, &query).await;
        let location = reply.head.header("location").unwrap_or_default();
        let entrance = format!("{}/_internals/oauth_entrypoint?client_id=", server.issuer());
        assert!(reply.status() == 302 && location.starts_with(&entrance), "{query}: {}", reply.text());
        let names: Vec<&str> =
            location.split(['?', '&']).skip(1).map(|pair| pair.split('=').next().unwrap()).collect();
        assert_eq!(
            names,
            ["client_id", "redirect_uri", "state", "x_ref", "x_settings_action_id", "x_traceparent"]
        );
        assert!(reply.head.all("set-cookie").iter().any(|cookie| cookie.starts_with("oauth_ui=")));
    }
}

#[tokio::test]
async fn a_code_brings_tokens_once_and_failures_leave_it_as_it_is() {
    let server = server();
    let code = code(&server, &query("app", "openid offline_access")).await;
    let good = exchange("app", &code);
    let invalid = error("invalid_grant", "invalid authorization code");
    for (what, form, expected) in [
        ("another verifier", good.replace(VERIFIER, "another"), invalid.clone()),
        ("another code", exchange("app", "unknown"), invalid.clone()),
        (
            "another redirect URI",
            good.replace("callback", "elsewhere"),
            error("invalid_request", "invalid redirect URI"),
        ),
        (
            "no verifier",
            good.replace("code_verifier", "x"),
            error("invalid_request", "PKCE code verifier is required"),
        ),
        ("no code", good.replace("&code=", "&x="), error("invalid_request", "code is required")),
    ] {
        assert_eq!(normal(&ask(&server, &form).await), expected, "{what}");
    }
    let reply = ask(&server, &good).await;
    let body = reply.json();
    assert_eq!(normal(&reply), handled("200 OK", reply.text().trim_end()));
    assert_eq!(keys(&body), ["access_token", "expires_in", "id_token", "refresh_token", "token_type"]);
    assert_eq!((&body["expires_in"], &body["token_type"]), (&1800.into(), &"Bearer".into()));
    let first = body["refresh_token"].as_str().unwrap();
    assert_eq!(first.split('.').map(str::len).collect::<Vec<_>>(), [36, 32]);
    assert!(jwt::part(body["id_token"].as_str().unwrap(), 1).unwrap()["amr"].is_array(), "the first has amr");
    assert_eq!(normal(&ask(&server, &good).await), invalid, "it is used up");
    let next = refresh(&server, "app", first).await;
    assert_eq!(next.status(), 200, "and its reuse revokes nothing");
    let claims = jwt::part(next.json()["id_token"].as_str().unwrap(), 1).unwrap();
    let common = ["aud", "auth_time", "exp", "iat", "iss", "sid", "sub"];
    assert!(common.iter().all(|name| claims.get(*name).is_some()) && claims.get("amr").is_none(), "{claims}");
}

#[tokio::test]
async fn only_offline_access_brings_a_refresh_token() {
    let server = server();
    for scope in ["openid", "openid https://authgear.com/scopes/full-access"] {
        let code = code(&server, &query("app", scope)).await;
        let body = ask(&server, &exchange("app", &code)).await.json();
        assert_eq!(keys(&body), ["access_token", "expires_in", "id_token", "token_type"], "{scope}");
        assert_eq!(server.state_of(body["access_token"].as_str().unwrap()), TokenState::Active);
    }
}

#[tokio::test]
async fn a_code_is_whoever_s_has_it_and_the_refresh_token_is_then_theirs() {
    let server = server();
    let code = code(&server, &query("app", "openid offline_access")).await;
    let body = ask(&server, &exchange("other", &code)).await.json();
    let token = body["refresh_token"].as_str().unwrap();
    let mismatch = error("invalid_request", "client id doesn't match the refresh token");
    server.register(Client::public("app").rotates(false));
    assert_eq!(normal(&refresh(&server, "app", token).await), mismatch);
    assert_eq!(refresh(&server, "other", token).await.status(), 200);
}

#[tokio::test]
async fn a_confidential_client_s_code_wants_its_secret_in_either_way() {
    let server = server();
    let code = code(&server, &query("conf", "openid offline_access").replace(CHALLENGE, "")).await;
    let form = exchange("conf", &code).replace(&format!("&code_verifier={VERIFIER}"), "");
    let missing = error("invalid_client", "client secret is required");
    assert_eq!(normal(&ask(&server, &form).await), missing);
    let wrong = ask(&server, &format!("{form}&client_secret=wrong")).await;
    assert_eq!(normal(&wrong), error("invalid_request", "invalid client secret"));
    let (mut peer, host): (Peer, String) = connect(&server).await;
    let basic = format!("Authorization: Basic {}", STANDARD.encode("conf:s3cret"));
    let by_basic = form.replace("&client_id=conf", "");
    let reply = peer.ask(with_headers(&host, &basic, &by_basic)).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
}

#[tokio::test]
async fn the_challenge_is_the_verifier_s_hash() {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes());
    assert!(CHALLENGE.contains(&URL_SAFE_NO_PAD.encode(digest)));
}

#[tokio::test]
async fn whoever_does_not_consent_is_sent_back_in_authgear_s_words() {
    let server = server();
    let url = format!("{}?{}", server.authorization_endpoint(), query("app", "openid"));
    for person in [Person::Denies, Person::Cancels] {
        server.person(person);
        let callback = browser::open(&url).await.callback();
        let told =
            [("error", "access_denied"), ("error_description", "authorization denied"), ("state", "st")];
        assert_eq!(callback.parameters, told.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    server.person(Person::Reads);
    let page = browser::open(&url).await.page();
    let callback = page.press(Press::Approve).await.callback();
    assert_eq!(callback.parameter("code").map(str::len), Some(32));
    assert_eq!(page.press(Press::Approve).await.page().status(), 400, "a page is good once");
    assert!(server.secrets().iter().any(|secret| Some(secret.as_str()) == callback.parameter("code")));
}

#[tokio::test]
async fn the_nonce_comes_back_in_the_id_token_and_a_refresh_token_only_where_the_server_grants_one() {
    let asked = format!("{}&nonce=n0", query("app", "openid offline_access"));
    for (options, same, granted) in [
        (AuthorizationServer::authgear(), true, true),
        (AuthorizationServer::authgear().wrong_nonce(), false, true),
        (AuthorizationServer::authgear().never_offline(), true, false),
    ] {
        let server = options.client(Client::public("app").redirects_to(CALLBACK)).start();
        let code = code(&server, &asked).await;
        let body = ask(&server, &exchange("app", &code)).await.json();
        let claims = jwt::part(body["id_token"].as_str().unwrap(), 1).unwrap();
        assert!(claims["nonce"].is_string() && (claims["nonce"] == "n0") == same, "{claims}");
        assert_eq!(body.get("refresh_token").is_some(), granted);
    }
}
