//! Sets aside what is no record, under the lock and never over anything, so that a person can look at it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::disk::{Disk, is_at};
use super::lock::Locked;
use super::{Doing as _, StoreError, write};
use crate::clock::Clock;

/// Where it is from then on. With `stand_in` to take its place it gets a second name first and loses its own to that
/// by a rename, so that at no time the place is empty: whoever found it so would begin with a seed that is used up.
pub(super) fn set_aside(
    locked: &Locked,
    disk: &Disk,
    stand_in: Option<&[u8]>,
) -> Result<Option<PathBuf>, StoreError> {
    let path = &locked.files.record;
    let Some(aside) = name_beside(path) else { return Ok(None) };
    let Some(stand_in) = stand_in else { return Ok(fs::rename(path, &aside).ok().map(|()| aside)) };
    // Where no file can have two names.
    let named = fs::hard_link(path, &aside).or_else(|_| fs::copy(path, &aside).map(drop));
    named.doing("set aside a damaged record as", &aside)?;
    let replaced = write::replace_anew(locked, disk, stand_in);
    if replaced.is_err() && File::open(&aside).and_then(|set| is_at(&set, path)).unwrap_or(false) {
        // It still rests where it was, and is set aside by whoever begins next.
        let _ = fs::remove_file(&aside);
    }
    replaced.map(|()| Some(aside))
}

fn name_beside(path: &Path) -> Option<PathBuf> {
    let seconds = Clock::System.now().wall.as_secs();
    let named = |ending: String| PathBuf::from(format!("{}.corrupt-{ending}", path.display()));
    std::iter::once(named(seconds.to_string()))
        .chain((2..1000).map(|nth| named(format!("{seconds}-{nth}"))))
        .find(|aside| fs::symlink_metadata(aside).is_err())
}
