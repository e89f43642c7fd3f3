//! What a sign-in brings: the exchange of a code, and what is looked for in the answer before anything is kept.

use std::time::Duration;

use http::StatusCode;

use super::request::CodeGrant;
use super::{Code, LoginError, Outcome, Way};
use crate::clock::{self, Moment};
use crate::grant::Server;
use crate::grant::endpoint::Question;
use crate::grant::error::{Class, RefreshError};
use crate::grant::lineage::SignedIn;
use crate::grant::wire::{self, Answer, Expected, Told};
use crate::secret::ClientSecret;

/// What a person's sign-in brought.
#[derive(Debug)]
pub struct Signed {
    /// What the grant begins with.
    pub tokens: SignedIn,
    /// What was granted, as far as the server says; what was asked for, where it does not.
    pub scopes: Vec<String>,
}

/// How often a code is presented that has not left this machine yet.
const TRIES: u32 = 3;

/// Between two of these.
const PAUSE: Duration = Duration::from_secs(1);

impl Way<'_> {
    /// Exchanges a code. It is presented once: an answer that is lost is no reason to show it again.
    pub(super) async fn exchange(&self, code: CodeGrant) -> Result<Signed, LoginError> {
        let mut tries = 1;
        let (answer, asked) = loop {
            let asked = self.login.clock.now();
            match self.present(&code).await {
                Ok(answer) => break (answer, asked),
                Err(RefreshError { class: Class::NotSent, .. }) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep_until(clock::in_(PAUSE)).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let told = code.secrets(&self.attempt.verifier);
        self.digest(&answer, asked, &told, self.attempt.nonce.as_deref())
    }

    async fn present(&self, code: &CodeGrant) -> Result<Answer, RefreshError> {
        let form = code.request(self.login.params, &self.attempt.verifier);
        let question =
            Question { what: "token endpoint", to: self.token_endpoint(), form, takes_extra: true };
        let key = self.attempt.key.as_ref().map(|(_, key)| key);
        self.login.endpoint.post(&self.known.prepared, question, key).await
    }

    /// Looks for all that has to be there, before anything is kept of an answer.
    pub(super) fn digest(
        &self,
        answer: &Answer,
        asked: Moment,
        more: &[ClientSecret],
        nonce: Option<&str>,
    ) -> Result<Signed, LoginError> {
        let told = self.told(more);
        let told = Told { refresh_token: None, others: &told };
        if let Some(answered) = wire::unavailable(answer, told) {
            return Err(LoginError::unavailable("token endpoint", &answered));
        }
        if let Some(said) = wire::error_of(answer, told) {
            return Err(match said.error.as_str() {
                "invalid_grant" => {
                    let sentence = format!(
                        "The token endpoint took no tokens for this sign-in: it says {said}. Sign in again."
                    );
                    LoginError::new(Outcome::SignIn, Code::CodeRejected, sentence)
                }
                _ => LoginError::refused("token endpoint", &said),
            });
        }
        if !answer.status.is_success() {
            return Err(without_a_word(answer.status));
        }
        let params = self.login.params;
        let issued = wire::read(answer, told, params.dpop)?;
        let issuer = match &params.server {
            Server::Issuer { issuer, .. } => Some(issuer.as_str()),
            Server::Endpoint { .. } => None,
        };
        let expected = Expected { issuer, client_id: &params.client_id, nonce };
        wire::verify_id_token(answer, expected).map_err(|why| {
            let sentence = format!(
                "The ID token that came with the sign-in is not for it: {why}. Nothing of it is used; sign in again."
            );
            LoginError::new(Outcome::SignIn, Code::IdTokenMismatch, sentence)
        })?;
        let scopes = wire::scopes_of(answer).unwrap_or_else(|| self.attempt.scopes.clone());
        let Some(refresh_token) = wire::salvage(answer) else {
            let cure = self.attempt.provider.cure(&self.attempt.scopes);
            let sentence = format!(
                "The sign-in was good, and the server sent no refresh token. {cure} Nothing was stored; then sign in again."
            );
            return Err(LoginError::new(Outcome::SignIn, Code::NoRefreshToken, sentence));
        };
        let dpop_key = self.attempt.key.as_ref().map(|(key, _)| key.clone());
        let boot_id = self.login.clock.boot_id();
        Ok(Signed {
            tokens: SignedIn {
                refresh_token,
                token_endpoint: self.token_endpoint(),
                issued,
                asked,
                boot_id,
                dpop_key,
            },
            scopes,
        })
    }
}

/// An answer of something that says nothing in OAuth's words.
fn without_a_word(status: StatusCode) -> LoginError {
    let sentence = format!(
        "The token endpoint answered {status}, and the sign-in brought nothing. Check `issuer`, or the endpoints that are \
         configured."
    );
    LoginError::new(Outcome::Config, Code::TokenEndpointWrong, sentence)
}
