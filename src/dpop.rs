//! Proofs of possession (RFC 9449): a token that is bound to a key is of no use to whoever cannot sign with it.
//!
//! Both planes make them: a token request shows one, and so does every request that carries a bound access token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde_json::{Map, Value, json};

use crate::clock::Moment;
use crate::jose::{Algorithm, KeyError, SigningKey, encoded, encoded_sha256};
use crate::secret::{AccessTokenText, DpopKey};

/// The field that carries a proof (RFC 9449 §4.1).
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The field in which a server says what the next proofs are to hold (§8).
const DPOP_NONCE: &str = "dpop-nonce";

/// From how many seconds on a clock counts as another: `Date` has whole ones, and so has `iat`. How much of a difference a
/// server takes is its own to say (§11.1).
const NOTABLE: i64 = 2;

/// A key that access tokens are bound to, ready to sign.
pub struct ProofKey {
    key: SigningKey,
    /// The header of every proof, encoded: it holds the public half of the key.
    header: String,
}

impl ProofKey {
    /// The key of this text.
    ///
    /// # Errors
    /// When it is no private key in PEM, or not one on P-256: the one kind that every server takes proofs of.
    pub fn new(text: &DpopKey) -> Result<Self, KeyError> {
        let key = SigningKey::from_pem(text.expose())?;
        let jwk = key.public_jwk().ok_or(KeyError::OtherAlgorithm)?;
        let header = json!({ "alg": Algorithm::Es256.name(), "jwk": jwk, "typ": "dpop+jwt" });
        Ok(Self { key, header: encoded(header.to_string().as_bytes()) })
    }

    /// Names the key, without telling it: the hash of its public half (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.key.public_jwk().map_or_else(String::new, |jwk| encoded_sha256(jwk.to_string().as_bytes()))
    }

    /// A proof for one request to `target`, which carries the token of this hash if it carries one.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn prove(
        &self,
        method: &Method,
        target: &str,
        token: Option<&TokenHash>,
        rapport: &Rapport,
        now: Moment,
    ) -> Result<HeaderValue, KeyError> {
        let mut claims = Map::new();
        claims.insert("jti".to_owned(), identifier().into());
        claims.insert("htm".to_owned(), method.as_str().into());
        claims.insert("htu".to_owned(), target.into());
        claims.insert("iat".to_owned(), rapport.issued_at(now).into());
        if let Some(TokenHash(hash)) = token {
            claims.insert("ath".to_owned(), hash.as_str().into());
        }
        if let Some(nonce) = &rapport.nonce {
            claims.insert("nonce".to_owned(), nonce.as_str().into());
        }
        let claims = encoded(Value::Object(claims).to_string().as_bytes());
        let proof = self.key.seal(Algorithm::Es256, format!("{}.{claims}", self.header))?;
        let mut value = HeaderValue::try_from(proof).map_err(|_| KeyError::OtherAlgorithm)?;
        // Good for one request, and for that as good as the key.
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofKey")
    }
}

/// A proof's identifier: 128 bits, in 22 characters. Authgear takes no more than 43 of them (R74).
fn identifier() -> String {
    let mut bytes = [0; 16];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        std::process::abort(); // a system without randomness signs nothing, either
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a proof says of the access token beside it: `ath` (§4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHash(String);

impl TokenHash {
    /// The hash of this token.
    #[must_use]
    pub fn of(token: &AccessTokenText) -> Self {
        Self(encoded_sha256(token.expose().as_bytes()))
    }
}

/// What a request is for, as a proof names it (`htu`, §4.2): without query, fragment, and the scheme's own port. Of
/// `OPTIONS *` it is the server.
#[must_use]
pub fn target(scheme: &str, authority: &str, path: &str) -> String {
    let own_port = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(own_port).unwrap_or(authority);
    let path = if path.starts_with('/') { path } else { "" };
    format!("{scheme}://{authority}{path}")
}

/// The same for an absolute URI.
#[must_use]
pub fn target_of(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    target(uri.scheme_str().unwrap_or_default(), authority, uri.path())
}

/// What one server has told of the proofs that it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rapport {
    nonce: Option<String>,
    /// How many seconds its clock is ahead of ours, where that mattered to it.
    ahead: i64,
}

/// Why a server took no proof: the word of its `error` (§5, §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `use_dpop_nonce`.
    NeedsNonce,
    /// `invalid_dpop_proof`.
    Invalid,
}

impl Refusal {
    /// The refusal that an `error` says, if it is about the proof.
    #[must_use]
    pub fn of(error: &str) -> Option<Self> {
        match error {
            "use_dpop_nonce" => Some(Self::NeedsNonce),
            "invalid_dpop_proof" => Some(Self::Invalid),
            _ => None,
        }
    }
}

impl Rapport {
    /// Takes up the nonce of an answer, whatever its status: the last one counts (§8.2).
    pub fn hear(&mut self, headers: &HeaderMap) {
        if let Some(nonce) = nonce(headers) {
            self.nonce = Some(nonce.to_owned());
        }
    }

    /// How many seconds ahead of our clock the next proof is dated.
    #[must_use]
    pub fn ahead(&self) -> i64 {
        self.ahead
    }

    /// Takes up what the answer to a refused proof says, which was dated so many seconds `ahead`; whether the next proof
    /// will be another: with a nonce, or of another time.
    pub fn heed(&mut self, refusal: Refusal, headers: &HeaderMap, now: Moment, ahead: i64) -> bool {
        self.hear(headers);
        match refusal {
            Refusal::NeedsNonce => nonce(headers).is_some(),
            Refusal::Invalid => {
                let Some(theirs) = date(headers) else { return false };
                let differs = |one: i64, other: i64| one.saturating_sub(other).saturating_abs() >= NOTABLE;
                let theirs = theirs.saturating_sub(seconds(now));
                self.ahead = if differs(theirs, 0) { theirs } else { 0 };
                differs(self.ahead, ahead)
            }
        }
    }

    /// `iat` by the server's clock, in seconds since the Unix epoch.
    fn issued_at(&self, now: Moment) -> i64 {
        seconds(now).saturating_add(self.ahead)
    }
}

fn seconds(now: Moment) -> i64 {
    i64::try_from(now.wall.as_secs()).unwrap_or(i64::MAX)
}

/// When the server says that it answered, in seconds since the Unix epoch.
fn date(headers: &HeaderMap) -> Option<i64> {
    let date = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    i64::try_from(date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// The nonce of an answer, if it is one: visible ASCII without `"` and `\` (§8.1), and no longer than a proof has room
/// for.
fn nonce(headers: &HeaderMap) -> Option<&str> {
    const LONGEST: usize = 1024;
    let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let nonce = headers.get(DPOP_NONCE)?.to_str().ok()?.trim();
    let fits = (1..=LONGEST).contains(&nonce.len()) && nonce.bytes().all(legal);
    fits.then_some(nonce)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Moment = Moment { boot: Duration::from_secs(100), wall: Duration::from_secs(1_800_000_000) };

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    fn part(proof: &HeaderValue, index: usize) -> Value {
        let text = proof.to_str().unwrap().split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn a_proof_says_what_rfc_9449_asks_for_and_shows_the_public_half_alone() {
        let text = SigningKey::generate().unwrap();
        let key = ProofKey::new(&text).unwrap();
        let hash = TokenHash::of(&AccessTokenText::new("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"));
        let uri: Uri = "https://api.example/a%20b/?q=1".parse().unwrap();
        let mut rapport = Rapport::default();
        rapport.hear(&headers(&[("dpop-nonce", "n-1")]));
        let proof = key.prove(&Method::PATCH, &target_of(&uri), Some(&hash), &rapport, NOW).unwrap();
        assert!(proof.is_sensitive());
        let (head, claims) = (part(&proof, 0), part(&proof, 1));
        let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!((&head["typ"], &head["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
        assert_eq!(members(&head["jwk"]), ["crv", "kty", "x", "y"]);
        // The hash is the one of the token in §7.1's figure.
        assert_eq!(claims["ath"], "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
        assert_eq!((&claims["htm"], &claims["htu"]), (&json!("PATCH"), &json!("https://api.example/a%20b/")));
        assert_eq!((&claims["iat"], &claims["nonce"]), (&json!(1_800_000_000), &json!("n-1")));
        assert!(claims["jti"].as_str().unwrap().len() <= 43);
        let another = key.prove(&Method::PATCH, "x", None, &Rapport::default(), NOW).unwrap();
        assert_ne!(part(&another, 1)["jti"], claims["jti"]);
        assert_eq!(members(&part(&another, 1)), ["jti", "htm", "htu", "iat"], "and nothing else");
        assert!(!format!("{key:?}{text:?}{proof:?}").contains(text.expose().lines().nth(1).unwrap()));
    }

    #[test]
    fn a_target_is_named_in_one_way() {
        for (scheme, authority, path, expected) in [
            ("https", "id.example:443", "/token", "https://id.example/token"),
            ("https", "id.example:80", "/token", "https://id.example:80/token"),
            ("http", "[::1]:80", "/", "http://[::1]/"),
            ("http", "localhost:8080", "*", "http://localhost:8080"),
        ] {
            assert_eq!(target(scheme, authority, path), expected);
        }
    }

    #[test]
    fn the_last_nonce_counts_and_what_is_none_is_not_taken_for_one() {
        let mut rapport = Rapport::default();
        for (given, expected) in [
            ("first", Some("first")),
            ("second", Some("second")),
            ("", Some("second")),
            ("a\"b", Some("second")),
            ("a b", Some("second")),
            (&*"x".repeat(2000), Some("second")),
        ] {
            rapport.hear(&headers(&[("dpop-nonce", given)]));
            assert_eq!(rapport.nonce.as_deref(), expected, "{given}");
        }
        rapport.hear(&HeaderMap::new());
        assert_eq!(rapport.nonce.as_deref(), Some("second"), "until another comes");
    }

    #[test]
    fn a_refused_proof_is_made_anew_only_where_the_next_would_be_another() {
        let nonce = headers(&[("dpop-nonce", "n")]);
        let ahead = headers(&[("date", "Fri, 15 Jan 2027 09:00:00 GMT")]);
        let behind = headers(&[("date", "Fri, 15 Jan 2027 07:00:00 GMT")]);
        let little = headers(&[("date", "Fri, 15 Jan 2027 08:00:02 GMT")]);
        let same = headers(&[("date", "Fri, 15 Jan 2027 08:00:01 GMT"), ("dpop-nonce", "n")]);
        let odd = headers(&[("date", "yesterday")]);
        let rows = [
            (Refusal::NeedsNonce, &nonce, true, 0),
            (Refusal::NeedsNonce, &ahead, false, 0),
            (Refusal::Invalid, &ahead, true, 3600),
            (Refusal::Invalid, &behind, true, -3600),
            (Refusal::Invalid, &little, true, 2),
            (Refusal::Invalid, &same, false, 0),
            (Refusal::Invalid, &odd, false, 0),
        ];
        for (refusal, headers, again, ahead) in rows {
            let mut rapport = Rapport::default();
            assert_eq!(rapport.heed(refusal, headers, NOW, 0), again, "{refusal:?} {headers:?}");
            assert_eq!(rapport.issued_at(NOW), 1_800_000_000 + ahead, "{refusal:?} {headers:?}");
        }
        // It is what this proof was dated by that counts, whatever others have found out meanwhile.
        let mut rapport = Rapport::default();
        assert!(
            rapport.heed(Refusal::Invalid, &ahead, NOW, 0) && rapport.heed(Refusal::Invalid, &ahead, NOW, 0)
        );
        assert!(!rapport.heed(Refusal::Invalid, &ahead, NOW, rapport.ahead()), "it was of that time already");
        // A clock of ours that was set right.
        assert!(
            rapport.heed(Refusal::Invalid, &same, NOW, 3600)
                && rapport.heed(Refusal::Invalid, &same, NOW, 3600)
        );
        assert_eq!(rapport.issued_at(NOW), 1_800_000_000);
    }

    #[test]
    fn keys_of_other_kinds_are_refused() {
        let rsa = DpopKey::new(crate::jose::tests::rsa_pem());
        assert_eq!(ProofKey::new(&rsa).unwrap_err(), KeyError::OtherAlgorithm);
        assert_eq!(ProofKey::new(&DpopKey::new("rubbish")).unwrap_err(), KeyError::NotPem);
    }
}
