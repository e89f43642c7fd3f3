//! The end of a grant by a person's word: told to the server, then erased, under the store's lock.
//!
//! | step | killed right after it |
//! |---|---|
//! | the store's lock is taken | all is as before |
//! | the server has revoked the refresh token | it rests still, and is refused when it is presented: a person has to sign in, or sign out again, which the server answers as the first time |
//! | the tokens are erased, durably | all is done |
//!
//! The other way round a refresh token would stay good that nobody has to take back.

use http::Uri;

use super::endpoint::{HttpEndpoint, Known, Question};
use super::error::{Class, Code, RefreshError};
use super::lineage;
use super::wire::{self, Form, Told};
use super::{Params, lock};
use crate::clock::Clock;
use crate::net;
use crate::secret::RefreshToken;
use crate::store::{Store, erase, transfer};

/// What becomes of tokens that the server could not be told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrevoked {
    /// They stay, so that signing out can be tried again.
    Stay,
    /// They are erased here, and stay good at the server until they end there.
    AreErased,
}

/// What a sign-out has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOut {
    /// Whether the server has revoked something.
    pub revoked: bool,
    /// What was done, for people.
    pub sentence: String,
}

/// Ends a grant: has the server revoke its refresh token (RFC 7009), and erases what rests of it. The configured seed
/// counts as met from then on, and one that nobody had presented yet is revoked as well.
///
/// # Errors
/// When the store cannot be used, or the server could not be told and the tokens are to stay.
pub async fn sign_out(
    params: &Params,
    endpoint: &HttpEndpoint,
    store: &dyn Store,
    clock: &Clock,
    unrevoked: Unrevoked,
) -> Result<SignedOut, RefreshError> {
    if !params.needs_refresh_token() {
        return Err(nobody_signs_in());
    }
    // Before the lock: a running refresher need not wait for it.
    let known = endpoint.know().await;
    let seed = lock::read_seed(params).await;
    let mut txn = lock::take(params, store, seed.as_ref()).await?;
    let rests = txn.record().cloned();
    match lineage::decide(rests.clone(), &params.identity(), None, true) {
        Err(error) if error.class == Class::Misconfigured => return Err(error),
        Err(error) if error.code == Code::GrantExported => {
            return Ok(SignedOut {
                revoked: false,
                sentence: format!("Nothing to sign out of: {}", error.sentence),
            });
        }
        _ => {}
    }
    let seed = seed.and_then(Result::ok);
    let has_met = |token: &RefreshToken| {
        rests.as_ref().is_some_and(|record| record.seeds.contains(&token.fingerprint()))
    };
    let resting = rests.as_ref().and_then(|record| record.refresh_token.clone());
    let unmet = seed.clone().filter(|seed| !has_met(seed));
    let tokens: Vec<RefreshToken> = resting.into_iter().chain(unmet).collect();
    if tokens.is_empty() && rests.as_ref().is_none_or(|record| record.access_token.is_none()) {
        // What an earlier sign-out could not remove is removed now.
        transfer::confirm(&mut txn).await?;
        let sentence =
            format!("Nothing to sign out of: nobody is signed in, and {} holds no token.", store.place());
        return Ok(SignedOut { revoked: false, sentence });
    }
    let told = match known {
        // Whoever has moved the token endpoint unasked may have moved this one as well (R73).
        Ok(known) => match rests.as_ref().map_or(Ok(()), |record| lineage::still_at(record, &known.prepared))
        {
            Ok(()) => revoke(params, endpoint, &known, &tokens).await,
            Err(moved) => Err(moved),
        },
        Err(error) => Err(error),
    };
    let (revoked, sentence) = match told {
        Ok(true) => (true, "The server has revoked the refresh token, and it is erased here.".to_owned()),
        Ok(false) => (
            false,
            "The refresh token is erased here. The server has no revocation endpoint: there it may be good until it ends, \
             or until it is taken back at the server's own page."
                .to_owned(),
        ),
        Err(error) if unrevoked == Unrevoked::AreErased => (
            false,
            format!(
                "The refresh token is erased here, and was not revoked, so that it may be good until it ends: {}",
                error.sentence
            ),
        ),
        Err(error) => return Err(stays(error)),
    };
    let mut record = rests.unwrap_or_else(|| lineage::after_damage(&params.identity(), None));
    record.meet(seed.as_ref().map(RefreshToken::fingerprint));
    erase::erase(&mut txn, record, clock.now().wall).await?;
    Ok(SignedOut { revoked, sentence })
}

/// Tells the server that these tokens are given up; whether it can be told.
async fn revoke(
    params: &Params,
    endpoint: &HttpEndpoint,
    known: &Known,
    tokens: &[RefreshToken],
) -> Result<bool, RefreshError> {
    let Some(to) = revocation_endpoint(params, known)? else {
        return match &known.undiscovered {
            Some(error) => Err(error.clone()),
            None => Ok(false),
        };
    };
    for token in tokens {
        let mut form = Form::default();
        form.add("token", token.expose());
        form.add("token_type_hint", "refresh_token");
        let question = Question { what: "revocation endpoint", to: to.clone(), form, takes_extra: false };
        let answer = endpoint.post(&known.prepared, question, None).await?;
        let told = Told { refresh_token: Some(token), others: &known.prepared.told };
        wire::read_revocation(&answer, told)?;
    }
    Ok(!tokens.is_empty())
}

/// Where refresh tokens are given back, if that can be done. Metadata alone lead none to another host than the issuer's and
/// the one that gives tokens.
///
/// # Errors
/// [`Code::RevocationFailed`] where they name another.
pub fn revocation_endpoint<'a>(params: &Params, known: &'a Known) -> Result<Option<&'a Uri>, RefreshError> {
    let Some(to) = &known.metadata.endpoints.revocation else { return Ok(None) };
    let tokens_come_from = &known.prepared.endpoint;
    let issuer = params.server.identity().parse().ok();
    let hosts = [Some(tokens_come_from), issuer.as_ref()].map(|url| url.map(net::authority));
    if params.sign_in.revocation_endpoint.is_some() || hosts.contains(&Some(net::authority(to))) {
        return Ok(Some(to));
    }
    let sentence = format!(
        "The metadata name {} as the revocation endpoint, on another host than the issuer and the token endpoint, {}. Nothing was sent. If \
         that is right, name it as `revocation_endpoint`.",
        wire::printable(&to.to_string()),
        wire::printable(&tokens_come_from.to_string())
    );
    Err(RefreshError::new(Class::Misconfigured, Code::RevocationFailed, sentence))
}

fn nobody_signs_in() -> RefreshError {
    let sentence = "Nobody has signed in: this grant's `flow` needs nobody to.";
    RefreshError::new(Class::Misconfigured, Code::FlowWithoutSignIn, sentence)
}

/// That nothing was erased.
fn stays(error: RefreshError) -> RefreshError {
    let sentence = format!(
        "{} Nothing is erased, so that signing out can be tried again; `bearerd logout --force` erases it here all the same.",
        error.sentence
    );
    RefreshError { sentence, ..error }
}
