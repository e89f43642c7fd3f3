//! The lock file: flock, because the kernel takes it from a process that dies, whatever it died of.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use super::place::{Files, Place};
use super::read::NOFOLLOW;
use super::{Doing as _, StoreError};
use crate::store::seal::Keys;

/// A lock that is held until this is dropped, and the files it stands for.
pub(super) struct Locked {
    pub(super) files: Files,
    /// Opened beforehand, so that saving a successor opens nothing.
    pub(super) folder: File,
    /// What seals and opens the record.
    pub(super) keys: Arc<Keys>,
    _lock: File,
}

/// Takes the lock if nobody has it. Never a POSIX record lock: those go when any descriptor of the file is closed.
pub(super) fn try_take(place: &Place) -> Result<Option<Locked>, StoreError> {
    // Before the lock: a command that tells a key may take its time.
    let keys = place.keys()?;
    let files = place.settle()?;
    let lock = open(&files.lock).doing("open", &files.lock)?;
    match lock.try_lock() {
        Ok(()) if is_at(&lock, &files.lock) => {
            let folder = File::open(&files.folder).doing("open", &files.folder)?;
            Ok(Some(Locked { files, folder, keys, _lock: lock }))
        }
        // Somebody removed or replaced the file meanwhile: a lock on what nobody else will open is no lock.
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).doing("lock", &files.lock),
    }
}

/// Makes the lock file if need be. On a disk that has become read-only one that is there can be locked all the same: a
/// line that never rotates goes on.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(NOFOLLOW);
    let made = options.clone().write(true).create(true).truncate(false).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => options.open(path),
        made => made,
    }
}

fn is_at(lock: &File, path: &Path) -> bool {
    let named = fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()));
    let held = lock.metadata().map(|found| (found.dev(), found.ino()));
    matches!((held, named), (Ok(held), Ok(named)) if held == named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_a_file_that_was_replaced_is_told_from_one_that_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = File::create(&path).unwrap();
        assert!(is_at(&lock, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&lock, &path), "removed");
        File::create(&path).unwrap();
        assert!(!is_at(&lock, &path), "replaced");
    }
}
