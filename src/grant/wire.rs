//! The token endpoint's language: forms out, answers in, every known quirk of servers. Pure.
//!
//! An answer is read in a fixed order. [`salvage`] finds a new refresh token in whatever came, however broken; only
//! when that is saved does [`read`] look at anything else, so that no oddity of the rest can lose it.

mod life;
mod metadata;
mod revocation;
mod sign_in;
mod told;

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

use self::life::{Life, life};
pub use self::metadata::{Endpoints, Metadata, is_trustworthy, read_metadata};
pub use self::revocation::{Revoked, read_revocation};
pub use self::sign_in::{
    DeviceGrant, Expected, Pushed, ServerError, Unread, error_of, is_passing, read_device, read_pushed,
    scopes_of, unavailable, verify_id_token,
};
pub use self::told::Told;
use super::Dpop;
use super::error::{Class, Code, RefreshError};
use super::schedule::{DEFAULT_LIFE, LONGEST_RETRY_AFTER};
use crate::dpop::Refusal;
use crate::secret::{AccessTokenText, RefreshToken, SHOWN, Secrets};

/// Parameters of a token request, in order.
#[derive(Clone, Default)]
pub struct Form(Vec<(String, zeroize::Zeroizing<String>)>);

impl Form {
    /// Adds a parameter, unless it is there already: nothing is sent twice (RFC 6749 §3.2), and what the flow needs
    /// was added first.
    pub fn add(&mut self, name: &str, value: &str) {
        if !self.0.iter().any(|(there, _)| there == name) {
            self.0.push((name.to_owned(), zeroize::Zeroizing::new(value.to_owned())));
        }
    }

    /// Adds a parameter that may be repeated (`resource`, RFC 8707 §2).
    pub fn add_another(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), zeroize::Zeroizing::new(value.to_owned())));
    }

    /// `application/x-www-form-urlencoded`.
    #[must_use]
    pub fn encode(&self) -> zeroize::Zeroizing<String> {
        let mut out = zeroize::Zeroizing::new(String::new());
        for (name, value) in &self.0 {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(&form_encode(name));
            out.push('=');
            out.push_str(&form_encode(value));
        }
        out
    }
}

/// One name or value, form-encoded (RFC 6749 Appendix B): also what each half of HTTP Basic needs (§2.3.1).
#[must_use]
pub fn form_encode(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const ESCAPED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b' ');
    utf8_percent_encode(text, ESCAPED).to_string().replace(' ', "+")
}

/// An answer of the token endpoint: bytes only.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, or as much of it as came.
    pub body: zeroize::Zeroizing<Vec<u8>>,
    /// Whether the body ended as it should.
    pub complete: bool,
}

/// Nothing of what the server said: any of it may be a token.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status, self.body.len())
    }
}

/// What a good answer gives.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The access token.
    pub access_token: AccessTokenText,
    /// Whether it is bound to the key that the request showed a proof of (RFC 9449 §5).
    pub bound: bool,
    /// How long it lives, from before the request was sent.
    pub life: Duration,
    /// How long the grant lives, or its refresh token if nobody uses it, where the server says so (R37).
    pub grant_life: Option<Duration>,
    /// What it may be used for, where the server says so: as it has to when that is not all that was asked for (RFC 6749 §5.1).
    pub scope: Option<String>,
    /// What was odd, for the log.
    pub oddities: Vec<&'static str>,
}

/// Finds a refresh token in an answer, however broken the rest (R31). Blank ones are none (R32).
///
/// Only successful answers are looked at: an error's body may quote what we sent.
#[must_use]
pub fn salvage(answer: &Answer) -> Option<RefreshToken> {
    if !answer.status.is_success() {
        return None;
    }
    let found = match Members::of(answer) {
        Some(members) => members.text("refresh_token"),
        None => scan(answer, "refresh_token").or_else(|| whole_pairs(answer)?.text("refresh_token")),
    };
    found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(RefreshToken::new)
}

/// Reads the rest of an answer: the access token, or why there is none.
///
/// # Errors
/// With the class that `engine.md` §5 gives: by status first, and only a string `error` in a body counts. A server
/// that quotes in its error what it was `told` is not repeated.
pub fn read(answer: &Answer, told: Told<'_>, dpop: Dpop) -> Result<Issued, RefreshError> {
    let members = Members::of(answer);
    let secrets = secrets(told, members.as_ref());
    let error = members.as_ref().and_then(OauthError::of);
    if answer.status.is_success() && error.is_none() {
        return read_token(answer, members.as_ref(), &secrets, dpop);
    }
    Err(refusal(answer, error, told.refresh_token.is_some(), &secrets).answered(answer.status))
}

/// Whether the server refused the client, and nothing else: with another of its secrets it may be taken (R29).
#[must_use]
pub fn refuses_client(answer: &Answer) -> bool {
    let error = Members::of(answer).and_then(|members| members.text("error"));
    answer.status.is_client_error() && error.as_deref() == Some("invalid_client")
}

/// Why the server took no proof of possession, if that is what it says (RFC 9449 §5, §8).
#[must_use]
pub fn refuses_proof(answer: &Answer) -> Option<Refusal> {
    let refused = answer.status.is_client_error();
    Refusal::of(&Members::of(answer).filter(|_| refused)?.text("error")?)
}

/// What must not be shown of an answer: what the server was told, and what it gave.
fn secrets<'a>(told: Told<'a>, members: Option<&'a Members>) -> Secrets<'a> {
    let given = |name| members.and_then(|members| members.get(name)?.as_str());
    told.secrets()
        .and(given("refresh_token"), "[refresh token]")
        .and(given("access_token"), "[access token]")
        .and(given("id_token"), "[JWT]")
}

fn read_token(
    answer: &Answer,
    members: Option<&Members>,
    secrets: &Secrets<'_>,
    dpop: Dpop,
) -> Result<Issued, RefreshError> {
    let unusable = |sentence: &str| {
        // Cut off or garbled: the server has processed the request, and what it did we do not know.
        let class = if answer.complete && members.is_some() { Class::Unusable } else { Class::Unanswered };
        RefreshError::new(class, Code::AnswerUnusable, sentence).answered(answer.status)
    };
    let Some(members) = members else {
        return Err(unusable(
            "The token endpoint's answer is neither JSON nor form-encoded, or was cut off.",
        ));
    };
    let mut oddities = Vec::new();
    let mut bound = false;
    match members.get("token_type").unwrap_or(&Value::Null) {
        Value::String(kind) if kind.eq_ignore_ascii_case("bearer") => {}
        Value::String(kind) if kind.eq_ignore_ascii_case("dpop") => bound = true,
        Value::Null => oddities.push("token_type is missing; taken for Bearer"),
        kind => {
            // What is no text may hold anything.
            let kind = kind
                .as_str()
                .map_or_else(|| "no text".to_owned(), |kind| format!("`{}`", secrets.shown(kind)));
            return Err(unusable(&format!(
                "The token endpoint issued a token whose type is {kind}, which may not be used as a bearer token."
            )));
        }
    }
    if !dpop.takes(bound) {
        return Err(of_other_kind(bound).answered(answer.status));
    }
    let Some(text) = members.text("access_token").filter(|text| !text.is_empty()) else {
        return Err(unusable("The token endpoint's answer holds no access token."));
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("The access token holds bytes that a header may not carry."));
    }
    let life = match life(members.get("expires_in")) {
        Life::Seconds(life) => life,
        Life::Unknown => {
            oddities.push("expires_in is missing or unreadable; taken for 5 minutes");
            DEFAULT_LIFE
        }
        Life::None => return Err(unusable("The token endpoint issued a token that has expired already.")),
    };
    let grant_life = life::of_grant(members);
    let scope = members.text("scope");
    Ok(Issued { access_token: AccessTokenText::new(text), bound, life, grant_life, scope, oddities })
}

/// A token that is bound to a key where none may be, or the other way round: the two sides have to agree.
fn of_other_kind(bound: bool) -> RefreshError {
    let sentence = if bound {
        "The token endpoint issued a token that is bound to a key, and no proof was shown; set `dpop = true`, or switch it \
         off at the server."
    } else {
        "The token endpoint issued a token that is bound to no key, which `dpop = \"required\"` does not take; switch DPoP \
         on for this client at the server, or set `dpop = true`."
    };
    RefreshError::new(Class::Misconfigured, Code::TokenBindingWrong, sentence)
}

/// What an error answer means.
fn refusal(
    answer: &Answer,
    error: Option<OauthError>,
    of_refresh_token: bool,
    secrets: &Secrets<'_>,
) -> RefreshError {
    let status = answer.status;
    if status.is_redirection() {
        return redirected(&answer.headers, secrets);
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
        return busy(status, retry_after(&answer.headers));
    }
    let ambiguous = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY];
    if status.is_server_error() || ambiguous.contains(&status) {
        // Never a verdict, whatever the body says: the server may have rotated before it failed (R49).
        return RefreshError::new(
            Class::Unanswered,
            Code::TokenEndpointError,
            format!("The token endpoint answered {status}; the refresh token is tried again."),
        );
    }
    match error {
        Some(error) => error.verdict(answer, of_refresh_token, secrets),
        None if [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status) => {
            RefreshError::new(
                Class::Misconfigured,
                Code::TokenEndpointWrong,
                format!(
                    "The token endpoint answered {status}: there is no token endpoint at this address; check `issuer` or `token_endpoint`."
                ),
            )
        }
        None => RefreshError::new(
            Class::Blocked,
            Code::TokenEndpointBlocked,
            format!(
                "The token endpoint answered {status} without an OAuth error: something in between may have answered in its place."
            ),
        ),
    }
}

fn redirected(headers: &HeaderMap, secrets: &Secrets<'_>) -> RefreshError {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    // Without the query: that is where a server would echo something.
    let place = location.map(|location| location.split(['?', '#']).next().unwrap_or(location));
    RefreshError::new(
        Class::Misconfigured,
        Code::TokenEndpointRedirects,
        format!(
            "The token endpoint redirects to {}; a redirect is never followed with a refresh token. Configure that \
             server's public name, and `connect_to` if it must be reached by another address.",
            place.map_or_else(|| "an unreadable Location".to_owned(), |place| secrets.shown(place)),
        ),
    )
}

fn busy(status: StatusCode, retry_after: Option<Duration>) -> RefreshError {
    RefreshError::new(
        Class::Busy { retry_after },
        Code::TokenEndpointBusy,
        format!("The token endpoint answered {status}; it is asked again later."),
    )
}

/// `Retry-After` in seconds; a date is read against the answer's own `Date`, so that no clock of ours matters.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let span = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is larger than any of ours means "much later", too.
        text.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        let sent = httpdate::parse_http_date(headers.get("date")?.to_str().ok()?).ok()?;
        at.duration_since(sent).unwrap_or_default()
    };
    Some(span.min(LONGEST_RETRY_AFTER))
}

/// A string `error` and its description (RFC 6749 §5.2).
struct OauthError {
    error: String,
    description: Option<String>,
}

impl OauthError {
    fn of(members: &Members) -> Option<Self> {
        let error = members.text("error").filter(|error| !error.is_empty())?;
        Some(Self { error, description: members.text("error_description") })
    }

    fn verdict(&self, answer: &Answer, of_refresh_token: bool, secrets: &Secrets<'_>) -> RefreshError {
        let told = match &self.description {
            Some(description) => {
                format!("`{}` ({})", secrets.shown(&self.error), secrets.shown(description))
            }
            None => format!("`{}`", secrets.shown(&self.error)),
        };
        match self.error.as_str() {
            // There is nothing to sign in to: whoever makes the assertion has to make another.
            "invalid_grant" | "bad_refresh_token" if !of_refresh_token => RefreshError::new(
                Class::Misconfigured,
                Code::AssertionRejected,
                format!(
                    "The authorization server refused what was presented: {told}. Check the assertion or token that the flow is given, and its audience."
                ),
            ),
            // bad_refresh_token is GitHub's, told with a 200 (R33).
            "invalid_grant" | "bad_refresh_token" => RefreshError::new(
                Class::Refused,
                Code::GrantRejected,
                format!(
                    "The authorization server refused the refresh token: {told}. Sign in again, or provide a new seed."
                ),
            ),
            // Authgear's hook says so with a 400, after it has rotated.
            "server_error" => RefreshError::new(
                Class::Unanswered,
                Code::TokenEndpointError,
                format!("The token endpoint failed: {told}; the refresh token is tried again."),
            ),
            "temporarily_unavailable" | "slow_down" | "x_rate_limited" => {
                busy(answer.status, retry_after(&answer.headers))
            }
            error if Refusal::of(error).is_some() => RefreshError::new(
                Class::Misconfigured,
                Code::DpopProofRejected,
                format!(
                    "The authorization server refused the proof of possession: {told}. The refresh token may be bound to another key than this grant's (`dpop_key`), or a clock is wrong."
                ),
            ),
            "invalid_client" | "unauthorized_client" => RefreshError::new(
                Class::Misconfigured,
                Code::ClientRejected,
                format!(
                    "The authorization server refused the client: {told}. Check `client_id`, `client_auth` and what it proves itself with."
                ),
            ),
            _ => RefreshError::new(
                Class::Misconfigured,
                Code::RequestRejected,
                format!(
                    "The authorization server refused the request: {told}. Check the grant's configuration."
                ),
            ),
        }
    }
}

/// Text of a server's as it may be shown: printable ASCII, cut to length (R65).
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(SHOWN).collect();
    if text.chars().count() > SHOWN {
        shown.push('…');
    }
    shown
}

/// The members of an answer: a JSON object, or a form (which some servers send, R33).
struct Members(serde_json::Map<String, Value>);

impl Members {
    /// A form that was cut off has no closing mark as JSON has: its last value may be half of one.
    fn of(answer: &Answer) -> Option<Self> {
        let body = answer.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&answer.body);
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Some(Self(members)),
            Err(_) if answer.complete => Self::of_form(body),
            _ => None,
        }
    }

    /// A form is believed only if it begins as one, and names a member that we look for: almost any text is a form, also
    /// JSON with an address in it that was cut off. A pair that is none is passed over.
    fn of_form(body: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let could_be = |byte: u8| byte.is_ascii_alphanumeric() || b"*-._%+".contains(&byte);
        if !text.split('=').next()?.bytes().all(could_be) {
            return None;
        }
        // What was no text is no part of a token; the pairs beside it are as good as they were.
        let pairs = text.split('&').filter(|pair| !pair.contains(char::REPLACEMENT_CHARACTER));
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        let decoded = |(name, value)| Some((form_decode(name)?, Value::String(form_decode(value)?)));
        let members: serde_json::Map<String, Value> = pairs.filter_map(decoded).collect();
        let known = ["access_token", "refresh_token", "error"];
        known.iter().any(|name| members.contains_key(*name)).then_some(Self(members))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.as_str().map(str::to_owned)
    }
}

/// The pairs of a form that was cut off, but for the last.
fn whole_pairs(answer: &Answer) -> Option<Members> {
    let end = answer.body.iter().rposition(|byte| *byte == b'&')?;
    Members::of_form(answer.body.get(..end)?)
}

fn form_decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The last complete string member `name` in a body that is no JSON as a whole: cut off, or with rubbish around it. Where
/// it is in UTF-16, what is left without NUL is as good.
///
/// Its own members count, and not what is deeper: that belongs to something else. Only in what is whole and has visibly lost
/// count of its depth any may be its own, and only where none is.
fn scan(answer: &Answer, name: &str) -> Option<String> {
    let marks: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
    let body = marks.iter().find_map(|mark| answer.body.strip_prefix(*mark)).unwrap_or(&answer.body);
    let kept: zeroize::Zeroizing<Vec<u8>> =
        body.iter().copied().filter(|byte| *byte != 0).collect::<Vec<_>>().into();
    let text = String::from_utf8_lossy(&kept);
    let text = text.trim_start_matches('\u{feff}').trim();
    let key = format!("\"{name}\"");
    let after = |at: usize| text.get(at..)?.strip_prefix(&key)?.trim_start().strip_prefix(':');
    let last = |places: &[usize]| places.iter().rev().find_map(|at| scan_value(after(*at)?));
    let any = || last(&text.match_indices(&key).map(|(at, _)| at).collect::<Vec<_>>());
    if !text.starts_with('{') {
        return any();
    }
    let mut depth = Depth::default();
    let mut own = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        if depth.step(byte) && after(at).is_some() {
            own.push(at);
        }
    }
    let is_cut_off = !answer.complete
        || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err_and(|error| error.is_eof());
    if own.is_empty() && !is_cut_off && depth.is_lost() { any() } else { last(&own) }
}

/// How deep a walk through an object is.
#[derive(Debug, Default)]
struct Depth {
    open: usize,
    quoted: bool,
    escaped: bool,
    /// Something came after the end.
    overrun: bool,
}

impl Depth {
    /// Takes one byte; whether a string of the outermost object begins there.
    fn step(&mut self, byte: u8) -> bool {
        let begins = byte == b'"' && !self.quoted && self.open == 1;
        self.overrun |= self.open == 0 && byte != b'{' && !byte.is_ascii_whitespace();
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            b'{' | b'[' if !self.quoted => self.open += 1,
            b'}' | b']' if !self.quoted => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        begins
    }

    /// Whether the object did not end where the text did.
    fn is_lost(&self) -> bool {
        self.open > 0 || self.quoted || self.overrun
    }
}

/// A string with the closing quote there; the JSON parser does the unescaping.
fn scan_value(value: &str) -> Option<String> {
    match serde_json::Deserializer::from_str(value).into_iter::<Value>().next()? {
        Ok(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
