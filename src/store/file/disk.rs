//! The calls that change the disk, one method a step, so that a test can stop or fail at each.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::read::NOFOLLOW;
#[cfg(test)]
use super::tests::faults::Faults;

/// The disk. Outside tests it is nothing but these calls.
#[derive(Clone, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) faults: Faults,
}

impl Disk {
    /// A new file that only we may read; a leftover of that name goes first.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.remove(path)?;
        #[cfg(test)]
        self.faults.creating()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600).custom_flags(NOFOLLOW);
        options.open(path)
    }

    /// Everything, at the end of the file.
    pub(super) fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.writing(file, bytes)?;
        file.write_all(bytes)
    }

    /// In the place of what the file holds. The old length goes last: until then the blocks stay ours.
    pub(super) fn overwrite(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.rewind()?;
        self.write(file, bytes)?;
        #[cfg(test)]
        self.faults.cutting()?;
        file.set_len(bytes.len() as u64)
    }

    /// Durable once `Ok`; after an error the descriptor is not to be asked again.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.syncing(file)?;
        file.sync_all()
    }

    /// Puts `from` in the place of `to`.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults.renaming(from, to)?;
        fs::rename(from, to)
    }

    /// Makes renames durable. Some file systems do not offer it, and then keep the order by themselves.
    pub(super) fn sync_folder(&self, folder: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.syncing_folder()?;
        match folder.sync_all() {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            done => done,
        }
    }

    /// No error when it was not there.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        self.faults.removing(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}
