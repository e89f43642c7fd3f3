//! Client authentication: how a token request proves which client it comes from (RFC 6749 §2.3). Pure.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use super::ClientAuthMethod;
use super::wire::{Form, Metadata, form_encode};
use crate::clock::Moment;
use crate::jose::{self, Algorithm, KeyError, SigningKey};
use crate::secret::{self, ClientSecret};

/// How long an assertion that we sign is good: one use, at once (R30).
const ASSERTION_LIFE: u64 = 60;

/// What there is to prove it with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// A client secret.
    pub secret: bool,
    /// A key, or an assertion that somebody else signs.
    pub key: bool,
    /// A certificate that TLS shows.
    pub certificate: bool,
}

/// The one method that a request uses; decided once, never tried out with a refresh token (R23).
///
/// `supported` is what the server's metadata say; empty when it has none.
#[must_use]
pub fn decide(configured: ClientAuthMethod, given: Given, supported: &[String]) -> ClientAuthMethod {
    let supports = |method: &str| supported.iter().any(|there| there == method);
    let by_certificate = || supports("tls_client_auth") || supports("self_signed_tls_client_auth");
    match configured {
        // Who brings a key means it to be used.
        ClientAuthMethod::Auto if given.key => ClientAuthMethod::PrivateKeyJwt,
        // Basic is what every server must take (RFC 6749 §2.3.1); others only where the metadata leave nothing else.
        ClientAuthMethod::Auto if given.secret && supports("client_secret_basic") => ClientAuthMethod::Basic,
        ClientAuthMethod::Auto if given.secret && supports("client_secret_post") => ClientAuthMethod::Post,
        ClientAuthMethod::Auto if given.secret && supports("client_secret_jwt") => {
            ClientAuthMethod::ClientSecretJwt
        }
        ClientAuthMethod::Auto if given.secret => ClientAuthMethod::Basic,
        ClientAuthMethod::Auto if given.certificate && by_certificate() => ClientAuthMethod::Tls,
        ClientAuthMethod::Auto => ClientAuthMethod::None,
        named => named,
    }
}

/// One way to prove it, with all that it takes.
#[derive(Clone, Debug)]
pub enum Proof {
    /// `client_id` alone: a public client, or one that its certificate proves.
    Id,
    /// HTTP Basic.
    Basic(ClientSecret),
    /// The secret in the body.
    Post(ClientSecret),
    /// An assertion that we sign.
    Signed(Signer),
    /// An assertion that somebody else has signed.
    Brought(ClientSecret),
}

/// What signs assertions.
#[derive(Clone)]
pub struct Signer {
    key: Arc<SigningKey>,
    algorithm: Algorithm,
    /// What goes into the header beside the algorithm: which key it is.
    names: Map<String, Value>,
    audience: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.algorithm.name())
    }
}

impl Signer {
    /// Signs with a client's secret.
    #[must_use]
    pub fn with_secret(secret: &ClientSecret, audience: String) -> Self {
        let key = Arc::new(SigningKey::from_secret(secret));
        Self { key, algorithm: Algorithm::Hs256, names: Map::new(), audience }
    }

    /// Signs with the private key in a PEM text. A certificate beside it is named by its thumbprint, as Entra wants it
    /// (`x5t#S256`, RFC 7515 §4.1.8). The algorithm is the `wanted` one, or the first that key and `metadata` agree on.
    ///
    /// # Errors
    /// When there is no key that signs, or it is not for the algorithm.
    pub fn with_key(
        pem: &ClientSecret,
        id: Option<&str>,
        wanted: Option<Algorithm>,
        metadata: &Metadata,
        audience: String,
    ) -> Result<Self, KeyError> {
        let key = SigningKey::from_pem(pem.expose())?;
        let algorithms = key.algorithms();
        let agrees =
            |algorithm: &&Algorithm| metadata.signing_algorithms.iter().any(|name| name == algorithm.name());
        let agreed = algorithms.iter().find(agrees).or(algorithms.first()).copied();
        let algorithm = wanted.or(agreed).filter(|algorithm| algorithms.contains(algorithm));
        let mut names = Map::new();
        if let Some(id) = id {
            names.insert("kid".to_owned(), id.into());
        }
        if let Ok(certificate) = CertificateDer::from_pem_slice(pem.expose().as_bytes()) {
            names.insert("x5t#S256".to_owned(), jose::encoded_sha256(&certificate).into());
        }
        Ok(Self {
            algorithm: algorithm.ok_or(KeyError::OtherAlgorithm)?,
            key: Arc::new(key),
            names,
            audience,
        })
    }

    /// A fresh assertion of this client (RFC 7523 §3): `issuer` says it of `subject`, with these `more` claims.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn assertion(
        &self,
        issuer: &str,
        subject: &str,
        more: Map<String, Value>,
        now: Moment,
    ) -> Result<String, KeyError> {
        let iat = now.wall.as_secs();
        let mut claims = more;
        let ours = json!({
            "iss": issuer, "sub": subject, "aud": self.audience, "iat": iat, "exp": iat + ASSERTION_LIFE,
            "jti": secret::random_hex(16),
        });
        if let Value::Object(ours) = ours {
            claims.extend(ours);
        }
        let mut header = self.names.clone();
        header.insert("typ".to_owned(), "JWT".into());
        self.key.jwt(self.algorithm, header, &Value::Object(claims))
    }
}

/// Puts the proof into the form, or returns the `Authorization` value that carries it. Signing with RSA takes
/// milliseconds: not on a thread that serves.
///
/// # Errors
/// When a key cannot sign.
pub fn apply(
    proof: &Proof,
    client_id: &str,
    now: Moment,
    form: &mut Form,
) -> Result<Option<HeaderValue>, KeyError> {
    if let Proof::Basic(secret) = proof {
        return Ok(basic(client_id, secret));
    }
    form.add("client_id", client_id);
    match proof {
        Proof::Id | Proof::Basic(_) => {}
        Proof::Post(secret) => form.add("client_secret", secret.expose()),
        Proof::Signed(signer) => {
            assert(form, &signer.assertion(client_id, client_id, Map::new(), now)?);
        }
        Proof::Brought(assertion) => assert(form, assertion.expose()),
    }
    Ok(None)
}

fn assert(form: &mut Form, assertion: &str) {
    form.add("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    form.add("client_assertion", assertion);
}

/// HTTP Basic with each half form-encoded first (RFC 6749 §2.3.1): a `:` in an id would otherwise move the border.
fn basic(client_id: &str, secret: &ClientSecret) -> Option<HeaderValue> {
    let pair =
        zeroize::Zeroizing::new(format!("{}:{}", form_encode(client_id), form_encode(secret.expose())));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.as_bytes()))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests;
