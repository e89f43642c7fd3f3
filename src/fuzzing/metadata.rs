//! Documents that a server publishes about itself.

use http::Uri;

use super::assert_is_fit_to_be_shown;
use super::json::Members;
use crate::grant::error::Class;
use crate::grant::wire::read_metadata;

/// What holds of a document, asked for under the issuer that it names and under another.
///
/// # Panics
/// Where something does not hold.
pub fn metadata(data: &[u8]) {
    let members = serde_json::from_slice::<Members>(data).ok();
    let named = members.as_ref().and_then(|members| members.text("issuer"));
    for issuer in [named.unwrap_or("https://id.example"), "https://another.example/"] {
        match read_metadata(issuer, data) {
            Ok(metadata) => {
                assert_eq!(named, Some(issuer), "another server's (RFC 8414 §3.3)");
                let endpoint = members.as_ref().and_then(|members| members.text("token_endpoint"));
                assert_eq!(endpoint.and_then(|uri| uri.parse().ok()), Some(metadata.token_endpoint.clone()));
                assert_keeps_secrets(&metadata.token_endpoint);
                metadata.mtls_token_endpoint.iter().for_each(assert_keeps_secrets);
            }
            Err(error) => {
                // The issuer is the operator's own.
                assert_is_fit_to_be_shown(&error.sentence.replace(issuer, ""));
                let passes = error.class == Class::Blocked;
                assert!(
                    passes || error.class == Class::Misconfigured,
                    "never a verdict on the grant: {error}"
                );
                assert_eq!(
                    passes,
                    members.is_none(),
                    "a portal's page goes away, a document does not: {error}"
                );
            }
        }
    }
}

/// A secret goes there by TLS, or does not leave the machine.
fn assert_keeps_secrets(uri: &Uri) {
    let authority = uri.authority().expect("an absolute URI").as_str();
    let host = authority.rsplit('@').next().unwrap();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => host.split(':').next().unwrap(),
    };
    let address = name.parse::<std::net::IpAddr>();
    let near = name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback());
    assert!(uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && near), "{uri}");
    assert!(!host.is_empty() && !host.starts_with(':'), "{uri}");
}
