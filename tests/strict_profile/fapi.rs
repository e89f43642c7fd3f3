//! FAPI 2.0: what proves a client, what an assertion may be, what binds a token, and which rotations there are.

use std::time::Duration;

use bearerd::clock::Clock;
use bearerd::grant::Secret;
use bearerd::tls::{Alpn, Certificate, Params, Roots, Tls};
use serde_json::{Value, json};

use super::text;
use crate::support::authorization_server::{AuthorizationServer, Client, Options, TokenState};
use crate::support::certificates::Authority;
use crate::support::http::{Ends, Inbound};
use crate::support::in_time;
use crate::support::keys::Key;
use crate::support::random;
use crate::support::raw::{Reply, post};

/// A server, who certifies, and the client `app` with its key.
struct Bank {
    authority: Authority,
    server: AuthorizationServer,
    key: Key,
}

impl Bank {
    fn of(options: impl FnOnce(Options) -> Options) -> Self {
        let (authority, key) = (Authority::new(), Key::p256());
        let server =
            options(AuthorizationServer::fapi(&authority)).client(Client::keyed("app", &key)).start();
        Self { authority, server, key }
    }

    /// An assertion with these claims in place of the good ones.
    fn assertion(&self, other: Value) -> String {
        let now = Clock::System.now().wall.as_secs();
        let mut claims = json!({
            "iss": "app", "sub": "app", "aud": self.server.issuer(), "iat": now, "exp": now + 50,
            "jti": random::uuid(),
        });
        for (name, value) in other.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.key.jwt(&claims)
    }

    /// Asks, with the certificate of this name or without one.
    async fn ask(&self, certificate: Option<&(String, String, Vec<u8>)>, request: &str) -> Reply {
        let file = |name: &str, text: &str| {
            let path = self.authority.folder().join(name);
            std::fs::write(&path, text).unwrap();
            Secret::File(path)
        };
        let client = certificate.map(|(chain, key, _)| {
            let Secret::File(chain) = file("cert.pem", chain) else { panic!("a file") };
            Certificate { chain, key: file("key.pem", key) }
        });
        let params = Params { ca_file: Some(self.authority.ca_file()), roots: Roots::File, client };
        let tls = Tls::load(&params).unwrap();
        let stream = tokio::net::TcpStream::connect(self.server.address()).await.unwrap();
        let connected = tls.connector(Alpn::Http1).connect("localhost".try_into().unwrap(), stream);
        let mut inbound = Inbound::new(in_time("a handshake", connected).await.unwrap());
        tokio::io::AsyncWriteExt::write_all(&mut inbound.stream, request.as_bytes()).await.unwrap();
        let head = in_time("a head", inbound.head()).await.unwrap();
        let body = in_time("a body", inbound.body(&head, Ends::Framed, 1 << 20)).await.unwrap();
        Reply { head, body }
    }

    async fn refresh(
        &self,
        certificate: Option<&(String, String, Vec<u8>)>,
        proof: &str,
        token: &str,
    ) -> Reply {
        let form = format!("grant_type=refresh_token&refresh_token={token}&{proof}");
        self.ask(certificate, &post("/token", "localhost", &form)).await
    }

    fn proof(&self, other: Value) -> String {
        format!(
            "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_assertion={}",
            self.assertion(other)
        )
    }
}

fn error(reply: &Reply) -> (u16, String) {
    (reply.status(), text(&reply.json(), "error").to_owned())
}

#[tokio::test]
async fn an_assertion_is_for_the_issuer_alone_and_short_and_new() {
    let bank = Bank::of(|options| options);
    let certificate = bank.authority.client("app");
    let (token, now) = (bank.server.seed("app"), Clock::System.now().wall.as_secs());
    let endpoint = bank.server.token_endpoint();
    for (what, other) in [
        ("a list", json!({ "aud": [bank.server.issuer()] })),
        ("the token endpoint", json!({ "aud": endpoint })),
        ("no audience", json!({ "aud": null })),
        ("an hour", json!({ "exp": now + 3600 })),
        ("two minutes", json!({ "exp": now + 120 })),
        ("over", json!({ "exp": now - 1 })),
        ("without end", json!({ "exp": null })),
        ("without jti", json!({ "jti": null })),
        ("another's", json!({ "iss": "other" })),
    ] {
        let reply = bank.refresh(Some(&certificate), &bank.proof(other), &token).await;
        assert_eq!(error(&reply), (401, "invalid_client".to_owned()), "{what}");
    }
    let once = bank.proof(json!({}));
    assert_eq!(bank.refresh(Some(&certificate), &once, &token).await.status(), 200);
    let again = bank.refresh(Some(&certificate), &once, &token).await;
    assert_eq!(error(&again), (401, "invalid_client".to_owned()), "the same assertion");
    assert_eq!(bank.refresh(Some(&certificate), &bank.proof(json!({})), &token).await.status(), 200);
}

#[tokio::test]
async fn no_secret_and_no_name_alone_proves_a_client() {
    let bank = Bank::of(|options| options);
    let certificate = bank.authority.client("app");
    bank.server.register(Client::confidential("secretive", "s3cret"));
    bank.server.register(Client::public("open"));
    bank.server.register(Client::certified("certified", &certificate.2));
    for (proof, client, status) in [
        ("client_id=secretive&client_secret=s3cret", "secretive", 401),
        ("client_id=open", "open", 401),
        ("client_id=certified", "certified", 200),
    ] {
        let reply = bank.refresh(Some(&certificate), proof, &bank.server.seed(client)).await;
        assert_eq!(reply.status(), status, "{proof}: {}", reply.text());
    }
    let document = bank
        .ask(None, "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .json();
    assert_eq!(
        document["token_endpoint_auth_methods_supported"],
        json!(["private_key_jwt", "tls_client_auth"])
    );
    assert_eq!(
        document["token_endpoint_auth_signing_alg_values_supported"],
        json!(["PS256", "ES256", "EdDSA"])
    );
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], true);
}

#[tokio::test]
async fn a_token_is_bound_to_the_certificate_of_its_connection() {
    let bank = Bank::of(|options| options);
    let (mine, other) = (bank.authority.client("app"), bank.authority.client("other"));
    let token = bank.server.seed("app");
    let unbound = bank.refresh(None, &bank.proof(json!({})), &token).await;
    assert_eq!(error(&unbound), (400, "invalid_request".to_owned()));
    let body = bank.refresh(Some(&mine), &bank.proof(json!({})), &token).await.json();
    let access = text(&body, "access_token");
    assert_eq!(bank.server.use_of(access, Some(&mine.2)), TokenState::Active);
    for stranger in [None, Some(other.2.as_slice())] {
        assert_eq!(bank.server.use_of(access, stranger), TokenState::Misplaced);
    }
    let form = format!("token={access}&{}", bank.proof(json!({})));
    let told = bank.ask(Some(&mine), &post("/introspect", "localhost", &form)).await.json();
    assert_eq!(told["cnf"]["x5t#S256"].as_str().unwrap().len(), 43, "{told}");
}

#[tokio::test]
async fn refresh_tokens_stay_or_a_retry_with_the_one_before_succeeds() {
    let minute = Duration::from_secs(60);
    for (bank, rotates) in [
        (Bank::of(|options| options), false),
        (Bank::of(|options| options.grace(minute)), true),
        (Bank::of(Options::until_use), true),
    ] {
        let certificate = bank.authority.client("app");
        let token = bank.server.seed("app");
        for _ in 0..2 {
            let reply = bank.refresh(Some(&certificate), &bank.proof(json!({})), &token).await;
            assert_eq!(reply.status(), 200);
            assert_eq!(reply.json().get("refresh_token").is_some(), rotates);
        }
        assert_eq!(bank.server.reuse_errors(), 0);
    }
}
