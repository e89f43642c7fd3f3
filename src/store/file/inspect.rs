//! Whether a record could be saved, found out beside the program that saves: nothing of the store is touched.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::place::{Place, check_file_system};
use super::{Doing as _, StoreError, read};

/// About what a record takes.
const ROOM: usize = 16 * 1024;

/// Looks at what rests, and writes a file of another name beside it, which is gone afterwards. Where there is no folder
/// yet, none is made: that one may be made is enough.
pub(super) fn run(place: &Place) -> Result<(), StoreError> {
    read::peek(place)?;
    folder(place)
}

/// The same for whoever knows what rests.
pub(in crate::store) fn folder(place: &Place) -> Result<(), StoreError> {
    let files = place.find()?;
    match fs::metadata(&files.folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let there = nearest(&files.folder);
            rustix::fs::access(&there, Access::WRITE_OK | Access::EXEC_OK)
                .map_err(io::Error::from)
                .doing("make a folder in", &there)
        }
        Err(error) => Err(error).doing("look at", &files.folder),
        Ok(_) => {
            check_file_system(&files.folder, place.allow_network_fs)?;
            let path = PathBuf::from(format!("{}.check-{}", files.record.display(), std::process::id()));
            let written = write(&path);
            // It may not have come to be.
            let _ = fs::remove_file(&path);
            written.doing("write", &path)
        }
    }
}

/// The folder in which the missing ones would be made.
fn nearest(folder: &Path) -> PathBuf {
    let mut above = folder.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
    above.find(|path| path.exists()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn write(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&[b' '; ROOM])?;
    file.sync_all()
}
