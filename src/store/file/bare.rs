//! The place of a record as bare bytes, for a store that keeps the record elsewhere and leaves a mark here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::disk::Disk;
use super::lock::Locked;
use super::place::Place;
use super::{StoreError, aside, lock, probe, read, recover, write};

/// The bytes of what rests in the place, if anything does.
pub(in crate::store) type Placed = Option<Zeroizing<Vec<u8>>>;

/// The place, with its lock held.
pub(in crate::store) struct Bare {
    locked: Locked,
    disk: Disk,
}

impl Bare {
    /// Takes the lock, waiting up to `patience`.
    pub(in crate::store) async fn take(
        place: &Arc<Place>,
        disk: Disk,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let locked = lock::take(place, patience).await?;
        Ok(Self { locked, disk })
    }

    /// Where it is.
    pub(in crate::store) fn path(&self) -> &Path {
        &self.locked.files.record
    }

    /// What rests here.
    pub(in crate::store) fn read(&self) -> Result<Placed, StoreError> {
        Ok(read::open(&self.locked.files)?.map(|found| found.bytes))
    }

    /// Removes what a killed holder had begun to write: here, what is not in its place says nothing.
    pub(in crate::store) fn clear(&self) {
        recover::clear(&self.locked, &self.disk);
    }

    /// Replaces what rests here; durable once `Ok`.
    pub(in crate::store) fn replace(&self, bytes: &[u8]) -> Result<(), StoreError> {
        write::replace_anew(&self.locked, &self.disk, bytes)
    }

    /// Sets aside what rests here, and puts these bytes in its place.
    pub(in crate::store) fn set_aside(&self, stand_in: Option<&[u8]>) -> Result<Option<PathBuf>, StoreError> {
        aside::set_aside(&self.locked, &self.disk, stand_in)
    }

    /// Finds out whether it can be replaced, by doing so with these same bytes.
    pub(in crate::store) fn try_out(
        &self,
        place: &Place,
        resting: Option<&Vec<u8>>,
    ) -> Result<(), StoreError> {
        let tried = probe::rewrite(&self.locked, &self.disk, resting);
        if tried.is_err() {
            // It is also cleared with the next lock; other files are not the trial's.
            let _ = self.disk.remove(&self.locked.files.probe);
        }
        tried.map_err(|error| probe::with_cure(error, place))
    }
}

/// What rests in a place, without the lock, and where that is.
pub(in crate::store) fn peek(place: &Place) -> Result<(PathBuf, Placed), StoreError> {
    let files = place.find()?;
    let found = read::open(&files)?.map(|found| found.bytes);
    Ok((files.record, found))
}
