//! Reads a record, if it may be read at all; sets aside what is none.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::lock::Locked;
use super::place::{Files, Fitness, Place, fitness};
use super::{Doing as _, StoreError, refused};
use crate::store::Record;
use crate::store::record::Unreadable;

/// The last part of a path must not be a link: what it points to could be chosen by others.
pub(super) const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Opening a pipe or a device must not wait for its other end.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// Nothing larger is read: a wrong path (a log, a disk image) ends here. A record is smaller, for it has two tokens at most,
/// each out of an answer of at most 1 MiB, and a character of those takes six bytes in JSON, at worst, and a third more
/// when sealed: 16 MiB, and a few names.
pub(in crate::store) const LARGEST: u64 = 24 * 1024 * 1024;

/// The bytes of a record, and the file to close to others if it must be.
pub(super) struct Found {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    file: File,
    opened_to_group: bool,
}

/// The record without the lock; a rename replaces it whole, so it is one or the other.
pub(super) fn peek(place: &Place) -> Result<Option<Record>, StoreError> {
    let keys = place.keys()?;
    let files = place.find()?;
    let Some(found) = open(&files)? else { return Ok(None) };
    keys.decode(&found.bytes).map(Some).map_err(|unreadable| why_unread(&files.record, unreadable))
}

/// Whether what rests is plain though there is a key, or sealed with another than the first.
pub(super) fn is_outdated(place: &Place) -> Result<bool, StoreError> {
    let (keys, files) = (place.keys()?, place.find()?);
    let Some(found) = open(&files)? else { return Ok(false) };
    let decoded = keys.decode(&found.bytes);
    let outdated = decoded.map(|record| keys.is_outdated(&found.bytes, &record));
    outdated.map_err(|unreadable| why_unread(&files.record, unreadable))
}

/// The record under the lock.
pub(super) fn record(Locked { files, keys, .. }: &Locked) -> Result<Option<Record>, StoreError> {
    let Some(found) = open(files)? else { return Ok(None) };
    if found.opened_to_group {
        found.file.set_permissions(Permissions::from_mode(0o600)).doing("chmod 600", &files.record)?;
    }
    keys.decode(&found.bytes).map(Some).map_err(|unreadable| why_unread(&files.record, unreadable))
}

/// What is wrong with a record that is none; what is whole, and only not to be read here, is refused and stays.
pub(super) fn damage(path: &Path, unreadable: Unreadable) -> Result<String, StoreError> {
    match unreadable {
        Unreadable::Damaged(why) => Ok(why),
        other => Err(why_unread(path, other)),
    }
}

/// Why what stands at `path` is not read.
pub(in crate::store) fn why_unread(path: &Path, unreadable: Unreadable) -> StoreError {
    match unreadable {
        Unreadable::Damaged(why) => corrupt(path, why),
        Unreadable::Sealed(why) => refused(path, why),
        Unreadable::InKeyring(entry) => refused(
            path,
            format!(
                "the grant rests in the keyring, as {}: set `[store] kind = \"keyring\"`, or run `bearerd export` under \
                 that kind and `bearerd import` under this one",
                entry.escape_debug()
            ),
        ),
        Unreadable::Newer(version) => refused(
            path,
            format!(
                "it is of form {version}, written by a newer bearerd; run that one, or move the record away"
            ),
        ),
    }
}

/// The record's bytes, once its kind, owner and modes have been looked at; none when nothing is there.
pub(super) fn open(files: &Files) -> Result<Option<Found>, StoreError> {
    let path = &files.record;
    let opened = OpenOptions::new().read(true).custom_flags(NOFOLLOW | NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if is_link(&error) => {
            return Err(refused(path, "it is a link; let [store] path name the file itself"));
        }
        Err(error) => return Err(error).doing("open", path),
    };
    let found = file.metadata().doing("look at", path)?;
    let folder = fs::metadata(&files.folder).doing("look at", &files.folder)?;
    let opened_to_group = match fitness(path, &found, &folder) {
        Fitness::Fit => false,
        Fitness::Opened => true,
        Fitness::Unfit(why) => return Err(refused(path, why)),
    };
    let bytes = contents(&file, LARGEST).doing("read", path)?;
    Ok(Some(Found { bytes, file, opened_to_group }))
}

/// At most `limit` bytes: what is longer ends in the middle, and so is no record.
pub(super) fn contents(mut file: &File, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let size = file.metadata()?.len().min(limit);
    // With room for one more byte the buffer does not move at the end of the file.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 64));
    (&mut file).take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn corrupt(path: &Path, why: String) -> StoreError {
    StoreError::Corrupt { place: path.display().to_string(), why, aside: None }
}

pub(super) fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}
