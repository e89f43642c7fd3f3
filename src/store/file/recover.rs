//! Finishes what a killed holder had begun: a save that reached the disk and was not yet renamed.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::disk::Disk;
use super::lock::Locked;
use super::read::{LARGEST, NOFOLLOW, contents, damage, is_link};
use super::{Doing as _, StoreError};
use crate::store::Record;
use crate::store::record::Unreadable;
use crate::store::seal::Keys;

/// Looks at the files that a holder writes before it renames them. One that holds a whole, later record of the same
/// lineage is the save that its holder did not live to finish: it becomes the record, for it may carry the only copy
/// of a refresh token that the server has already rotated to. Everything else is removed.
///
/// Without a record, or for another lineage, nothing is finished: the operator may have removed the record on purpose.
/// What cannot be read here, because the disk fails or it is sealed with another key, is not removed: the lock is refused.
pub(super) fn leftovers(
    locked: &Locked,
    disk: &Disk,
    resting: Option<Record>,
) -> Result<Option<Record>, StoreError> {
    let files = &locked.files;
    let mut newest = resting;
    for path in [&files.spare, &files.fresh] {
        let Some(left) = whole_record(path, disk, &locked.keys)? else { continue };
        if newest.as_ref().is_some_and(|resting| is_successor(&left, resting)) {
            finish(locked, disk, path)?;
            tracing::warn!(
                event = "store_save_finished",
                generation = left.generation,
                "a save that an earlier process had begun was finished"
            );
            newest = Some(left);
        }
    }
    clear(locked, disk);
    Ok(newest)
}

/// Removes what is no record's.
pub(super) fn clear(locked: &Locked, disk: &Disk) {
    let files = &locked.files;
    for path in [&files.spare, &files.fresh, &files.probe] {
        // What cannot be removed is overwritten later, or says then why not.
        let _ = disk.remove(path);
    }
}

fn is_successor(left: &Record, resting: &Record) -> bool {
    left.lineage == resting.lineage && left.generation > resting.generation
}

/// A record that was written whole; it may be followed by the zeros of the room it was written into.
fn whole_record(path: &Path, disk: &Disk, keys: &Keys) -> Result<Option<Record>, StoreError> {
    let Some(bytes) = own_bytes(path, disk).doing("read what a save has left in", path)? else {
        return Ok(None);
    };
    let Some(end) = bytes.iter().rposition(|byte| *byte != 0) else { return Ok(None) };
    match keys.decode(bytes.get(..=end).unwrap_or_default()) {
        Ok(record) => Ok(Some(record)),
        // One that did not come to its place says nothing.
        Err(Unreadable::InKeyring(_)) => Ok(None),
        Err(unreadable) => damage(path, unreadable).map(|_torn| None),
    }
}

/// What is in a file of ours; nothing if it is none. One that is ours and cannot be read may hold the only copy there is.
fn own_bytes(path: &Path, disk: &Disk) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let file = match OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_link(&error) => return Ok(None),
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
        return Ok(None);
    }
    disk.read(&file, 2 * LARGEST).map(Some)
}

/// Cuts the zeros off, which are none of the record's, and does the rest of the save.
fn finish(locked: &Locked, disk: &Disk, path: &Path) -> Result<(), StoreError> {
    let record = &locked.files.record;
    let save = || -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(NOFOLLOW).open(path)?;
        let bytes = contents(&file, 2 * LARGEST)?;
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        disk.overwrite(&file, bytes.get(..end).unwrap_or_default())?;
        disk.sync(&file)
    };
    save().doing("finish the save in", path)?;
    disk.rename(path, record).doing("replace", record)?;
    disk.sync_folder(&locked.folder).doing("save the folder", &locked.files.folder)
}
