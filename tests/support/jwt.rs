//! JWTs in their compact form, as text: nothing here signs or believes one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Header and claims, encoded and joined: what a signature is made of.
pub(crate) fn signing_input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// The JWT of this signature.
pub(crate) fn sealed(input: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The header (0) or the claims (1), if it has them.
pub(crate) fn part(jwt: &str, index: usize) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(index)?).ok()?).ok()
}
