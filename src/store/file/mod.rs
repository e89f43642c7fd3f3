//! The record in a file: one record, one lock file and one spare file per grant, all in one folder.
//!
//! | file | what it is |
//! |---|---|
//! | `state.json` | the record, mode 0600; only ever replaced whole, by a rename |
//! | `state.json.lock` | locked with flock while a grant is being changed; never removed, never renamed |
//! | `state.json.spare` | room for the successor, allocated with the intent; renamed over the record once filled |
//! | `state.json.new` | a record being written without such room |
//! | `state.json.probe` | the trial at start |
//! | `state.json.corrupt-1800000000` | what was found and was no record, set aside at that Unix time |
//!
//! A process can be killed between filling the spare and renaming it. The next holder of the lock then finishes the
//! save ([`recover`]), so a successor that reached the disk is not lost.
//!
//! With an `encryption_key` every copy of the record, in whichever of these files, is sealed ([`super::seal`]).

mod aside;
mod bare;
mod disk;
mod inspect;
mod lock;
mod place;
mod probe;
mod read;
mod recover;
#[cfg(test)]
pub(super) mod tests;
mod write;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::bare::{Bare, peek};
pub(super) use self::disk::Disk;
#[cfg(debug_assertions)]
pub use self::disk::{Step, Watch};
pub(crate) use self::disk::{is_at, sync_folder};
pub(super) use self::inspect::folder as inspect_folder;
pub(super) use self::place::Place;
pub(super) use self::probe::{PATIENCE as PROBE_PATIENCE, with_cure};
pub(super) use self::read::{LARGEST, why_unread};
use self::write::Held;
use super::held::{HeldTxn, blocking};
use super::seal::Seal;
use super::{Pending, Record, StandIn, Store, StoreError, Txn};
use crate::secret::Secret;
use crate::token::GrantName;

/// `kind = "file"`, for one grant.
pub(super) struct FileStore {
    place: Arc<Place>,
    disk: Disk,
}

impl FileStore {
    pub(super) fn new(
        path: &Path,
        grant: &GrantName,
        allow_network_fs: bool,
        encryption_keys: &[Secret],
    ) -> Result<Self, StoreError> {
        let mut place = Place::of(path, grant)?;
        place.allow_network_fs = allow_network_fs;
        place.seal = Seal::new(grant, encryption_keys);
        Ok(Self { place: Arc::new(place), disk: Disk::default() })
    }

    /// Has each step on the disk told before it is done.
    #[cfg(debug_assertions)]
    pub(super) fn watched(mut self, watch: Watch) -> Self {
        self.disk.watch = Some(watch);
        self
    }
}

impl Store for FileStore {
    fn begin_or(
        &self,
        patience: Duration,
        stand_in: StandIn,
    ) -> Pending<'_, Result<Box<dyn Txn>, StoreError>> {
        Box::pin(async move {
            let locked = lock::take(&self.place, patience).await?;
            let disk = self.disk.clone();
            blocking(move || Held::new(locked, disk, stand_in)).await.map(HeldTxn::boxed)
        })
    }

    fn peek(&self) -> Pending<'_, Result<Option<Record>, StoreError>> {
        let place = Arc::clone(&self.place);
        Box::pin(blocking(move || read::peek(&place)))
    }

    /// See [`probe`] for what is tried and why. While another process holds the lock no write can be tried, and none need
    /// be: the kernel takes the lock from the dead, so its holder lives and is saving in this very place.
    fn probe(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let locked = match lock::take(&self.place, probe::PATIENCE).await {
                Ok(locked) => locked,
                Err(StoreError::Locked { .. }) => {
                    let place = Arc::clone(&self.place);
                    if !blocking(move || probe::look(&place)).await? {
                        return Ok(());
                    }
                    match lock::take(&self.place, probe::PATIENCE_TO_RESEAL).await {
                        // It is sealed with the next save; a start that ended here would serve nobody until then.
                        Err(StoreError::Locked { place }) => {
                            tracing::warn!(event = "store_sealed_later", %place, "another process holds the lock of {place}: what rests is sealed with the new key at the next save, and the old key is needed until then");
                            return Ok(());
                        }
                        taken => taken?,
                    }
                }
                Err(error) => return Err(probe::with_cure(error, &self.place)),
            };
            let (place, disk) = (Arc::clone(&self.place), self.disk.clone());
            blocking(move || probe::run(&locked, &disk).map_err(|error| probe::with_cure(error, &place)))
                .await
        })
    }

    fn inspect(&self) -> Pending<'_, Result<(), StoreError>> {
        let place = Arc::clone(&self.place);
        Box::pin(blocking(move || inspect::run(&place).map_err(|error| probe::with_cure(error, &place))))
    }

    /// The record's real path: in a folder that everybody may write in, that is `bearerd/` inside it.
    fn place(&self) -> String {
        let kind = if self.place.seal.is_on() { "encrypted file" } else { "file" };
        format!("{kind} {}", self.place.shown())
    }
}

/// Says what was being done when the system refused.
trait Doing<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { doing: format!("{what} {}", path.display()), source })
    }
}

pub(super) fn refused(path: &Path, why: impl Into<String>) -> StoreError {
    StoreError::Refused { place: path.display().to_string(), why: why.into() }
}
