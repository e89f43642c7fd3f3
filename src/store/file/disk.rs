//! The calls that change the disk, one method a step, so that a test can stop or fail at each.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
#[cfg(debug_assertions)]
use std::sync::Arc;

use zeroize::Zeroizing;

use super::read::{NOFOLLOW, contents};
#[cfg(test)]
use super::tests::faults::Faults;

/// A step that is about to be done.
#[cfg(debug_assertions)]
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A file is made.
    Create(&'a Path),
    /// Bytes go into a file.
    Write(&'a File, &'a [u8]),
    /// A file is cut to what was written into it.
    Cut(&'a File),
    /// A file is made durable.
    Sync(&'a File),
    /// One file takes another's place.
    Rename(&'a Path, &'a Path),
    /// Renames are made durable.
    SyncFolder,
    /// A file is removed, if it is there.
    Remove(&'a Path),
}

/// Whoever is told of each step before it is done: a test's child process, which dies at one of them. A release build
/// does not know the word, and in the others only code can set one, no configuration.
#[cfg(debug_assertions)]
pub type Watch = Arc<dyn Fn(Step<'_>) + Send + Sync>;

/// The disk. Outside tests it is nothing but these calls.
#[derive(Clone, Default)]
pub(in crate::store) struct Disk {
    #[cfg(test)]
    pub(in crate::store) faults: Faults,
    #[cfg(debug_assertions)]
    pub(in crate::store) watch: Option<Watch>,
}

/// Makes renames durable. Some file systems do not offer it, and then keep the order by themselves.
pub(crate) fn sync_folder(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        done => done,
    }
}

/// Whether an open file is the one that this path names; it may have been removed or replaced since.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (held, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

impl Disk {
    #[cfg(debug_assertions)]
    fn tell(&self, step: Step<'_>) {
        if let Some(watch) = &self.watch {
            watch(step);
        }
    }

    /// A new file that only we may read; a leftover of that name goes first.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.remove(path)?;
        #[cfg(test)]
        self.faults.creating()?;
        #[cfg(debug_assertions)]
        self.tell(Step::Create(path));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600).custom_flags(NOFOLLOW);
        options.open(path)
    }

    /// Everything, at the end of the file.
    pub(super) fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.writing(file, bytes)?;
        #[cfg(debug_assertions)]
        self.tell(Step::Write(file, bytes));
        file.write_all(bytes)
    }

    /// In the place of what the file holds. The old length goes last: until then the blocks stay ours.
    pub(super) fn overwrite(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.rewind()?;
        self.write(file, bytes)?;
        #[cfg(test)]
        self.faults.cutting()?;
        #[cfg(debug_assertions)]
        self.tell(Step::Cut(file));
        file.set_len(bytes.len() as u64)
    }

    /// Durable once `Ok`; after an error the descriptor is not to be asked again.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.syncing(file)?;
        #[cfg(debug_assertions)]
        self.tell(Step::Sync(file));
        file.sync_all()
    }

    /// All there is, up to `limit` bytes: what a save has left, which no other step comes near before it is known.
    pub(super) fn read(&self, file: &File, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        #[cfg(test)]
        self.faults.doing("read")?;
        contents(file, limit)
    }

    /// Puts `from` in the place of `to`.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults.renaming(from, to)?;
        #[cfg(debug_assertions)]
        self.tell(Step::Rename(from, to));
        fs::rename(from, to)
    }

    /// Makes renames durable.
    pub(super) fn sync_folder(&self, folder: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.syncing_folder()?;
        #[cfg(debug_assertions)]
        self.tell(Step::SyncFolder);
        sync_folder(folder)
    }

    /// No error when it was not there.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults.removing(path)?;
        #[cfg(debug_assertions)]
        self.tell(Step::Remove(path));
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_replaced_is_told_from_the_one_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = File::create(&path).unwrap();
        assert!(is_at(&held, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert_eq!(is_at(&held, &path).unwrap_err().kind(), io::ErrorKind::NotFound, "removed");
        File::create(&path).unwrap();
        assert!(!is_at(&held, &path).unwrap(), "replaced");
    }
}
