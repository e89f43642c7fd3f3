//! What an authorization server says of itself, as far as a token request needs it.

use http::Uri;
use serde_json::Value;

use super::{Members, printable};
use crate::grant::error::{Class, Code, RefreshError};
use crate::net;

/// What a server's metadata say (RFC 8414 §2, OpenID Connect Discovery §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Where token requests go.
    pub token_endpoint: Uri,
    /// Where they go on a connection that shows a client certificate, if that is elsewhere (RFC 8705 §5).
    pub mtls_token_endpoint: Option<Uri>,
    /// Which client authentications it takes; `client_secret_basic` when the document is silent.
    pub auth_methods: Vec<String>,
    /// Which algorithms client assertions may be signed with; empty when the document is silent.
    pub signing_algorithms: Vec<String>,
    /// Which algorithms proofs of possession may be signed with (RFC 9449 §5.1); empty when the document is silent.
    pub dpop_algorithms: Vec<String>,
}

impl Metadata {
    /// What is known of a server whose token endpoint alone is configured.
    #[must_use]
    pub fn of_endpoint(token_endpoint: Uri) -> Self {
        Self {
            token_endpoint,
            mtls_token_endpoint: None,
            auth_methods: Vec::new(),
            signing_algorithms: Vec::new(),
            dpop_algorithms: Vec::new(),
        }
    }
}

/// Reads a metadata document for `issuer`.
///
/// # Errors
/// When it is not one, names another issuer (RFC 8414 §3.3), or a token endpoint that secrets must not be sent to.
pub fn read_metadata(issuer: &str, body: &[u8]) -> Result<Metadata, RefreshError> {
    let wrong = |sentence: String| RefreshError::new(Class::Misconfigured, Code::DiscoveryFailed, sentence);
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(body) else {
        // A portal's page, most likely; it goes away.
        return Err(RefreshError::new(
            Class::Blocked,
            Code::DiscoveryFailed,
            format!("The metadata of {issuer} are not a JSON object; check `issuer`."),
        ));
    };
    let members = Members(members);
    let named = members.text("issuer").unwrap_or_default();
    if named != issuer {
        return Err(RefreshError::new(
            Class::Misconfigured,
            Code::IssuerMismatch,
            format!(
                "The metadata found under {issuer} are of issuer `{}`; configure that one.",
                printable(&named)
            ),
        ));
    }
    let endpoint = members.text("token_endpoint").unwrap_or_default();
    let token_endpoint = endpoint.parse::<Uri>().ok().filter(is_trustworthy).ok_or_else(|| {
        wrong(format!("The metadata of {issuer} name no token endpoint that is https (or on loopback)."))
    })?;
    let alias =
        members.get("mtls_endpoint_aliases").and_then(|aliases| aliases.get("token_endpoint")?.as_str());
    let names = |member: &str| match members.get(member) {
        Some(Value::Array(names)) => {
            Some(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => None,
    };
    Ok(Metadata {
        token_endpoint,
        mtls_token_endpoint: alias.and_then(|alias| alias.parse().ok()).filter(is_trustworthy),
        auth_methods: names("token_endpoint_auth_methods_supported")
            .unwrap_or_else(|| vec!["client_secret_basic".to_owned()]),
        signing_algorithms: names("token_endpoint_auth_signing_alg_values_supported").unwrap_or_default(),
        dpop_algorithms: names("dpop_signing_alg_values_supported").unwrap_or_default(),
    })
}

/// Whether secrets may be sent there: https, or plain on loopback.
#[must_use]
pub fn is_trustworthy(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    !host.is_empty()
        && match uri.scheme_str() {
            Some("https") => true,
            Some("http") => net::is_loopback(host),
            _ => false,
        }
}
