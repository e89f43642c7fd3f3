//! Signing in on another device (RFC 8628): the device asks, shows a code, and asks again until its person has decided.

use std::collections::HashMap;
use std::time::Duration;

use bearerd::clock::Moment;
use serde_json::json;

use super::super::connection::{Processed, Request};
use super::super::ledger::Access;
use super::super::options::Client;
use super::super::sign_in::{self, Press, Verdict};
use super::super::{Shared, State, now};
use super::authorize::SCOPES;
use super::code::first_tokens;
use super::{Denied, authenticate, deny, form, json_answer, parameter};
use crate::support::http::{self, Answer};
use crate::support::random;

/// Where a device begins.
pub(in super::super) const DEVICE_AUTHORIZATION: &str = "/device_authorization";
/// Where its person goes.
pub(super) const VERIFICATION: &str = "/device";
/// What it presents then.
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a device that asks too soon has to wait longer (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// By device code.
pub(in super::super) type Devices = HashMap<String, Device>;

/// A device that waits for its person.
#[derive(Debug)]
pub(in super::super) struct Device {
    client: String,
    scopes: Vec<String>,
    /// As it is compared: upper case, no hyphen.
    user_code: String,
    begun: Moment,
    interval: Duration,
    asked: Option<Moment>,
    verdict: Option<Verdict>,
}

/// Answers `POST /device_authorization`.
pub(super) fn begin(shared: &Shared, request: &Request<'_>) -> Answer {
    begun(shared, request).unwrap_or_else(deny)
}

fn begun(shared: &Shared, request: &Request<'_>) -> Result<Answer, Denied> {
    let form = form(request)?;
    let client = authenticate(shared, request, &form)?;
    if shared.options.sign_in.refuses_devices {
        return Err((400, "unauthorized_client", "not with a device"));
    }
    let scopes: Vec<String> =
        parameter(&form, "scope").unwrap_or("read").split(' ').map(str::to_owned).collect();
    if scopes.iter().any(|scope| !SCOPES.contains(&scope.as_str())) {
        return Err((400, "invalid_scope", "see scopes_supported"));
    }
    let device_code = random::alphanumeric(43);
    let user_code = letters(8);
    let rules = &shared.options.sign_in;
    let device = Device {
        client: client.id,
        scopes,
        user_code: user_code.clone(),
        begun: now(),
        interval: rules.device_interval,
        asked: None,
        verdict: None,
    };
    shared.change(|state| state.devices.insert(device_code.clone(), device));
    let shown = format!("{}-{}", &user_code[..4], &user_code[4..]);
    let page = format!("{}{VERIFICATION}", shared.issuer);
    Ok(json_answer(
        200,
        &json!({
            "device_code": device_code,
            "user_code": shown,
            "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={shown}"),
            "expires_in": rules.device_life.as_secs(),
            "interval": rules.device_interval.as_secs(),
        }),
    ))
}

/// Consonants, so that no word comes of them (RFC 8628 §6.1).
fn letters(length: usize) -> String {
    const CONSONANTS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
    random::alphanumeric(length).bytes().map(|byte| char::from(CONSONANTS[usize::from(byte) % 20])).collect()
}

/// Redeems a device code: tokens once the person has approved, and until then the reasons to wait.
pub(super) fn redeem(
    shared: &Shared,
    client: &Client,
    given: Option<&str>,
    access: Access,
) -> Result<Processed, Denied> {
    let given = given.ok_or((400, "invalid_request", "device_code is missing"))?;
    let life = shared.options.sign_in.device_life;
    let scopes = shared.change(|state| ask(state, client, given, life))?;
    Ok(first_tokens(shared, client, &scopes, None, access))
}

fn ask(state: &mut State, client: &Client, given: &str, life: Duration) -> Result<Vec<String>, Denied> {
    let person = state.person;
    let device = state.devices.get_mut(given).filter(|device| device.client == client.id);
    let device = device.ok_or((400, "invalid_grant", "no such device code, or it was used"))?;
    let now = now();
    if device.begun.plus(life).has_come(now) {
        return Err((400, "expired_token", "nobody came in time"));
    }
    let before = device.asked.replace(now);
    if before.is_some_and(|before| !before.plus(device.interval).has_come(now)) {
        device.interval += SLOWER;
        return Err((400, "slow_down", "ask less often"));
    }
    // The scripted person takes as long as the first question.
    let scripted = before.and_then(|_| person.decides());
    match device.verdict.or(scripted) {
        None => Err((400, "authorization_pending", "the person is on the way")),
        Some(Err(why)) => Err((400, "access_denied", why)),
        Some(Ok(())) => Ok(state.devices.remove(given).map(|device| device.scopes).unwrap_or_default()),
    }
}

/// Answers the page that the person goes to: for the code, or with the buttons where the URL holds it.
pub(super) fn look(request: &Request<'_>) -> Answer {
    let given = http::form(request.head.query());
    let page = match parameter(&given, "user_code") {
        Some(code) => {
            let question = format!("Does your device show {code}?");
            sign_in::page(VERIFICATION, &question, &[("user_code", code)])
        }
        None => sign_in::document(
            "Connect a device",
            &format!(
                "<form action=\"{VERIFICATION}\">\n<label>Code <input name=\"user_code\"></label>\n\
                 <button>Continue</button>\n</form>"
            ),
        ),
    };
    sign_in::html(200, page)
}

/// Answers the button that was pressed.
pub(super) fn pressed(shared: &Shared, request: &Request<'_>) -> Answer {
    let given = http::form(&String::from_utf8_lossy(request.body.unwrap_or_default()));
    let code: String = parameter(&given, "user_code").unwrap_or_default().to_uppercase();
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    let verdict = Press::of(parameter(&given, "press")).map(Press::verdict);
    let known = shared.change(|state| {
        let device = state.devices.values_mut().find(|device| device.user_code == code);
        device.filter(|device| device.verdict.is_none()).map(|device| device.verdict = verdict).is_some()
    });
    let (status, title, text) = match verdict {
        _ if !known => (400, "No such code", "<p>Is it typed as the device shows it?</p>"),
        None => (400, "No such button", ""),
        Some(Ok(())) => (200, "Signed in", "<p>Go back to your device.</p>"),
        Some(Err(_)) => (200, "Not signed in", "<p>Your device is told.</p>"),
    };
    sign_in::html(status, sign_in::document(title, text))
}
