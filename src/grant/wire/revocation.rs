//! What a server answers when it is told that a token is given up (RFC 7009).

use http::StatusCode;

use super::{Answer, Members, OauthError, Told, secrets};
use crate::grant::error::{Class, Code, RefreshError};

/// What has become of a token that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is revoked, or never was: the server has looked at the client first (RFC 7009 §2.1).
    Done,
    /// The server does not know it, and may not have looked at the client.
    Unknown,
}

/// Reads that answer: a token that was unknown is as good as revoked, also where a server answers that with an error, as
/// Google does (RFC 7009 §2.2).
///
/// # Errors
/// When the token may be good still.
pub fn read_revocation(answer: &Answer, told: Told<'_>) -> Result<Revoked, RefreshError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(Revoked::Done);
    }
    let members = Members::of(answer);
    let secrets = secrets(told, members.as_ref());
    let error = members.as_ref().and_then(OauthError::of).filter(|_| status.is_client_error());
    if status == StatusCode::BAD_REQUEST && error.as_ref().is_some_and(|error| error.error == "invalid_token")
    {
        return Ok(Revoked::Unknown);
    }
    let verdict = error.as_ref().map(|error| error.verdict(answer, true, &secrets));
    if let Some(refused) = verdict.filter(|verdict| verdict.code == Code::ClientRejected) {
        return Err(refused.answered(status));
    }
    let class = match status.as_u16() {
        429 | 503 => Class::Busy { retry_after: None },
        500.. => Class::Unanswered,
        _ => Class::Misconfigured,
    };
    let words = error.map_or_else(String::new, |error| format!(", `{}`", secrets.shown(&error.error)));
    let sentence = format!(
        "The revocation endpoint answered {status}{words}: the refresh token may be good still. Try again later, or check \
         `revocation_endpoint`."
    );
    Err(RefreshError::new(class, Code::RevocationFailed, sentence).answered(status))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::secret::RefreshToken;

    #[test]
    fn only_success_is_a_revocation_and_each_failure_says_what_kind_it_is() {
        let token = RefreshToken::new("R1-secret");
        let told = Told { refresh_token: Some(&token), ..Told::default() };
        let read = |status: u16, body: &str| {
            let body = zeroize::Zeroizing::new(body.as_bytes().to_vec());
            let status = StatusCode::from_u16(status).unwrap();
            read_revocation(&Answer { status, headers: HeaderMap::new(), body, complete: true }, told)
        };
        assert_eq!([read(200, ""), read(204, "")].map(Result::unwrap), [Revoked::Done; 2]);
        let unknown = r#"{"error":"invalid_token","error_description":"Token expired or revoked"}"#;
        assert_eq!(read(400, unknown).unwrap(), Revoked::Unknown, "it is as good as revoked");
        assert!(read(401, unknown).is_err() && read(500, unknown).is_err(), "that is said of something else");
        let error = read(401, r#"{"error":"invalid_client","error_description":"R1-secret?"}"#).unwrap_err();
        assert_eq!((error.class, error.code), (Class::Misconfigured, Code::ClientRejected));
        assert!(!error.sentence.contains("R1-secret"), "{}", error.sentence);
        let error = read(400, r#"{"error":"unsupported_token_type"}"#).unwrap_err();
        assert_eq!((error.class, error.code), (Class::Misconfigured, Code::RevocationFailed));
        assert!(error.sentence.contains("`unsupported_token_type`"), "{}", error.sentence);
        for (status, class) in [
            (302, Class::Misconfigured),
            (404, Class::Misconfigured),
            (500, Class::Unanswered),
            (503, Class::Busy { retry_after: None }),
        ] {
            assert_eq!(read(status, "<html>").unwrap_err().class, class, "{status}");
        }
    }
}
