//! Signed JSON (RFC 7515): the few algorithms that client assertions and proofs of possession are signed with.
//!
//! Signing only, straight on aws-lc: nothing here reads or believes a JWT of somebody else's.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::secret::{ClientSecret, DpopKey};

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Its name in a header and in servers' metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A key that signs.
pub struct SigningKey(Kind);

enum Kind {
    Secret(Box<hmac::Key>),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a text is not a key that signs; says what to do, and never what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No PEM section with a private key.
    NotPem,
    /// The section is encrypted.
    Encrypted,
    /// A key, but of no kind that signs here.
    OtherKind,
    /// A key that is not for the algorithm it was wanted for.
    OtherAlgorithm,
    /// None could be made.
    NoRandomness,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPem => "it holds no private key in PEM",
            Self::Encrypted => "its key is encrypted with a passphrase; write it out without one",
            Self::OtherKind => "its key is neither EC on P-256, nor RSA of 2048 bits or more, nor Ed25519",
            Self::OtherAlgorithm => "its key is not of the kind that the algorithm needs",
            Self::NoRandomness => "the system gives no randomness to make one of",
        })
    }
}

impl std::error::Error for KeyError {}

impl SigningKey {
    /// The first private key in a PEM text: PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// When there is none, it is encrypted, or of another kind.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let is_encrypted =
            text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED");
        if is_encrypted {
            return Err(KeyError::Encrypted);
        }
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::NotPem)?;
        let kind = match &key {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                p256(der).or_else(|| ed25519(der)).or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Kind::Rsa))
            }
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(Kind::Rsa),
            PrivateKeyDer::Sec1(der) => p256(der.secret_sec1_der()),
            _ => None,
        };
        kind.map(Self).ok_or(KeyError::OtherKind)
    }

    /// A client secret as the key of an HMAC (OpenID Connect Core §9, `client_secret_jwt`).
    #[must_use]
    pub fn from_secret(secret: &ClientSecret) -> Self {
        Self(Kind::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))))
    }

    /// A new key on P-256, as text: PKCS#8 in PEM, of which [`SigningKey::from_pem`] makes the key again.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<DpopKey, KeyError> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::NoRandomness)?;
        let der = pair.to_pkcs8v1().map_err(|_| KeyError::NoRandomness)?;
        let body = Zeroizing::new(STANDARD.encode(der.as_ref()));
        Ok(DpopKey::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            body.as_str()
        )))
    }

    /// What it can sign with; the one to use when nobody says otherwise comes first.
    #[must_use]
    pub fn algorithms(&self) -> &'static [Algorithm] {
        match &self.0 {
            Kind::Secret(_) => &[Algorithm::Hs256],
            Kind::P256(_) => &[Algorithm::Es256],
            Kind::Rsa(_) => &[Algorithm::Rs256, Algorithm::Ps256],
            Kind::Ed25519(_) => &[Algorithm::EdDsa],
        }
    }

    /// The public half of a key on P-256 as a JWK with its required members alone, in the order that RFC 7638 §3.2 hashes.
    #[must_use]
    pub fn public_jwk(&self) -> Option<Value> {
        let Kind::P256(pair) = &self.0 else { return None };
        // An uncompressed point: 4, then both coordinates (SEC 1 §2.3.3).
        let (x, y) = pair.public_key().as_ref().get(1..65)?.split_at(32);
        Some(json!({ "crv": "P-256", "kty": "EC", "x": encoded(x), "y": encoded(y) }))
    }

    /// A JWT in its compact form; `alg` is added to the header. RSA takes milliseconds: not on a thread that serves.
    ///
    /// # Errors
    /// When the key cannot sign with this algorithm.
    pub fn jwt(
        &self,
        algorithm: Algorithm,
        mut header: Map<String, Value>,
        claims: &Value,
    ) -> Result<String, KeyError> {
        header.insert("alg".to_owned(), Value::from(algorithm.name()));
        let mut jwt = encoded(Value::Object(header).to_string().as_bytes());
        jwt.push('.');
        jwt.push_str(&encoded(claims.to_string().as_bytes()));
        self.seal(algorithm, jwt)
    }

    /// The signing input with its signature after it.
    ///
    /// # Errors
    /// As [`SigningKey::jwt`].
    pub fn seal(&self, algorithm: Algorithm, mut input: String) -> Result<String, KeyError> {
        let signature = self.sign(algorithm, input.as_bytes()).ok_or(KeyError::OtherAlgorithm)?;
        input.push('.');
        input.push_str(&encoded(&signature));
        Ok(input)
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match (&self.0, algorithm) {
            (Kind::Secret(key), Algorithm::Hs256) => Some(hmac::sign(key, message).as_ref().to_vec()),
            (Kind::P256(pair), Algorithm::Es256) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            (Kind::Ed25519(pair), Algorithm::EdDsa) => Some(pair.try_sign(message).ok()?.as_ref().to_vec()),
            (Kind::Rsa(pair), Algorithm::Rs256 | Algorithm::Ps256) => {
                let padding = if algorithm == Algorithm::Rs256 { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            _ => None,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.algorithms())
    }
}

fn p256(der: &[u8]) -> Option<Kind> {
    EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok().map(Kind::P256)
}

fn ed25519(der: &[u8]) -> Option<Kind> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Kind::Ed25519)
}

/// Base64url without padding, as every part of a JWT is written (RFC 7515 §2).
#[must_use]
pub fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A SHA-256, encoded: the thumbprint of a certificate or key, the hash of a token.
#[must_use]
pub fn encoded_sha256(bytes: &[u8]) -> String {
    encoded(digest::digest(&digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaSigningAlgorithm,
        RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
    };

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn rsa() -> Vec<u8> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec()
    }

    /// A new RSA key, as files hold them.
    pub(crate) fn rsa_pem() -> String {
        pem("PRIVATE KEY", &rsa())
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
        EcdsaKeyPair::generate(algorithm).unwrap()
    }

    fn public(key: &SigningKey) -> Vec<u8> {
        match &key.0 {
            Kind::P256(pair) => pair.public_key().as_ref().to_vec(),
            Kind::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Kind::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Kind::Secret(_) => Vec::new(),
        }
    }

    type Verified = &'static [(Algorithm, &'static dyn VerificationAlgorithm)];

    #[test]
    fn every_form_of_key_signs_what_its_public_half_verifies() {
        let (ec, rsa) = (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), rsa());
        let sec1: EcPrivateKeyRfc5915Der<'_> = ec.private_key().as_der().unwrap();
        let ed25519 = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        // PKCS#8 wraps PKCS#1 in 26 bytes (RFC 5958 §2, a key of 2048 bits).
        let pkcs1 = &rsa[26..];
        let es256: Verified = &[(Algorithm::Es256, &ECDSA_P256_SHA256_FIXED)];
        let rsa_both: Verified =
            &[(Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256), (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256)];
        let rows = [
            (pem("PRIVATE KEY", ec.to_pkcs8v1().unwrap().as_ref()), es256),
            (pem("EC PRIVATE KEY", sec1.as_ref()), es256),
            (pem("PRIVATE KEY", ed25519.as_ref()), &[(Algorithm::EdDsa, &ED25519)]),
            (pem("PRIVATE KEY", &rsa), rsa_both),
            (pem("RSA PRIVATE KEY", pkcs1), rsa_both),
        ];
        for (text, verifications) in rows {
            let label = text.lines().next().unwrap();
            let key = SigningKey::from_pem(&text).unwrap_or_else(|error| panic!("{label}: {error}"));
            for (algorithm, verification) in verifications {
                let jwt = key.jwt(*algorithm, Map::new(), &json!({ "sub": "a" })).unwrap();
                let (signed, signature) = jwt.rsplit_once('.').unwrap();
                let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
                let public = public(&key);
                UnparsedPublicKey::new(*verification, &public).verify(signed.as_bytes(), &signature).unwrap();
                assert!(key.algorithms().contains(algorithm));
            }
        }
    }

    #[test]
    fn a_key_signs_with_its_own_algorithms_alone() {
        let key = SigningKey(Kind::P256(ec(&ECDSA_P256_SHA256_FIXED_SIGNING)));
        assert!(key.jwt(Algorithm::Rs256, Map::new(), &json!({})).is_err());
    }

    #[test]
    fn an_hmac_is_the_one_of_rfc_7515() {
        // Appendix A.1: header and claims are given as octets, so they are sealed as they stand.
        let input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let key = URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .unwrap();
        let key = SigningKey(Kind::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key))));
        let sealed = key.seal(Algorithm::Hs256, input.to_owned()).unwrap();
        assert!(sealed.ends_with(".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "{sealed}");
    }

    #[test]
    fn what_is_no_key_is_told_for_what_it_is() {
        let row = |text: &str| SigningKey::from_pem(text).unwrap_err();
        assert_eq!(row("no key"), KeyError::NotPem);
        let p384 = ec(&ECDSA_P384_SHA384_FIXED_SIGNING).to_pkcs8v1().unwrap();
        assert_eq!(row(&pem("PRIVATE KEY", p384.as_ref())), KeyError::OtherKind);
        assert_eq!(row(&pem("ENCRYPTED PRIVATE KEY", b"anything")), KeyError::Encrypted);
        assert_eq!(row(&pem("CERTIFICATE", b"anything")), KeyError::NotPem);
    }
}
