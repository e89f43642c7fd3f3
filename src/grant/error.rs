//! Why a refresh brought no token, named by what follows from it.

use std::fmt;
use std::time::Duration;

use super::status::Problem;
use super::wire::printable;
use crate::code::codes;
use crate::store::StoreError;

codes! {
    /// Why a refresh brought no token, in one namespace with the codes of answers and of the configuration.
    {
        /// An answer came that holds no usable access token.
        AnswerUnusable = "answer_unusable";
        /// What the flow presents in place of a refresh token was refused.
        AssertionRejected = "assertion_rejected";
        /// The client's private key cannot be used.
        ClientKeyUnusable = "client_key_unusable";
        /// The client itself was refused.
        ClientRejected = "client_rejected";
        /// The authorization server's metadata could not be had.
        DiscoveryFailed = "discovery_failed";
        /// The key that tokens are bound to cannot be used.
        DpopKeyUnusable = "dpop_key_unusable";
        /// A proof of possession was refused.
        DpopProofRejected = "dpop_proof_rejected";
        /// The server takes no proofs that are signed as ours are.
        DpopUnsupported = "dpop_unsupported";
        /// The grant's flow needs nobody to sign in, so that nobody can sign out.
        FlowWithoutSignIn = "flow_without_sign_in";
        /// The grant was exported, and lives elsewhere now.
        GrantExported = "grant_exported";
        /// The refresh token was refused.
        GrantRejected = "grant_rejected";
        /// A fault of bearerd's own.
        Internal = "internal";
        /// The metadata are those of another issuer.
        IssuerMismatch = "issuer_mismatch";
        /// The refresh token was refused after the answer that replaced it was lost.
        LostRotation = "lost_rotation";
        /// There is no refresh token.
        NoGrant = "no_grant";
        /// The token request was refused for a reason of its own.
        RequestRejected = "request_rejected";
        /// The server did not take back a refresh token.
        RevocationFailed = "revocation_failed";
        /// A secret is not where its reference leads.
        SecretUnreadable = "secret_unreadable";
        /// One of the authorization server's endpoints was not reached, or did not answer.
        ServerUnreachable = "server_unreachable";
        /// A person has signed out.
        SignedOut = "signed_out";
        /// The program ends.
        Stopping = "stopping";
        /// The record was damaged, and set aside.
        StoreCorrupt = "store_corrupt";
        /// The store holds a refresh token of another client or issuer.
        StoreOfAnotherClient = "store_of_another_client";
        /// The store could not be read or locked.
        StoreUnavailable = "store_unavailable";
        /// The store could not be written.
        StoreWriteFailed = "store_write_failed";
        /// Whoever answered could not prove to be the authorization server.
        TlsVerify = "tls_verify";
        /// The token is bound to a key where none may be, or the other way round.
        TokenBindingWrong = "token_binding_wrong";
        /// Something in between answered in the token endpoint's place.
        TokenEndpointBlocked = "token_endpoint_blocked";
        /// The token endpoint said "not now".
        TokenEndpointBusy = "token_endpoint_busy";
        /// The token endpoint failed.
        TokenEndpointError = "token_endpoint_error";
        /// The metadata name a token endpoint on another host than before.
        TokenEndpointMoved = "token_endpoint_moved";
        /// The token endpoint redirects.
        TokenEndpointRedirects = "token_endpoint_redirects";
        /// The token endpoint was asked, and did not answer.
        TokenEndpointUnanswered = "token_endpoint_unanswered";
        /// The token endpoint was not reached.
        TokenEndpointUnreachable = "token_endpoint_unreachable";
        /// There is no token endpoint at this address.
        TokenEndpointWrong = "token_endpoint_wrong";
    }
}

/// Why a refresh brought no token.
#[derive(Clone, Debug)]
pub struct RefreshError {
    /// What follows.
    pub class: Class,
    /// The code of the one namespace.
    pub code: Code,
    /// A sentence: what is wrong, where, and what to do. Never a secret.
    pub sentence: String,
    /// The token endpoint's HTTP status, if it answered.
    pub http_status: Option<u16>,
}

/// What follows from a failed refresh (reference: engine.md §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing was presented; try again (R50).
    NotSent,
    /// The server said "not now"; the refresh token is unspent (R50).
    Busy {
        /// `Retry-After`, at most five minutes.
        retry_after: Option<Duration>,
    },
    /// Presented, and no verdict: the server may have rotated. Try the same refresh token again, soon (R51).
    Unanswered,
    /// An answer came that holds no usable access token, whatever else it brought; try again.
    Unusable,
    /// Something between us and the server answered in its place; try again.
    Blocked,
    /// The server refused the grant: a person has to sign in (R52).
    Refused,
    /// A person has to mend the configuration, here or at the server (R54).
    Misconfigured,
    /// The store could not be read, locked or written, so nothing was presented.
    Store,
}

impl RefreshError {
    /// An error without an answer behind it.
    #[must_use]
    pub fn new(class: Class, code: Code, sentence: impl Into<String>) -> Self {
        Self { class, code, sentence: sentence.into(), http_status: None }
    }

    /// That whoever answered at the server's address could not prove to be the server: no time mends that by itself.
    #[must_use]
    pub fn untrusted(why: &str) -> Self {
        let sentence = format!(
            "{}. Nothing was sent. Mend the authorization server's certificate, or name who issued it in `ca_file`.",
            printable(why)
        );
        Self::new(Class::Misconfigured, Code::TlsVerify, sentence)
    }

    /// The same, told by an answer with this status.
    #[must_use]
    pub fn answered(self, status: http::StatusCode) -> Self {
        Self { http_status: Some(status.as_u16()), ..self }
    }

    /// The label of `bearerd_refresh_attempts_total`.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self.class {
            Class::NotSent => "network",
            Class::Misconfigured if self.code == Code::TlsVerify => "network",
            Class::Busy { .. } => "rate_limited",
            Class::Unanswered if self.http_status.is_some_and(|status| status >= 400) => "server_error",
            Class::Unanswered => "timeout",
            Class::Unusable | Class::Blocked => "malformed",
            Class::Refused => "invalid_grant",
            Class::Misconfigured => "invalid_client",
            Class::Store => "store_error",
        }
    }

    /// For status pages and logs.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem { code: self.code.word(), sentence: self.sentence.clone() }
    }
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> Self {
        if let StoreError::Corrupt { aside: Some(_), .. } = &error {
            // The refresh token that rested there may have come after every seed: none that is known is presented again.
            let sentence = format!("The record was damaged: {error}. Sign in again, or provide a new seed.");
            return Self::new(Class::Refused, Code::StoreCorrupt, sentence);
        }
        Self::new(Class::Store, Code::StoreUnavailable, format!("The store cannot be used: {error}."))
    }
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.sentence)
    }
}

impl std::error::Error for RefreshError {}
