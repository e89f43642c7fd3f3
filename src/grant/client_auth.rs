//! Client authentication: how a token request proves which client it comes from (RFC 6749 §2.3). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use super::ClientAuthMethod;
use super::wire::{Form, form_encode};
use crate::secret::ClientSecret;

/// The one method that a request uses; decided once, never tried out with a refresh token (R23).
///
/// `supported` is what the server's metadata say; empty when it has none.
#[must_use]
pub fn decide(configured: ClientAuthMethod, has_secret: bool, supported: &[String]) -> ClientAuthMethod {
    let supports = |method: &str| supported.iter().any(|there| there == method);
    match configured {
        ClientAuthMethod::Auto if !has_secret => ClientAuthMethod::None,
        // Basic is what every server must take (RFC 6749 §2.3.1); post only where the metadata leave nothing else.
        ClientAuthMethod::Auto if supports("client_secret_post") && !supports("client_secret_basic") => {
            ClientAuthMethod::Post
        }
        ClientAuthMethod::Auto => ClientAuthMethod::Basic,
        named => named,
    }
}

/// Puts the proof into the form, or returns the `Authorization` value that carries it.
#[must_use]
pub fn apply(
    method: ClientAuthMethod,
    client_id: &str,
    secret: Option<&ClientSecret>,
    form: &mut Form,
) -> Option<HeaderValue> {
    match (method, secret) {
        (ClientAuthMethod::Basic, Some(secret)) => basic(client_id, secret),
        (ClientAuthMethod::Post, Some(secret)) => {
            form.add("client_id", client_id);
            form.add("client_secret", secret.expose());
            None
        }
        _ => {
            form.add("client_id", client_id);
            None
        }
    }
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
mod tests {
    use super::*;
    use ClientAuthMethod::{Auto, Basic, None as Nothing, Post};

    #[test]
    fn the_method_is_decided_by_what_is_given_and_what_the_server_takes() {
        let rows: [(ClientAuthMethod, bool, &[&str], ClientAuthMethod); 7] = [
            (Auto, false, &["client_secret_basic"], Nothing),
            (Auto, true, &[], Basic),
            (Auto, true, &["client_secret_post"], Post),
            (Auto, true, &["client_secret_post", "client_secret_basic"], Basic),
            (Auto, true, &["private_key_jwt"], Basic),
            (Post, true, &["client_secret_basic"], Post),
            (Basic, true, &["client_secret_post"], Basic),
        ];
        for (configured, has_secret, supported, expected) in rows {
            let supported: Vec<String> = supported.iter().map(ToString::to_string).collect();
            assert_eq!(decide(configured, has_secret, &supported), expected, "{configured:?} {supported:?}");
        }
    }

    #[test]
    fn each_half_of_basic_is_form_encoded() {
        let mut form = Form::default();
        let value = apply(Basic, "conf:rot", Some(&ClientSecret::new("p+ %ä")), &mut form).unwrap();
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), b"conf%3Arot:p%2B+%25%C3%A4");
        assert!(value.is_sensitive() && form.encode().is_empty(), "one method only (RFC 6749 §2.3)");
    }

    #[test]
    fn the_other_methods_go_into_the_body() {
        let mut form = Form::default();
        assert!(apply(Post, "id", Some(&ClientSecret::new("s")), &mut form).is_none());
        assert_eq!(form.encode().as_str(), "client_id=id&client_secret=s");
        let mut form = Form::default();
        assert!(apply(Nothing, "id", None, &mut form).is_none());
        assert_eq!(form.encode().as_str(), "client_id=id");
    }
}
