//! Authgear's token endpoint, check by check.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::answers::{Dress, Form, unescape};
use super::authorize;
use crate::support::authorization_server::connection::{Processed, Request, basic};
use crate::support::authorization_server::ledger::Access;
use crate::support::authorization_server::options::{Client, Rotation};
use crate::support::authorization_server::sign_in::claim_nonce;
use crate::support::authorization_server::{Shared, now};
use crate::support::http::Answer;
use crate::support::random;

/// The only resource that is registered, and its scopes.
const RESOURCE: &str = "https://api.example/";
const SCOPES: [&str; 2] = ["read", "write"];

/// What ends a request early.
enum Stop {
    /// An OAuth error with status 400.
    Error(&'static str, String),
    /// A bucket is empty.
    RateLimited,
}

impl Stop {
    fn error(error: &'static str, description: &str) -> Self {
        Self::Error(error, description.to_owned())
    }
}

/// Answers a token request.
pub(super) async fn answer(shared: &Shared, request: &Request<'_>, dress: &Dress) -> Processed {
    if request.head.all("dpop").len() > 1 {
        return dress.plain(400, "multiple DPoP headers are not allowed").into();
    }
    let form = match Form::of(request) {
        Ok(form) => form,
        Err(text) => {
            let close = request.body.is_none();
            return Answer { close, ..dress.plain(400, &text) }.into();
        }
    };
    // Rotation is not undone by an error that comes after it, so the moment has to outlive the error.
    let mut rotated_at = None;
    let judged = judge(shared, request, &form, dress, &mut rotated_at).await;
    let processed = judged.unwrap_or_else(|stop| match stop {
        Stop::Error(error, description) => dress.error(400, error, &description).into(),
        Stop::RateLimited => dress.rate_limited().into(),
    });
    Processed { rotated_at, ..processed }
}

/// In Authgear's order: Basic, the limit per address, the client, the parameters, the grant.
async fn judge(
    shared: &Shared,
    request: &Request<'_>,
    form: &Form,
    dress: &Dress,
    rotated_at: &mut Option<bearerd::clock::Moment>,
) -> Result<Processed, Stop> {
    let (client_id, secret) = credentials(request, form)?;
    per_address(shared, request)?;
    let client = shared.state().client(&client_id).cloned();
    let client = client.ok_or_else(|| Stop::error("invalid_client", "invalid client ID"))?;
    match form.first("grant_type") {
        Some("refresh_token") => {
            let token = required(form, "refresh_token", "refresh token is required")?;
            refresh(shared, request, &client, token, dress, rotated_at).await
        }
        Some("authorization_code") => exchange(shared, &client, secret.as_deref(), form, dress),
        Some("client_credentials") => client_credentials(shared, &client, secret.as_deref(), form, dress),
        _ => Err(Stop::error("unsupported_grant_type", "grant type is not supported")),
    }
}

/// Identifier and secret: from Basic only if the parameters hold neither.
fn credentials(request: &Request<'_>, form: &Form) -> Result<(String, Option<String>), Stop> {
    let (id, secret) = (form.first("client_id"), form.first("client_secret"));
    match basic(request.head) {
        Some((id, secret)) if form.first("client_id").is_none() && form.first("client_secret").is_none() => {
            let bad = |what: &str| {
                Stop::Error("invalid_request", format!("invalid {what} in Authorization header"))
            };
            let id = unescape(&id).map_err(|_| bad("client_id"))?;
            Ok((id, Some(unescape(&secret).map_err(|_| bad("client_secret"))?)))
        }
        _ => Ok((id.unwrap_or_default().to_owned(), secret.map(str::to_owned))),
    }
}

fn required<'a>(form: &'a Form, name: &str, missing: &str) -> Result<&'a str, Stop> {
    form.first(name).ok_or_else(|| Stop::error("invalid_request", missing))
}

/// 120 requests in a burst, one more each half second, whatever they come to.
fn per_address(shared: &Shared, request: &Request<'_>) -> Result<(), Stop> {
    let forwarded = request.head.header("x-forwarded-for").filter(|_| shared.options.trust_proxy);
    let first = forwarded.and_then(|list| list.split(',').next()).map(|address| address.trim().to_owned());
    let address = first.unwrap_or_else(|| request.peer.to_string());
    limit(shared, &format!("address {address}"), 120, Duration::from_millis(500))
}

fn limit(shared: &Shared, key: &str, burst: u32, period: Duration) -> Result<(), Stop> {
    let mut state = shared.state();
    let bucket = state.limits.entry(key.to_owned()).or_default();
    if bucket.take(burst, period, now()) { Ok(()) } else { Err(Stop::RateLimited) }
}

/// Looks the token up, limits its user, replaces it, and only then asks whose client it is of. What lies between the
/// look and the replacement is not atomic: two that look at once both find it good.
async fn refresh(
    shared: &Shared,
    request: &Request<'_>,
    client: &Client,
    token: &str,
    dress: &Dress,
    rotated_at: &mut Option<bearerd::clock::Moment>,
) -> Result<Processed, Stop> {
    let _transaction = shared.database.acquire().await;
    if client.machine {
        return Err(not_allowed());
    }
    let grant = shared.state().ledger.matching(token);
    let grant = grant.ok_or_else(|| Stop::error("invalid_grant", "invalid refresh token"))?;
    is_proven(shared, request, &grant)?;
    limit(shared, "the user", 60, Duration::from_secs(1))?;
    tokio::time::sleep(shared.options.refresh_takes).await;
    let mut refresh_token = None;
    if shared.options.rotation_of(client) != Rotation::Never {
        refresh_token = Some(shared.change(|state| state.ledger.rotate(&grant, now())));
        *rotated_at = Some(now());
    }
    if !shared.state().ledger.is_of(&grant, &client.id) {
        return Err(Stop::error("invalid_request", "client id doesn't match the refresh token"));
    }
    Ok(tokens(shared, client, Some(grant), refresh_token, id_claims(shared, client), dress))
}

/// The first tokens of a grant, for a code; whose code that was nobody asks.
fn exchange(
    shared: &Shared,
    client: &Client,
    secret: Option<&str>,
    form: &Form,
    dress: &Dress,
) -> Result<Processed, Stop> {
    required(form, "code", "code is required")?;
    if let Some(expected) = &client.secret {
        proven(expected, secret)?;
    }
    let authorized = authorize::redeemable(shared, client, form)
        .map_err(|(error, description)| Stop::Error(error, description))?;
    limit(shared, "the user", 60, Duration::from_secs(1))?;
    authorize::used(shared, form);
    let offline = authorized.is_offline() && !shared.options.sign_in.never_offline;
    let refresh_token = offline.then(|| shared.state().ledger.grant(&client.id));
    let grant = refresh_token.as_ref().and_then(|token| shared.state().ledger.matching(token));
    let mut claims = id_claims_at_first(shared, client);
    claim_nonce(shared, &mut claims, authorized.nonce());
    Ok(tokens(shared, client, grant, refresh_token, claims, dress))
}

fn proven(expected: &str, secret: Option<&str>) -> Result<(), Stop> {
    match secret {
        None => Err(Stop::error("invalid_client", "client secret is required")),
        Some(secret) if secret != expected => Err(Stop::error("invalid_request", "invalid client secret")),
        Some(_) => Ok(()),
    }
}

/// A grant that is bound to a key wants a proof of it; whoever shows a proof shows a good one.
fn is_proven(shared: &Shared, request: &Request<'_>, grant: &str) -> Result<(), Stop> {
    let given = request.head.all("dpop");
    let target = format!("{}{}", shared.issuer, request.head.path());
    shared.change(|state| {
        let bound = state.proofs.key_of(grant).map(str::to_owned);
        if given.is_empty() && bound.is_none() {
            return Ok(());
        }
        let shown = state.proofs.check(&given, request.head.method(), &target, None);
        let good = shown.is_ok_and(|shown| bound.is_none_or(|bound| bound == shown));
        if good { Ok(()) } else { Err(Stop::error("invalid_dpop_proof", "Invalid DPoP key binding")) }
    })
}

fn tokens(
    shared: &Shared,
    client: &Client,
    grant: Option<String>,
    refresh_token: Option<String>,
    id_claims: Value,
    dress: &Dress,
) -> Processed {
    let jwt = shared.options.jwt;
    let expires_in = shared.state().expires_in;
    let access_token = if jwt {
        random::jwt("at+jwt", &claims(shared, client, expires_in, &shared.issuer))
    } else {
        random::alphanumeric(32)
    };
    let access = Access { grant, jwt, ..Access::default() };
    shared.state().ledger.note(&access_token, access, expires_in, now());
    let mut body = Map::new();
    body.insert("access_token".to_owned(), json!(access_token));
    body.insert("expires_in".to_owned(), json!(expires_in));
    body.insert("id_token".to_owned(), json!(random::jwt("JWT", &id_claims)));
    if let Some(token) = &refresh_token {
        body.insert("refresh_token".to_owned(), json!(token));
    }
    body.insert("token_type".to_owned(), json!("Bearer"));
    let answer = success(shared, body, dress);
    Processed { answer, access_token: Some(access_token), refresh_token, rotated_at: None }
}

/// An app's own client asks for itself, or a confidential one does.
fn client_credentials(
    shared: &Shared,
    client: &Client,
    secret: Option<&str>,
    form: &Form,
    dress: &Dress,
) -> Result<Processed, Stop> {
    let expected = client.secret.as_deref().ok_or_else(not_allowed)?;
    proven(expected, secret)?;
    let resource = form.first("resource");
    if client.machine {
        let resource = resource.ok_or_else(|| Stop::error("invalid_target", "resource is required"))?;
        if resource != RESOURCE {
            return Err(Stop::error("invalid_target", "resource not found"));
        }
    }
    let asked = form.first("scope");
    if let Some(unknown) = asked.into_iter().flat_map(str::split_whitespace).find(|one| !SCOPES.contains(one))
    {
        return Err(Stop::Error("invalid_scope", format!("specified scope is not allowed: {unknown}")));
    }
    limit(shared, &format!("client {}", client.id), 5, Duration::from_secs(12))?;
    limit(shared, "the project", 20, Duration::from_secs(3))?;

    let expires_in = shared.state().expires_in;
    let (access_token, scope) = if client.machine {
        let scope = asked.map_or_else(|| SCOPES.join(" "), str::to_owned);
        let mut claims = claims(shared, client, expires_in, RESOURCE);
        claims["sub"] = json!(format!("client_id_{}", client.id));
        (random::jwt("at+jwt", &claims), scope)
    } else {
        (random::alphanumeric(32), String::new())
    };
    let access = Access { jwt: client.machine, ..Access::default() };
    shared.state().ledger.note(&access_token, access, expires_in, now());
    let mut body = Map::new();
    body.insert("access_token".to_owned(), json!(access_token));
    body.insert("expires_in".to_owned(), json!(expires_in));
    body.insert("scope".to_owned(), json!(scope));
    body.insert("token_type".to_owned(), json!("Bearer"));
    let answer = success(shared, body, dress);
    Ok(Processed { answer, access_token: Some(access_token), refresh_token: None, rotated_at: None })
}

fn success(shared: &Shared, mut body: Map<String, Value>, dress: &Dress) -> Answer {
    if let Some(rewrite) = &shared.state().rewrite {
        rewrite(&mut body);
    }
    dress.json(200, &Value::Object(body))
}

fn not_allowed() -> Stop {
    Stop::error("unauthorized_client", "grant type is not allowed for this client")
}

fn claims(shared: &Shared, client: &Client, expires_in: u64, audience: &str) -> Value {
    let issued = now().wall.as_secs();
    json!({
        "amr": ["pwd"],
        "aud": [audience],
        "auth_time": issued,
        "client_id": client.id,
        "exp": issued + expires_in,
        "https://authgear.com/claims/user/can_reauthenticate": true,
        "https://authgear.com/claims/user/is_anonymous": false,
        "https://authgear.com/claims/user/is_verified": true,
        "https://authgear.com/claims/user/roles": [],
        "iat": issued,
        "iss": shared.issuer,
        "jti": random::hex(64),
        "scope": "openid offline_access",
        "sub": random::uuid(),
    })
}

fn id_claims_at_first(shared: &Shared, client: &Client) -> Value {
    let mut claims = id_claims(shared, client);
    claims["amr"] = json!(["pwd"]);
    claims
}

/// Of a refresh: without `amr`, which only the first one has.
fn id_claims(shared: &Shared, client: &Client) -> Value {
    let issued = now().wall.as_secs();
    json!({
        "aud": [client.id],
        "auth_time": issued,
        "exp": issued + 300,
        "https://authgear.com/claims/user/authenticators": [],
        "https://authgear.com/claims/user/can_reauthenticate": true,
        "https://authgear.com/claims/user/is_anonymous": false,
        "https://authgear.com/claims/user/is_verified": true,
        "https://authgear.com/claims/user/roles": [],
        "iat": issued,
        "iss": shared.issuer,
        "sid": random::alphanumeric(48),
        "sub": random::uuid(),
    })
}
