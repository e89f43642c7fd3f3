//! People sign in by the book: in a browser, by a pushed request, and on another device.

use std::time::Duration;

use serde_json::Value;

use super::text;
use crate::support::authorization_server::{
    AuthorizationServer, Client, Endpoint, Fault, Options, Person, Press, TokenState,
};
use crate::support::browser::{self, Arrival, Callback, escaped};
use crate::support::jwt;
use crate::support::raw::{Peer, Reply};

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str =
    "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";
/// Nobody listens there: where the browser would be sent is all that is looked at.
const CALLBACK: &str = "http://127.0.0.1:8976/callback";

fn server(options: Options) -> AuthorizationServer {
    options
        .client(Client::public("app").redirects_to(CALLBACK))
        .client(Client::public("other").redirects_to(CALLBACK))
        .client(Client::confidential("conf", "s3cret").redirects_to("https://app.example/back?kept=1"))
        .client(Client::machine("machine", "s3cret"))
        .start()
}

fn strict() -> AuthorizationServer {
    server(AuthorizationServer::strict())
}

fn query(client: &str, scope: &str) -> String {
    let (redirect, scope) = (escaped(CALLBACK), escaped(scope));
    format!(
        "client_id={client}&redirect_uri={redirect}&response_type=code&scope={scope}&state=st&nonce=n0&{CHALLENGE}"
    )
}

/// Asks for authorization with these parameters, and goes as far as the person does.
async fn authorize(server: &AuthorizationServer, query: &str) -> Arrival {
    browser::open(&format!("{}?{query}", server.authorization_endpoint())).await
}

async fn signed_in(server: &AuthorizationServer, scope: &str) -> Callback {
    authorize(server, &query("app", scope)).await.callback()
}

/// The form that redeems the code of this callback.
fn exchange(client: &str, callback: &Callback) -> String {
    let (redirect, code) = (escaped(CALLBACK), callback.parameter("code").unwrap());
    format!(
        "grant_type=authorization_code&client_id={client}&code={code}&redirect_uri={redirect}&code_verifier={VERIFIER}"
    )
}

async fn ask(server: &AuthorizationServer, path: &str, form: &str) -> Reply {
    Peer::connect(server.address()).await.post(path, "id.test", form).await
}

async fn refusal(server: &AuthorizationServer, path: &str, form: &str) -> (u16, String) {
    let reply = ask(server, path, form).await;
    (reply.status(), text(&reply.json(), "error").to_owned())
}

fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

async fn metadata(server: &AuthorizationServer) -> Value {
    let path = "/.well-known/oauth-authorization-server";
    Peer::connect(server.address()).await.get(path, "id.test").await.json()
}

#[tokio::test]
async fn its_metadata_say_how_to_sign_in() {
    let document = metadata(&strict()).await;
    for name in
        ["authorization_endpoint", "pushed_authorization_request_endpoint", "device_authorization_endpoint"]
    {
        assert!(text(&document, name).starts_with(text(&document, "issuer")), "{name}");
    }
    assert_eq!(document["response_types_supported"], serde_json::json!(["code"]));
    assert_eq!(document["code_challenge_methods_supported"], serde_json::json!(["S256"]));
    assert_eq!(document["authorization_response_iss_parameter_supported"], true);
    assert_eq!(document["require_pushed_authorization_requests"], false);
    let document = metadata(&server(AuthorizationServer::strict().no_iss().demands_par())).await;
    assert_eq!(document["authorization_response_iss_parameter_supported"], false);
    assert_eq!(document["require_pushed_authorization_requests"], true);
}

#[tokio::test]
async fn whoever_signs_in_is_sent_back_with_code_state_and_issuer() {
    let server = strict();
    let callback = signed_in(&server, "openid").await;
    let names: Vec<&str> = callback.parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, callback.redirect_uri()), (vec!["code", "state", "iss"], CALLBACK.to_owned()));
    assert_eq!(callback.parameter("state"), Some("st"));
    assert_eq!(callback.parameter("iss"), Some(server.issuer()));
    let server = super::signing_in::server(AuthorizationServer::strict().no_iss());
    assert_eq!(signed_in(&server, "openid").await.parameter("iss"), None);
}

#[tokio::test]
async fn what_the_person_decides_comes_back() {
    let server = strict();
    for (person, why) in [(Person::Denies, "the person denied it"), (Person::Cancels, "the person cancelled")]
    {
        server.person(person);
        let callback = signed_in(&server, "openid").await;
        let told = ["error", "error_description", "state", "iss"].map(|name| callback.parameter(name));
        assert_eq!(told, [Some("access_denied"), Some(why), Some("st"), Some(server.issuer())]);
    }
    server.person(Person::Reads);
    for (press, answer) in [(Press::Approve, "code"), (Press::Deny, "error"), (Press::Cancel, "error")] {
        let page = authorize(&server, &query("app", "openid")).await.page();
        assert_eq!(page.status(), 200);
        assert!(page.press(press).await.callback().parameter(answer).is_some(), "{press:?}");
        assert_eq!(page.press(press).await.page().status(), 400, "a page is good once");
    }
}

#[tokio::test]
async fn who_cannot_be_told_gets_a_page() {
    let server = strict();
    let good = query("app", "openid");
    let with = |redirect: &str| good.replace(&escaped(CALLBACK), &escaped(redirect));
    for query in [
        with("http://127.0.0.1:8976/callback/"),
        with("http://127.0.0.1:8976/callback?x=1"),
        with("http://127.0.0.1:8976/Callback"),
        with("http://localhost:8976/callback"),
        with("https://127.0.0.1:8976/callback"),
        with("http://127.0.0.1:x/callback"),
        with("http://127.0.0.1.evil.example:8976/callback"),
        with("http://127.0.0.1:8976@evil.example/callback"),
        good.replace("redirect_uri", "x"),
        good.replace("client_id=app", "client_id=nobody"),
        good.replace("client_id=app", "client_id=machine"),
        format!("{good}&state=twice"),
        format!("client_id=app&request_uri={}", escaped("urn:ietf:params:oauth:request_uri:guessed")),
    ] {
        let page = authorize(&server, &query).await.page();
        assert_eq!(page.status(), 400, "{query}: {}", page.text());
        assert!(page.text().contains("<h1>Request refused</h1>"), "{query}: {}", page.text());
    }
}

#[tokio::test]
async fn the_port_of_loopback_is_free_unless_it_is_not() {
    let other = query("app", "openid").replace("8976", "51004");
    let callback = authorize(&strict(), &other).await.callback();
    assert_eq!(callback.redirect_uri(), "http://127.0.0.1:51004/callback");
    let exact = server(AuthorizationServer::strict().exact_ports());
    assert_eq!(authorize(&exact, &other).await.page().status(), 400);
    assert!(signed_in(&exact, "openid").await.parameter("code").is_some());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_to_its_client() {
    let server = strict();
    let good = query("app", "openid");
    for (query, error) in [
        (good.replace(CHALLENGE, ""), "invalid_request"),
        (good.replace("S256", "plain"), "invalid_request"),
        (good.replace("&code_challenge_method=S256", ""), "invalid_request"),
        (good.replace("E9Melhoa", ""), "invalid_request"),
        (good.replace("&response_type=code", ""), "invalid_request"),
        (good.replace("response_type=code", "response_type=token"), "unsupported_response_type"),
        (query("app", "openid unheard-of"), "invalid_scope"),
        (format!("{good}&prompt=none"), "login_required"),
    ] {
        let callback = authorize(&server, &query).await.callback();
        let told = ["error", "state", "iss"].map(|name| callback.parameter(name));
        assert_eq!(told, [Some(error), Some("st"), Some(server.issuer())], "{query}");
    }
    // A confidential client may go without a challenge, and what its URI holds already stays.
    let redirect = escaped("https://app.example/back?kept=1");
    let conf = good.replace(CHALLENGE, "").replace(&escaped(CALLBACK), &redirect).replace("=app", "=conf");
    let asked = Peer::connect(server.address()).await.get(&format!("/authorize?{conf}"), "id.test").await;
    let location = asked.head.header("location").unwrap().strip_prefix(server.issuer()).unwrap();
    let back = Peer::connect(server.address()).await.get(location, "id.test").await;
    assert!(back.head.header("location").unwrap().starts_with("https://app.example/back?kept=1&code="));
}

#[tokio::test]
async fn a_code_brings_tokens_once_and_a_second_time_ends_them() {
    let server = strict();
    let callback = signed_in(&server, "openid offline_access read").await;
    let good = exchange("app", &callback);
    let body = ask(&server, "/token", &good).await.json();
    assert_eq!(text(&body, "scope"), "openid offline_access read");
    let claims = jwt::part(text(&body, "id_token"), 1).unwrap();
    assert_eq!((text(&claims, "nonce"), text(&claims, "aud")), ("n0", "app"));
    assert_eq!(text(&claims, "iss"), server.issuer());
    let next = super::refresh(&server, text(&body, "refresh_token")).await.json();
    assert_eq!(refusal(&server, "/token", &good).await, invalid_grant());
    for access in [&body, &next] {
        assert_eq!(server.state_of(text(access, "access_token")), TokenState::Revoked);
    }
    assert_eq!(super::refresh(&server, text(&next, "refresh_token")).await.status(), 400);
    // Without a refresh token the access token ends all the same.
    let callback = signed_in(&server, "read").await;
    let body = ask(&server, "/token", &exchange("app", &callback)).await.json();
    assert_eq!((body.get("refresh_token"), body.get("id_token")), (None, None));
    assert_eq!(refusal(&server, "/token", &exchange("app", &callback)).await, invalid_grant());
    assert_eq!(server.state_of(text(&body, "access_token")), TokenState::Revoked);
    assert!(server.secrets().iter().any(|secret| Some(secret.as_str()) == callback.parameter("code")));
}

#[tokio::test]
async fn a_code_is_for_its_client_its_redirect_uri_and_its_verifier() {
    let server = strict();
    for (from, to) in [
        ("&code=", "&code=x"),
        (VERIFIER, "another-verifier-that-is-as-long-as-they-have-to-be"),
        ("code_verifier", "verifier"),
        ("callback", "elsewhere"),
        ("redirect_uri", "uri"),
    ] {
        let good = exchange("app", &signed_in(&server, "openid").await);
        assert_eq!(refusal(&server, "/token", &good.replace(from, to)).await, invalid_grant(), "{to}");
        let status = ask(&server, "/token", &good).await.status();
        assert_eq!(status == 200, from == "&code=", "{to}: its client has one attempt");
    }
    let callback = signed_in(&server, "openid").await;
    assert_eq!(refusal(&server, "/token", &exchange("other", &callback)).await, invalid_grant());
    assert_eq!(
        ask(&server, "/token", &exchange("app", &callback)).await.status(),
        200,
        "nobody else uses it up"
    );
    let missing = "grant_type=authorization_code&client_id=app";
    assert_eq!(refusal(&server, "/token", missing).await, (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn a_server_may_grant_no_refresh_token_and_say_another_nonce() {
    let server = server(AuthorizationServer::strict().never_offline().wrong_nonce());
    let callback = signed_in(&server, "openid offline_access").await;
    let body = ask(&server, "/token", &exchange("app", &callback)).await.json();
    assert_eq!((body.get("refresh_token"), text(&body, "scope")), (None, "openid"));
    let claims = jwt::part(text(&body, "id_token"), 1).unwrap();
    assert!(claims["nonce"].is_string() && claims["nonce"] != "n0", "{claims}");
}

#[tokio::test]
async fn a_server_may_want_consent_for_offline_access() {
    let server = server(AuthorizationServer::strict().wants_consent());
    for (more, granted) in [("", false), ("&prompt=login", false), ("&prompt=login%20consent", true)] {
        let asked = format!("{}{more}", query("app", "openid offline_access"));
        let callback = authorize(&server, &asked).await.callback();
        let body = ask(&server, "/token", &exchange("app", &callback)).await.json();
        assert_eq!(body.get("refresh_token").is_some(), granted, "{more}: {body}");
    }
}

#[tokio::test]
async fn a_pushed_request_is_judged_at_once_and_good_once() {
    let server = server(AuthorizationServer::strict().demands_par());
    let told = authorize(&server, &query("app", "openid")).await.callback();
    assert_eq!(told.parameter("error"), Some("invalid_request"), "requests have to be pushed here");
    let pushed = ask(&server, "/par", &query("app", "openid")).await;
    let body = pushed.json();
    assert_eq!((pushed.status(), body["expires_in"].as_u64()), (201, Some(60)));
    let uri = escaped(text(&body, "request_uri"));
    let callback = authorize(&server, &format!("client_id=app&request_uri={uri}")).await.callback();
    assert_eq!(ask(&server, "/token", &exchange("app", &callback)).await.status(), 200);
    let again = authorize(&server, &format!("client_id=app&request_uri={uri}")).await.page();
    assert_eq!(again.status(), 400, "it is used up");

    let uri = text(&ask(&server, "/par", &query("app", "openid")).await.json(), "request_uri").to_owned();
    let stolen = authorize(&server, &format!("client_id=other&request_uri={}", escaped(&uri))).await.page();
    assert_eq!(stolen.status(), 400, "and another client's");
    for (form, status, error) in [
        (query("app", "unheard-of"), 400, "invalid_scope"),
        (query("app", "openid").replace(CHALLENGE, ""), 400, "invalid_request"),
        (query("app", "openid").replace("callback", "elsewhere"), 400, "invalid_request"),
        (query("nobody", "openid"), 401, "invalid_client"),
        (query("conf", "openid"), 401, "invalid_client"),
        (format!("{}&request_uri=x", query("app", "openid")), 400, "invalid_request"),
    ] {
        assert_eq!(refusal(&server, "/par", &form).await, (status, error.to_owned()), "{form}");
    }
}

/// Begins to sign a device in.
async fn device(server: &AuthorizationServer, scope: &str) -> (Value, String) {
    let begun =
        ask(server, "/device_authorization", &format!("client_id=app&scope={}", escaped(scope))).await;
    let body = begun.json();
    assert_eq!(begun.status(), 200, "{body}");
    let code = text(&body, "device_code");
    let poll = format!("grant_type={}&client_id=app&device_code={code}", escaped(DEVICE_CODE));
    (body, poll)
}

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_device_waits_for_its_person() {
    let server = server(AuthorizationServer::strict().device(LONG, Duration::ZERO));
    let (body, poll) = device(&server, "openid offline_access").await;
    let user_code = text(&body, "user_code");
    assert_eq!((user_code.len(), user_code.as_bytes()[4], &body["interval"]), (9, b'-', &0.into()));
    assert_eq!(
        text(&body, "verification_uri_complete"),
        format!("{}?user_code={user_code}", text(&body, "verification_uri"))
    );
    assert_eq!(refusal(&server, "/token", &poll).await, (400, "authorization_pending".to_owned()));
    let theft = poll.replace("client_id=app", "client_id=other");
    assert_eq!(refusal(&server, "/token", &theft).await, invalid_grant());
    let tokens = ask(&server, "/token", &poll).await.json();
    assert!(tokens["id_token"].is_string() && tokens["refresh_token"].is_string(), "{tokens}");
    assert_eq!(refusal(&server, "/token", &poll).await, invalid_grant(), "it is used up");

    server.person(Person::Denies);
    let (_, poll) = device(&server, "openid").await;
    assert_eq!(refusal(&server, "/token", &poll).await.1, "authorization_pending");
    assert_eq!(refusal(&server, "/token", &poll).await.1, "access_denied");
    let wrong = "client_id=app&scope=unheard-of";
    assert_eq!(refusal(&server, "/device_authorization", wrong).await, (400, "invalid_scope".to_owned()));
    let nobody = "client_id=nobody";
    assert_eq!(refusal(&server, "/device_authorization", nobody).await, (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn a_device_that_asks_too_often_is_slowed_down_and_one_that_is_late_is_told() {
    let server = server(AuthorizationServer::strict().device(LONG, Duration::from_secs(60)));
    let (_, poll) = device(&server, "openid").await;
    assert_eq!(refusal(&server, "/token", &poll).await.1, "authorization_pending");
    assert_eq!(refusal(&server, "/token", &poll).await.1, "slow_down");
    server.fault_once(Fault::SlowDown, crate::support::authorization_server::Phase::BeforeProcessing);
    assert_eq!(refusal(&server, "/token", &poll).await.1, "slow_down");
    let server =
        super::signing_in::server(AuthorizationServer::strict().device(Duration::ZERO, Duration::ZERO));
    let (_, poll) = device(&server, "openid").await;
    assert_eq!(refusal(&server, "/token", &poll).await, (400, "expired_token".to_owned()));
}

#[tokio::test]
async fn the_person_types_the_code_as_people_do() {
    let server = server(AuthorizationServer::strict().device(LONG, Duration::ZERO));
    server.person(Person::Reads);
    let (body, poll) = device(&server, "openid").await;
    let page = browser::open(text(&body, "verification_uri")).await.page();
    assert!(page.text().contains("name=\"user_code\""), "{}", page.text());
    for _ in 0..3 {
        assert_eq!(refusal(&server, "/token", &poll).await.1, "authorization_pending");
    }
    let typed = text(&body, "user_code").to_lowercase().replace('-', "+");
    let page = browser::open(&format!("{}?user_code={typed}", text(&body, "verification_uri"))).await.page();
    let done = page.press(Press::Approve).await.page();
    assert!(done.text().contains("Go back to your device"), "{}", done.text());
    assert_eq!(page.press(Press::Deny).await.page().status(), 400, "it is decided");
    assert_eq!(ask(&server, "/token", &poll).await.status(), 200);
    let page =
        browser::open(&format!("{}?user_code=BCDF-BCDF", text(&body, "verification_uri"))).await.page();
    assert_eq!(page.press(Press::Approve).await.page().status(), 400, "nobody's code");
}

#[tokio::test]
async fn each_endpoint_can_fail_by_itself() {
    let server = strict();
    server.fault_at(Endpoint::Authorization, Fault::ErrorPage);
    let page = authorize(&server, &query("app", "openid")).await.page();
    assert_eq!(page.status(), 500, "{}", page.text());
    assert_eq!(ask(&server, "/par", &query("app", "openid")).await.status(), 201);
    server.fault_at(Endpoint::Pushed, Fault::Unavailable(None));
    assert_eq!(ask(&server, "/par", &query("app", "openid")).await.status(), 503);
    server.fault_at(Endpoint::Device, Fault::ServerError);
    assert_eq!(ask(&server, "/device_authorization", "client_id=app").await.status(), 500);
    server.fault_at(Endpoint::Revocation, Fault::ServerError);
    assert_eq!(ask(&server, "/revoke", "client_id=app&token=x").await.status(), 500);
    server.heal();
    assert_eq!(ask(&server, "/revoke", "client_id=app&token=x").await.status(), 200);
    assert!(signed_in(&server, "openid").await.parameter("code").is_some());
}
