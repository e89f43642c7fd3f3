//! What FAPI 2.0 asks beyond the strict profile (Security Profile §5.3.2.1): only keys and certificates prove a client,
//! assertions are short, and every access token is bound to the certificate of its connection (RFC 8705 §3) or to the key
//! that a proof was shown of (RFC 9449).
//!
//! An assertion's `aud` is the issuer as one string in the strict profile already, and a `jti` is good once.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::connection::Request;
use super::options::{Client, Proof};
use super::strict::Denied;

/// What assertions may be signed with (§5.4.1).
pub(super) const ALGORITHMS: [&str; 3] = ["PS256", "ES256", "EdDSA"];

/// How long an assertion may be good, in seconds: what RFC 9126 and this profile call short-lived.
pub(super) const LONGEST_ASSERTION: u64 = 60;

/// Whether this client, proved as the strict profile wants it, gets tokens here: the certificate that they are bound to,
/// if they are not bound to a key.
pub(super) fn binding(
    client: &Client,
    request: &Request<'_>,
    has_key: bool,
) -> Result<Option<Vec<u8>>, Denied> {
    if !matches!(client.proof, Proof::KeyJwt | Proof::Certificate) {
        return Err((401, "invalid_client", "a key or a certificate proves the client, and nothing else"));
    }
    if has_key {
        return Ok(None);
    }
    let certificate = request.certificate;
    let certificate =
        certificate.ok_or((400, "invalid_request", "a certificate or a key binds the tokens"))?;
    Ok(Some(certificate.to_vec()))
}

/// What the metadata say differently.
pub(super) fn describe(metadata: &mut Value) {
    metadata["token_endpoint_auth_methods_supported"] = json!(["private_key_jwt", "tls_client_auth"]);
    metadata["tls_client_certificate_bound_access_tokens"] = json!(true);
}

/// The confirmation of a token that is bound to a certificate (RFC 8705 §3.1).
pub(super) fn confirmation(certificate: &[u8]) -> Value {
    json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate)) })
}
