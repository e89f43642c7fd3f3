//! The search for secrets in what a program has printed, in every shape in which one could be told.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// The ways in which a secret could be told: as it is, in percent-encoding, and in base64, where it may begin at any of
/// three places of a group.
pub(crate) fn disguises(secret: &str) -> Vec<String> {
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut disguises = vec![secret.to_owned(), percent];
    for before in ["", "x", "xx"] {
        for engine in [STANDARD, URL_SAFE_NO_PAD] {
            let text = engine.encode(format!("{before}{secret}"));
            // The first and the last characters depend on what stands around it.
            let inner = text.trim_end_matches('=');
            disguises.push(inner[4..inner.len() - 4].to_owned());
        }
    }
    disguises
}

/// The first of the secrets that `text` tells in any disguise.
pub(crate) fn found<'a>(text: &str, secrets: &'a [String]) -> Option<&'a String> {
    secrets.iter().find(|secret| disguises(secret).iter().any(|disguise| text.contains(disguise.as_str())))
}
