//! What the server says in the course of a sign-in: to a device, to a pushed request, and about who has signed in.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, Uri};
use serde_json::Value;

use super::life::{Life, life};
use super::{Answer, Members, Told, is_trustworthy, secrets};
use crate::secret::DeviceCode;

/// An error in OAuth's form (RFC 6749 §5.2), as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// `error`.
    pub error: String,
    /// `error_description`.
    pub description: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.description {
            Some(description) => write!(f, "`{}` ({description})", self.error),
            None => write!(f, "`{}`", self.error),
        }
    }
}

/// The error that an answer tells, if it tells one.
#[must_use]
pub fn error_of(answer: &Answer, told: Told<'_>) -> Option<ServerError> {
    let members = Members::of(answer)?;
    let secrets = secrets(told, Some(&members));
    let shown =
        |name: &str| members.text(name).filter(|text| !text.is_empty()).map(|text| secrets.shown(&text));
    Some(ServerError { error: shown("error")?, description: shown("error_description") })
}

/// Why an answer brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The server said why.
    Refused(ServerError),
    /// The server could not do it just now, whatever it says beside: asked later, it may.
    Unavailable(String),
    /// It cannot be used; says why, as the end of a sentence.
    Unusable(String),
}

/// Whether a status is of what passes by itself: such an answer is no verdict, whatever its body says.
#[must_use]
pub fn is_passing(status: StatusCode) -> bool {
    let also = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY];
    status.is_server_error() || also.contains(&status)
}

/// What a server answered that could not do it just now, for the middle of a sentence; `None` when it could.
#[must_use]
pub fn unavailable(answer: &Answer, told: Told<'_>) -> Option<String> {
    let said = error_of(answer, told);
    let says = |said: &ServerError| format!(" and says {said}");
    let status = answer.status;
    // A person's word, or the end of their time, is one with any status.
    let is_decided = |said: &ServerError| {
        ["authorization_pending", "slow_down", "access_denied", "expired_token"]
            .contains(&said.error.as_str())
    };
    let passes = |said: &ServerError| {
        ["server_error", "temporarily_unavailable", "x_rate_limited"].contains(&said.error.as_str())
    };
    match &said {
        Some(said) if is_decided(said) => None,
        Some(said) if is_passing(status) || passes(said) => Some(format!("answered {status}{}", says(said))),
        None if is_passing(status) => Some(format!("answered {status}")),
        _ => None,
    }
}

/// What a device shows to a person, and asks with meanwhile (RFC 8628 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceGrant {
    /// What it asks with.
    pub device_code: DeviceCode,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// Where nothing needs to be typed.
    pub verification_uri_complete: Option<String>,
    /// How long all this is good.
    pub life: Duration,
    /// How long to wait between two askings.
    pub interval: Duration,
}

/// How long a device waits between two askings when the server does not say (RFC 8628 §3.2).
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a person has when the server does not say; it must (§3.2), and it will say when it is over.
const LIFE: Duration = Duration::from_secs(600);

/// Reads the answer of a device authorization endpoint.
///
/// # Errors
/// When it brought nothing.
pub fn read_device(answer: &Answer, told: Told<'_>) -> Result<DeviceGrant, Unread> {
    let members = members_of(answer, told)?;
    let lacks = |what: &str| Unread::Unusable(format!("it holds no {what}"));
    let text = |name: &str| members.text(name).filter(|text| !text.is_empty());
    let fits = |text: &String| text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
    let page = |name: &str| {
        let is_page = |text: &String| text.parse::<Uri>().is_ok_and(|uri| is_trustworthy(&uri));
        text(name).filter(|text| fits(text) && is_page(text))
    };
    let device_code = text("device_code").ok_or_else(|| lacks("device code"))?;
    let is_typed = |code: &String| code.len() <= 64 && code.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    Ok(DeviceGrant {
        device_code: DeviceCode::new(device_code),
        user_code: text("user_code")
            .filter(is_typed)
            .ok_or_else(|| lacks("code that a person could type"))?,
        // Google spells it otherwise.
        verification_uri: page("verification_uri")
            .or_else(|| page("verification_url"))
            .ok_or_else(|| lacks("address that a person could open"))?,
        verification_uri_complete: page("verification_uri_complete"),
        life: match life(members.get("expires_in")) {
            Life::Seconds(life) => life,
            Life::Unknown | Life::None => LIFE,
        },
        interval: match life(members.get("interval")) {
            Life::Seconds(interval) => interval.min(LIFE),
            Life::Unknown | Life::None => INTERVAL,
        },
    })
}

/// The longest address that a person is shown.
const LONGEST: usize = 2048;

/// What stands for a request that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What the browser names.
    pub request_uri: String,
    /// How long it may, where the server says so, as it has to.
    pub life: Option<Duration>,
}

/// Reads the answer of a pushed authorization request endpoint (RFC 9126 §2.2).
///
/// # Errors
/// When it brought nothing.
pub fn read_pushed(answer: &Answer, told: Told<'_>) -> Result<Pushed, Unread> {
    let members = members_of(answer, told)?;
    let request_uri = members.text("request_uri").filter(|uri| !uri.is_empty() && uri.len() <= LONGEST);
    let life = match life(members.get("expires_in")) {
        Life::Seconds(life) => Some(life),
        Life::Unknown | Life::None => None,
    };
    let pushed = request_uri.map(|request_uri| Pushed { request_uri, life });
    pushed.ok_or_else(|| Unread::Unusable("it holds no `request_uri`".to_owned()))
}

/// The members of a good answer.
fn members_of(answer: &Answer, told: Told<'_>) -> Result<Members, Unread> {
    if let Some(what) = unavailable(answer, told) {
        return Err(Unread::Unavailable(what));
    }
    if let Some(error) = error_of(answer, told) {
        return Err(Unread::Refused(error));
    }
    if !answer.status.is_success() {
        return Err(Unread::Unusable(format!("it has status {}", answer.status)));
    }
    Members::of(answer).ok_or_else(|| Unread::Unusable("it is no JSON object, or was cut off".to_owned()))
}

/// The scopes that a token answer says were granted; `None` when it is silent, which means those that were asked for
/// (RFC 6749 §5.1).
#[must_use]
pub fn scopes_of(answer: &Answer) -> Option<Vec<String>> {
    let scopes = Members::of(answer)?.text("scope")?;
    Some(scopes.split_whitespace().map(super::printable).collect())
}

/// What the ID token of a sign-in has to say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who says it; nobody in particular, where no issuer is known.
    pub issuer: Option<&'a str>,
    /// To whom.
    pub client_id: &'a str,
    /// In answer to which request.
    pub nonce: Option<&'a str>,
}

/// Holds the ID token of a token answer against the sign-in that it came of. Its signature is not looked at: it came from
/// the token endpoint itself (OpenID Connect Core §3.1.3.7). Without one there is nothing to hold.
///
/// # Errors
/// What does not fit, as the end of a sentence.
pub fn verify_id_token(answer: &Answer, expected: Expected<'_>) -> Result<(), &'static str> {
    let Some(token) = Members::of(answer).and_then(|members| members.text("id_token")) else { return Ok(()) };
    let claims = claims(&token).ok_or("it cannot be read")?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    if let Some(issuer) = expected.issuer
        && claim("iss").is_none_or(|said| said != issuer && format!("https://{said}") != issuer)
    {
        // Google has left `https://` away at times.
        return Err("it is of another issuer");
    }
    let is_ours = |audience: &Value| audience.as_str() == Some(expected.client_id);
    let ours = match claims.get("aud") {
        Some(Value::Array(several)) => several.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if !ours {
        return Err("it is for another client");
    }
    match expected.nonce {
        Some(nonce) if claim("nonce") != Some(nonce) => Err("it belongs to another sign-in (`nonce`)"),
        _ => Ok(()),
    }
}

/// The claims of a JWT that was signed and not encrypted.
fn claims(token: &str) -> Option<serde_json::Map<String, Value>> {
    let mut parts = token.split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = zeroize::Zeroizing::new(URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?);
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &[u8]) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_vec().into(),
            complete: true,
        }
    }

    #[test]
    fn a_device_is_told_what_to_show_and_what_it_is_not_told_has_a_default() {
        let body =
            br#"{"device_code":"D","user_code":"WDJB-MJHT","verification_url":"https://id.example/device"}"#;
        let told = read_device(&answer(200, body), Told::default()).unwrap();
        assert_eq!(
            (told.user_code.as_str(), told.verification_uri.as_str()),
            ("WDJB-MJHT", "https://id.example/device")
        );
        assert_eq!((told.interval, told.life, told.verification_uri_complete), (INTERVAL, LIFE, None));
        let body =
            br#"{"device_code":"D","user_code":"A","verification_uri":"http://127.0.0.1:1/d","interval":"1",
            "verification_uri_complete":"https://id.example/d?c=A","expires_in":60}"#;
        let told = read_device(&answer(200, body), Told::default()).unwrap();
        assert_eq!((told.interval.as_secs(), told.life.as_secs()), (1, 60));
        assert_eq!(told.verification_uri_complete.as_deref(), Some("https://id.example/d?c=A"));
    }

    #[test]
    fn a_person_is_sent_nowhere_that_does_not_deserve_trust_and_shown_nothing_that_steers_a_terminal() {
        for uri in
            ["http://id.example/device", "javascript:alert(1)", "https://id.example/\u{1b}[2J", "/device"]
        {
            let body = serde_json::json!({ "device_code": "D", "user_code": "A", "verification_uri": uri });
            let read = read_device(&answer(200, body.to_string().as_bytes()), Told::default());
            assert!(matches!(read, Err(Unread::Unusable(_))), "{uri}");
        }
        let body = br#"{"device_code":"D","user_code":"A\u001b","verification_uri":"https://id.example"}"#;
        assert!(read_device(&answer(200, body), Told::default()).is_err());
    }

    #[test]
    fn a_refusal_is_told_without_what_the_server_was_told() {
        let secret = crate::secret::ClientSecret::new("canary");
        let told = Told { refresh_token: None, others: std::slice::from_ref(&secret) };
        let body = br#"{"error":"invalid_client","error_description":"not canary"}"#;
        let Err(Unread::Refused(error)) = read_pushed(&answer(401, body), told) else { panic!() };
        assert_eq!(error.to_string(), "`invalid_client` (not [client secret])");
        let pushed = |life| Pushed { request_uri: "urn:x".to_owned(), life };
        let body = br#"{"request_uri":"urn:x","expires_in":60}"#;
        assert_eq!(read_pushed(&answer(201, body), told), Ok(pushed(Some(Duration::from_secs(60)))));
        assert_eq!(read_pushed(&answer(201, br#"{"request_uri":"urn:x"}"#), told), Ok(pushed(None)));
        assert!(matches!(read_pushed(&answer(201, b"{}"), told), Err(Unread::Unusable(_))));
        assert!(matches!(read_pushed(&answer(302, b"<html>"), told), Err(Unread::Unusable(_))));
    }

    #[test]
    fn what_passes_by_itself_is_no_verdict_whatever_it_says() {
        for (status, body, passes) in [
            (503, r#"{"status":503,"error":"Service Unavailable"}"#, true),
            (502, "<html>", true),
            (429, r#"{"error":"x_rate_limited"}"#, true),
            (429, "", true),
            (408, r#"{"error":"invalid_client"}"#, true),
            (425, "", true),
            (400, r#"{"error":"temporarily_unavailable"}"#, true),
            (400, r#"{"error":"server_error"}"#, true),
            (500, r#"{"error":"access_denied"}"#, false),
            (429, r#"{"error":"slow_down"}"#, false),
            (503, r#"{"error":"authorization_pending"}"#, false),
            (503, r#"{"error":"expired_token"}"#, false),
            (400, r#"{"error":"invalid_client"}"#, false),
            (404, "", false),
            (200, "{}", false),
        ] {
            let answer = answer(status, body.as_bytes());
            assert_eq!(unavailable(&answer, Told::default()).is_some(), passes, "{status} {body}");
            let read = read_device(&answer, Told::default());
            assert_eq!(matches!(read, Err(Unread::Unavailable(_))), passes, "{status} {body}");
        }
    }

    fn verified(claims: &str) -> Result<(), &'static str> {
        let token = format!("e30.{}.s", URL_SAFE_NO_PAD.encode(claims));
        let body = serde_json::json!({ "id_token": token }).to_string();
        let expected = Expected { issuer: Some("https://id.example"), client_id: "app", nonce: Some("n") };
        verify_id_token(&answer(200, body.as_bytes()), expected)
    }

    #[test]
    fn an_id_token_belongs_to_this_issuer_client_and_sign_in() {
        for good in [
            r#"{"iss":"https://id.example","aud":"app","nonce":"n"}"#,
            r#"{"iss":"id.example","aud":["other","app"],"nonce":"n"}"#,
        ] {
            assert_eq!(verified(good), Ok(()), "{good}");
        }
        for bad in [
            "{}",
            "[]",
            r#"{"iss":"https://evil.example","aud":"app","nonce":"n"}"#,
            r#"{"iss":"https://id.example","aud":"other","nonce":"n"}"#,
            r#"{"iss":"https://id.example","aud":"app"}"#,
            r#"{"iss":"https://id.example","aud":"app","nonce":"of another"}"#,
        ] {
            assert!(verified(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_reader_panic(
            status in 100_u16..600,
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                r#"\{"(device_code|user_code|verification_uri|error|request_uri|id_token|interval)":("[ -~]{0,40}"|-?[0-9e.]{1,30}|null|\[\])\}"#
                    .prop_map(String::into_bytes),
            ],
        ) {
            let answer = answer(status, &body);
            let shown = [read_device(&answer, Told::default()).err(), read_pushed(&answer, Told::default()).err()];
            for unread in shown.into_iter().flatten() {
                let shown = match unread {
                    Unread::Refused(error) => error.to_string(),
                    Unread::Unavailable(text) | Unread::Unusable(text) => text,
                };
                prop_assert!(!shown.contains(char::is_control));
            }
            let expected = Expected { issuer: None, client_id: "app", nonce: None };
            let _ = (verify_id_token(&answer, expected), scopes_of(&answer));
        }
    }
}
