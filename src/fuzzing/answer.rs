//! Answers of a token endpoint, from their status line to the end of their body.

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};

use super::assert_is_fit_to_be_shown;
use super::json::Members;
use crate::clock::Moment;
use crate::grant::Dpop;
use crate::grant::error::{Class, Code, RefreshError};
use crate::grant::schedule::LONGEST_RETRY_AFTER;
use crate::grant::wire::{Answer, Issued, Told, read, salvage};
use crate::secret::{ClientSecret, RefreshToken};
use crate::token::AccessToken;

/// What the request is taken to have told the server; the inputs quote these.
const REFRESH_TOKEN: &str = "presented/R1+canary";
const CLIENT_SECRET: &str = "canary: secret ä/";
const ASSERTION: &str = "eyJhbGciOiJFUzI1NiJ9.Y2FuYXJ5.c2ln";

/// What holds of an answer as it came over the wire.
///
/// # Panics
/// Where something does not hold.
pub fn answer(data: &[u8]) {
    let answer = parsed(data);
    let token = RefreshToken::new(REFRESH_TOKEN);
    let others = [ClientSecret::new(CLIENT_SECRET), ClientSecret::new(ASSERTION)];
    let told = Told { refresh_token: Some(&token), others: &others };
    let members = Members::of(&answer.body);
    let salvaged = salvage(&answer);

    assert_salvages_what_is_there(&answer, members.as_ref(), salvaged.as_ref());
    assert_is_never_misled_by_half(&answer, members.as_ref(), salvaged.as_ref());
    for dpop in [Dpop::Off, Dpop::Offered, Dpop::Required] {
        let outcome = read(&answer, told, dpop);
        match &outcome {
            Ok(issued) => assert_is_usable(&answer, members.as_ref(), issued, dpop),
            Err(error) => assert_class_follows(&answer, members.as_ref(), error),
        }
        assert_tells_no_secret(members.as_ref(), &answer, &outcome);
    }
    if let Err(error) = read(&answer, Told::default(), Dpop::Offered) {
        assert_ne!(error.class, Class::Refused, "nothing was presented that a sign-in could replace");
        assert_is_fit_to_be_shown(&error.sentence);
    }
}

/// The message, read leniently: what cannot be a head's line is passed over. Cut off, if it is shorter than it says.
fn parsed(data: &[u8]) -> Answer {
    let blank =
        |mark: &[u8]| data.windows(mark.len()).position(|window| window == mark).map(|at| (at, mark.len()));
    let (head, body) = match blank(b"\r\n\r\n").into_iter().chain(blank(b"\n\n")).min() {
        Some((at, length)) => (data.get(..at).unwrap(), data.get(at + length..).unwrap()),
        None => (data, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let (name, value) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.trim().as_bytes()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let length = said.unwrap_or(body.len());
    Answer {
        status: status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK),
        headers,
        body: zeroize::Zeroizing::new(body.get(..length).unwrap_or(body).to_vec()),
        complete: body.len() >= length,
    }
}

/// A refresh token that lenient JSON has as a string is found, whatever stands beside it, and none in an error.
fn assert_salvages_what_is_there(
    answer: &Answer,
    members: Option<&Members>,
    salvaged: Option<&RefreshToken>,
) {
    if !answer.status.is_success() {
        assert_eq!(salvaged, None, "an error quotes what we sent");
    } else if let Some(members) = members {
        let there = members.text("refresh_token").map(str::trim).filter(|text| !text.is_empty());
        assert_eq!(salvaged.map(RefreshToken::expose), there);
    }
    assert!(salvaged.is_none_or(|token| !token.expose().trim().is_empty()));
}

/// Of an answer that is cut off, the same refresh token is found or none: never another, never half of one.
fn assert_is_never_misled_by_half(
    answer: &Answer,
    members: Option<&Members>,
    salvaged: Option<&RefreshToken>,
) {
    let whole = answer.complete && members.is_some_and(|members| !members.repeats("refresh_token"));
    let length = answer.body.len();
    for cut in (0..16).map(|part| length * part / 16).filter(|_| whole) {
        let body = zeroize::Zeroizing::new(answer.body.get(..cut).unwrap().to_vec());
        let half = Answer { body, complete: false, ..answer.clone() };
        let found = salvage(&half);
        assert!(found.is_none() || found.as_ref() == salvaged, "{found:?} in the first {cut} bytes");
    }
}

/// A token that is published is of a type that is understood, lives, and is a legal header value.
fn assert_is_usable(answer: &Answer, members: Option<&Members>, issued: &Issued, dpop: Dpop) {
    assert!(dpop.takes(issued.bound), "{issued:?}");
    assert!(answer.status.is_success() && !issued.life.is_zero(), "{issued:?}");
    let end = Moment { boot: Duration::ZERO, wall: Duration::ZERO }.plus(issued.life);
    assert!(AccessToken::bearer(issued.access_token.clone(), 1, end).is_ok(), "{issued:?}");
    if let Some(members) = members {
        assert_eq!(members.text("access_token"), Some(issued.access_token.expose()));
        let kind = if issued.bound { "dpop" } else { "bearer" };
        assert!(members.text("token_type").map_or(!issued.bound, |there| there.eq_ignore_ascii_case(kind)));
        assert!(members.text("error").is_none_or(str::is_empty), "an error was overlooked");
    } else {
        assert!(answer.complete, "a token out of half an answer");
    }
}

/// What follows is told by the status first, and by a string `error` only where the status lets it (engine.md §5).
fn assert_class_follows(answer: &Answer, members: Option<&Members>, error: &RefreshError) {
    let status = answer.status;
    let says = |errors: &[&str]| {
        // A form may say it, too.
        members.is_none_or(|members| members.text("error").is_some_and(|error| errors.contains(&error)))
    };
    let is_by_status = status.is_redirection() || [404, 405].contains(&status.as_u16());
    match error.class {
        Class::Refused => {
            let has_failed = status.is_server_error() || [408, 425, 429].contains(&status.as_u16());
            assert!(!has_failed && !status.is_redirection(), "{status} is no verdict: {error}");
            assert!(says(&["invalid_grant", "bad_refresh_token"]), "{error}");
        }
        Class::Misconfigured => {
            assert!(!status.is_server_error(), "{status} is never terminal: {error}");
            let is_of_other_kind = error.code == Code::TokenBindingWrong && status.is_success();
            let says = members.is_none_or(|members| members.text("error").is_some());
            assert!(is_by_status || is_of_other_kind || says, "{error}");
        }
        Class::Busy { retry_after } => {
            assert!(retry_after.is_none_or(|span| span <= LONGEST_RETRY_AFTER), "{retry_after:?}");
        }
        Class::Unanswered => {
            let is_whole = answer.complete && status.is_success() && members.is_some();
            assert!(!is_whole || says(&["server_error"]), "it was answered: {error}");
        }
        Class::Unusable => assert!(status.is_success() && answer.complete, "{error}"),
        Class::Blocked => {
            assert!(status.is_client_error() || status.is_informational() || !known(status), "{error}")
        }
        Class::NotSent | Class::Store => panic!("an answer says no such thing: {error}"),
    }
    assert_eq!(error.http_status, Some(status.as_u16()));
}

fn known(status: StatusCode) -> bool {
    (100..600).contains(&status.as_u16())
}

/// Neither what was presented nor what was issued is in a sentence or shown by `Debug`, in no spelling.
fn assert_tells_no_secret(
    members: Option<&Members>,
    answer: &Answer,
    outcome: &Result<Issued, RefreshError>,
) {
    let mut shown = vec![format!("{answer:?}"), format!("{outcome:?}")];
    if let Err(error) = outcome {
        assert_is_fit_to_be_shown(&error.sentence);
        shown.push(error.sentence.clone());
    }
    for text in shown {
        for secret in [REFRESH_TOKEN, CLIENT_SECRET, ASSERTION] {
            assert!(!spellings(&text).iter().any(|text| text.contains(secret)), "{secret} in {text}");
        }
        for issued in ["refresh_token", "access_token", "id_token"] {
            let issued = members.and_then(|members| members.text(issued));
            assert!(
                !issued.is_some_and(|token| is_telling(token) && text.contains(token)),
                "{issued:?} in {text}"
            );
        }
    }
}

/// The text as it is and decoded, as often as it can be.
fn spellings(text: &str) -> Vec<String> {
    let decode = |text: &String| {
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        (decoded != *text).then_some(decoded)
    };
    let each = std::iter::successors(Some(text.to_owned()), decode);
    each.flat_map(|text| [text.replace('+', " "), text]).collect()
}

/// Whether a text is found nowhere but where it was copied to: our own sentences are no secret.
fn is_telling(token: &str) -> bool {
    token.len() >= 16
        && token.bytes().all(|byte| byte.is_ascii_graphic())
        && token.contains(|c: char| c.is_ascii_digit())
}
