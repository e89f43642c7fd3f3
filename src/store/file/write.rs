//! The lock, held, and everything that changes the record under it: old or new, never anything else.

use std::fs::File;
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::disk::Disk;
use super::lock::Locked;
use super::place::Files;
use super::{Doing as _, StoreError, aside, read, recover, refused};
use crate::store::held::{self, Displaced};
use crate::store::{Intent, NO_RECORD, Record, StandIn};

/// How much larger than the record the spare is: a successor may be, when the server's tokens grow.
const MARGIN: usize = 64 * 1024;

/// What one transaction holds.
pub(super) struct Held {
    locked: Locked,
    disk: Disk,
    /// The record as it rests, as far as we know.
    resting: Option<Record>,
    /// Set from when an intent of ours may stand until a commit or its taking back.
    ours: Option<Displaced>,
    /// Opened and allocated with the intent, so that saving the successor needs neither a descriptor nor room.
    spare: Option<File>,
}

impl Held {
    /// Reads the record under the lock, and finishes or clears what a killed holder left. What is damaged is set aside.
    pub(super) fn new(locked: Locked, disk: Disk, stand_in: StandIn) -> Result<Self, StoreError> {
        let resting = match read::record(&locked) {
            Err(StoreError::Corrupt { place, why, .. }) => {
                let stand_in = encoded(&locked, stand_in())?;
                let aside = aside::set_aside(&locked, &disk, stand_in.as_ref().map(|bytes| &***bytes))?;
                return Err(StoreError::Corrupt { place, why, aside });
            }
            read => read?,
        };
        let resting = recover::leftovers(&locked, &disk, resting)?;
        Ok(Self { locked, disk, resting, ours: None, spare: None })
    }

    /// Into the spare if there is one. When that fails in any way the write is done anew: after a failed fsync the
    /// kernel may count as written what is not on the disk, so that descriptor is not asked again. A file system that
    /// never writes in place (btrfs, ZFS) can be too full even for the spare: giving that back makes the room.
    fn replace(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(spare) = self.spare.take() {
            match replace_with(&self.locked, &self.disk, &spare, bytes) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(event = "store_spare_failed", %error, "the record is written anew");
                    if is_full(&error) {
                        drop(spare);
                        let _ = self.disk.remove(&self.locked.files.spare);
                    }
                }
            }
        }
        replace_anew(&self.locked, &self.disk, bytes)
    }
}

impl held::Held for Held {
    fn resting(&self) -> Option<&Record> {
        self.resting.as_ref()
    }

    /// The room first, then the intent: what fails in between leaves the record as it was.
    fn intend(&mut self, intent: Intent) -> Result<(), StoreError> {
        let files = &self.locked.files;
        let Some(resting) = &self.resting else { return Err(refused(&files.record, NO_RECORD)) };
        let noted = Record { intent: Some(intent), ..resting.clone() };
        let bytes = self.locked.keys.encode(&noted).doing("write", &files.record)?;

        self.spare = None;
        self.spare = Some(set_space_aside(&self.disk, &files.spare, bytes.len())?);
        self.ours.get_or_insert(Displaced(resting.intent.clone()));
        replace_anew(&self.locked, &self.disk, &bytes)?;
        self.resting = Some(noted);
        Ok(())
    }

    fn commit(&mut self, record: Record) -> Result<(), StoreError> {
        let bytes = self.locked.keys.encode(&record).doing("write", &self.locked.files.record)?;
        self.replace(&bytes)?;
        self.resting = Some(record);
        self.ours = None;
        Ok(())
    }

    /// Puts back what stood before an intent of ours, be it nothing or another's.
    fn abandon(&mut self) -> Result<(), StoreError> {
        match (&self.ours, &self.resting) {
            (Some(Displaced(before)), Some(resting)) => {
                let record = Record { intent: before.clone(), ..resting.clone() };
                self.commit(record)
            }
            _ => Ok(()),
        }
    }
}

fn encoded(locked: &Locked, record: Option<Record>) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let encode = |record| locked.keys.encode(&record).doing("write", &locked.files.record);
    record.map(encode).transpose()
}

fn is_full(error: &StoreError) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    matches!(error, StoreError::Io { source, .. } if full.contains(&source.kind()))
}

/// A file of the record's size and a margin, with its blocks really on the disk: zeros, because a hole has none.
pub(super) fn set_space_aside(disk: &Disk, path: &Path, record: usize) -> Result<File, StoreError> {
    let allocate = || {
        let spare = disk.create(path)?;
        disk.write(&spare, &vec![0; record.saturating_add(MARGIN)])?;
        disk.sync(&spare)?;
        Ok(spare)
    };
    let allocated = allocate().doing("reserve room for the record's successor in", path);
    if allocated.is_err() {
        // What was had of the room would be missing elsewhere.
        let _ = disk.remove(path);
    }
    allocated
}

/// Fills the room that was set aside, and makes it the record.
pub(super) fn replace_with(
    locked: &Locked,
    disk: &Disk,
    spare: &File,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let Files { spare: path, record, folder, .. } = &locked.files;
    disk.overwrite(spare, bytes).doing("write", path)?;
    disk.sync(spare).doing("write", path)?;
    disk.rename(path, record).doing("replace", record)?;
    disk.sync_folder(&locked.folder).doing("save the folder", folder)
}

/// Writes a new file, and makes it the record.
pub(super) fn replace_anew(locked: &Locked, disk: &Disk, bytes: &[u8]) -> Result<(), StoreError> {
    let Files { fresh, record, folder, .. } = &locked.files;
    let write = || {
        let file = disk.create(fresh)?;
        disk.write(&file, bytes)?;
        disk.sync(&file)
    };
    write().doing("write", fresh)?;
    disk.rename(fresh, record).doing("replace", record)?;
    disk.sync_folder(&locked.folder).doing("save the folder", folder)
}
