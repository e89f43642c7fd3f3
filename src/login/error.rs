//! Why a sign-in brought nothing.

use std::fmt;
use std::time::Duration;

use crate::grant::error::{Class, RefreshError};
use crate::grant::wire::{ServerError, Unread};
use crate::store::StoreError;

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A person ended it.
    Cancelled,
    /// A person has to sign in once more.
    SignIn,
    /// A person has to mend the configuration, here or at the server.
    Config,
    /// The server did not answer.
    Unreachable,
}

/// Why a sign-in brought nothing.
#[derive(Clone, Debug)]
pub struct LoginError {
    /// What follows.
    pub outcome: Outcome,
    /// The code of the one namespace.
    pub code: &'static str,
    /// A sentence: what is wrong, where, and what to do. Never a secret.
    pub sentence: String,
}

impl LoginError {
    /// An error.
    #[must_use]
    pub fn new(outcome: Outcome, code: &'static str, sentence: impl Into<String>) -> Self {
        Self { outcome, code, sentence: sentence.into() }
    }

    pub(super) fn cancelled() -> Self {
        Self::new(Outcome::Cancelled, "sign_in_cancelled", "The sign-in was cancelled. Nothing has changed.")
    }

    pub(super) fn timed_out(timeout: Duration) -> Self {
        let sentence = format!(
            "Nobody finished the sign-in within {}. Nothing has changed; sign in again, and allow for more with --timeout.",
            in_short(timeout)
        );
        Self::new(Outcome::SignIn, "sign_in_timed_out", sentence)
    }

    pub(super) fn denied(said: &ServerError) -> Self {
        let sentence = format!(
            "The sign-in was denied: the server says {said}. Nothing has changed; sign in again to try once more."
        );
        Self::new(Outcome::SignIn, "sign_in_denied", sentence)
    }

    /// What `error` the server told, by an endpoint or by the browser.
    pub(super) fn refused(what: &str, said: &ServerError) -> Self {
        let config =
            |code, cure: &str| Self::new(Outcome::Config, code, format!("The {what} says {said}. {cure}"));
        match said.error.as_str() {
            "access_denied" => Self::denied(said),
            "invalid_scope" => config(
                "scope_refused",
                "Ask for scopes that this client may have there: change `scopes`, or the client's at the server.",
            ),
            "unauthorized_client" | "invalid_client" => config(
                "client_refused",
                "Check `client_id` and the client's secret or key, and whether the server lets this client sign people in \
                 this way.",
            ),
            "invalid_target" => {
                config("resource_refused", "Check `resource` and `audience`: the server knows no such API.")
            }
            "unsupported_response_type" | "unsupported_grant_type" => config(
                "sign_in_refused",
                "Allow this client the authorization code (or the device code) at the server, or sign in another way.",
            ),
            "invalid_redirect_uri" => config(
                "redirect_uri_refused",
                "Register the redirect URI above with the client, exactly as it is written.",
            ),
            "server_error" | "temporarily_unavailable" => {
                let sentence =
                    format!("The {what} says {said}. Nothing has changed; sign in again in a while.");
                Self::new(Outcome::Unreachable, "server_unavailable", sentence)
            }
            _ => config("sign_in_refused", "Nothing has changed; check the client's settings at the server."),
        }
    }

    /// What came of an answer that brought nothing.
    pub(super) fn unread(what: &str, unread: &Unread) -> Self {
        match unread {
            Unread::Refused(said) => Self::refused(what, said),
            Unread::Unusable(why) => {
                let sentence = format!("The answer of the {what} cannot be used: {why}.");
                Self::new(Outcome::Unreachable, "answer_unusable", sentence)
            }
        }
    }
}

/// A span as a command line has it: `30m`.
#[must_use]
pub fn in_short(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        _ if seconds < 7200 => format!("{}m", seconds / 60),
        _ if seconds < 172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

impl From<RefreshError> for LoginError {
    fn from(RefreshError { class, code, sentence, .. }: RefreshError) -> Self {
        let outcome = match class {
            Class::NotSent | Class::Busy { .. } | Class::Unanswered | Class::Unusable | Class::Blocked => {
                Outcome::Unreachable
            }
            Class::Refused => Outcome::SignIn,
            Class::Misconfigured | Class::Store => Outcome::Config,
        };
        Self { outcome, code: code.word(), sentence }
    }
}

impl From<StoreError> for LoginError {
    fn from(error: StoreError) -> Self {
        let sentence = format!(
            "The sign-in was good, and what it brought could not be stored: {error}. Mend that and sign in again."
        );
        Self::new(Outcome::Config, "store_unavailable", sentence)
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.sentence, self.code)
    }
}

impl std::error::Error for LoginError {}
