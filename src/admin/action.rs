//! What people may have done: by a command, or by a form of the status page; never by another site's page.
//!
//! A page of another origin is turned away by the guard. What it could send beside it, a form, lacks the header, which no
//! form can carry, and the token, which no other page can read.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::answer::{self, problem};
use super::server::Patience;
use super::{Grant, Overview, page};
use crate::grant::error::{Class, RefreshError};
use crate::grant::refresher::Command;
use crate::grant::sign_out::Unrevoked;
use crate::secret::random_hex;

/// The header that a command sends with `1`, and no form can.
const HEADER: &str = "bearerd-action";

/// The query of a sign-out that a person insists on: erased, whether or not the server can be told.
const FORCE: &str = "force";

/// The longest body that is read; what is needed of one is a token.
const LONGEST: usize = 16 * 1024;

/// What became of a reload: a sentence, whether the new configuration is in use or not.
pub type Reloaded = Result<String, String>;

/// What the program does when people ask for it, filled by its composition.
#[derive(Clone)]
pub struct Actions {
    /// What a form of the page has to show; another one in each process.
    token: Arc<str>,
    /// Reads the configuration again, and tells what became of it.
    reload: Arc<dyn Fn(oneshot::Sender<Reloaded>) + Send + Sync>,
    /// Lets requests end, then ends; asked a second time, at once.
    stop: Arc<dyn Fn() + Send + Sync>,
}

impl Actions {
    /// With a form token of their own.
    #[must_use]
    pub fn new(
        reload: impl Fn(oneshot::Sender<Reloaded>) + Send + Sync + 'static,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self { token: random_hex(16).into(), reload: Arc::new(reload), stop: Arc::new(stop) }
    }

    /// What the forms of the page carry.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether a form's body shows the token.
    fn knows(&self, body: &[u8]) -> bool {
        let shown = body.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"token="));
        shown.is_some_and(|shown| verify_slices_are_equal(shown, self.token.as_bytes()).is_ok())
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actions").finish_non_exhaustive()
    }
}

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action<'a> {
    /// A refresh of this grant, now.
    Refresh(&'a str),
    /// A look at what this grant's operator has put in place.
    Look(&'a str),
    /// The end of this grant: revoked and erased.
    SignOut(&'a str),
    /// The configuration, read again.
    Reload,
    /// The end.
    Stop,
}

impl<'a> Action<'a> {
    /// The action at `path`.
    pub(super) fn at(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix("/api/v1/")?;
        let of_grant = path.strip_prefix("grants/").and_then(|rest| rest.split_once('/'));
        match (path, of_grant) {
            ("reload", _) => Some(Self::Reload),
            ("stop", _) => Some(Self::Stop),
            (_, Some((grant, "refresh"))) => Some(Self::Refresh(grant)),
            (_, Some((grant, "look"))) => Some(Self::Look(grant)),
            (_, Some((grant, "sign_out"))) => Some(Self::SignOut(grant)),
            _ => None,
        }
    }
}

/// Does what is asked, if it may be; the guard has admitted the request.
pub(super) async fn act<B>(
    overview: &Overview,
    action: Action<'_>,
    head: &Parts,
    body: B,
    patience: &Patience,
) -> Response<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let holds = |name: &str, what: &str| {
        has(head, name, |value| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains(what)))
    };
    let by_command = has(head, HEADER, |value| value == "1");
    let is_form = !by_command && holds(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded");
    let asked = async {
        let body = whole(body).await?;
        let may_ask = by_command || is_form && overview.actions.knows(&body);
        if !may_ask {
            return Err(not_allowed());
        }
        patience.is_needed();
        done(overview, action, head.uri.query()).await
    };
    // What a browser without a script has sent is answered with a page.
    let is_for_a_person = is_form && holds(ACCEPT.as_str(), "text/html");
    match asked.await {
        // What came of it, the status page shows by itself.
        Ok(_) if is_form && matches!(action, Action::Refresh(_) | Action::Look(_)) => {
            let mut back = answer::bare(StatusCode::SEE_OTHER);
            back.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
            back
        }
        Ok((status, told)) if is_for_a_person => {
            let sentence = told.get("sentence").and_then(Value::as_str).unwrap_or_default();
            notice(status, sentence)
        }
        Ok((status, told)) => answer::json(status, &told),
        Err(Refusal { status, sentence, .. }) if is_for_a_person => notice(status, &sentence),
        Err(Refusal { status, code, sentence }) => problem(status, code, &sentence),
    }
}

/// The body, which is short.
async fn whole<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let refusal = |status, code, sentence: &str| Refusal { status, code, sentence: sentence.to_owned() };
    match Limited::new(body, LONGEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let sentence = "An action needs no such body.";
            Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", sentence))
        }
        Err(_broken) => Err(refusal(StatusCode::BAD_REQUEST, "malformed", "The body did not come whole.")),
    }
}

/// What came of it, for a person.
fn notice(status: StatusCode, sentence: &str) -> Response<Bytes> {
    let title = if status.is_success() { "Done" } else { "That did not work" };
    answer::html(status, page::notice(title, sentence, "Back to the status page"))
}

fn not_allowed() -> Refusal {
    let sentence = "An action needs the header `bearerd-action: 1`, or the token of a status page that this very process has \
                    shown: load the page again.";
    Refusal { status: StatusCode::FORBIDDEN, code: "action_not_allowed", sentence: sentence.to_owned() }
}

fn has(head: &Parts, name: &str, is: impl FnOnce(&HeaderValue) -> bool) -> bool {
    let mut values = head.headers.get_all(name).iter();
    matches!((values.next(), values.next()), (Some(value), None) if is(value))
}

/// Why nothing was done.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    sentence: String,
}

/// What was done, or why nothing was.
async fn done(
    overview: &Overview,
    action: Action<'_>,
    query: Option<&str>,
) -> Result<(StatusCode, Value), Refusal> {
    match action {
        Action::Refresh(name) => {
            let grant = grant(overview, name)?;
            // Before it is told: an attempt that ends in between may be the one that is asked for.
            let attempts = grant.board.look().attempts();
            tell(grant, Command::Refresh)?;
            Ok((StatusCode::ACCEPTED, json!({ "grant": name, "attempts": attempts })))
        }
        Action::Look(name) => {
            tell(grant(overview, name)?, Command::Look)?;
            Ok((StatusCode::ACCEPTED, json!({ "grant": name })))
        }
        Action::SignOut(name) => {
            let grant = grant(overview, name)?;
            let unrevoked = if query == Some(FORCE) { Unrevoked::AreErased } else { Unrevoked::Stay };
            let (ending, teller) = ((grant.sign_out)(unrevoked), grant.teller.clone());
            // A task of its own: whoever asked may go away, and what the server has revoked is erased all the same. Only the
            // end of the program cuts it off, as it does with `bearerd logout`.
            let ending = tokio::spawn(async move {
                let ended = ending.await;
                // The token that was taken from the store is taken from readers, too; with its refresher it is gone anyway.
                // So it is where the store fails after the server has revoked it.
                if ended.as_ref().err().is_none_or(|error| error.class == Class::Store) {
                    let _ended_already = teller.tell(Command::Look);
                }
                ended
            });
            let ended = ending.await.map_err(|_runtime_ends| stopping())?.map_err(unended)?;
            Ok((StatusCode::OK, json!({ "revoked": ended.revoked, "sentence": ended.sentence })))
        }
        Action::Reload => {
            let (asker, told) = oneshot::channel();
            (overview.actions.reload)(asker);
            match told.await {
                Ok(Ok(sentence)) => Ok((StatusCode::OK, json!({ "reloaded": true, "sentence": sentence }))),
                Ok(Err(sentence)) => {
                    let told = json!({ "reloaded": false, "code": "config_rejected", "sentence": sentence });
                    Ok((StatusCode::UNPROCESSABLE_ENTITY, told))
                }
                Err(_nobody_answers) => Err(stopping()),
            }
        }
        Action::Stop => {
            (overview.actions.stop)();
            let sentence = "Requests are let to an end, then bearerd ends.";
            Ok((StatusCode::ACCEPTED, json!({ "sentence": sentence })))
        }
    }
}

fn grant<'a>(overview: &'a Overview, name: &str) -> Result<&'a Grant, Refusal> {
    let found = overview.grants.iter().find(|grant| grant.name.as_str() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = overview.grants.iter().map(|grant| format!("`{}`", grant.name)).collect();
        let sentence = format!("There is no grant `{}`; there is {}.", name.escape_debug(), names.join(", "));
        Refusal { status: StatusCode::NOT_FOUND, code: "no_such_grant", sentence }
    })
}

fn tell(grant: &Grant, command: Command) -> Result<(), Refusal> {
    if grant.teller.tell(command) { Ok(()) } else { Err(stopping()) }
}

/// Why nobody was signed out.
fn unended(error: RefreshError) -> Refusal {
    let status = match error.class {
        Class::Misconfigured | Class::Refused => StatusCode::CONFLICT,
        Class::Store => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_GATEWAY,
    };
    Refusal { status, code: error.code.word(), sentence: error.sentence }
}

fn stopping() -> Refusal {
    let sentence = "bearerd is about to end.".to_owned();
    Refusal { status: StatusCode::SERVICE_UNAVAILABLE, code: "stopping", sentence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_found_by_its_whole_path() {
        for (path, action) in [
            ("/api/v1/grants/crm/refresh", Some(Action::Refresh("crm"))),
            ("/api/v1/grants/default/look", Some(Action::Look("default"))),
            ("/api/v1/grants/crm/sign_out", Some(Action::SignOut("crm"))),
            ("/api/v1/reload", Some(Action::Reload)),
            ("/api/v1/stop", Some(Action::Stop)),
            ("/api/v1/stop/", None),
            ("/api/v1/grants/crm", None),
            ("/api/v1/grants/a/b/refresh", None),
            ("/api/v1/refresh", None),
            ("/stop", None),
        ] {
            assert_eq!(Action::at(path), action, "{path}");
        }
    }

    #[test]
    fn a_form_shows_the_token_whole_and_alone() {
        let actions = Actions::new(|_| {}, || {});
        let token = actions.token.to_string();
        assert!(actions.knows(format!("token={token}").as_bytes()));
        assert!(actions.knows(format!("a=b&token={token}&c").as_bytes()));
        for body in ["", "token=", &token, &format!("token={token}0"), &format!("x=1&tokens={token}")] {
            assert!(!actions.knows(body.as_bytes()), "{body}");
        }
        assert!(!Actions::new(|_| {}, || {}).knows(format!("token={token}").as_bytes()), "another process's");
    }
}
