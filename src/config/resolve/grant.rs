//! `[oauth]` and `[grant.NAME]`: what each needs, and what excludes what.

mod conflicts;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, or};
use crate::config::address::{Endpoint, Issuer};
use crate::config::choice::FlowKind;
use crate::config::error::{Code, Problem};
use crate::config::keys;
use crate::config::reference::{SecretReference, Secrets};
use crate::config::value::Placed;
use crate::config::word::{Text, TokenType};
use crate::config::written::WrittenGrant;
use crate::grant::{
    ClientAuthMethod, Credentials, Dpop, Flow, Margin, Params, Secret, Server, SignIn, TokenExchange,
};
use crate::net;
use crate::token::GrantName;

/// `timeout` when nothing is written.
const TIMEOUT: Duration = Duration::from_secs(20);
/// `subject_token_type` and `actor_token_type` when nothing is written (RFC 8693 §3).
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// `redirect_path` when nothing is written.
const REDIRECT_PATH: &str = "/callback";
/// `refresh_margin` when nothing is written.
const MARGIN: Margin = Margin::Share(0.2);

/// Those grants that are whole; the faults of the others are in the report. `certificate`: whether TLS shows one.
pub(super) fn resolve(
    written: &BTreeMap<GrantName, WrittenGrant>,
    certificate: bool,
    context: &mut Context<'_>,
) -> BTreeMap<GrantName, Params> {
    let one = |(name, written): (&GrantName, &WrittenGrant)| {
        Some((name.clone(), one(name, written, certificate, context)?))
    };
    written.iter().filter_map(one).collect()
}

fn one(
    name: &GrantName,
    written: &WrittenGrant,
    certificate: bool,
    context: &mut Context<'_>,
) -> Option<Params> {
    conflicts::tell(written, certificate, context);
    needs(written, context);
    let keys::Grant {
        issuer,
        token_endpoint,
        authorization_endpoint,
        device_authorization_endpoint,
        revocation_endpoint,
        client_id,
        client_secret,
        client_key,
        client_key_id,
        client_key_algorithm,
        client_assertion,
        assertion_audience,
        client_auth,
        refresh_token,
        flow,
        assertion,
        subject,
        subject_token,
        subject_token_type,
        actor_token,
        actor_token_type,
        requested_token_type,
        scopes,
        send_scopes_on_refresh,
        resource,
        audience,
        extra,
        extra_headers,
        refresh_margin,
        timeout,
        connect_to,
        dpop,
        dpop_key,
        redirect_port,
        redirect_path,
        faulty: _,
    } = written.grant.clone();
    let text = |text: Option<Placed<Text>>| text.map(|text| text.value.0);
    let credentials = Credentials {
        secrets: secrets(written, client_secret, context),
        key: secret(written, "client_key", client_key, context),
        key_id: text(client_key_id),
        algorithm: client_key_algorithm.map(|algorithm| algorithm.value),
        assertion: secret(written, "client_assertion", client_assertion, context),
        audience: text(assertion_audience),
        certificate,
    };
    let seed = secret(written, "refresh_token", refresh_token, context);
    let dpop_key = secret(written, "dpop_key", dpop_key, context);
    let assertion = secret(written, "assertion", assertion, context);
    let subject_token = secret(written, "subject_token", subject_token, context);
    let actor_token = secret(written, "actor_token", actor_token, context);
    let token_type =
        |kind: Option<Placed<TokenType>>| kind.map_or_else(|| JWT.to_owned(), |kind| kind.value.0);
    let flow = match or(flow, FlowKind::RefreshToken) {
        FlowKind::RefreshToken => Flow::RefreshToken { seed },
        FlowKind::ClientCredentials => Flow::ClientCredentials,
        FlowKind::JwtBearer => Flow::JwtBearer { assertion, subject: text(subject) },
        FlowKind::TokenExchange => Flow::TokenExchange(Box::new(TokenExchange {
            // Missing ones are in the report.
            subject: (subject_token?, token_type(subject_token_type)),
            actor: actor_token.map(|token| (token, token_type(actor_token_type))),
            requested: requested_token_type.map(|kind| kind.value.0),
        })),
    };
    let server = server(issuer, token_endpoint);
    let url = |endpoint: Option<Placed<Endpoint>>| endpoint.map(|endpoint| endpoint.value.0);
    let sign_in = SignIn {
        authorization_endpoint: url(authorization_endpoint),
        device_authorization_endpoint: url(device_authorization_endpoint),
        revocation_endpoint: url(revocation_endpoint),
        redirect_port: redirect_port.map_or(0, |port| u16::try_from(port.value.0).unwrap_or_default()),
        redirect_path: redirect_path.map_or_else(|| REDIRECT_PATH.to_owned(), |path| path.value.0),
    };
    if let (Some(server), Some(dial)) = (&server, &connect_to)
        && (server.is_plaintext() || sign_in.is_plaintext())
        && !net::is_loopback(&dial.value.0)
    {
        let title = "`connect_to` would send secrets in plain text across a network";
        context.report.error(
            Problem::new(Code::PlaintextServer, &dial.place, title)
                .help("the server's name is an http:// one, for servers on this machine; write https://"),
        );
    }
    Some(Params {
        name: name.clone(),
        server: server?,
        client_id: client_id?.value.0,
        client_auth: or(client_auth, ClientAuthMethod::Auto),
        credentials,
        dpop: or(dpop, Dpop::Off),
        dpop_key,
        flow,
        scopes: scopes
            .map_or_else(Vec::new, |list| list.value.0.into_iter().map(|one| one.value.0).collect()),
        send_scopes_on_refresh: or(send_scopes_on_refresh, false),
        resource: resource
            .map_or_else(Vec::new, |list| list.value.0.into_iter().map(|one| one.value.0).collect()),
        audience: text(audience),
        extra: extra.map_or_else(Vec::new, |extra| extra.value.0),
        extra_headers: extra_headers.map_or_else(Vec::new, |extra| extra.value.0),
        margin: or(refresh_margin, MARGIN),
        timeout: timeout.map_or(TIMEOUT, |span| span.value.0),
        connect_to: connect_to.map(|dial| (dial.value.0, dial.value.1)),
        sign_in,
    })
}

fn server(issuer: Option<Placed<Issuer>>, token_endpoint: Option<Placed<Endpoint>>) -> Option<Server> {
    let token_endpoint = token_endpoint.map(|endpoint| endpoint.value.0);
    match (issuer, token_endpoint) {
        (Some(issuer), token_endpoint) => Some(Server::Issuer { issuer: issuer.value.0, token_endpoint }),
        (None, Some(token_endpoint)) => Some(Server::Endpoint { token_endpoint }),
        (None, None) => None,
    }
}

fn secret(
    written: &WrittenGrant,
    key: &str,
    reference: Option<Placed<SecretReference>>,
    context: &mut Context<'_>,
) -> Option<Secret> {
    context.secret(&keys::join(&written.section, key), &reference?)
}

fn secrets(
    written: &WrittenGrant,
    references: Option<Placed<Secrets>>,
    context: &mut Context<'_>,
) -> Vec<Secret> {
    let key = keys::join(&written.section, "client_secret");
    let references = references.map(|references| references.value.0).unwrap_or_default();
    references.iter().filter_map(|reference| context.secret(&key, reference)).collect()
}

/// Tells what cannot be left out.
fn needs(WrittenGrant { place, section, grant }: &WrittenGrant, context: &mut Context<'_>) {
    let faulty = |key: &str| grant.faulty.contains(&key);
    let mut missing = |title: String, help: String| {
        context.report.error(Problem::new(Code::MissingKey, place, title).help(help));
    };
    let has_server = grant.issuer.is_some() || grant.token_endpoint.is_some();
    if !has_server && !faulty("issuer") && !faulty("token_endpoint") {
        let help = format!("write issuer = \"https://id.example.com\" below [{section}]");
        missing(format!("`{section}` needs an `issuer`, or a `token_endpoint`"), help);
    }
    if grant.client_id.is_none() && !faulty("client_id") {
        let help = format!(
            "write client_id = \"NAME\" below [{section}]: the client's name at the authorization server"
        );
        missing(format!("`{section}` needs a `client_id`"), help);
    }
}
