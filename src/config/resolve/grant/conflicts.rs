//! What excludes one another in a grant, and what needs one another.

use super::{Context, or};
use crate::config::choice::FlowKind;
use crate::config::error::{Code, Place, Problem};
use crate::config::keys::{self, Grant};
use crate::config::value::Placed;
use crate::config::written::WrittenGrant;
use crate::grant::{ClientAuthMethod, Dpop};

/// How a reference to a secret is written.
const SECRET: &str = "write client_secret = { file = \"/run/secrets/client_secret\" }";
const KEY: &str = "write client_key = { file = \"/run/secrets/client_key.pem\" }, or a `client_assertion`";

/// Tells all of it.
pub(super) fn tell(written: &WrittenGrant, certificate: bool, context: &mut Context<'_>) {
    let WrittenGrant { section, grant, .. } = written;
    let has = Has::of(grant, certificate);
    let mut clash = |place: &Place, key: &str, why: &str, help: &str| {
        let title = format!("`{}` {why}", keys::join(section, key));
        context.report.error(Problem::new(Code::Contradiction, place, title).help(help));
    };
    client_auth(grant, &has, &mut clash);
    flow(grant, &has, &mut clash);
    let kind = or(grant.flow.clone(), FlowKind::RefreshToken);
    for (key, place) in useless(grant, kind) {
        let why = format!("is of no use with `flow` = \"{}\"", kind.word());
        clash(place, key, &why, "remove one of the two");
    }
    if let (None, Some(kind)) = (&grant.actor_token, &grant.actor_token_type)
        && !grant.faulty.contains(&"actor_token")
    {
        clash(&kind.place, "actor_token_type", "is about an `actor_token`, and there is none", "remove it");
    }
    if let Some(key) = &grant.dpop_key
        && !or(grant.dpop.clone(), Dpop::Off).is_on()
        && !grant.faulty.contains(&"dpop")
    {
        clash(&key.place, "dpop_key", "is of no use without `dpop`", "write dpop = true, or remove it");
    }
    if let Some(scopes) =
        grant.send_scopes_on_refresh.as_ref().filter(|send| send.value && grant.scopes.is_none())
    {
        let why = "is true, and there are no `scopes`";
        clash(&scopes.place, "send_scopes_on_refresh", why, "name the scopes, or remove it");
    }
}

/// What there is to prove with; what was written and is faulty counts as being there.
struct Has {
    secret: bool,
    key: bool,
    assertion: bool,
    certificate: bool,
}

impl Has {
    fn of(grant: &Grant, certificate: bool) -> Self {
        let faulty = |key: &str| grant.faulty.contains(&key);
        Self {
            secret: grant.client_secret.is_some() || faulty("client_secret"),
            key: grant.client_key.is_some() || faulty("client_key"),
            assertion: grant.client_assertion.is_some() || faulty("client_assertion"),
            certificate,
        }
    }

    fn any(&self) -> bool {
        self.secret || self.key || self.assertion || self.certificate
    }
}

type Clash<'a> = dyn FnMut(&Place, &str, &str, &str) + 'a;

fn client_auth(grant: &Grant, has: &Has, clash: &mut Clash<'_>) {
    if let Some(method) = &grant.client_auth {
        let mut clash = |why: &str, help: &str| clash(&method.place, "client_auth", why, help);
        match method.value {
            ClientAuthMethod::Basic | ClientAuthMethod::Post | ClientAuthMethod::ClientSecretJwt
                if !has.secret =>
            {
                clash("needs a `client_secret`", SECRET);
            }
            ClientAuthMethod::PrivateKeyJwt if !has.key && !has.assertion => {
                clash("needs a `client_key`, or a `client_assertion`", KEY);
            }
            ClientAuthMethod::Tls if !has.certificate => {
                clash("needs a certificate", "write client_cert and client_key below [tls]");
            }
            ClientAuthMethod::None if has.secret => {
                clash("is \"none\", and there is a `client_secret`", "remove one of the two");
            }
            _ => {}
        }
    }
    if let (Some(_), Some(assertion)) = (&grant.client_key, &grant.client_assertion) {
        let why = "stands beside a `client_key`, which would sign one";
        clash(&assertion.place, "client_assertion", why, "remove one of the two");
    }
    let of_the_key = [
        grant.client_key_id.as_ref().map(|id| ("client_key_id", &id.place)),
        grant.client_key_algorithm.as_ref().map(|algorithm| ("client_key_algorithm", &algorithm.place)),
    ];
    for (key, place) in of_the_key.into_iter().flatten().filter(|_| !has.key) {
        clash(place, key, "is about a `client_key`, and there is none", "remove it");
    }
}

/// What the flow needs.
fn flow(grant: &Grant, has: &Has, clash: &mut Clash<'_>) {
    let Some(flow) = &grant.flow else { return };
    let faulty = |key: &str| grant.faulty.contains(&key);
    let mut clash = |why: &str, help: &str| clash(&flow.place, "flow", why, help);
    match flow.value {
        FlowKind::ClientCredentials if !has.any() => {
            clash("is \"client_credentials\", and there is no `client_secret`", SECRET);
        }
        FlowKind::JwtBearer if grant.assertion.is_none() && !faulty("assertion") && !has.key => {
            let help =
                "write assertion = { file = \"/run/secrets/assertion\" }, or a `client_key` that signs one";
            clash("is \"jwt_bearer\", and there is no `assertion`", help);
        }
        FlowKind::TokenExchange if grant.subject_token.is_none() && !faulty("subject_token") => {
            let help = "write subject_token = { file = \"/run/secrets/subject_token\" }";
            clash("is \"token_exchange\", and there is no `subject_token`", help);
        }
        _ => {}
    }
}

/// Keys that were written for another flow than this.
fn useless(grant: &Grant, flow: FlowKind) -> impl Iterator<Item = (&'static str, &Place)> {
    let keys = [
        of_flow("refresh_token", &grant.refresh_token, FlowKind::RefreshToken),
        of_flow("assertion", &grant.assertion, FlowKind::JwtBearer),
        of_flow("subject", &grant.subject, FlowKind::JwtBearer),
        of_flow("subject_token", &grant.subject_token, FlowKind::TokenExchange),
        of_flow("subject_token_type", &grant.subject_token_type, FlowKind::TokenExchange),
        of_flow("actor_token", &grant.actor_token, FlowKind::TokenExchange),
        of_flow("actor_token_type", &grant.actor_token_type, FlowKind::TokenExchange),
        of_flow("requested_token_type", &grant.requested_token_type, FlowKind::TokenExchange),
    ];
    keys.into_iter().flatten().filter(move |(_, _, of)| *of != flow).map(|(key, place, _)| (key, place))
}

/// A key that was written, and the flow that it is for.
fn of_flow<'a, T>(
    key: &'static str,
    written: &'a Option<Placed<T>>,
    flow: FlowKind,
) -> Option<(&'static str, &'a Place, FlowKind)> {
    written.as_ref().map(|written| (key, &written.place, flow))
}
