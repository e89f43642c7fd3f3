//! The trial at start (R43): does everything that a save does, where a save would do it, and changes nothing but the key
//! that a record is sealed with.

use std::io;
use std::time::Duration;

use super::disk::Disk;
use super::lock::Locked;
use super::place::Place;
use super::{Doing as _, StoreError, read, recover, write};

/// How long a probe waits for the lock: one save's time, not a token request's, because the program is starting.
pub(in crate::store) const PATIENCE: Duration = Duration::from_secs(1);

/// How long one waits whose start is to seal what rests with another key: through a redeem and its save. Who changes keys was
/// told that one start is enough.
pub(super) const PATIENCE_TO_RESEAL: Duration = Duration::from_secs(30);

/// Reserves room as an intent does, fills it, and renames it.
///
/// Where a record rests, the probe's file carries **its very bytes** and is renamed over it: killed at any point, it
/// leaves the record as it was. A record that is plain though there is a key, or sealed with another than the first, is
/// sealed with that one instead, so that after a start no other is needed. Only what is there can resist (a mount point of its own, an immutable file), so where
/// nothing rests an empty file is renamed to another name beside it, and no half-made record is ever at the path.
pub(super) fn run(locked: &Locked, disk: &Disk) -> Result<(), StoreError> {
    let tried = try_out(locked, disk);
    if tried.is_err() {
        // It is also cleared with the next lock.
        let _ = disk.remove(&locked.files.probe);
    }
    tried
}

fn try_out(locked: &Locked, disk: &Disk) -> Result<(), StoreError> {
    let files = &locked.files;
    let found = read::open(files)?;
    let decoded = found.as_ref().map(|found| locked.keys.decode(&found.bytes));
    let resealed = match (&found, &decoded) {
        (Some(found), Some(Ok(record))) if locked.keys.is_outdated(&found.bytes, record) => {
            // What is left of a save is sealed as the record was.
            let record = recover::leftovers(locked, disk, Some(record.clone()))?;
            let encode = |record| locked.keys.encode(&record).doing("write", &files.record);
            record.map(encode).transpose()?
        }
        _ => None,
    };
    let found = found.as_ref().map(|found| &*found.bytes);
    rewrite(locked, disk, resealed.as_ref().map_or(found, |bytes| Some(bytes)))?;
    match decoded {
        // Damage is for whoever begins: it is set aside then.
        Some(Err(unreadable)) => read::damage(&files.record, unreadable).map(drop),
        _ => Ok(()),
    }
}

/// Puts a file of these bytes where they rest already; where nothing does, only beside it.
pub(super) fn rewrite(locked: &Locked, disk: &Disk, resting: Option<&Vec<u8>>) -> Result<(), StoreError> {
    let files = &locked.files;
    let (from, to) = match resting {
        Some(_) => (&files.probe, &files.record),
        None => (&files.probe, &files.fresh),
    };
    let bytes = resting.map_or(&[][..], |bytes| bytes);
    let room = write::set_space_aside(disk, from, bytes.len())?;
    disk.overwrite(&room, bytes).doing("write", from)?;
    disk.sync(&room).doing("write", from)?;
    disk.rename(from, to).doing("replace", to)?;
    if resting.is_none() {
        disk.remove(to).doing("remove", to)?;
    }
    disk.sync_folder(&locked.folder).doing("save the folder", &files.folder)
}

/// What can be found out while another process holds the lock: whether what rests is to be read here, and is to be sealed
/// with another key.
pub(super) fn look(place: &Place) -> Result<bool, StoreError> {
    match read::is_outdated(place) {
        // Damage is for whoever begins.
        Err(StoreError::Corrupt { .. }) => Ok(false),
        looked => looked,
    }
}

/// Says what to do where the system only says what is wrong.
pub(in crate::store) fn with_cure(error: StoreError, place: &Place) -> StoreError {
    match error {
        StoreError::Io { doing, source } => match cure(source.kind()) {
            Some(cure) => {
                StoreError::Refused { place: place.shown(), why: format!("cannot {doing}: {source}; {cure}") }
            }
            None => StoreError::Io { doing, source },
        },
        other => other,
    }
}

fn cure(kind: io::ErrorKind) -> Option<String> {
    Some(match kind {
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only, as mounts of Kubernetes Secrets are: let [store] path be in a volume that \
             can be written"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            let us = rustix::process::geteuid().as_raw();
            format!("give the folder to user {us}, who runs bearerd, or let [store] path name one that is theirs")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some room (a record and its successor need 256 KiB), or let [store] path name another disk".to_owned()
        }
        io::ErrorKind::ResourceBusy => {
            "a file that is a mount of its own cannot be replaced: mount its folder instead".to_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::token::GrantName;

    #[test]
    fn each_refusal_of_the_system_is_told_with_its_cure() {
        let place = Place::of(Path::new("/nowhere/state.json"), &GrantName::new("default")).unwrap();
        let told = |kind: io::ErrorKind| {
            let doing = "write /nowhere/state.json".to_owned();
            with_cure(StoreError::Io { doing, source: kind.into() }, &place).to_string()
        };
        for (kind, cure) in [
            (io::ErrorKind::ReadOnlyFilesystem, "a volume that can be written"),
            (io::ErrorKind::PermissionDenied, "give the folder to user "),
            (io::ErrorKind::StorageFull, "free some room"),
            (io::ErrorKind::QuotaExceeded, "free some room"),
            (io::ErrorKind::ResourceBusy, "mount its folder instead"),
        ] {
            assert!(told(kind).contains(cure), "{}", told(kind));
            assert!(told(kind).starts_with("/nowhere/state.json cannot be the store"), "{}", told(kind));
        }
        assert_eq!(told(io::ErrorKind::Other), "cannot write /nowhere/state.json: other error");
    }
}
