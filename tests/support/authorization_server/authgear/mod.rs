//! The Authgear profile: what a running Authgear answered, byte for byte, in the order in which it looks at things.
//!
//! Served are discovery, authorization, the token endpoint, revocation and userinfo. Not served: DPoP.

mod answers;
mod authorize;
mod token;

use std::time::Duration;

use bearerd::clock::Moment;

use self::answers::{Dress, Form};
pub(super) use self::authorize::AUTHORIZE;
pub(super) use self::authorize::Authorizations;
use self::authorize::ENTRYPOINT;
use super::connection::{Processed, Request};
use super::fault::Fault;
use super::ledger::TokenState;
use super::options::Apps;
use super::{Shared, now};
use crate::support::http::{Answer, Head};

/// Where tokens are to be had.
pub(super) const TOKEN: &str = "/oauth2/token";

/// Where they are given back.
pub(super) const REVOKE: &str = "/oauth2/revoke";
const USERINFO: &str = "/oauth2/userinfo";

/// Answers one request.
pub(super) async fn answer(shared: &Shared, request: &Request<'_>) -> Processed {
    let head = request.head;
    if let Some(elsewhere) = misdirected(shared, head) {
        return elsewhere.into();
    }
    let dress = Dress::of(shared, head);
    match (head.method(), head.path()) {
        ("GET", "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server") => {
            answers::discovery(&shared.issuer, &dress).into()
        }
        ("GET", AUTHORIZE) => authorize::begin(shared, request, &dress).into(),
        ("GET", ENTRYPOINT) => authorize::look(shared, request, &dress).into(),
        ("POST", ENTRYPOINT) => authorize::pressed(shared, request, &dress).into(),
        ("OPTIONS", TOKEN | REVOKE) => dress.bare(Answer::new(200, "")).into(),
        ("POST", TOKEN) => token::answer(shared, request, &dress).await,
        ("POST", REVOKE) => revoke(shared, request, &dress).into(),
        ("GET" | "POST", USERINFO) => userinfo(shared, head, &dress).into(),
        (_, TOKEN | REVOKE) => answers::method_not_allowed("OPTIONS, POST").into(),
        (_, "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server") => {
            answers::method_not_allowed("GET, OPTIONS").into()
        }
        ("POST", "/oauth2/token/" | "//oauth2/token") => answers::redirect(head, TOKEN).into(),
        _ => answers::not_found().into(),
    }
}

/// The answer that a fault is, if it is one.
pub(super) fn error_for(shared: &Shared, fault: Fault) -> Option<Answer> {
    let dress = Dress::of(shared, &Head::default());
    Some(match fault {
        Fault::ServerError => dress.error(500, "server_error", "internal server error"),
        Fault::ErrorAsObject => answers::unexpected_error(&dress),
        Fault::ErrorPage => {
            let page = "<html>\r\n<head><title>500 Internal Server Error</title></head>\r\n</html>\r\n";
            Answer::new(500, page).with("Content-Type", "text/html")
        }
        Fault::HookVeto => dress.error(400, "server_error", "access token generation is disallowed by hook"),
        Fault::TooManyRequests(_) => dress.rate_limited(),
        Fault::Unavailable(_) => Answer::new(503, "no healthy upstream").with("Content-Type", "text/plain"),
        _ => return None,
    })
}

/// The answer to a request that is not for the public origin. Nothing is executed.
fn misdirected(shared: &Shared, head: &Head) -> Option<Answer> {
    let forwarded = |name: &str| shared.options.trust_proxy.then(|| head.header(name)).flatten();
    let host = forwarded("x-forwarded-host").or(head.header("host")).unwrap_or_default();
    let own_scheme = if shared.options.tls.is_some() { "https" } else { "http" };
    let scheme = forwarded("x-forwarded-proto").unwrap_or(own_scheme);
    if format!("{scheme}://{host}") == shared.issuer {
        return None;
    }
    Some(match &shared.options.apps {
        Apps::Database(domains) if !domains.iter().any(|domain| domain == host) => answers::no_such_app(),
        _ => answers::redirect(head, &format!("{}{}", shared.issuer, head.target())),
    })
}

/// Whoever knows a token may revoke it; every token is a 200. A refresh token that was replaced is not found.
fn revoke(shared: &Shared, request: &Request<'_>, dress: &Dress) -> Answer {
    let form = match Form::of(request) {
        Ok(form) => form,
        Err(text) => return dress.plain(400, &text),
    };
    let token = form.first("token").unwrap_or_default();
    shared.change(|state| state.ledger.revoke(token, true));
    dress.bare(Answer::new(200, ""))
}

fn userinfo(shared: &Shared, head: &Head, dress: &Dress) -> Answer {
    let bearer = head.header("authorization").and_then(|value| value.split_once(' '));
    let token = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    let state = shared.state().ledger.state_of(token.unwrap_or_default(), now());
    if state == TokenState::Active { answers::userinfo(dress) } else { answers::invalid_session(dress) }
}

/// A token bucket in the form of the moment at which it will be full again (GCRA).
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Bucket {
    full_again: Duration,
}

impl Bucket {
    /// Takes one of `burst` tokens, which come back one per `period`; a refused request takes none.
    fn take(&mut self, burst: u32, period: Duration, now: Moment) -> bool {
        let from = self.full_again.max(now.boot);
        let taken = from + period - now.boot <= period * burst;
        if taken {
            self.full_again = from + period;
        }
        taken
    }
}
