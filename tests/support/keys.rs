//! Keys that sign, and what their public halves say of signatures: a client's, and whoever else makes assertions.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{jwt, proofs};

/// A key pair. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Key(Arc<Pair>);

enum Pair {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    /// A new key on P-256.
    pub(crate) fn p256() -> Self {
        Self(Arc::new(Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())))
    }

    /// A new RSA key of 2048 bits.
    pub(crate) fn rsa() -> Self {
        Self(Arc::new(Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())))
    }

    /// A new Ed25519 key.
    pub(crate) fn ed25519() -> Self {
        Self(Arc::new(Pair::Ed25519(Ed25519KeyPair::generate().unwrap())))
    }

    /// As a file holds it: PKCS#8 in PEM.
    pub(crate) fn pem(&self) -> String {
        let der = match &*self.0 {
            Pair::P256(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                der.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
        };
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    /// The thumbprint of a P-256 key (RFC 7638).
    pub(crate) fn thumbprint(&self) -> String {
        let Pair::P256(pair) = &*self.0 else { panic!("only P-256 is bound to") };
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        proofs::thumbprint(&json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y }))
    }

    /// A JWT of these claims, as the owner of a P-256 key would sign it.
    pub(crate) fn jwt(&self, claims: &Value) -> String {
        let Pair::P256(pair) = &*self.0 else { panic!("only P-256 signs here") };
        let input = jwt::signing_input(&json!({ "alg": "ES256", "typ": "JWT" }), claims);
        jwt::sealed(&input, pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap())
    }

    /// Whether it has signed `message` with the algorithm of this name.
    pub(crate) fn has_signed(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let (verification, public): (&'static dyn VerificationAlgorithm, &[u8]) = match (&*self.0, algorithm)
        {
            (Pair::P256(pair), "ES256") => (&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()),
            (Pair::Rsa(pair), "RS256") => (&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref()),
            (Pair::Rsa(pair), "PS256") => (&RSA_PSS_2048_8192_SHA256, pair.public_key().as_ref()),
            (Pair::Ed25519(pair), "EdDSA") => (&ED25519, pair.public_key().as_ref()),
            _ => return false,
        };
        UnparsedPublicKey::new(verification, public).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
