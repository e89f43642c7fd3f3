//! Every way in which a client proves who it is, and every flow, against a server that takes nothing on trust.

use bearerd::grant::status::State;
use bearerd::grant::{ClientAuthMethod, Flow, TokenExchange};
use bearerd::jose::Algorithm;
use bearerd::tls::{Certificate, Roots};
use bearerd::{clock::Clock, tls};
use serde_json::json;

use super::bench::Bench;
use crate::support::authorization_server::{AuthorizationServer, Client, Exchange, Proof};
use crate::support::certificates::Authority;
use crate::support::keys::Key;
use crate::support::{jwt, random};

/// A secret that breaks whoever forgets to encode it.
const ODD: &str = "p+ %ä:x";

fn assertion(redeem: &Exchange) -> &str {
    redeem.parameter("client_assertion").unwrap()
}

#[tokio::test]
async fn a_secret_goes_by_header_body_or_signature() {
    use ClientAuthMethod::{Auto, Basic, ClientSecretJwt, Post};
    let billing = || Client::confidential("billing", ODD);
    let cases = [
        (Auto, Client::public("billing"), None),
        (Auto, billing().by(Proof::Basic), Some(ODD)),
        (Basic, billing().by(Proof::Basic), Some(ODD)),
        (Post, billing().by(Proof::Post), Some(ODD)),
        (ClientSecretJwt, billing().by(Proof::SecretJwt), Some(ODD)),
    ];
    for (method, client, secret) in cases {
        let server = AuthorizationServer::strict().client(client).expires_in(4).start();
        let mut bench = Bench::of(&server, "billing");
        bench.secret(secret);
        bench.params.client_auth = method;
        let bench = bench.start().await;
        bench.is(State::Active).await;
        // Again: an assertion is good for one use.
        server.wait_for_redeems(2).await;
        bench.is(State::Active).await;
    }
}

#[tokio::test]
async fn a_key_signs_with_what_it_and_the_server_know() {
    let (p256, rsa, ed25519) = (Key::p256(), Key::rsa(), Key::ed25519());
    let fapi = &["PS256", "ES256", "EdDSA"];
    let all = &["HS256", "ES256", "RS256", "PS256", "EdDSA"];
    let rows: [(&Key, &[&'static str], Option<Algorithm>, &str); 6] = [
        (&p256, all, None, "ES256"),
        (&ed25519, all, None, "EdDSA"),
        (&rsa, all, None, "RS256"),
        (&rsa, all, Some(Algorithm::Ps256), "PS256"),
        (&rsa, fapi, None, "PS256"),
        (&p256, &[], Some(Algorithm::Es256), "ES256"),
    ];
    for (key, offered, wanted, expected) in rows {
        // A server that names no algorithms takes them all.
        let taken = if offered.is_empty() { all } else { offered };
        let server = AuthorizationServer::strict().client(Client::keyed("billing", key)).expires_in(4);
        let server = server.signing_algorithms(taken).start();
        let mut bench = Bench::of(&server, "billing");
        bench.params.credentials.key = Some(bench.file("key.pem", &key.pem()));
        bench.params.credentials.key_id = Some("2026-11".to_owned());
        bench.params.credentials.algorithm = wanted;
        let bench = bench.start().await;
        bench.is(State::Active).await;
        let redeems = server.wait_for_redeems(2).await;
        let header = jwt::part(assertion(&redeems[0]), 0).unwrap();
        assert_eq!((&header["alg"], &header["kid"]), (&json!(expected), &json!("2026-11")));
        assert_eq!(redeems[0].parameter("client_id"), Some("billing"), "some servers look for nothing else");
        assert_ne!(assertion(&redeems[0]), assertion(&redeems[1]));
        bench.is(State::Active).await;
    }
}

#[tokio::test]
async fn another_key_in_the_file_is_the_one_that_signs_next() {
    let (before, after) = (Key::p256(), Key::rsa());
    let server = AuthorizationServer::strict().client(Client::keyed("billing", &before)).start();
    let mut bench = Bench::of(&server, "billing");
    bench.params.credentials.key = Some(bench.file("key.pem", &before.pem()));
    let bench = bench.start().await;
    bench.is(State::Active).await;
    bench.replace("key.pem", &after.pem());
    server.register(Client::keyed("billing", &after));
    bench.refresh();
    bench.generation(2).await;
    // One that cannot be used is told, and healed by the next, without a restart.
    bench.replace("key.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    bench.refresh();
    let status = bench.fails().await;
    let problem = status.problem.as_ref().unwrap();
    assert_eq!(problem.code, "client_key_unusable", "{}", problem.sentence);
    bench.replace("key.pem", &after.pem());
    bench.refresh();
    bench.generation(3).await;
    assert_eq!((server.reuse_errors(), server.redeems().len()), (0, 3), "nothing was presented meanwhile");
}

#[tokio::test]
async fn an_assertion_that_somebody_else_keeps_fresh_is_read_for_each_attempt() {
    let key = Key::p256();
    let server = AuthorizationServer::strict().client(Client::keyed("billing", &key)).start();
    let fresh = || {
        let now = Clock::System.now().wall.as_secs();
        key.jwt(&json!({
            "iss": "billing", "sub": "billing", "aud": server.issuer(), "exp": now + 60, "jti": random::uuid(),
        }))
    };
    let mut bench = Bench::of(&server, "billing");
    bench.params.credentials.assertion = Some(bench.file("assertion", &fresh()));
    let bench = bench.start().await;
    bench.is(State::Active).await;
    // The same once more is refused, and costs no refresh token.
    bench.refresh();
    let status = bench.fails().await;
    assert_eq!(status.problem.as_ref().unwrap().code, "client_rejected");
    bench.replace("assertion", &fresh());
    bench.refresh();
    bench.generation(2).await;
    assert_eq!(server.reuse_errors(), 0);
}

#[tokio::test]
async fn while_secrets_are_rotated_the_one_that_is_good_is_found_and_kept_to() {
    let server = AuthorizationServer::strict().client(Client::confidential("billing", "old")).start();
    let mut bench = Bench::of(&server, "billing");
    bench.params.credentials.secrets = vec![bench.file("first", "old"), bench.file("second", "new")];
    let bench = bench.start().await;
    bench.is(State::Active).await;
    server.register(Client::confidential("billing", "new"));
    bench.refresh();
    bench.generation(2).await;
    bench.refresh();
    let status = bench.generation(3).await;
    let statuses: Vec<_> = server.redeems().iter().map(|redeem| redeem.status.unwrap()).collect();
    assert_eq!(statuses, [200, 401, 200, 200], "the second one is not asked for twice");
    assert_eq!((status.consecutive_failures, server.reuse_errors()), (0, 0));
    // Neither is good: the verdict is about the client, and the refresh token stays.
    server.register(Client::confidential("billing", "newest"));
    bench.refresh();
    let status = bench.fails().await;
    assert_eq!(status.problem.as_ref().unwrap().code, "client_rejected");
    bench.replace("first", "newest");
    bench.refresh();
    bench.generation(4).await;
    assert_eq!(server.reuse_errors(), 0);
}

#[tokio::test]
async fn a_certificate_proves_the_client_at_the_endpoint_that_asks_for_one() {
    let authority = Authority::new();
    let (chain, key, der) = authority.client("billing");
    let billing = |der: &[u8]| Client::certified("billing", der);
    let server = AuthorizationServer::strict().mtls(&authority).start();
    for method in [ClientAuthMethod::Auto, ClientAuthMethod::Tls] {
        server.register(billing(&der));
        let mut bench = Bench::of(&server, "billing");
        bench.params.client_auth = method;
        bench.params.credentials.certificate = true;
        let chain = bench.file("cert.pem", &chain);
        let bearerd::grant::Secret::File(chain) = chain else { panic!("{chain:?}") };
        let certificate = Certificate { chain, key: bench.file("key.pem", &key) };
        let ca_file = Some(authority.ca_file());
        bench.tls = tls::Params { ca_file, roots: Roots::File, client: Some(certificate) };
        let bench = bench.start().await;
        bench.is(State::Active).await;
        let host = format!("localhost:{}", server.address().port());
        assert_eq!(server.redeems().last().unwrap().head.header("host"), Some(host.as_str()));
        // Another one, renewed while the program runs.
        let (chain, key, der) = authority.client("billing");
        server.register(billing(&der));
        bench.replace("cert.pem", &chain);
        bench.replace("key.pem", &key);
        bench.refresh();
        bench.generation(2).await;
        server.register(billing(&authority.client("billing").2));
        bench.refresh();
        assert_eq!(bench.fails().await.problem.as_ref().unwrap().code, "client_rejected");
    }
}

/// By the book a refresh without `scope` asks for all that was granted (RFC 6749 §6); Entra wants it named.
#[tokio::test]
async fn a_refresh_names_scopes_only_where_it_is_told_to() {
    for (sends, named) in [(false, None), (true, Some("read write"))] {
        let server = AuthorizationServer::strict().start();
        let mut bench = Bench::of(&server, "billing");
        bench.params.scopes = vec!["read".to_owned(), "write".to_owned()];
        bench.params.send_scopes_on_refresh = sends;
        let bench = bench.start().await;
        bench.is(State::Active).await;
        assert_eq!(server.redeems()[0].parameter("scope"), named);
    }
}

#[tokio::test]
async fn client_credentials_need_no_refresh_token() {
    let server = AuthorizationServer::strict().client(Client::machine("job", "s3cret")).expires_in(4).start();
    let mut bench = Bench::of(&server, "job");
    bench.secret(Some("s3cret"));
    bench.params.flow = Flow::ClientCredentials;
    let bench = bench.start().await;
    server.wait_for_redeems(3).await;
    bench.is(State::Active).await;
}

#[tokio::test]
async fn an_assertion_is_signed_about_the_subject_for_each_token() {
    let key = Key::rsa();
    let server = AuthorizationServer::strict().client(Client::keyed("robot", &key)).expires_in(4).start();
    let mut bench = Bench::of(&server, "robot");
    bench.params.credentials.key = Some(bench.file("key.pem", &key.pem()));
    bench.params.flow = Flow::JwtBearer { assertion: None, subject: Some("alice@example.com".to_owned()) };
    bench.params.scopes = vec!["a".to_owned(), "b".to_owned()];
    let bench = bench.start().await;
    let redeems = server.wait_for_redeems(2).await;
    bench.is(State::Active).await;
    let claims = jwt::part(redeems[0].parameter("assertion").unwrap(), 1).unwrap();
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("robot"), &json!("alice@example.com")));
    assert_eq!(claims["scope"], "a b");
}

#[tokio::test]
async fn an_assertion_that_is_refused_is_told_and_the_next_one_heals() {
    let key = Key::p256();
    let server = AuthorizationServer::strict().client(Client::keyed("robot", &key)).start();
    let of = |audience: &str| {
        let now = Clock::System.now().wall.as_secs();
        key.jwt(&json!({
            "iss": "https://ci.example", "sub": "job-7", "aud": audience, "exp": now + 60, "jti": random::uuid(),
        }))
    };
    let mut bench = Bench::of(&server, "robot");
    bench.params.credentials.key = Some(bench.file("key.pem", &key.pem()));
    let assertion = bench.file("assertion", &of("https://elsewhere.example"));
    bench.params.flow = Flow::JwtBearer { assertion: Some(assertion), subject: None };
    let bench = bench.start().await;
    let status = bench.is(State::Misconfigured).await;
    let problem = status.problem.as_ref().unwrap();
    assert_eq!(problem.code, "assertion_rejected");
    assert!(
        problem.sentence.contains("another server") && !problem.sentence.contains("ign in"),
        "{problem:?}"
    );
    bench.replace("assertion", &of(server.issuer()));
    bench.is(State::Active).await;
}

#[tokio::test]
async fn a_token_is_exchanged_with_or_without_an_actor() {
    let server = AuthorizationServer::strict().client(Client::confidential("gateway", "s3cret")).start();
    let issued = || {
        let bench = Bench::of(&server, "app");
        async { bench.start().await }
    };
    let app = issued().await;
    app.is(State::Active).await;
    let subject = server.redeems().pop().unwrap().access_token.unwrap();
    let kind = "urn:ietf:params:oauth:token-type:access_token".to_owned();
    for acts in [false, true] {
        let mut bench = Bench::of(&server, "gateway");
        bench.secret(Some("s3cret"));
        let actor = acts.then(|| (bench.file("actor", &subject), kind.clone()));
        bench.params.flow = Flow::TokenExchange(Box::new(TokenExchange {
            subject: (bench.file("subject", &subject), kind.clone()),
            actor,
            requested: Some(kind.clone()),
        }));
        bench.params.audience = Some("inventory".to_owned());
        let bench = bench.start().await;
        bench.is(State::Active).await;
        let redeem = server.redeems().pop().unwrap();
        assert_eq!(redeem.parameter("audience"), Some("inventory"));
        assert_eq!(redeem.parameter("actor_token").is_some(), acts);
        // What is exchanged may end before what came of it; the next one is read from the same file.
        bench.replace("subject", "gone");
        bench.refresh();
        let status = bench.fails().await;
        assert_eq!(status.problem.as_ref().unwrap().code, "assertion_rejected");
        bench.replace("subject", &subject);
        bench.refresh();
        bench.generation(2).await;
    }
}

#[tokio::test]
async fn more_parameters_and_headers_add_and_replace_nothing() {
    let server = AuthorizationServer::strict().client(Client::public("billing")).start();
    let mut bench = Bench::of(&server, "billing");
    bench.params.extra =
        vec![("x_device".to_owned(), "7".to_owned()), ("client_id".to_owned(), "evil".to_owned())];
    bench.params.resource = vec!["https://a.example".to_owned()];
    let header = |name: &'static str, value: &'static str| {
        (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
    };
    bench.params.extra_headers = vec![header("x-tenant", "acme"), header("content-type", "text/plain")];
    let bench = bench.start().await;
    bench.is(State::Active).await;
    let redeem = server.redeems().pop().unwrap();
    assert_eq!(redeem.parameter("x_device"), Some("7"));
    assert_eq!(redeem.parameter("resource"), Some("https://a.example"));
    assert_eq!(redeem.parameter("client_id"), Some("billing"));
    assert_eq!(redeem.head.header("x-tenant"), Some("acme"));
    assert_eq!(redeem.head.header("content-type"), Some("application/x-www-form-urlencoded"));
}
