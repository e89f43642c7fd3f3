//! `[oauth]` and `[grant.NAME]`: what each needs, and what excludes what.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, or};
use crate::config::address::{Endpoint, Issuer};
use crate::config::choice::FlowKind;
use crate::config::error::{Code, Problem};
use crate::config::keys;
use crate::config::reference::SecretReference;
use crate::config::value::Placed;
use crate::config::written::WrittenGrant;
use crate::grant::{ClientAuthMethod, Flow, Margin, Params, Secret, Server};
use crate::net;
use crate::token::GrantName;

/// `timeout` when nothing is written.
const TIMEOUT: Duration = Duration::from_secs(20);
/// `refresh_margin` when nothing is written.
const MARGIN: Margin = Margin::Share(0.2);

/// Those grants that are whole; the faults of the others are in the report.
pub(super) fn resolve(
    written: &BTreeMap<GrantName, WrittenGrant>,
    context: &mut Context<'_>,
) -> BTreeMap<GrantName, Params> {
    let one =
        |(name, written): (&GrantName, &WrittenGrant)| Some((name.clone(), one(name, written, context)?));
    written.iter().filter_map(one).collect()
}

fn one(name: &GrantName, written: &WrittenGrant, context: &mut Context<'_>) -> Option<Params> {
    contradictions(written, context);
    needs(written, context);
    let keys::Grant {
        issuer,
        token_endpoint,
        client_id,
        client_secret,
        client_auth,
        refresh_token,
        flow,
        scopes,
        send_scopes_on_refresh,
        resource,
        audience,
        extra,
        refresh_margin,
        timeout,
        connect_to,
        faulty: _,
    } = written.grant.clone();
    let client_secret = secret(written, "client_secret", client_secret, context);
    let seed = secret(written, "refresh_token", refresh_token, context);
    let flow = match or(flow, FlowKind::RefreshToken) {
        FlowKind::RefreshToken => Flow::RefreshToken { seed },
        FlowKind::ClientCredentials => Flow::ClientCredentials,
    };
    let server = server(issuer, token_endpoint);
    if let (Some(server), Some(dial)) = (&server, &connect_to)
        && server.is_plaintext()
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
        client_secret,
        flow,
        scopes: scopes
            .map_or_else(Vec::new, |list| list.value.0.into_iter().map(|one| one.value.0).collect()),
        send_scopes_on_refresh: or(send_scopes_on_refresh, false),
        resource: resource
            .map_or_else(Vec::new, |list| list.value.0.into_iter().map(|one| one.value.0).collect()),
        audience: audience.map(|text| text.value.0),
        extra: extra.map_or_else(Vec::new, |extra| extra.value.0),
        margin: or(refresh_margin, MARGIN),
        timeout: timeout.map_or(TIMEOUT, |span| span.value.0),
        connect_to: connect_to.map(|dial| (dial.value.0, dial.value.1)),
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

/// Tells what excludes, or needs, one another.
fn contradictions(WrittenGrant { section, grant, .. }: &WrittenGrant, context: &mut Context<'_>) {
    let mut clash = |problem: Problem, help: &str| context.report.error(problem.help(help));
    let key = |name: &str| keys::join(section, name);
    let has_secret = grant.client_secret.is_some() || grant.faulty.contains(&"client_secret");
    let client_credentials = grant.flow.as_ref().filter(|flow| flow.value == FlowKind::ClientCredentials);
    if let Some(Placed { value, place }) = &grant.client_auth {
        let problem =
            |why: &str| Problem::new(Code::Contradiction, place, format!("`{}` {why}", key("client_auth")));
        match value {
            ClientAuthMethod::Basic | ClientAuthMethod::Post if !has_secret => {
                let help = "write client_secret = { file = \"/run/secrets/client_secret\" }";
                clash(problem("needs a `client_secret`"), help);
            }
            ClientAuthMethod::None if has_secret => {
                clash(problem("is \"none\", and there is a `client_secret`"), "remove one of the two");
            }
            _ => {}
        }
    }
    if let (Some(_), Some(seed)) = (client_credentials, &grant.refresh_token) {
        let title = format!("`{}` is of no use with `flow` = \"client_credentials\"", key("refresh_token"));
        clash(Problem::new(Code::Contradiction, &seed.place, title), "remove one of the two");
    }
    if let (Some(flow), false) = (client_credentials, has_secret) {
        let title = format!("`{}` is \"client_credentials\", and there is no `client_secret`", key("flow"));
        let help = "write client_secret = { file = \"/run/secrets/client_secret\" }";
        clash(Problem::new(Code::Contradiction, &flow.place, title), help);
    }
    if let (Some(Placed { value: true, place }), None) = (&grant.send_scopes_on_refresh, &grant.scopes) {
        let title = format!("`{}` is true, and there are no `scopes`", key("send_scopes_on_refresh"));
        clash(Problem::new(Code::Contradiction, place, title), "name the scopes, or remove it");
    }
}
