//! What an authorization server says of itself, as far as token requests and sign-ins need it.

use http::Uri;
use serde_json::Value;

use super::{Members, printable};
use crate::grant::SignIn;
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
    /// Where all else goes.
    pub endpoints: Endpoints,
    /// Where it goes on a connection that shows a client certificate, if that is elsewhere.
    pub mtls_endpoints: Endpoints,
    /// Whether authorization requests have to be pushed (RFC 9126 §5).
    pub requires_pushed_requests: bool,
    /// Whether authorization answers name their issuer (RFC 9207 §3).
    pub answers_name_issuer: bool,
    /// Which scopes there are; `None` when the document is silent.
    pub scopes: Option<Vec<String>>,
}

/// A server's endpoints beside the token endpoint, as far as they are known and secrets may be sent there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `authorization_endpoint`: where a browser is sent.
    pub authorization: Option<Uri>,
    /// `device_authorization_endpoint` (RFC 8628 §4).
    pub device_authorization: Option<Uri>,
    /// `revocation_endpoint` (RFC 7009).
    pub revocation: Option<Uri>,
    /// `pushed_authorization_request_endpoint` (RFC 9126).
    pub pushed_authorization: Option<Uri>,
}

impl Endpoints {
    /// The endpoints that a function finds by name.
    fn found(find: impl Fn(&str) -> Option<Uri>) -> Self {
        Self {
            authorization: find("authorization_endpoint"),
            device_authorization: find("device_authorization_endpoint"),
            revocation: find("revocation_endpoint"),
            pushed_authorization: find("pushed_authorization_request_endpoint"),
        }
    }

    /// These, and where one is not known the `others`'.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            authorization: self.authorization.or(others.authorization),
            device_authorization: self.device_authorization.or(others.device_authorization),
            revocation: self.revocation.or(others.revocation),
            pushed_authorization: self.pushed_authorization.or(others.pushed_authorization),
        }
    }
}

impl From<&SignIn> for Endpoints {
    /// The configured ones.
    fn from(configured: &SignIn) -> Self {
        let SignIn { authorization_endpoint, device_authorization_endpoint, revocation_endpoint, .. } =
            configured;
        let uri = |url: &Option<String>| url.as_ref()?.parse().ok();
        Self {
            authorization: uri(authorization_endpoint),
            device_authorization: uri(device_authorization_endpoint),
            revocation: uri(revocation_endpoint),
            pushed_authorization: None,
        }
    }
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
            endpoints: Endpoints::default(),
            mtls_endpoints: Endpoints::default(),
            requires_pushed_requests: false,
            answers_name_issuer: false,
            scopes: None,
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
    let token_endpoint = members.get("token_endpoint").and_then(uri).ok_or_else(|| {
        wrong(format!("The metadata of {issuer} name no token endpoint that is https (or on loopback)."))
    })?;
    let alias = |name: &str| uri(members.get("mtls_endpoint_aliases")?.get(name)?);
    let says = |name: &str| members.get(name) == Some(&Value::Bool(true));
    let names = |member: &str| match members.get(member) {
        Some(Value::Array(names)) => {
            Some(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => None,
    };
    Ok(Metadata {
        token_endpoint,
        mtls_token_endpoint: alias("token_endpoint"),
        auth_methods: names("token_endpoint_auth_methods_supported")
            .unwrap_or_else(|| vec!["client_secret_basic".to_owned()]),
        signing_algorithms: names("token_endpoint_auth_signing_alg_values_supported").unwrap_or_default(),
        dpop_algorithms: names("dpop_signing_alg_values_supported").unwrap_or_default(),
        endpoints: Endpoints::found(|name| uri(members.get(name)?)),
        // Browsers show certificates of their own.
        mtls_endpoints: Endpoints { authorization: None, ..Endpoints::found(alias) },
        requires_pushed_requests: says("require_pushed_authorization_requests"),
        answers_name_issuer: says("authorization_response_iss_parameter_supported"),
        scopes: names("scopes_supported"),
    })
}

/// An endpoint. Some are shown to people, and `Uri` takes bytes that steer a terminal or turn around how a line reads.
fn uri(url: &Value) -> Option<Uri> {
    let text = url.as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))?;
    text.parse().ok().filter(is_trustworthy)
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
