//! Why a sign-in brought nothing.

use std::fmt;
use std::time::Duration;

use crate::code::codes;
use crate::grant::error::{Class, RefreshError};
use crate::grant::wire::{ServerError, Unread};
use crate::store::StoreError;

codes! {
    /// Why a sign-in brought nothing, in one namespace with the codes of answers, refreshes and the configuration.
    {
        /// An answer came that cannot be used.
        AnswerUnusable = "answer_unusable";
        /// The browser came back with something that cannot be read.
        CallbackMalformed = "callback_malformed";
        /// The server does not let this client sign people in, or not in this way.
        ClientRefused = "client_refused";
        /// The server took no tokens for the code that came back.
        CodeRejected = "code_rejected";
        /// A key to bind tokens to cannot be made.
        DpopKeyUnusable = "dpop_key_unusable";
        /// Nobody took what was printed.
        EmitFailed = "emit_failed";
        /// The ID token is of another sign-in.
        IdTokenMismatch = "id_token_mismatch";
        /// The browser came back from another server.
        IssuerMismatch = "issuer_mismatch";
        /// The server sent no refresh token.
        NoRefreshToken = "no_refresh_token";
        /// The server has no place to sign in at in this way.
        NoSignInEndpoint = "no_sign_in_endpoint";
        /// The port that the browser comes back to is taken.
        RedirectPortTaken = "redirect_port_taken";
        /// The server does not send browsers back to this address.
        RedirectUriRefused = "redirect_uri_refused";
        /// The server knows no API of this name.
        ResourceRefused = "resource_refused";
        /// The client may not have a scope that was asked for.
        ScopeRefused = "scope_refused";
        /// The server could not do it just now.
        ServerUnavailable = "server_unavailable";
        /// A person ended the sign-in.
        SignInCancelled = "sign_in_cancelled";
        /// The person, or the server, said no.
        SignInDenied = "sign_in_denied";
        /// The server refused the sign-in for a reason of its own.
        SignInRefused = "sign_in_refused";
        /// Nobody finished the sign-in in time.
        SignInTimedOut = "sign_in_timed_out";
        /// The browser came back from another sign-in.
        StateMismatch = "state_mismatch";
        /// What the sign-in brought could not be stored.
        StoreUnavailable = "store_unavailable";
        /// There is no token endpoint at this address.
        TokenEndpointWrong = "token_endpoint_wrong";
    }
}

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
    /// Another had the store, and nobody waited for it any longer.
    Locked,
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
    pub fn new(outcome: Outcome, code: Code, sentence: impl Into<String>) -> Self {
        Self { outcome, code: code.word(), sentence: sentence.into() }
    }

    /// That a person ended it.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(
            Outcome::Cancelled,
            Code::SignInCancelled,
            "The sign-in was cancelled. Nothing has changed.",
        )
    }

    pub(super) fn timed_out(timeout: Duration) -> Self {
        let sentence = format!(
            "Nobody finished the sign-in within {}. Nothing has changed; sign in again, and allow for more with --timeout.",
            in_short(timeout)
        );
        Self::new(Outcome::SignIn, Code::SignInTimedOut, sentence)
    }

    pub(super) fn denied(said: &ServerError) -> Self {
        let sentence = format!(
            "The sign-in was denied: the server says {said}. Nothing has changed; sign in again to try once more."
        );
        Self::new(Outcome::SignIn, Code::SignInDenied, sentence)
    }

    /// What `error` the server told, by an endpoint or by the browser.
    pub(super) fn refused(what: &str, said: &ServerError) -> Self {
        let config =
            |code, cure: &str| Self::new(Outcome::Config, code, format!("The {what} says {said}. {cure}"));
        match said.error.as_str() {
            "access_denied" => Self::denied(said),
            "invalid_scope" => config(
                Code::ScopeRefused,
                "Ask for scopes that this client may have there: change `scopes`, or the client's at the server.",
            ),
            "unauthorized_client" | "invalid_client" => config(
                Code::ClientRefused,
                "Check `client_id` and the client's secret or key, and whether the server lets this client sign people in \
                 this way.",
            ),
            "invalid_target" => config(
                Code::ResourceRefused,
                "Check `resource` and `audience`: the server knows no such API.",
            ),
            "unsupported_response_type" | "unsupported_grant_type" => config(
                Code::SignInRefused,
                "Allow this client the authorization code (or the device code) at the server, or sign in another way.",
            ),
            "invalid_redirect_uri" => config(
                Code::RedirectUriRefused,
                "Register the redirect URI above with the client, exactly as it is written.",
            ),
            "server_error" | "temporarily_unavailable" | "slow_down" => {
                Self::unavailable(what, &format!("says {said}"))
            }
            _ => {
                config(Code::SignInRefused, "Nothing has changed; check the client's settings at the server.")
            }
        }
    }

    /// Why nothing was heard of a server.
    pub(super) fn of_refresh(RefreshError { class, code, sentence, .. }: &RefreshError) -> Self {
        let outcome = match class {
            Class::NotSent | Class::Busy { .. } | Class::Unanswered | Class::Unusable | Class::Blocked => {
                Outcome::Unreachable
            }
            Class::Refused => Outcome::SignIn,
            Class::Misconfigured | Class::Store => Outcome::Config,
        };
        Self { outcome, code: code.word(), sentence: sentence.clone() }
    }

    /// The same, with a sentence more.
    pub(super) fn and(mut self, more: &str) -> Self {
        self.sentence.push(' ');
        self.sentence.push_str(more);
        self
    }

    /// Whether it is this one.
    pub(super) fn is(&self, codes: &[Code]) -> bool {
        codes.iter().any(|code| self.code == code.word())
    }

    /// That a server could not do it just now, in the words that it `answered`.
    pub(super) fn unavailable(what: &str, answered: &str) -> Self {
        let sentence = format!("The {what} {answered}. Nothing has changed; sign in again in a while.");
        Self::new(Outcome::Unreachable, Code::ServerUnavailable, sentence)
    }

    /// What came of an answer that brought nothing.
    pub(super) fn unread(what: &str, unread: &Unread) -> Self {
        match unread {
            Unread::Refused(said) => Self::refused(what, said),
            Unread::Unavailable(answered) => Self::unavailable(what, answered),
            Unread::Unusable(why) => {
                let sentence = format!("The answer of the {what} cannot be used: {why}.");
                Self::new(Outcome::Unreachable, Code::AnswerUnusable, sentence)
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
    fn from(error: RefreshError) -> Self {
        Self::of_refresh(&error)
    }
}

impl From<StoreError> for LoginError {
    fn from(error: StoreError) -> Self {
        let sentence = format!(
            "The sign-in was good, and what it brought could not be stored: {error}. Mend that and sign in again."
        );
        Self::new(Outcome::Config, Code::StoreUnavailable, sentence)
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.sentence, self.code)
    }
}

impl std::error::Error for LoginError {}
