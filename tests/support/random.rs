//! Texts that nobody can guess, in the shapes that servers give them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// `length` letters and digits.
pub(crate) fn alphanumeric(length: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    bytes(length).into_iter().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()])).collect()
}

/// `length` lower-case hex digits.
pub(crate) fn hex(length: usize) -> String {
    bytes(length).into_iter().map(|byte| format!("{:x}", byte & 0xf)).collect()
}

/// A UUID's shape.
pub(crate) fn uuid() -> String {
    let digits = hex(32);
    format!("{}-{}-4{}-a{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..])
}

/// The shape of a JWT signed with RS256; the signature is noise.
pub(crate) fn jwt(typ: &str, claims: &Value) -> String {
    let header = json!({ "alg": "RS256", "kid": "test-key", "typ": typ });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&header), part(claims), URL_SAFE_NO_PAD.encode(bytes(256)))
}

fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}
