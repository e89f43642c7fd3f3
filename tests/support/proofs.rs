//! What a server asks of a proof of possession (RFC 9449 §4.3), and what it remembers of those it has seen.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bearerd::clock::Clock;
use serde_json::{Value, json};

use super::{jwt, random};

/// The members of a proof's key (RFC 7638 §3.2): a private one among them would be a leak.
const PUBLIC: [&str; 4] = ["crv", "kty", "x", "y"];

/// One server's memory of proofs.
#[derive(Debug)]
pub(crate) struct Proofs {
    /// How old a proof may be, or how early, in seconds.
    window: i64,
    /// Whether a proof is good only once.
    once: bool,
    /// What the next proof has to hold; none where nonces are not asked for.
    nonce: Option<String>,
    /// How far its clock is ahead, in seconds, once it was set.
    ahead: Option<i64>,
    used: HashSet<String>,
    /// Thumbprints of the keys that tokens and grants are bound to.
    bound: BTreeMap<String, String>,
}

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It holds no nonce, or an old one.
    NeedsNonce,
    /// It is no good.
    Invalid(&'static str),
}

impl Refused {
    /// The `error`.
    pub(crate) fn error(self) -> &'static str {
        match self {
            Self::NeedsNonce => "use_dpop_nonce",
            Self::Invalid(_) => "invalid_dpop_proof",
        }
    }

    /// The `error_description`.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::NeedsNonce => "the proof has to hold the nonce of this answer",
            Self::Invalid(why) => why,
        }
    }
}

impl Default for Proofs {
    /// By the book, and unforgiving.
    fn default() -> Self {
        Self {
            window: 60,
            once: true,
            nonce: None,
            ahead: None,
            used: HashSet::new(),
            bound: BTreeMap::new(),
        }
    }
}

impl Proofs {
    /// As Authgear looks at them (authgear.md row 11, engine.md §7.7).
    pub(crate) fn authgear() -> Self {
        Self { window: 600, once: false, ..Self::default() }
    }

    /// Asks for nonces from now on, and for another one than before.
    pub(crate) fn change_nonce(&mut self) {
        self.nonce = Some(random::alphanumeric(24));
    }

    /// What an answer tells of the next proof: its nonce (RFC 9449 §8), and the time, if it was set.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        let nonce = self.nonce.clone().map(|nonce| ("DPoP-Nonce", nonce));
        nonce.into_iter().chain(self.ahead.map(|_| ("Date", self.date()))).collect()
    }

    /// What `Date` says.
    pub(crate) fn date(&self) -> String {
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(self.now().unsigned_abs()))
    }

    /// Sets the clock that proofs are judged by.
    pub(crate) fn set_clock(&mut self, ahead: i64) {
        self.ahead = Some(ahead);
    }

    fn now(&self) -> i64 {
        Clock::System.now().wall.as_secs().cast_signed() + self.ahead.unwrap_or(0)
    }

    /// Binds a token or a grant to the key of this thumbprint.
    pub(crate) fn bind(&mut self, what: &str, thumbprint: &str) {
        self.bound.insert(what.to_owned(), thumbprint.to_owned());
    }

    /// The thumbprint of the key that a token or a grant is bound to.
    pub(crate) fn key_of(&self, what: &str) -> Option<&str> {
        self.bound.get(what).map(String::as_str)
    }

    /// The thumbprint of the key that has signed the one proof that there is, if that is good.
    pub(crate) fn check(
        &mut self,
        given: &[&str],
        method: &str,
        target: &str,
        token: Option<&str>,
    ) -> Result<String, Refused> {
        let [proof] = given else { return Err(Refused::Invalid("there has to be one proof")) };
        let part = |index| jwt::part(proof, index).ok_or(Refused::Invalid("it is no JWT"));
        let (header, claims) = (part(0)?, part(1)?);
        let invalid = |holds: bool, why| if holds { Ok(()) } else { Err(Refused::Invalid(why)) };
        invalid(proof.len() < 2048, "it is larger than most servers' headers")?;
        invalid(header["typ"] == "dpop+jwt", "its type is another")?;
        invalid(header["alg"] == "ES256", "its algorithm is another")?;
        let jwk = &header["jwk"];
        let members: Vec<&str> =
            jwk.as_object().map(|members| members.keys().map(String::as_str).collect()).unwrap_or_default();
        invalid(members == PUBLIC, "its key has other members")?;
        invalid(is_signed(proof, jwk) == Some(true), "its signature is not its key's")?;
        invalid(claims["htm"] == method && claims["htu"] == target, "it is for another request")?;
        let hash = token.map(|token| URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes())));
        invalid(claims["ath"].as_str() == hash.as_deref(), "it is for another token")?;
        let age = claims["iat"].as_i64().map(|at| (self.now() - at).abs());
        invalid(age.is_some_and(|age| age <= self.window), "it is not of this time")?;
        if self.nonce.is_some() && claims["nonce"].as_str() != self.nonce.as_deref() {
            return Err(Refused::NeedsNonce);
        }
        let identifier = claims["jti"].as_str().filter(|identifier| (16..=43).contains(&identifier.len()));
        let identifier = identifier.ok_or(Refused::Invalid("its identifier is too short or too long"))?;
        invalid(self.used.insert(identifier.to_owned()) || !self.once, "it was used before")?;
        Ok(thumbprint(jwk))
    }
}

/// RFC 7638: the hash of the required members, in their order.
pub(crate) fn thumbprint(jwk: &Value) -> String {
    let canonical = json!({ "crv": jwk["crv"], "kty": jwk["kty"], "x": jwk["x"], "y": jwk["y"] });
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.to_string().as_bytes()))
}

fn is_signed(proof: &str, jwk: &Value) -> Option<bool> {
    let (input, signature) = proof.rsplit_once('.')?;
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    // An uncompressed point (SEC 1 §2.3.3).
    let point = [vec![4], decoded(jwk["x"].as_str()?)?, decoded(jwk["y"].as_str()?)?].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    Some(key.verify(input.as_bytes(), &decoded(signature)?).is_ok())
}
