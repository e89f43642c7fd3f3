//! Secrets as types: nothing prints one, and the one way to read one is a word that can be searched for.

mod keyring;
mod quoted;
mod reference;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

pub use self::keyring::{Entry, IS_BUILT_IN as KEYRING_IS_BUILT_IN};
pub use self::quoted::{SHOWN, Secrets};
pub use self::reference::Secret;

/// Declares a secret text: redacted `Debug`, no `Display`, wiped from memory when dropped.
macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// Takes the text as it is; callers trim what they read from files.
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(SecretString::from(text.into()))
            }

            /// The text itself. Only where bytes leave for the server, the store or the upstream.
            #[must_use]
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }

            /// Names the secret without telling it: for records, logs and comparisons.
            #[must_use]
            pub fn fingerprint(&self) -> Fingerprint {
                Fingerprint::of(self.expose())
            }
        }

        /// In constant time.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                let (one, two) = (self.expose().as_bytes(), other.expose().as_bytes());
                aws_lc_rs::constant_time::verify_slices_are_equal(one, two).is_ok()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.fingerprint().short())
            }
        }
    };
}

secret_text! {
    /// A refresh token (RFC 6749 §1.5).
    RefreshToken
}
secret_text! {
    /// The text of an access token (RFC 6749 §1.4), before it is a header value.
    AccessTokenText
}
secret_text! {
    /// A client secret (RFC 6749 §2.3.1).
    ClientSecret
}

secret_text! {
    /// The private key that a grant's tokens are bound to (RFC 9449), in PEM.
    DpopKey
}

secret_text! {
    /// An authorization code (RFC 6749 §1.3.1): good once, for whoever has the verifier.
    AuthorizationCode
}
secret_text! {
    /// What a code's challenge was made of (RFC 7636 §4.1).
    CodeVerifier
}
secret_text! {
    /// A device's name at the server while a person signs it in (RFC 8628 §3.2).
    DeviceCode
}

impl CodeVerifier {
    /// A new one: 256 bits.
    #[must_use]
    pub fn random() -> Self {
        Self::new(random_hex(32))
    }
}

/// SHA-256 of a secret, in hex. Safe to keep beside the secret's successor and to compare; not a secret, provided that
/// the secret has entropy of its own, as tokens have.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        Self(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// One fingerprint of several secrets, in this order; `None` of none.
    #[must_use]
    pub fn of_all(secrets: &[ClientSecret]) -> Option<Self> {
        let each: Vec<String> = secrets.iter().map(|secret| secret.fingerprint().0).collect();
        (!each.is_empty()).then(|| Self::of(&each.join(" ")))
    }

    /// The first eight hex digits, as logs show it (R65).
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// `n` random bytes in lower-case hex, from the operating system's generator by way of aws-lc.
///
/// # Panics
/// Never in practice: aws-lc aborts the process itself when the system has no randomness.
#[must_use]
pub fn random_hex(n: usize) -> String {
    let mut bytes = vec![0; n];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number drawn evenly from `0.0..1.0`, for jitter.
#[must_use]
pub fn dice() -> f64 {
    let mut bytes = [0; 4];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_tell_the_secret() {
        let token = RefreshToken::new("canary-4711");
        let shown = format!("{token:?} {:?}", Some(&token));
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains(token.fingerprint().short()), "but it can be told from others");
    }

    #[test]
    fn the_dice_stay_in_range() {
        assert!((0..1000).map(|_| dice()).all(|roll| (0.0..1.0).contains(&roll)));
    }
}
