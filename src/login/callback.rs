//! What a browser comes back with: a code, or an error, in answer to this sign-in and to no other. Pure.

use percent_encoding::percent_decode_str;

use super::{Code, LoginError, Outcome};
use crate::grant::wire::{ServerError, printable};
use crate::secret::AuthorizationCode;

/// What an answer has to say to be ours.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// `state`.
    pub(super) state: String,
    /// `iss` (RFC 9207); nothing to compare it with, where no issuer is configured.
    pub(super) issuer: Option<String>,
    /// Whether the server promises to say that.
    pub(super) names_issuer: bool,
}

/// Reads a query. `None` when it is no answer to anything: somebody opened the address by hand. Whatever is an answer ends
/// the sign-in, also one to another: it could be somebody else's, who would have this machine use their account.
pub(super) fn read(query: &str, expected: &Expected) -> Option<Result<AuthorizationCode, LoginError>> {
    let pairs: Vec<(&str, Option<String>)> =
        query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(decoded).collect();
    all(&pairs, "code").chain(all(&pairs, "error")).next()?;
    // Once each (RFC 6749 §3.1), and readable.
    let one = |name: &'static str| {
        let mut values = all(&pairs, name);
        match (values.next(), values.next()) {
            (Some(Some(value)), None) => Ok(Some(value.as_str())),
            (None, _) => Ok(None),
            _ => Err(garbled(name)),
        }
    };
    Some(judge(one, expected))
}

/// The values of this name; `None` for one that cannot be read.
fn all<'a>(
    pairs: &'a [(&str, Option<String>)],
    name: &'static str,
) -> impl Iterator<Item = &'a Option<String>> {
    pairs.iter().filter(move |(there, _)| *there == name).map(|(_, value)| value)
}

fn judge<'a>(
    one: impl Fn(&'static str) -> Result<Option<&'a str>, LoginError>,
    expected: &Expected,
) -> Result<AuthorizationCode, LoginError> {
    let state = one("state")?.unwrap_or_default();
    if aws_lc_rs::constant_time::verify_slices_are_equal(state.as_bytes(), expected.state.as_bytes()).is_err()
    {
        return Err(foreign_state());
    }
    match (one("iss")?, &expected.issuer) {
        (Some(issuer), Some(ours)) if issuer != ours => return Err(foreign_issuer(issuer, ours)),
        (None, Some(ours)) if expected.names_issuer => return Err(no_issuer(ours)),
        _ => {}
    }
    if let Some(error) = one("error")?.filter(|error| !error.is_empty()) {
        let description = one("error_description")?.filter(|text| !text.is_empty()).map(printable);
        return Err(LoginError::refused(
            "authorization server",
            &ServerError { error: printable(error), description },
        ));
    }
    match one("code")? {
        Some(code) if !code.is_empty() => Ok(AuthorizationCode::new(code)),
        _ => Err(garbled("code")),
    }
}

fn decoded<'a>((name, value): (&'a str, &str)) -> (&'a str, Option<String>) {
    let spaced = value.replace('+', " ");
    (name, percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned))
}

/// The error that a redirect to us carries, if it carries one; whoever sent it.
pub(super) fn error_in(query: &str) -> Option<ServerError> {
    let find = |wanted: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.map(decoded).find(|(name, _)| *name == wanted)?.1?;
        Some(printable(&value)).filter(|text| !text.is_empty())
    };
    Some(ServerError { error: find("error")?, description: find("error_description") })
}

fn garbled(name: &str) -> LoginError {
    let sentence = format!(
        "The browser came back with a `{name}` that cannot be read, or with more than one. Nothing of it is used; sign in \
         again."
    );
    LoginError::new(Outcome::SignIn, Code::CallbackMalformed, sentence)
}

fn foreign_state() -> LoginError {
    let sentence = "The browser came back from another sign-in (its `state` is not this one's): somebody may have tried to \
                    slip theirs in, or an old page was opened again. Nothing of it is used; sign in again.";
    LoginError::new(Outcome::SignIn, Code::StateMismatch, sentence)
}

fn foreign_issuer(issuer: &str, ours: &str) -> LoginError {
    let sentence = format!(
        "The browser came back from another server (`iss` is `{}`, and {ours} was asked). Nothing of it is used; sign in \
         again.",
        printable(issuer)
    );
    LoginError::new(Outcome::SignIn, Code::IssuerMismatch, sentence)
}

fn no_issuer(ours: &str) -> LoginError {
    let sentence = format!(
        "The browser came back without `iss`, which {ours} promises to send. Nothing of it is used; sign in again."
    );
    LoginError::new(Outcome::SignIn, Code::IssuerMismatch, sentence)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(names_issuer: bool) -> Expected {
        Expected { state: "st".to_owned(), issuer: Some("https://id.example".to_owned()), names_issuer }
    }

    fn code_of(query: &str, names_issuer: bool) -> Result<String, &'static str> {
        match read(query, &expected(names_issuer)) {
            None => Err("nothing"),
            Some(Ok(code)) => Ok(code.expose().to_owned()),
            Some(Err(error)) => Err(error.code),
        }
    }

    #[test]
    fn a_code_counts_in_answer_to_this_sign_in_alone() {
        for (query, names_issuer, told) in [
            ("code=a%2Fb+c&state=st", false, Ok("a/b c")),
            ("state=st&code=C&session_state=x&iss=https%3A%2F%2Fid.example", true, Ok("C")),
            ("code=C&state=other", false, Err("state_mismatch")),
            ("code=C", false, Err("state_mismatch")),
            ("code=C&state=", false, Err("state_mismatch")),
            ("code=C&state=st&state=other", false, Err("callback_malformed")),
            ("code=C&code=D&state=st", false, Err("callback_malformed")),
            ("code=%ff&state=st", false, Err("callback_malformed")),
            ("code=&state=st", false, Err("callback_malformed")),
            ("code=C&state=st", true, Err("issuer_mismatch")),
            ("code=C&state=st&iss=https://evil.example", false, Err("issuer_mismatch")),
            ("error=access_denied&state=st", false, Err("sign_in_denied")),
            ("error=access_denied&state=st", true, Err("issuer_mismatch")),
            ("error=access_denied&state=other", false, Err("state_mismatch")),
            ("error=invalid_scope&error_description=no&state=st", false, Err("scope_refused")),
            ("error=server_error&state=st", false, Err("server_unavailable")),
            ("", false, Err("nothing")),
            ("state=st", false, Err("nothing")),
            ("=&&=x&%ff", false, Err("nothing")),
        ] {
            assert_eq!(code_of(query, names_issuer), told.map(str::to_owned), "{query}");
        }
    }

    #[test]
    fn where_no_issuer_is_configured_there_is_nothing_to_compare() {
        let expected = Expected { issuer: None, ..expected(true) };
        assert!(read("code=C&state=st&iss=x", &expected).unwrap().is_ok());
    }

    proptest! {
        #[test]
        fn whatever_comes_back_is_a_code_or_one_line_for_a_person(
            query in prop_oneof![
                "[ -~\u{80}-\u{10ffff}]{0,80}",
                "((code|state|error|error_description|iss)(=|=st|=%[0-9a-f]{0,2}|=\u{1b}|=a\\+b)&){0,8}",
            ],
            names_issuer: bool,
        ) {
            if let Some(Err(error)) = read(&query, &expected(names_issuer)) {
                prop_assert!(!error.to_string().contains(|c: char| c.is_control()), "{error}");
                prop_assert!(error.outcome != Outcome::Cancelled);
            }
            let _ = error_in(&query);
        }
    }
}
