//! The strict profile: RFC 6749, 7009, 7636, 7662, 8414, 8628, 9126 and 9207 by the book, rotation on each refresh, and
//! no mercy for reuse.

mod authorize;
mod code;
mod device;

use serde_json::{Map, Value, json};

use self::authorize::SIGN_IN;
pub(super) use self::authorize::{AUTHORIZE, Authorizations, PAR};
pub(super) use self::device::{DEVICE_AUTHORIZATION, Devices};
use self::device::{DEVICE_CODE, VERIFICATION};
use super::connection::{Processed, Request, client_auth};
use super::exchange::ClientAuth;
use super::fault::Fault;
use super::ledger::{Access, TokenState};
use super::options::{Client, Proof};
use super::{Shared, assertion, fapi, now};
use crate::support::http::{self, Answer};
use crate::support::random;

/// Where tokens are to be had.
pub(super) const TOKEN: &str = "/token";
/// Where they are given back.
pub(super) const REVOKE: &str = "/revoke";

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Status, `error` and `error_description`.
pub(super) type Denied = (u16, &'static str, &'static str);

/// Answers one request.
pub(super) fn answer(shared: &Shared, request: &Request<'_>) -> Processed {
    match (request.head.method(), request.head.path()) {
        ("GET", "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server") => {
            json_answer(200, &metadata(shared)).into()
        }
        ("POST", TOKEN) => with_nonce(shared, token(shared, request)),
        ("POST", "/introspect") => introspect(shared, request).into(),
        ("POST", REVOKE) => revoke(shared, request).into(),
        ("GET", AUTHORIZE) => authorize::begin(shared, request).into(),
        ("POST", PAR) => authorize::push(shared, request).into(),
        ("GET", SIGN_IN) => authorize::look(shared, request).into(),
        ("POST", SIGN_IN) => authorize::pressed(shared, request).into(),
        ("POST", DEVICE_AUTHORIZATION) => device::begin(shared, request).into(),
        ("GET", VERIFICATION) => device::look(request).into(),
        ("POST", VERIFICATION) => device::pressed(shared, request).into(),
        (_, TOKEN | "/introspect" | REVOKE | PAR | DEVICE_AUTHORIZATION) => {
            Answer::new(405, "").with("Allow", "POST").into()
        }
        _ => {
            let date = shared.state().proofs.date();
            Answer::new(404, "no such page\n").with("Content-Type", "text/plain").with("Date", date).into()
        }
    }
}

/// The answer that a fault is, if it is one.
pub(super) fn error_for(fault: Fault) -> Option<Answer> {
    let denied = |status, error| Some(deny((status, error, "as the test wanted it")));
    match fault {
        Fault::ServerError => denied(500, "server_error"),
        Fault::ErrorAsObject => {
            Some(json_answer(500, &json!({ "error": { "code": 500, "message": "unexpected error" } })))
        }
        Fault::ErrorPage => {
            let page = "<!DOCTYPE html><title>500</title><h1>Internal Server Error</h1>\n";
            Some(Answer::new(500, page).with("Content-Type", "text/html; charset=utf-8"))
        }
        Fault::NonceWanted => {
            denied(400, "use_dpop_nonce").map(|answer| answer.with("DPoP-Nonce", random::alphanumeric(24)))
        }
        Fault::ProofRefused => denied(400, "invalid_dpop_proof"),
        Fault::HookVeto => denied(400, "server_error"),
        Fault::SlowDown => denied(400, "slow_down"),
        Fault::TooManyRequests(_) => denied(429, "slow_down"),
        Fault::Unavailable(_) => denied(503, "temporarily_unavailable"),
        _ => None,
    }
}

fn metadata(shared: &Shared) -> Value {
    let at = |path: &str| format!("{}{path}", shared.issuer);
    let mut metadata = json!({
        "issuer": shared.issuer,
        "token_endpoint": at(TOKEN),
        "introspection_endpoint": at("/introspect"),
        "revocation_endpoint": at(REVOKE),
        "authorization_endpoint": at(AUTHORIZE),
        "pushed_authorization_request_endpoint": at(PAR),
        "require_pushed_authorization_requests": shared.options.sign_in.demands_par,
        "authorization_response_iss_parameter_supported": shared.options.sign_in.says_iss,
        "device_authorization_endpoint": at(DEVICE_AUTHORIZATION),
        "grant_types_supported": [
            "authorization_code", "refresh_token", "client_credentials", JWT_BEARER, TOKEN_EXCHANGE, DEVICE_CODE,
        ],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": authorize::SCOPES,
        "token_endpoint_auth_methods_supported": [
            "none", "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth",
        ],
        "token_endpoint_auth_signing_alg_values_supported": shared.options.signing_algorithms,
        "dpop_signing_alg_values_supported": shared.options.proof_algorithms,
    });
    if shared.options.asks_for_certificates {
        let alias = format!("{}{TOKEN}", shared.issuer).replace("//127.0.0.1:", "//localhost:");
        metadata["mtls_endpoint_aliases"] = json!({ "token_endpoint": alias });
    }
    if shared.options.fapi {
        fapi::describe(&mut metadata);
    }
    for (member, address) in &shared.state().elsewhere {
        metadata[*member] = address.as_str().into();
    }
    metadata
}

fn token(shared: &Shared, request: &Request<'_>) -> Processed {
    issue(shared, request).unwrap_or_else(|denied| deny(denied).into())
}

fn issue(shared: &Shared, request: &Request<'_>) -> Result<Processed, Denied> {
    let form = form(request)?;
    let client = authenticate(shared, request, &form)?;
    let key = proven(shared, request, &client)?;
    let certificate =
        if shared.options.fapi { fapi::binding(&client, request, key.is_some())? } else { None };
    let access = Access { certificate, key, jwt: shared.options.jwt, ..Access::default() };
    match parameter(&form, "grant_type") {
        Some("refresh_token") => refresh(shared, &client, parameter(&form, "refresh_token"), access),
        Some("authorization_code") => code::redeem(shared, &client, &form, access),
        Some(DEVICE_CODE) => device::redeem(shared, &client, parameter(&form, "device_code"), access),
        Some("client_credentials") if client.proof != Proof::None => {
            Ok(grant_access(shared, access, Vec::new()))
        }
        Some("client_credentials") => Err((400, "unauthorized_client", "a public client has no credentials")),
        Some(JWT_BEARER) => jwt_bearer(shared, &client, parameter(&form, "assertion"), access),
        Some(TOKEN_EXCHANGE) if client.proof != Proof::None => exchange(shared, &form, access),
        Some(_) => Err((400, "unsupported_grant_type", "see grant_types_supported")),
        None => Err((400, "invalid_request", "grant_type is missing")),
    }
}

/// The thumbprint of the key that a proof is of, if there is a proof; a client may have to show one (RFC 9449 §5).
fn proven(shared: &Shared, request: &Request<'_>, client: &Client) -> Result<Option<String>, Denied> {
    let given = request.head.all("dpop");
    if given.is_empty() && !client.proves {
        return Ok(None);
    }
    let scheme = shared.issuer.split("://").next().unwrap_or_default();
    let host = request.head.header("host").unwrap_or_default();
    let target = format!("{scheme}://{host}{}", request.head.path());
    let checked = shared.change(|state| state.proofs.check(&given, request.head.method(), &target, None));
    checked.map(Some).map_err(|refused| (400, refused.error(), refused.why()))
}

/// Tells what the next proof has to hold.
fn with_nonce(shared: &Shared, mut processed: Processed) -> Processed {
    if shared.options.nonces && processed.answer.status == 200 {
        shared.change(|state| state.proofs.change_nonce());
    }
    for (name, value) in shared.state().proofs.headers() {
        processed.answer = processed.answer.with(name, value);
    }
    processed
}

/// The parameters: in the body only, and none twice (RFC 6749 §3.2).
fn form(request: &Request<'_>) -> Result<Vec<(String, String)>, Denied> {
    let kind = request.head.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err((400, "invalid_request", "parameters come as application/x-www-form-urlencoded"));
    }
    if !request.head.query().is_empty() {
        return Err((400, "invalid_request", "parameters come in the body only"));
    }
    let form = http::form(&String::from_utf8_lossy(request.body.unwrap_or_default()));
    let twice =
        |(at, (name, _)): (usize, &(String, String))| form[..at].iter().any(|(other, _)| other == name);
    if form.iter().enumerate().any(twice) {
        return Err((400, "invalid_request", "a parameter comes twice"));
    }
    Ok(form)
}

fn parameter<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
}

/// The client, with one way of authentication and no more (RFC 6749 §2.3).
fn authenticate(shared: &Shared, request: &Request<'_>, form: &[(String, String)]) -> Result<Client, Denied> {
    let ways = [
        request.head.header("authorization").is_some(),
        parameter(form, "client_secret").is_some(),
        parameter(form, "client_assertion").is_some(),
    ];
    if ways.iter().filter(|used| **used).count() > 1 {
        return Err((400, "invalid_request", "two ways of client authentication"));
    }
    let claimed = client_auth(request.head, form);
    if let ClientAuth::Assertion(assertion) = &claimed {
        return by_assertion(shared, form, assertion);
    }
    let state = shared.state();
    let (id, secret, used) = match claimed {
        ClientAuth::Absent => return Err((401, "invalid_client", "who asks?")),
        ClientAuth::Public(id) => (id, None, Proof::None),
        ClientAuth::Assertion(_) => return Err((401, "invalid_client", "which assertion?")),
        ClientAuth::Basic(id, secret) => (id, Some(secret), Proof::Basic),
        ClientAuth::Post(id, secret) => (id, Some(secret), Proof::Post),
    };
    let client = state.client(&id).ok_or((401, "invalid_client", "no such client"))?;
    if client.proof == Proof::Certificate
        && used == Proof::None
        && client.certificate.as_deref() == request.certificate
    {
        return Ok(client.clone());
    }
    let allowed = client.proof == used || client.proof == Proof::Any && used != Proof::None;
    if !allowed || client.secret != secret {
        return Err((401, "invalid_client", "client authentication failed"));
    }
    Ok(client.clone())
}

fn by_assertion(shared: &Shared, form: &[(String, String)], assertion: &str) -> Result<Client, Denied> {
    let kind = parameter(form, "client_assertion_type");
    if kind != Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer") {
        return Err((401, "invalid_client", "an assertion of another type"));
    }
    let client = assertion::of_itself(shared, assertion).map_err(|why| (401, "invalid_client", why))?;
    if !matches!(client.proof, Proof::SecretJwt | Proof::KeyJwt) {
        return Err((401, "invalid_client", "the client proves itself in another way"));
    }
    if parameter(form, "client_id").is_some_and(|id| id != client.id) {
        return Err((401, "invalid_client", "the assertion is another client's"));
    }
    Ok(client)
}

/// RFC 7523 §2.1: the client vouches for somebody.
fn jwt_bearer(
    shared: &Shared,
    client: &Client,
    given: Option<&str>,
    access: Access,
) -> Result<Processed, Denied> {
    let given = given.ok_or((400, "invalid_request", "assertion is missing"))?;
    assertion::of_somebody(shared, client, given).map_err(|why| (400, "invalid_grant", why))?;
    Ok(grant_access(shared, access, Vec::new()))
}

/// RFC 8693 §2.1, for access tokens of its own.
fn exchange(shared: &Shared, form: &[(String, String)], access: Access) -> Result<Processed, Denied> {
    let mut tokens = vec!["subject_token"];
    tokens.extend(parameter(form, "actor_token").map(|_| "actor_token"));
    for name in tokens {
        if parameter(form, &format!("{name}_type")) != Some(ACCESS_TOKEN) {
            return Err((400, "invalid_request", "access tokens are exchanged, and no other type"));
        }
        let token = parameter(form, name).unwrap_or_default();
        if shared.state().ledger.state_of(token, now()) != TokenState::Active {
            return Err((400, "invalid_grant", "a token that is exchanged has to be good"));
        }
    }
    if parameter(form, "requested_token_type").is_some_and(|wanted| wanted != ACCESS_TOKEN) {
        return Err((400, "invalid_request", "there are access tokens, and no others"));
    }
    Ok(grant_access(shared, access, Vec::new()))
}

fn refresh(
    shared: &Shared,
    client: &Client,
    token: Option<&str>,
    access: Access,
) -> Result<Processed, Denied> {
    let token = token.ok_or((400, "invalid_request", "refresh_token is missing"))?;
    is_whose_key(shared, client, token, access.key.as_deref())?;
    let rotation = shared.options.rotation_of(client);
    let redeemed = shared.change(|state| state.ledger.redeem(&client.id, token, rotation, now()));
    let redeemed = redeemed.map_err(|why| (400, "invalid_grant", why))?;
    let (grant, beside) = (Some(redeemed.grant), redeemed.refresh_token);
    let access = Access { grant, beside, ends: redeemed.ends, ..access };
    let issued = grant_access(shared, access, Vec::new());
    Ok(Processed { rotated_at: redeemed.rotated_at, ..issued })
}

/// A public client's refresh token is bound to the key that was shown first, and is good with no other (RFC 9449 §5).
fn is_whose_key(shared: &Shared, client: &Client, token: &str, key: Option<&str>) -> Result<(), Denied> {
    shared.change(|state| {
        let Some(grant) = state.ledger.grant_of(token) else { return Ok(()) };
        match (state.proofs.key_of(&grant), key) {
            (Some(bound), key) if key != Some(bound) => {
                Err((400, "invalid_grant", "the refresh token is bound to another key"))
            }
            (None, Some(key)) if client.proof == Proof::None => {
                state.proofs.bind(&grant, key);
                Ok(())
            }
            _ => Ok(()),
        }
    })
}

/// An access token and the answer that carries it and what is said besides, for a grant and its refresh token or for a
/// client itself.
fn grant_access(shared: &Shared, access: Access, more: Vec<(&str, Value)>) -> Processed {
    let now = now();
    let mut state = shared.state();
    let expires_in = state.expires_in;
    let access_token = if access.jwt {
        let exp = now.wall.as_secs() + expires_in;
        let mut claims = json!({ "iss": shared.issuer, "exp": exp, "jti": random::uuid() });
        if let Some(certificate) = &access.certificate {
            claims["cnf"] = fapi::confirmation(certificate);
        }
        random::jwt("at+jwt", &claims)
    } else {
        random::alphanumeric(43)
    };
    let refresh_token = access.beside.clone();
    if let Some(key) = &access.key {
        state.proofs.bind(&access_token, key);
    }
    let is_bound = access.key.is_some();
    state.ledger.note(&access_token, access, expires_in, now);

    let mut body = Map::new();
    body.insert("access_token".to_owned(), json!(access_token));
    body.insert("token_type".to_owned(), json!(if is_bound { "DPoP" } else { "Bearer" }));
    body.insert("expires_in".to_owned(), json!(expires_in));
    if let Some(refresh_token) = &refresh_token {
        body.insert("refresh_token".to_owned(), json!(refresh_token));
    }
    body.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    if let Some(rewrite) = &state.rewrite {
        rewrite(&mut body);
    }
    let answer = json_answer(200, &Value::Object(body));
    Processed { answer, access_token: Some(access_token), refresh_token, rotated_at: None }
}

fn introspect(shared: &Shared, request: &Request<'_>) -> Answer {
    let form = match form(request).and_then(|form| authenticate(shared, request, &form).map(|_| form)) {
        Ok(form) => form,
        Err(denied) => return deny(denied),
    };
    // Whoever asks has been given the token: a use.
    let token = parameter(&form, "token").unwrap_or_default();
    let (active, bound) = shared.change(|state| {
        state.ledger.used(token);
        let active = state.ledger.state_of(token, now()) == TokenState::Active;
        (active, state.ledger.bound_to(token).map(fapi::confirmation))
    });
    let mut told = json!({ "active": active });
    if let Some(bound) = bound.filter(|_| active) {
        told["cnf"] = bound;
    }
    json_answer(200, &told)
}

fn revoke(shared: &Shared, request: &Request<'_>) -> Answer {
    match form(request).and_then(|form| authenticate(shared, request, &form).map(|_| form)) {
        Ok(form) => {
            let token = parameter(&form, "token").unwrap_or_default();
            shared.change(|state| state.ledger.revoke(token, false));
            Answer::new(200, "")
        }
        Err(denied) => deny(denied),
    }
}

fn deny((status, error, description): Denied) -> Answer {
    let answer = json_answer(status, &json!({ "error": error, "error_description": description }));
    if status == 401 { answer.with("WWW-Authenticate", "Basic realm=\"strict\"") } else { answer }
}

fn json_answer(status: u16, body: &Value) -> Answer {
    Answer::new(status, body.to_string())
        .with("Content-Type", "application/json")
        .with("Cache-Control", "no-store")
}
