//! What an upstream's 401 says of the token: `WWW-Authenticate` read as RFC 9110 §11.6.1 writes it.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Whether a 401 with these headers may be taken to mean the token, so that another one may help: unless the scheme of
/// the token names another error than `invalid_token` (RFC 6750 §3.1), such as a scope that no token will have.
pub(crate) fn refuses_token(headers: &HeaderMap) -> bool {
    let mut names_another = false;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        // A realm may be in any letters; what is looked for is in ASCII.
        let value = String::from_utf8_lossy(value.as_bytes());
        let mut is_ours = false;
        let mut error = None;
        for item in items(&value) {
            let Some((scheme, first)) = begun(item) else {
                if is_ours && let Some(named) = parameter(item, "error") {
                    error = Some(named);
                }
                continue;
            };
            if is_ours && is_about_token(error.as_deref()) {
                return true;
            }
            names_another |= is_ours;
            is_ours = ["bearer", "dpop"].iter().any(|ours| scheme.eq_ignore_ascii_case(ours));
            error = parameter(first, "error").filter(|_| is_ours);
        }
        if is_ours && is_about_token(error.as_deref()) {
            return true;
        }
        names_another |= is_ours;
    }
    !names_another
}

fn is_about_token(error: Option<&str>) -> bool {
    error.is_none_or(|error| error == "invalid_token")
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
}
