//! The authorization endpoint by the book: RFC 6749 §4.1, PKCE (RFC 7636), pushed requests (RFC 9126), `iss` (RFC 9207),
//! and redirect URIs to the letter but for the port of loopback (RFC 8252 §7.3).

use std::collections::HashMap;

use bearerd::clock::Moment;
use serde_json::json;

use super::super::connection::Request;
use super::super::options::{Client, Proof};
use super::super::sign_in::{self, Press, Verdict};
use super::super::{Shared, now};
use super::{Denied, authenticate, deny, form, json_answer, parameter};
use crate::support::http::{self, Answer};
use crate::support::random;

/// Where a browser is sent to.
pub(in super::super) const AUTHORIZE: &str = "/authorize";
/// Where requests are pushed to.
pub(in super::super) const PAR: &str = "/par";
/// Where it signs in.
pub(super) const SIGN_IN: &str = "/sign_in";

/// The scopes there are.
pub(super) const SCOPES: [&str; 5] = ["openid", "offline_access", "profile", "read", "write"];

const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:";
/// Who is signing in in a browser.
#[derive(Debug, Default)]
pub(in super::super) struct Authorizations {
    pushed: HashMap<String, Pushed>,
    /// By reference.
    begun: HashMap<String, Asked>,
    pub(super) codes: HashMap<String, Code>,
}

#[derive(Debug)]
struct Pushed {
    at: Moment,
    parameters: Parameters,
}

type Parameters = Vec<(String, String)>;

/// What was asked for, once it was found good.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    state: Option<String>,
    pub(super) challenge: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) nonce: Option<String>,
    /// The thumbprint of the key that the code is for (RFC 9449 §10).
    pub(super) key: Option<String>,
}

/// A code, and what has come of it.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) asked: Asked,
    pub(super) at: Moment,
    pub(super) used: bool,
    /// The tokens that it brought.
    pub(super) brought: Vec<String>,
}

/// Why a request is not taken.
enum Refusal {
    /// Nobody knows whom to tell: a page says so.
    Page(&'static str),
    /// The client is told by way of the browser: where, its `state`, `error` and `error_description`.
    Back(String, Option<String>, &'static str, &'static str),
}

impl Authorizations {
    /// Every code that was ever issued.
    #[cfg(test)]
    pub(in super::super) fn codes(&self) -> impl Iterator<Item = &String> {
        self.codes.keys()
    }
}

/// Answers `GET /authorize`: to sign in, back to the client, or a page where nobody knows whose client it is.
pub(super) fn begin(shared: &Shared, request: &Request<'_>) -> Answer {
    let given = http::form(request.head.query());
    let taken = match unfolded(shared, &given) {
        Ok((parameters, pushed)) => judge(shared, &parameters, pushed),
        Err(why) => Err(Refusal::Page(why)),
    };
    match taken {
        Ok(asked) => {
            let reference = random::alphanumeric(32);
            let location = format!("{}{SIGN_IN}?reference={reference}", shared.issuer);
            shared.change(|state| state.sign_ins.begun.insert(reference, asked));
            Answer::new(302, "").with("Location", location).with("Cache-Control", "no-store")
        }
        Err(Refusal::Page(why)) => refused(why),
        Err(Refusal::Back(redirect_uri, state, error, description)) => back(
            shared,
            &redirect_uri,
            &[("error", error), ("error_description", description)],
            state.as_deref(),
        ),
    }
}

/// Answers `POST /par`: the parameters as they would be judged at the authorization endpoint, told to the client itself.
pub(super) fn push(shared: &Shared, request: &Request<'_>) -> Answer {
    accepted(shared, request).unwrap_or_else(deny)
}

fn accepted(shared: &Shared, request: &Request<'_>) -> Result<Answer, Denied> {
    let parameters = form(request)?;
    let client = authenticate(shared, request, &parameters)?;
    if parameter(&parameters, "client_id").is_some_and(|id| id != client.id) {
        return Err((400, "invalid_request", "client_id is another client's"));
    }
    if parameter(&parameters, "request_uri").is_some() {
        return Err((400, "invalid_request", "a pushed request is not pushed again"));
    }
    let secret = ["client_secret", "client_assertion", "client_assertion_type"];
    let mut parameters: Parameters =
        parameters.into_iter().filter(|(name, _)| !secret.contains(&name.as_str())).collect();
    if parameter(&parameters, "client_id").is_none() {
        parameters.push(("client_id".to_owned(), client.id));
    }
    judge(shared, &parameters, true).map_err(|refusal| match refusal {
        Refusal::Page(why) => (400, "invalid_request", why),
        Refusal::Back(_, _, error, description) => (400, error, description),
    })?;
    let uri = format!("{REQUEST_URI}{}", random::alphanumeric(32));
    let pushed = Pushed { at: now(), parameters };
    shared.change(|state| state.sign_ins.pushed.insert(uri.clone(), pushed));
    Ok(json_answer(
        201,
        &json!({ "request_uri": uri, "expires_in": shared.options.sign_in.pushed_life.as_secs() }),
    ))
}

/// The parameters, out of what was pushed where they were; that is good once (RFC 9126 §4), and for its client alone.
fn unfolded(shared: &Shared, given: &Parameters) -> Result<(Parameters, bool), &'static str> {
    let Some(uri) = parameter(given, "request_uri") else { return Ok((given.clone(), false)) };
    let pushed = shared.change(|state| state.sign_ins.pushed.remove(uri));
    let pushed = pushed.ok_or("request_uri is not known, or was used before")?;
    if pushed.at.plus(shared.options.sign_in.pushed_life).has_come(now()) {
        return Err("request_uri has expired");
    }
    if parameter(given, "client_id") != parameter(&pushed.parameters, "client_id") {
        return Err("client_id is missing, or is not the one that pushed the request");
    }
    Ok((pushed.parameters, true))
}

fn judge(shared: &Shared, parameters: &Parameters, pushed: bool) -> Result<Asked, Refusal> {
    let rules = &shared.options.sign_in;
    let given = |name: &str| parameter(parameters, name).filter(|value| !value.is_empty());
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    if names.iter().enumerate().any(|(at, name)| names[..at].contains(name)) {
        return Err(Refusal::Page("a parameter comes twice"));
    }
    let client = given("client_id").and_then(|id| shared.state().client(id).cloned());
    let client = client.filter(|client| !client.machine).ok_or(Refusal::Page("client_id is not known"))?;
    let redirect_uri = given("redirect_uri").ok_or(Refusal::Page("redirect_uri is missing"))?;
    if !client.redirect_uris.iter().any(|one| is_redirect_to(one, redirect_uri, rules.exact_ports)) {
        return Err(Refusal::Page("redirect_uri is not registered for this client"));
    }
    let state = given("state").map(str::to_owned);
    let back =
        |error, description| Err(Refusal::Back(redirect_uri.to_owned(), state.clone(), error, description));
    if rules.demands_par && !pushed {
        return back("invalid_request", "authorization requests have to be pushed");
    }
    match given("response_type") {
        Some("code") => {}
        Some(_) => return back("unsupported_response_type", "response_type is code, or nothing"),
        None => return back("invalid_request", "response_type is missing"),
    }
    let challenge = given("code_challenge").map(str::to_owned);
    if challenge.is_none() && client.proof == Proof::None {
        return back("invalid_request", "a public client needs a code_challenge");
    }
    if challenge.is_some() && given("code_challenge_method") != Some("S256") {
        return back("invalid_request", "code_challenge_method is S256, or nothing");
    }
    if challenge.as_ref().is_some_and(|challenge| challenge.len() != 43) {
        return back("invalid_request", "a SHA-256 in base64url is 43 characters");
    }
    let mut scopes: Vec<String> = given("scope").unwrap_or("read").split(' ').map(str::to_owned).collect();
    if scopes.iter().any(|scope| !SCOPES.contains(&scope.as_str())) {
        return back("invalid_scope", "see scopes_supported");
    }
    let prompts = |wanted: &str| given("prompt").is_some_and(|all| all.split(' ').any(|one| one == wanted));
    if prompts("none") {
        return back("login_required", "somebody has to sign in");
    }
    if rules.wants_consent && !prompts("consent") {
        scopes.retain(|scope| scope != "offline_access");
    }
    Ok(Asked {
        client: client.id,
        redirect_uri: redirect_uri.to_owned(),
        challenge,
        scopes,
        nonce: given("nonce").map(str::to_owned),
        key: given("dpop_jkt").map(str::to_owned),
        state,
    })
}

/// The same to the letter (RFC 9700 §2.1), but for the port of an IP literal of loopback where that is free.
fn is_redirect_to(registered: &str, asked: &str, exact_ports: bool) -> bool {
    let without_port = |uri: &str| {
        let rest = uri.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = ["127.0.0.1", "[::1]"].into_iter().find(|host| {
            let port = authority.strip_prefix(host).and_then(|rest| rest.strip_prefix(':'));
            authority == *host || port.is_some_and(|port| port.parse::<u16>().is_ok())
        })?;
        Some(format!("{host}{path}"))
    };
    registered == asked
        || !exact_ports && without_port(asked).is_some() && without_port(registered) == without_port(asked)
}

/// Answers the page to sign in on: what the scripted person decides, or the page.
pub(super) fn look(shared: &Shared, request: &Request<'_>) -> Answer {
    let given = http::form(request.head.query());
    let reference = parameter(&given, "reference").unwrap_or_default();
    let person = shared.state().person;
    match person.decides() {
        Some(verdict) => finish(shared, reference, verdict),
        None => {
            let state = shared.state();
            let Some(asked) = state.sign_ins.begun.get(reference) else { return refused("it is over") };
            let question = format!("{} asks for {}.", asked.client, asked.scopes.join(", "));
            sign_in::html(200, sign_in::page(SIGN_IN, &question, &[("reference", reference)]))
        }
    }
}

/// Answers the button that was pressed.
pub(super) fn pressed(shared: &Shared, request: &Request<'_>) -> Answer {
    let given = http::form(&String::from_utf8_lossy(request.body.unwrap_or_default()));
    match Press::of(parameter(&given, "press")) {
        Some(press) => finish(shared, parameter(&given, "reference").unwrap_or_default(), press.verdict()),
        None => refused("no such button"),
    }
}

fn finish(shared: &Shared, reference: &str, verdict: Verdict) -> Answer {
    let Some(asked) = shared.change(|state| state.sign_ins.begun.remove(reference)) else {
        return refused("it is over");
    };
    let (redirect_uri, state) = (asked.redirect_uri.clone(), asked.state.clone());
    match verdict {
        Ok(()) => {
            let code = random::alphanumeric(43);
            let issued = Code { asked, at: now(), used: false, brought: Vec::new() };
            shared.change(|all| all.sign_ins.codes.insert(code.clone(), issued));
            back(shared, &redirect_uri, &[("code", &code)], state.as_deref())
        }
        Err(why) => {
            let told = [("error", "access_denied"), ("error_description", why)];
            back(shared, &redirect_uri, &told, state.as_deref())
        }
    }
}

/// Back to the client: the answer, its `state`, and whose answer it is.
fn back(shared: &Shared, redirect_uri: &str, told: &[(&str, &str)], state: Option<&str>) -> Answer {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let mut pairs = told.to_vec();
    pairs.extend(state.map(|state| ("state", state)));
    pairs.extend(shared.options.sign_in.says_iss.then_some(("iss", shared.issuer.as_str())));
    let one =
        |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    let query = pairs.iter().map(one).collect::<Vec<_>>().join("&");
    let joint = if redirect_uri.contains('?') { '&' } else { '?' };
    let answer = Answer::new(303, "").with("Location", format!("{redirect_uri}{joint}{query}"));
    answer.with("Cache-Control", "no-store")
}

/// A page, because no redirect can be trusted.
fn refused(why: &str) -> Answer {
    let body = format!("<p>error: invalid_request</p>\n<p>{}</p>", sign_in::escaped(why));
    sign_in::html(400, sign_in::document("Request refused", &body))
}

/// Whether this client may ask for a refresh token, and has.
pub(super) fn is_offline(shared: &Shared, client: &Client, scopes: &[String]) -> bool {
    let asked = scopes.iter().any(|scope| scope == "offline_access");
    asked && !client.machine && !shared.options.sign_in.never_offline
}
