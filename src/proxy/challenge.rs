//! What an upstream's 401 says of the token: `WWW-Authenticate` read as RFC 9110 §11.6.1 writes it.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use crate::dpop::Refusal;

/// Whether a 401 with these headers may be taken to mean the token, so that another one may help: unless the scheme of
/// the token names another error than `invalid_token` (RFC 6750 §3.1), such as a scope that no token will have.
pub(crate) fn refuses_token(headers: &HeaderMap) -> bool {
    let ours: Vec<Challenge> = challenges(headers).into_iter().filter(Challenge::is_of_a_token).collect();
    let is_about_token =
        |challenge: &Challenge| challenge.error.as_deref().is_none_or(|error| error == "invalid_token");
    ours.is_empty() || ours.iter().any(is_about_token)
}

/// Whether a 401 with these headers refuses the proof beside a bound token rather than the token (RFC 9449 §7.1, §9).
pub(super) fn refuses_proof(headers: &HeaderMap) -> Option<Refusal> {
    let challenges = challenges(headers);
    let mut of_dpop = challenges.iter().filter(|challenge| challenge.scheme == "dpop");
    of_dpop.find_map(|challenge| Refusal::of(challenge.error.as_deref()?))
}

/// Where a 401 with these headers says that the upstream's metadata are (RFC 9728 §5.1), which may stand in a challenge of
/// any scheme.
pub(crate) fn resource_metadata(headers: &HeaderMap) -> Option<String> {
    challenges(headers).into_iter().find_map(|challenge| challenge.resource_metadata)
}

/// One challenge: its scheme in lower case, and those among its own parameters that are looked at.
struct Challenge {
    scheme: String,
    error: Option<String>,
    resource_metadata: Option<String>,
}

impl Challenge {
    /// Takes up a parameter, if it is one that is looked at.
    fn take(&mut self, item: &str) {
        for (name, place) in [("error", &mut self.error), ("resource_metadata", &mut self.resource_metadata)]
        {
            if let Some(value) = parameter(item, name) {
                *place = Some(value);
            }
        }
    }

    fn is_of_a_token(&self) -> bool {
        ["bearer", "dpop"].contains(&self.scheme.as_str())
    }
}

/// The challenges, in order: several may stand in one field, and several fields in one head.
fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        // A realm may be in any letters; what is looked for is in ASCII.
        let value = String::from_utf8_lossy(value.as_bytes());
        let before = found.len();
        for item in items(&value) {
            let parameters = match begun(item) {
                Some((scheme, first)) => {
                    let scheme = scheme.to_ascii_lowercase();
                    found.push(Challenge { scheme, error: None, resource_metadata: None });
                    first
                }
                None => item,
            };
            // What stands before the first scheme of a field belongs to none.
            if let Some(challenge) = found.get_mut(before..).and_then(<[Challenge]>::last_mut) {
                challenge.take(parameters);
            }
        }
    }
    found
}

/// What stands between commas, of which those in quotes are none.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let comma = move |letter: char| {
        let was_escaped = escaped;
        escaped = quoted && !escaped && letter == '\\';
        quoted ^= letter == '"' && !was_escaped;
        letter == ',' && !quoted
    };
    value.split(comma).map(str::trim).filter(|item| !item.is_empty())
}

/// A scheme and what follows it, if the item begins a challenge rather than being one more parameter.
fn begun(item: &str) -> Option<(&str, &str)> {
    let (word, rest) = item.split_once([' ', '\t']).unwrap_or((item, ""));
    let rest = rest.trim_start();
    (!word.contains('=') && !rest.starts_with('=')).then_some((word, rest))
}

/// The value of the parameter of this name, if the item is that, and no token68 that looks like one without a value.
fn parameter(item: &str, name: &str) -> Option<String> {
    let (found, value) = item.split_once('=')?;
    let value = Some(value.trim()).filter(|value| !value.trim_matches('=').is_empty())?;
    let inner = value.strip_prefix('"').map(|inner| inner.strip_suffix('"').unwrap_or(inner));
    let plain = inner.map_or_else(|| value.to_owned(), unescaped);
    found.trim().eq_ignore_ascii_case(name).then_some(plain)
}

/// A quoted string's text (RFC 9110 §5.6.4).
fn unescaped(inner: &str) -> String {
    let mut escaped = false;
    inner
        .chars()
        .filter(|letter| {
            escaped = *letter == '\\' && !escaped;
            !escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_means_the_token_unless_its_own_scheme_names_another_error() {
        let rows: [(&[&str], bool); 24] = [
            (&[], true),
            (&["Bearer"], true),
            (&["bearer realm=\"api\""], true),
            (&["Bearer error=\"invalid_token\""], true),
            (
                &[
                    "Bearer realm=\"a, error=\\\"x\\\"\", ERROR = invalid_token , error_description=\"The token, it expired\"",
                ],
                true,
            ),
            (&["Bearer error=\"insufficient_scope\", scope=\"write\""], false),
            (&["Bearer realm=\"api\", error=invalid_request"], false),
            (&["Bearer error=\"invalid\\_token\""], true),
            (&["DPoP error=\"use_dpop_nonce\""], false),
            (&["DPoP algs=\"ES256\", error=\"invalid_token\""], true),
            (&["Basic realm=\"x\""], true),
            (&["Basic realm=\"x\", error=\"insufficient_scope\""], true),
            (&["Negotiate YWJj==, Bearer error=\"insufficient_scope\""], false),
            (&["Bearer error=\"insufficient_scope\", Basic realm=\"x\""], false),
            (&["Bearer error=\"insufficient_scope\"", "Basic error=\"invalid_token\""], false),
            (&["Basic realm=\"x\", Bearer, Digest error=\"insufficient_scope\""], true),
            (&["Bearer error=\"insufficient_scope\"", "Bearer error=\"invalid_token\""], true),
            (&["Bearer error=\"unterminated, error=invalid_token"], false),
            (&[",, ,"], true),
            (&["Bearer error_description=\"error=\\\"insufficient_scope\\\"\""], true),
            (&["="], true),
            (&["Bearer realm=\"réservé\", error=\"insufficient_scope\""], false),
            (&["Bearer error=", "Basic error=\"x\""], true),
            (&["Bearer error=="], true),
        ];
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
            }
            assert_eq!(refuses_token(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn where_the_metadata_are_is_read_from_whatever_challenge_says_so() {
        let rows: [(&[&str], Option<&str>); 7] = [
            (
                &["Bearer resource_metadata=\"https://api.example/m?a=1,2\""],
                Some("https://api.example/m?a=1,2"),
            ),
            (&["bearer error=invalid_token , RESOURCE_METADATA = plain"], Some("plain")),
            (&["Basic realm=\"x\"", "DPoP resource_metadata=\"a\\\"b\""], Some("a\"b")),
            (&["Basic realm=\"x\", Bearer resource_metadata=one, DPoP resource_metadata=two"], Some("one")),
            (&["Bearer realm=\"resource_metadata=x\""], None),
            (&["resource_metadata=x"], None),
            (&[], None),
        ];
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
            }
            assert_eq!(resource_metadata(&headers).as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn a_401_refuses_the_proof_when_its_own_scheme_says_so() {
        let rows: [(&[&str], Option<Refusal>); 7] = [
            (&["DPoP error=\"use_dpop_nonce\", error_description=\"x\""], Some(Refusal::NeedsNonce)),
            (&["Bearer, dpop algs=\"ES256\", error=invalid_dpop_proof"], Some(Refusal::Invalid)),
            (&["Basic realm=\"x\"", "DPoP error=\"use_dpop_nonce\""], Some(Refusal::NeedsNonce)),
            (&["Bearer error=\"use_dpop_nonce\""], None),
            (&["DPoP error=\"invalid_token\""], None),
            (&["DPoP, Bearer error=\"invalid_dpop_proof\""], None),
            (&[], None),
        ];
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
            }
            assert_eq!(refuses_proof(&headers), expected, "{values:?}");
        }
    }
}
