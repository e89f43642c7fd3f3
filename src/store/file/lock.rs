//! The lock file: flock, because the kernel takes it from a process that dies, whatever it died of.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::disk::is_at;
use super::place::{Files, Place};
use super::read::NOFOLLOW;
use super::{Doing as _, StoreError};
use crate::clock::Stopwatch;
use crate::secret::dice;
use crate::store::held::blocking;
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

/// How often the lock is asked for, and how much chance is added so that waiters do not march in step
/// (R39, engine §8.7).
const POLL: Duration = Duration::from_millis(50);
const JITTER: Duration = Duration::from_millis(25);

/// Asks for the lock until it is had or `patience` is over.
pub(super) async fn take(place: &Arc<Place>, patience: Duration) -> Result<Locked, StoreError> {
    let waiting = Stopwatch::start();
    loop {
        let asked = Arc::clone(place);
        if let Some(locked) = blocking(move || try_take(&asked)).await? {
            return Ok(locked);
        }
        let left = patience.saturating_sub(waiting.elapsed());
        if left.is_zero() {
            return Err(StoreError::Locked { place: place.shown() });
        }
        tokio::time::sleep(POLL.saturating_add(JITTER.mul_f64(dice())).min(left)).await;
    }
}

/// Takes the lock if nobody has it. Never a POSIX record lock: those go when any descriptor of the file is closed.
fn try_take(place: &Place) -> Result<Option<Locked>, StoreError> {
    // Before the lock: a command that tells a key may take its time.
    let keys = place.keys()?;
    let files = place.settle()?;
    let lock = open(&files.lock).doing("open", &files.lock)?;
    match lock.try_lock() {
        Ok(()) if is_at(&lock, &files.lock).unwrap_or(false) => {
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
