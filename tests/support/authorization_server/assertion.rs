//! What the strict profile asks of a signed assertion (RFC 7523 §3), of the client itself or of somebody else.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::options::{Client, Proof};
use super::{Shared, fapi, now};
use crate::support::jwt;

/// How long an assertion may be good, in seconds: one use, at once.
const LONGEST_LIFE: u64 = 300;

/// A JWT, taken apart and not yet believed.
pub(super) struct Jwt<'a> {
    pub(super) header: Value,
    pub(super) claims: Value,
    input: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let (input, signature) = text.rsplit_once('.').filter(|_| text.split('.').count() == 3)?;
        Some(Self {
            header: jwt::part(text, 0)?,
            claims: jwt::part(text, 1)?,
            input,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    fn claim(&self, name: &str) -> Option<&str> {
        self.claims[name].as_str()
    }

    /// Whether the client has signed it, with an algorithm that the server takes.
    fn is_signed_by(&self, client: &Client, algorithms: &[&str]) -> bool {
        let algorithm = self.header["alg"].as_str().unwrap_or_default();
        if !algorithms.contains(&algorithm) {
            return false;
        }
        match (client.proof, &client.key, &client.secret) {
            (Proof::SecretJwt, _, Some(secret)) if algorithm == "HS256" => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                hmac::verify(&key, self.input.as_bytes(), &self.signature).is_ok()
            }
            (_, Some(key), _) => key.has_signed(algorithm, self.input.as_bytes(), &self.signature),
            _ => false,
        }
    }
}

/// The client that an assertion names, if it is one's own and good.
pub(super) fn of_itself(shared: &Shared, text: &str) -> Result<Client, &'static str> {
    let jwt = Jwt::of(text).ok_or("the assertion is no JWT")?;
    let client = shared.state().client(jwt.claim("sub").unwrap_or_default()).cloned();
    let client = client.ok_or("no such client")?;
    if jwt.claim("iss") != Some(&client.id) {
        return Err("another has made the assertion");
    }
    is_good(shared, &jwt, &client).map(|()| client)
}

/// Whether this client vouches for whom the assertion is about.
pub(super) fn of_somebody(shared: &Shared, client: &Client, text: &str) -> Result<(), &'static str> {
    let jwt = Jwt::of(text).ok_or("the assertion is no JWT")?;
    if jwt.claim("sub").is_none_or(str::is_empty) {
        return Err("the assertion is about nobody");
    }
    is_good(shared, &jwt, client)
}

fn is_good(shared: &Shared, jwt: &Jwt<'_>, client: &Client) -> Result<(), &'static str> {
    let now = now().wall.as_secs();
    let at = |name: &str| jwt.claims[name].as_u64();
    if !jwt.is_signed_by(client, &shared.options.signing_algorithms) {
        return Err("the assertion's signature is not the client's");
    }
    // One name, not a list: who is named with others may be impersonated by them (RFC 7523 §3, CVE-2025-27370).
    if jwt.claim("aud") != Some(&shared.issuer) {
        return Err("the assertion is for another server");
    }
    let longest = if shared.options.fapi { fapi::LONGEST_ASSERTION } else { LONGEST_LIFE };
    if at("exp").is_none_or(|exp| exp <= now || exp > now + longest) || at("iat").is_some_and(|iat| iat > now)
    {
        return Err("the assertion is not of this time");
    }
    let id = jwt.claim("jti").ok_or("the assertion has no jti")?.to_owned();
    if !shared.change(|state| state.assertions.insert(id)) {
        return Err("the assertion was used before");
    }
    Ok(())
}
