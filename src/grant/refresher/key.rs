//! The key that a grant's tokens are bound to (RFC 9449): made or brought once, and kept with the refresh token.

use std::sync::Arc;

use super::super::error::{Class, Code, RefreshError};
use super::Refresher;
use crate::dpop::ProofKey;
use crate::jose::{KeyError, SigningKey};
use crate::secret::{DpopKey, Fingerprint, RefreshToken};
use crate::store::Record;

/// The key that was used last, as it was read: that takes its time, and it seldom changes.
#[derive(Default)]
pub(super) struct Ready(Option<(DpopKey, Arc<ProofKey>)>);

impl Ready {
    /// The key of this text, ready to sign.
    pub(super) fn key(&mut self, text: &DpopKey) -> Result<Arc<ProofKey>, KeyError> {
        if let Some((_, key)) = self.0.as_ref().filter(|(known, _)| known == text) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(ProofKey::new(text)?);
        self.0 = Some((text.clone(), Arc::clone(&key)));
        Ok(key)
    }
}

impl Refresher {
    /// The record's key, ready to sign; none where tokens are bound to none.
    pub(super) fn proof_key(&mut self, record: &Record) -> Result<Option<Arc<ProofKey>>, RefreshError> {
        let key = record.dpop_key.as_ref().filter(|_| self.params.dpop.is_on());
        let unusable = |error| {
            unusable(
                "The record's key",
                error,
                "Sign in again, or provide a new seed, whose key will be another.",
            )
        };
        key.map(|key| self.ready.key(key).map_err(unusable)).transpose()
    }

    /// Gives a record the key that its tokens are to be bound to, if it has none: the configured one, or a new one. Until
    /// something came of its first refresh token, the operator may still say what that one is bound to; from then on the
    /// key stays, since the tokens are of no use with another. Whether the record was given one.
    pub(super) async fn bind(&mut self, record: &mut Record) -> Result<bool, RefreshError> {
        self.used.dpop_key = None;
        let has_key = record.dpop_key.is_some();
        if !self.params.dpop.is_on() || has_key && !is_untried(record) {
            return Ok(false);
        }
        let configured = self.configured_key().await?;
        let made = || SigningKey::generate().map_err(|error| unusable("A key", error, "Try again."));
        let key = match (configured, &record.dpop_key) {
            (None, Some(_)) => return Ok(false),
            (Some(wanted), Some(there)) if is_same(&wanted, there) => return Ok(false),
            (Some(wanted), _) => wanted,
            (None, None) => made()?,
        };
        self.ready.key(&key).map_err(|error| {
            unusable(
                "`dpop_key`",
                error,
                "Give the key that the refresh token is bound to, an EC key on P-256.",
            )
        })?;
        record.dpop_key = Some(key);
        // What is bound to another key is of no use with this one, and what was refused with it is asked for again.
        record.access_token.take_if(|token| token.bound);
        record.refused = None;
        Ok(true)
    }

    /// `dpop_key`, read when it is needed: afterwards it may be gone, as the seed may.
    async fn configured_key(&mut self) -> Result<Option<DpopKey>, RefreshError> {
        let Some(reference) = self.params.dpop_key.clone() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || reference.read_dpop_key()).await;
        let read = read.unwrap_or_else(|fault| Err(fault.to_string()));
        self.used.dpop_key = Some(fingerprint(read.as_ref().ok()));
        let unreadable = |why| {
            let sentence = format!("The key that the refresh token is bound to is not there: {why}.");
            RefreshError::new(Class::Misconfigured, Code::SecretUnreadable, sentence)
        };
        read.map(Some).map_err(unreadable)
    }

    /// The fingerprint of `dpop_key` as it is now, if the last attempt had to read it; a command is not run for that.
    pub(super) async fn key_as_it_is(&mut self) -> Option<Fingerprint> {
        let before = self.before().dpop_key.clone()?;
        let reference = self.params.dpop_key.clone().filter(|reference| reference.can_be_watched());
        let Some(reference) = reference else { return Some(before) };
        let read = tokio::task::spawn_blocking(move || reference.read_dpop_key().ok()).await;
        Some(fingerprint(read.ok().flatten().as_ref()))
    }
}

/// Of a key that is not there that of nothing, so that it is noticed when it comes.
fn fingerprint(key: Option<&DpopKey>) -> Fingerprint {
    key.map_or_else(|| Fingerprint::of(""), DpopKey::fingerprint)
}

/// Whether nothing has come of the record's first refresh token, and nothing may have.
fn is_untried(record: &Record) -> bool {
    let is_first = |token: &RefreshToken| record.seeds.contains(&token.fingerprint());
    record.refresh_token.as_ref().is_none_or(is_first) && record.quiet_redeems == 0 && record.intent.is_none()
}

/// Whether two texts are of one key, however it is written down.
fn is_same(one: &DpopKey, other: &DpopKey) -> bool {
    let public = |text| ProofKey::new(text).ok().map(|key| key.thumbprint());
    public(one).is_some_and(|one| public(other) == Some(one))
}

fn unusable(what: &str, error: KeyError, cure: &str) -> RefreshError {
    let sentence = format!("{what} cannot be used to prove tokens: {error}. {cure}");
    RefreshError::new(Class::Misconfigured, Code::DpopKeyUnusable, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_once_until_it_is_another() {
        let text = || SigningKey::generate().unwrap();
        let (one, other) = (text(), text());
        let mut ready = Ready::default();
        let first = ready.key(&one).unwrap();
        assert!(Arc::ptr_eq(&first, &ready.key(&one.clone()).unwrap()));
        let second = ready.key(&other).unwrap();
        assert_ne!(first.thumbprint(), second.thumbprint());
        assert!(ready.key(&DpopKey::new("no key".to_owned())).is_err());
        assert!(Arc::ptr_eq(&second, &ready.key(&other).unwrap()), "what is no key takes no key's place");
    }
}
