//! Texts that nobody can guess, in the shapes that servers give them; and chance that can be had again.

use serde_json::{Value, json};

use super::jwt;

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
    jwt::sealed(&jwt::signing_input(&header, claims), bytes(256))
}

/// Chance that can be had again: the same seed brings the same draws (SplitMix64).
#[cfg(test)] // the playground leaves nothing to chance
#[derive(Clone, Debug)]
pub(crate) struct Draws(u64);

#[cfg(test)]
impl Draws {
    /// The draws of this seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The next, of `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}
