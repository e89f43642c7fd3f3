//! Authgear's authorization endpoint, and the codes that come of it: where a browser is sent, and with which words.
//!
//! The login itself is one page of the profile's own, on which the test's person decides.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::answers::{Dress, Form};
use crate::support::authorization_server::Shared;
use crate::support::authorization_server::connection::Request;
use crate::support::authorization_server::options::{Client, Proof};
use crate::support::authorization_server::sign_in::{self, Press, Verdict};
use crate::support::http::Answer;
use crate::support::random;

/// Where a browser is sent to.
pub(in super::super) const AUTHORIZE: &str = "/oauth2/authorize";
/// Where it signs in.
pub(super) const ENTRYPOINT: &str = "/_internals/oauth_entrypoint";

const SCOPES: [&str; 10] = [
    "offline_access",
    "device_sso",
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "https://authgear.com/scopes/full-access",
    "https://authgear.com/scopes/full-userinfo",
    "https://authgear.com/scopes/pre-authenticated-url",
];

/// Who is signing in, and what that has come to.
#[derive(Debug, Default)]
pub(in super::super) struct Authorizations {
    /// By `x_ref`.
    begun: HashMap<String, Authorized>,
    codes: HashMap<String, Authorized>,
    /// Every code that there ever was.
    issued: Vec<String>,
}

/// What was asked for, and what a code is good for.
#[derive(Clone, Debug)]
pub(super) struct Authorized {
    redirect_uri: String,
    state: Option<String>,
    challenge: Option<String>,
    scopes: Vec<String>,
    nonce: Option<String>,
}

impl Authorizations {
    /// Every code that was ever issued.
    #[cfg(test)]
    pub(in super::super) fn codes(&self) -> impl Iterator<Item = &String> {
        self.issued.iter()
    }
}

impl Authorized {
    /// Whether a refresh token comes of it.
    pub(super) fn is_offline(&self) -> bool {
        self.scopes.iter().any(|scope| scope == "offline_access")
    }

    /// What the ID token has to say again.
    pub(super) fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }
}

/// An error that the client is told by way of the browser: `error` and `error_description`.
type Told = (&'static str, String);

/// Answers `GET /oauth2/authorize`: first whom it cannot trust to tell, then the client by a redirect.
pub(super) fn begin(shared: &Shared, request: &Request<'_>, dress: &Dress) -> Answer {
    let form = match Form::of(request) {
        Ok(form) => form,
        Err(text) => return dress.plain(400, &text),
    };
    let found = form.first("client_id").and_then(|id| shared.state().client(id).cloned());
    let Some(client) = found else { return refused(dress, "unauthorized_client", "invalid client ID") };
    if client.machine {
        let why = "m2m clients are not allowed to use the authorize endpoint";
        return refused(dress, "unauthorized_client", why);
    }
    let Some(redirect_uri) = redirect_uri(shared, &client, form.first("redirect_uri")) else {
        return refused(dress, "invalid_request", "redirect URI is not allowed");
    };
    let state = form.first("state").map(str::to_owned);
    match judge(&client, &form) {
        Ok((challenge, scopes)) => {
            let authorized = Authorized {
                redirect_uri: redirect_uri.clone(),
                state: state.clone(),
                challenge,
                scopes,
                nonce: form.first("nonce").map(str::to_owned),
            };
            let reference = random::alphanumeric(32);
            shared.change(|all| all.authorizations.begun.insert(reference.clone(), authorized));
            let query = encoded(&[
                ("client_id", &client.id),
                ("redirect_uri", &redirect_uri),
                ("state", &state.unwrap_or_default()),
                ("x_ref", &reference),
                ("x_settings_action_id", ""),
                ("x_traceparent", &format!("00-{}-{}-01", random::hex(32), random::hex(16))),
            ]);
            let location = format!("{}{ENTRYPOINT}?{query}", shared.issuer);
            let cookie = format!("oauth_ui={reference}; Path=/; HttpOnly; SameSite=Lax");
            dress.on(Answer::new(302, ""), &[("Location", &location), ("Set-Cookie", &cookie)])
        }
        Err((error, description)) => {
            back(dress, &redirect_uri, &[("error", error), ("error_description", &description)], state)
        }
    }
}

/// Answers the page to sign in on: what the scripted person decides, or the page.
pub(super) fn look(shared: &Shared, request: &Request<'_>, dress: &Dress) -> Answer {
    let form = Form::of(request).ok();
    let reference = form.as_ref().and_then(|form| form.first("x_ref")).unwrap_or_default();
    let person = shared.state().person;
    match person.decides() {
        Some(verdict) => finish(shared, reference, verdict, dress),
        None => {
            let page = sign_in::page(ENTRYPOINT, "Sign in with Authgear", &[("x_ref", reference)]);
            dress.on(Answer::new(200, page), &[("Content-Type", "text/html; charset=utf-8")])
        }
    }
}

/// Answers the button that was pressed.
pub(super) fn pressed(shared: &Shared, request: &Request<'_>, dress: &Dress) -> Answer {
    let form = Form::of(request).ok();
    let first = |name| form.as_ref().and_then(|form| form.first(name));
    match Press::of(first("press")) {
        Some(press) => finish(shared, first("x_ref").unwrap_or_default(), press.verdict(), dress),
        None => refused(dress, "invalid_request", "no such button"),
    }
}

/// Back to the client, with a code or with Authgear's word for a consent that was not given.
fn finish(shared: &Shared, reference: &str, verdict: Verdict, dress: &Dress) -> Answer {
    let Some(authorized) = shared.change(|all| all.authorizations.begun.remove(reference)) else {
        return refused(dress, "invalid_request", "oauth session expired");
    };
    let (redirect_uri, state) = (authorized.redirect_uri.clone(), authorized.state.clone());
    if verdict.is_err() {
        let told = [("error", "access_denied"), ("error_description", "authorization denied")];
        return back(dress, &redirect_uri, &told, state);
    }
    let code = random::alphanumeric(32);
    shared.change(|all| {
        all.authorizations.issued.push(code.clone());
        all.authorizations.codes.insert(code.clone(), authorized);
    });
    back(dress, &redirect_uri, &[("code", &code)], state)
}

/// What a code is good for at the token endpoint, or `error` and `error_description`; a failed attempt takes nothing.
pub(super) fn redeemable(shared: &Shared, client: &Client, form: &Form) -> Result<Authorized, Told> {
    let told = |error, description: &str| Err((error, description.to_owned()));
    let Some(code) = form.first("code") else { return told("invalid_request", "code is required") };
    let verifier = form.first("code_verifier");
    if client.proof == Proof::None && verifier.is_none() {
        return told("invalid_request", "PKCE code verifier is required");
    }
    let Some(authorized) = shared.state().authorizations.codes.get(code).cloned() else {
        return told("invalid_grant", "invalid authorization code");
    };
    if form.first("redirect_uri") != Some(&authorized.redirect_uri) {
        return told("invalid_request", "invalid redirect URI");
    }
    let challenged = verifier.map(|verifier| URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())));
    if authorized.challenge.is_some() && authorized.challenge != challenged {
        return told("invalid_grant", "invalid authorization code");
    }
    Ok(authorized)
}

/// A code that has brought tokens is used up.
pub(super) fn used(shared: &Shared, form: &Form) {
    shared.change(|all| all.authorizations.codes.remove(form.first("code").unwrap_or_default()));
}

/// Where to send the browser back to: to the letter as registered, or anywhere at the server itself (engine.md §7.2).
fn redirect_uri(shared: &Shared, client: &Client, asked: Option<&str>) -> Option<String> {
    match (asked, client.redirect_uris.as_slice()) {
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
        (Some(asked), registered) => {
            let own = asked.strip_prefix(&shared.issuer).is_some_and(|rest| rest.starts_with('/'));
            (own || registered.iter().any(|one| one == asked)).then(|| asked.to_owned())
        }
    }
}

/// In Authgear's order: response type, scope, PKCE, which scopes, prompt. The challenge, and the scopes.
fn judge(client: &Client, form: &Form) -> Result<(Option<String>, Vec<String>), Told> {
    let told = |error, description: &str| Err((error, description.to_owned()));
    match form.first("response_type") {
        Some("code") => {}
        None => return told("unauthorized_client", "response type is not allowed for this client"),
        Some(other) => {
            return told("unsupported_response_type", &format!("response_type: {other} is not supported"));
        }
    }
    let scopes: Vec<String> =
        form.first("scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if scopes.is_empty() {
        return told("invalid_request", "scope is required");
    }
    let challenge = form.first("code_challenge").map(str::to_owned);
    if challenge.is_none() && client.proof == Proof::None {
        return told("invalid_request", "PKCE code challenge is required for public clients");
    }
    if challenge.is_some() && form.first("code_challenge_method") != Some("S256") {
        return told("invalid_request", "only 'S256' PKCE transform is supported");
    }
    if let Some(unknown) = scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
        return told("invalid_scope", &format!("specified scope is not allowed: {unknown}"));
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        return told("invalid_scope", "must request 'openid' scope");
    }
    if form.first("prompt") == Some("none") {
        return told("login_required", "authentication required");
    }
    Ok((challenge, scopes))
}

/// An error that no redirect may carry: whose URI that is nobody knows.
fn refused(dress: &Dress, error: &str, description: &str) -> Answer {
    let text =
        format!("Invalid OAuth authorization request:\nerror: {error}\nerror_description: {description}");
    dress.plain(400, &text)
}

/// Back to the client, by status, by page and by script.
fn back(dress: &Dress, redirect_uri: &str, told: &[(&str, &str)], state: Option<String>) -> Answer {
    let mut pairs = told.to_vec();
    pairs.extend(state.as_deref().map(|state| ("state", state)));
    let location = format!("{redirect_uri}?{}", encoded(&pairs));
    let quoted = location.replace('&', "&amp;").replace('\'', "&#39;");
    let page = format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<meta http-equiv=\"refresh\" content=\"0;url={quoted}\" />\n</head>\n<body>\n\
         <script>\nwindow.location.href = \"{location}\"\n</script>\n</body>\n</html>\n"
    );
    let headers = [("Content-Type", "text/html; charset=utf-8"), ("Location", location.as_str())];
    dress.on(Answer::new(303, page), &headers)
}

/// As Go writes a query: sorted by name, with `+` for a space.
fn encoded(pairs: &[(&str, &str)]) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const ESCAPED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');
    let mut pairs = pairs.to_vec();
    pairs.sort_by_key(|(name, _)| *name);
    let one = |(name, value): &(&str, &str)| {
        format!("{name}={}", utf8_percent_encode(value, ESCAPED).to_string().replace(' ', "+"))
    };
    pairs.iter().map(one).collect::<Vec<_>>().join("&")
}
