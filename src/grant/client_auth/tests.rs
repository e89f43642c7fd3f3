//! Client authentication, case by case.

use std::time::Duration;

use ClientAuthMethod::{Auto, Basic, ClientSecretJwt, None as Nothing, Post, PrivateKeyJwt, Tls};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const NOW: Moment = Moment { boot: Duration::from_secs(9), wall: Duration::from_secs(1_800_000_000) };

fn metadata(algorithms: &[&str]) -> Metadata {
    Metadata {
        signing_algorithms: algorithms.iter().map(ToString::to_string).collect(),
        ..Metadata::of_endpoint("https://id.example/token".parse().unwrap())
    }
}

fn proven(proof: &Proof) -> (Option<HeaderValue>, String) {
    let mut form = Form::default();
    let value = apply(proof, "billing", NOW, &mut form).unwrap();
    (value, form.encode().to_string())
}

/// The header and the claims of a JWT.
fn parts(jwt: &str) -> (Value, Value) {
    let mut parts =
        jwt.split('.').map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default()));
    (parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap())
}

#[test]
fn the_method_is_decided_by_what_is_given_and_what_the_server_takes() {
    let (secret, key, certificate) = (
        Given { secret: true, ..Given::default() },
        Given { key: true, ..Given::default() },
        Given { certificate: true, ..Given::default() },
    );
    let rows: [(ClientAuthMethod, Given, &[&str], ClientAuthMethod); 13] = [
        (Auto, Given::default(), &["client_secret_basic"], Nothing),
        (Auto, secret, &[], Basic),
        (Auto, secret, &["client_secret_post"], Post),
        (Auto, secret, &["client_secret_post", "client_secret_basic"], Basic),
        (Auto, secret, &["client_secret_jwt"], ClientSecretJwt),
        (Auto, secret, &["private_key_jwt"], Basic),
        (Auto, key, &["client_secret_basic"], PrivateKeyJwt),
        (Auto, Given { secret: true, ..key }, &[], PrivateKeyJwt),
        (Auto, certificate, &["tls_client_auth"], Tls),
        (Auto, certificate, &["self_signed_tls_client_auth"], Tls),
        // The certificate may be for the upstream alone.
        (Auto, certificate, &["none"], Nothing),
        (Post, secret, &["client_secret_basic"], Post),
        (Basic, secret, &["client_secret_post"], Basic),
    ];
    for (configured, given, supported, expected) in rows {
        let supported: Vec<String> = supported.iter().map(ToString::to_string).collect();
        assert_eq!(decide(configured, given, &supported), expected, "{configured:?} {given:?} {supported:?}");
    }
}

#[test]
fn each_half_of_basic_is_form_encoded() {
    let mut form = Form::default();
    let proof = Proof::Basic(ClientSecret::new("p+ %ä"));
    let value = apply(&proof, "conf:rot", NOW, &mut form).unwrap().unwrap();
    let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(encoded).unwrap(), b"conf%3Arot:p%2B+%25%C3%A4");
    assert!(value.is_sensitive() && form.encode().is_empty(), "one method only (RFC 6749 §2.3)");
}

#[test]
fn the_other_methods_go_into_the_body() {
    let proven = |proof| match proven(&proof) {
        (None, form) => form,
        (Some(_), form) => panic!("a header beside {form}"),
    };
    assert_eq!(proven(Proof::Post(ClientSecret::new("s"))), "client_id=billing&client_secret=s");
    assert_eq!(proven(Proof::Id), "client_id=billing");
    let brought = proven(Proof::Brought(ClientSecret::new("e.y.J")));
    let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    assert_eq!(brought, format!("client_id=billing&client_assertion_type={kind}&client_assertion=e.y.J"));
}

#[test]
fn an_assertion_says_who_for_whom_and_for_a_minute_and_never_twice_the_same() {
    let signer = Signer::with_secret(&ClientSecret::new("hush"), "https://id.example".to_owned());
    let jwt = || signer.assertion("billing", "billing", Map::new(), NOW).unwrap();
    let (header, claims) = parts(&jwt());
    assert_eq!(header, json!({ "typ": "JWT", "alg": "HS256" }));
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("billing"), &json!("billing")));
    assert_eq!(claims["aud"], json!("https://id.example"), "one string (R30)");
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_800_000_000), &json!(1_800_000_060)));
    assert_ne!(claims["jti"], parts(&jwt()).1["jti"], "each is for one use");
}

#[test]
fn what_the_operator_adds_replaces_no_claim() {
    let signer = Signer::with_secret(&ClientSecret::new("hush"), "https://id.example".to_owned());
    let more = Map::from_iter([("scope".to_owned(), json!("a b")), ("iss".to_owned(), json!("somebody"))]);
    let (_, claims) = parts(&signer.assertion("billing", "alice", more, NOW).unwrap());
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["scope"]),
        (&json!("billing"), &json!("alice"), &json!("a b"))
    );
}

#[test]
fn the_algorithm_is_the_keys_and_the_servers_unless_it_is_named() {
    let rsa = jose::tests::rsa_pem();
    let algorithm = |wanted, algorithms: &[&str]| {
        Signer::with_key(&ClientSecret::new(&*rsa), None, wanted, &metadata(algorithms), String::new())
            .map(|signer| signer.algorithm)
    };
    assert_eq!(algorithm(None, &[]), Ok(Algorithm::Rs256));
    assert_eq!(algorithm(None, &["ES256", "PS256"]), Ok(Algorithm::Ps256));
    assert_eq!(algorithm(None, &["RS256", "PS256"]), Ok(Algorithm::Rs256));
    assert_eq!(algorithm(Some(Algorithm::Ps256), &["RS256"]), Ok(Algorithm::Ps256));
    assert_eq!(algorithm(Some(Algorithm::Es256), &[]), Err(KeyError::OtherAlgorithm));
}

#[test]
fn a_key_is_named_by_its_id_and_by_the_certificate_beside_it() {
    let pair = rcgen::generate_simple_self_signed(["billing".to_owned()]).unwrap();
    let pem = format!("{}{}", pair.signing_key.serialize_pem(), pair.cert.pem());
    let metadata = metadata(&[]);
    let signer =
        Signer::with_key(&ClientSecret::new(pem), Some("k1"), None, &metadata, String::new()).unwrap();
    let (header, _) = parts(&signer.assertion("a", "a", Map::new(), NOW).unwrap());
    let thumbprint = jose::encoded_sha256(pair.cert.der());
    assert_eq!(header, json!({ "kid": "k1", "x5t#S256": thumbprint, "typ": "JWT", "alg": "ES256" }));
}
