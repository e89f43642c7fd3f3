//! The first tokens of a grant: for a code (RFC 6749 §4.1.3), which is good once, or for a device that was approved.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::connection::Processed;
use super::super::ledger::Access;
use super::super::options::{Client, Proof};
use super::super::sign_in::id_token;
use super::super::{Shared, State, now};
use super::authorize::{Asked, is_offline};
use super::{Denied, grant_access, parameter};

/// How long a code is good; RFC 6749 §4.1.2 allows ten minutes, and recommends less.
const LIFE: Duration = Duration::from_secs(60);

const fn invalid(why: &'static str) -> Denied {
    (400, "invalid_grant", why)
}

/// Redeems a code. Its own client has one attempt; another after a good one ends what came of it (RFC 6749 §10.5).
pub(super) fn redeem(
    shared: &Shared,
    client: &Client,
    form: &[(String, String)],
    access: Access,
) -> Result<Processed, Denied> {
    let given = parameter(form, "code").ok_or((400, "invalid_request", "code is missing"))?;
    let asked = shared.change(|state| take(state, client, given))?;
    if parameter(form, "redirect_uri") != Some(&asked.redirect_uri) {
        return Err(invalid("redirect_uri is not the one that the code was asked with"));
    }
    let verifier = parameter(form, "code_verifier");
    let challenge = verifier.map(|verifier| URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())));
    if asked.challenge != challenge {
        return Err(invalid("code_verifier does not fit the code_challenge"));
    }
    if asked.key.is_some() && asked.key != access.key {
        return Err(invalid("the code is for another key"));
    }
    let issued = first_tokens(shared, client, &asked.scopes, asked.nonce.as_deref(), access);
    let brought = issued.access_token.iter().chain(&issued.refresh_token).cloned().collect();
    shared.change(|state| {
        if let Some(code) = state.sign_ins.codes.get_mut(given) {
            code.brought = brought;
        }
    });
    Ok(issued)
}

/// What the code was asked for; it is used up from now on.
fn take(state: &mut State, client: &Client, given: &str) -> Result<Asked, Denied> {
    let code = state.sign_ins.codes.get_mut(given).ok_or(invalid("no such code"))?;
    if code.asked.client != client.id {
        return Err(invalid("the code is another client's"));
    }
    if code.used {
        let brought = std::mem::take(&mut code.brought);
        for token in brought {
            let current = state.ledger.current(&token).unwrap_or(token);
            state.ledger.revoke(&current, false);
        }
        return Err(invalid("the code was used before; what came of it is revoked"));
    }
    code.used = true;
    if code.at.plus(LIFE).has_come(now()) {
        return Err(invalid("the code has expired"));
    }
    Ok(code.asked.clone())
}

/// An access token for these scopes; a refresh token and an ID token where they were asked for.
pub(super) fn first_tokens(
    shared: &Shared,
    client: &Client,
    scopes: &[String],
    nonce: Option<&str>,
    access: Access,
) -> Processed {
    let offline = is_offline(shared, client, scopes);
    let beside = offline.then(|| shared.change(|state| state.ledger.grant(&client.id)));
    let grant = beside.as_deref().and_then(|token| shared.state().ledger.grant_of(token));
    if let (Some(grant), Some(key), Proof::None) = (&grant, &access.key, client.proof) {
        shared.change(|state| state.proofs.bind(grant, key));
    }
    let granted: Vec<&str> =
        scopes.iter().map(String::as_str).filter(|scope| *scope != "offline_access" || offline).collect();
    let mut more: Vec<(&str, Value)> = vec![("scope", json!(granted.join(" ")))];
    if granted.contains(&"openid") {
        more.push(("id_token", id_token(shared, &client.id, nonce)));
    }
    grant_access(shared, Access { grant, beside, ..access }, more)
}
