//! The store's lock, for whoever works on a grant's record: its refresher, a sign-out, a command.

use std::time::Duration;

use super::{Params, lineage};
use crate::secret::RefreshToken;
use crate::store::{Store, StoreError, Txn};

/// How long another holder may keep the lock beyond a token request: to the end of its save.
const SLACK: Duration = Duration::from_secs(5);

/// How long to wait for it: another holder may have it through one redeem and its save.
#[must_use]
pub fn patience(params: &Params) -> Duration {
    params.timeout + SLACK
}

/// The configured seed, if there is one, or why it cannot be read; on a thread of its own, since that may block.
pub async fn read_seed(params: &Params) -> Option<Result<RefreshToken, String>> {
    let params = params.clone();
    let read = tokio::task::spawn_blocking(move || params.read_seed()).await;
    read.unwrap_or_else(|fault| Some(Err(fault.to_string())))
}

/// Takes it beside the refresher. `seed` is the configured one, or why it cannot be read. What stands in for a damaged
/// record has to know it as met, or it would be presented anew: where it cannot be read, the damage is left for whoever can.
///
/// # Errors
/// As [`Store::begin_or`].
pub async fn take(
    params: &Params,
    store: &dyn Store,
    seed: Option<&Result<RefreshToken, String>>,
) -> Result<Box<dyn Txn>, StoreError> {
    leave_damage(params, store, matches!(seed, Some(Err(_)))).await?;
    let seed = seed.and_then(|seed| seed.as_ref().ok());
    let stand_in = params.needs_refresh_token().then(|| lineage::after_damage(&params.identity(), seed));
    store.begin_or(patience(params), Box::new(move || stand_in)).await
}

/// Where the configured seed is `unread`, an error if the record is damaged. One whose file is gone is none, as it is for a
/// sign-in: nobody could ever read it.
///
/// # Errors
/// The damage, which is left where it is.
pub async fn leave_damage(params: &Params, store: &dyn Store, unread: bool) -> Result<(), StoreError> {
    if unread
        && !params.seed_is_gone()
        && let Err(damage @ StoreError::Corrupt { .. }) = store.peek().await
    {
        return Err(damage);
    }
    Ok(())
}
