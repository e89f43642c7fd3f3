//! Which folder and which files: names, modes, owners, and the kinds of file system that cannot be trusted with a lock.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Doing as _, StoreError, refused};
use crate::store::seal::{Keys, Seal};
use crate::token::GrantName;

/// The folder of our own inside one that everybody may write in.
const OWN_FOLDER: &str = "bearerd";

/// Where a grant's record is asked to be.
#[derive(Debug)]
pub(in crate::store) struct Place {
    folder: PathBuf,
    name: String,
    /// Whether the operator trusts the locks of another machine's file system.
    pub(in crate::store) allow_network_fs: bool,
    pub(super) seal: Seal,
}

/// The files of one grant, as they are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
    pub(super) record: PathBuf,
    pub(super) lock: PathBuf,
    pub(super) spare: PathBuf,
    pub(super) fresh: PathBuf,
    pub(super) probe: PathBuf,
}

impl Place {
    /// `path` is the default grant's record; NAME's is `state.NAME.json` beside it.
    pub(in crate::store) fn of(path: &Path, grant: &GrantName) -> Result<Self, StoreError> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(refused(
                path,
                "its last part is not the name of a file; write one, as in state.json",
            ));
        };
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // Whoever runs elsewhere names it in the same way.
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let file = match grant.as_str() {
            GrantName::DEFAULT => name.to_owned(),
            grant if is_plain(grant) => beside(name, grant),
            grant => {
                return Err(refused(
                    path,
                    format!("the grant name {grant:?} cannot be part of a file's name"),
                ));
            }
        };
        Ok(Self { folder, name: file, allow_network_fs: false, seal: Seal::new(grant, &[]) })
    }

    /// What seals and opens the record.
    pub(super) fn keys(&self) -> Result<Arc<Keys>, StoreError> {
        self.seal.keys().map_err(|why| StoreError::Refused { place: self.shown(), why })
    }

    /// The record's path as it was asked for.
    pub(in crate::store) fn asked(&self) -> String {
        self.folder.join(&self.name).display().to_string()
    }

    /// The record's path, for people.
    pub(super) fn shown(&self) -> String {
        self.find().map_or_else(|_| self.folder.join(&self.name), |files| files.record).display().to_string()
    }

    /// The files where they are, or would be; makes nothing.
    pub(super) fn find(&self) -> Result<Files, StoreError> {
        let outer = Files::of(&self.folder, &self.name);
        let inner = Files::of(&self.folder.join(OWN_FOLDER), &self.name);
        let open_to_all = match fs::metadata(&self.folder) {
            Ok(found) if !found.is_dir() => {
                return Err(refused(&outer.record, "it would lie in what is no folder"));
            }
            Ok(found) => found.mode() & 0o002 != 0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error).doing("look at", &self.folder),
        };
        // Either way round, a record that is not found is a seed presented a second time: say so instead.
        match (open_to_all, is_there(&outer.record), is_there(&inner.record)) {
            (true, true, false) => Err(refused(&outer.record, left_outside(&self.folder, &inner.folder))),
            (false, false, true) => Err(refused(&outer.record, left_inside(&inner.record))),
            (true, _, _) => Ok(inner),
            (false, _, _) => Ok(outer),
        }
    }

    /// The same, with the folder made where it was missing, and found fit for a lock.
    pub(super) fn settle(&self) -> Result<Files, StoreError> {
        make_folder(&self.folder)?;
        let files = self.find()?;
        if files.folder != self.folder {
            make_folder(&files.folder)?;
            check_own_folder(&files.folder)?;
        }
        check_file_system(&files.folder, self.allow_network_fs)?;
        Ok(files)
    }
}

impl Files {
    fn of(folder: &Path, name: &str) -> Self {
        let file = |ending: &str| folder.join(format!("{name}{ending}"));
        Self {
            folder: folder.to_owned(),
            record: file(""),
            lock: file(".lock"),
            spare: file(".spare"),
            fresh: file(".new"),
            probe: file(".probe"),
        }
    }
}

/// What the configuration promises of a grant's name.
fn is_plain(grant: &str) -> bool {
    !grant.is_empty() && grant.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// `state.json` and `work` make `state.work.json`. A name without an ending gets `.json`, so that no grant's record can
/// bear the name of another's lock.
fn beside(name: &str, grant: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => format!("{stem}.{grant}.{ending}"),
        _ => format!("{name}.{grant}.json"),
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn left_outside(folder: &Path, inner: &Path) -> String {
    format!(
        "everybody may write in {0}, so the record belongs into {1}: move it there, or run `chmod o-w {0}`",
        folder.display(),
        inner.display()
    )
}

fn left_inside(inner: &Path) -> String {
    format!(
        "nothing is there, but {} is, from when everybody could write in its parent: move it here, or remove it",
        inner.display()
    )
}

/// Makes the folder 0700 and its parents as they are made everywhere.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).doing("create", parent)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).doing("create", folder),
        // Best effort: where it cannot be done, the folder is at worst made again, and empty, after a power cut.
        _ => {
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
            Ok(())
        }
    }
}

/// In a folder that everybody may write in, somebody may have been here first.
fn check_own_folder(folder: &Path) -> Result<(), StoreError> {
    let found = fs::symlink_metadata(folder).doing("look at", folder)?;
    if !found.is_dir() {
        return Err(refused(folder, "it is not a folder (nor may it be a link); remove it"));
    }
    if found.uid() != own_uid() {
        return Err(refused(folder, foreign(&found, folder)));
    }
    if found.mode() & 0o002 != 0 {
        return Err(refused(
            folder,
            format!("everybody may write in it; run `chmod 700 {}`", folder.display()),
        ));
    }
    Ok(())
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn foreign(found: &Metadata, path: &Path) -> String {
    let (owner, us) = (found.uid(), own_uid());
    format!("it belongs to user {owner} and bearerd runs as user {us}; run `chown {us} {}`", path.display())
}

/// What becomes of a record with these modes and owners.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fitness {
    /// Ours, and closed to others.
    Fit,
    /// Open to a group in the way that Kubernetes opens what a volume holds; to be closed again.
    Opened,
    /// Not to be used, and why.
    Unfit(String),
}

/// R46: a record that others could read is not used, so that the operator hears of it. One case is closed silently:
/// with `fsGroup`, the kubelet gives every file of a volume to the Pod's own group, read and write, and marks the
/// folders setgid, each time the volume is mounted. To refuse that would be to refuse each second start of a Pod.
pub(super) fn fitness(path: &Path, record: &Metadata, folder: &Metadata) -> Fitness {
    let path_shown = path.display();
    if !record.is_file() {
        return Fitness::Unfit(format!("{path_shown} is not a regular file; let [store] path name one"));
    }
    if record.uid() != own_uid() {
        return Fitness::Unfit(foreign(record, path));
    }
    let by_kubelet = folder.mode() & 0o2000 != 0 && folder.gid() == record.gid();
    match record.mode() & 0o077 {
        0 => Fitness::Fit,
        others if others & 0o007 == 0 && by_kubelet => Fitness::Opened,
        _ => Fitness::Unfit(format!("others may read or change it; run `chmod 600 {path_shown}`")),
    }
}

/// Locks on these end unannounced when the server or the network fails, and then two hold one.
#[cfg(target_os = "linux")]
pub(super) fn check_file_system(folder: &Path, allow_network_fs: bool) -> Result<(), StoreError> {
    let found =
        rustix::fs::statfs(folder).map_err(io::Error::from).doing("look at the file system of", folder)?;
    // The type is signed on some machines and the numbers are of 32 bits: the cast keeps the bits.
    unfit_for_locks(found.f_type as u32, allow_network_fs).map_or(Ok(()), |why| Err(refused(folder, why)))
}

#[cfg(target_os = "linux")]
fn unfit_for_locks(kind: u32, allow_network_fs: bool) -> Option<String> {
    network_name(kind).filter(|_| !allow_network_fs).map(|name| {
        format!(
            "it lies on {name}, where a lock can be lost unnoticed and two may then present one refresh token; let [store] \
             path be on a disk of this machine, or set allow_network_fs = true if no other process will ever use it"
        )
    })
}

#[cfg(not(target_os = "linux"))]
fn check_file_system(_: &Path, _: bool) -> Result<(), StoreError> {
    Ok(())
}

/// Magic numbers as in statfs(2) and in what these file systems publish. FUSE is no sign of a network: containers on a
/// desktop get every folder through it.
#[cfg(target_os = "linux")]
fn network_name(kind: u32) -> Option<&'static str> {
    match kind {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("an SMB share"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        0x00c3_6400 => Some("CephFS"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x4750_4653 => Some("GPFS"),
        0x1983_0326 => Some("BeeGFS"),
        0x0102_1997 => Some("9P"),
        0x564c | 0x7375_7245 => Some("a share of another machine's"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(path: &str, grant: &str) -> String {
        Place::of(Path::new(path), &GrantName::new(grant)).map(|place| place.name).unwrap()
    }

    #[test]
    fn each_grant_has_a_record_of_its_own_beside_the_default_one() {
        assert_eq!(name_of("/var/lib/bearerd/state.json", "default"), "state.json");
        assert_eq!(name_of("/var/lib/bearerd/state.json", "work_2-b"), "state.work_2-b.json");
        assert_eq!(name_of("state", "lock"), "state.lock.json", "not the lock of `state`");
        assert_eq!(name_of(".state", "a"), ".state.a.json");
        assert_eq!(name_of("my.state.db", "a"), "my.state.a.db");
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for grant in ["", "..", "a/b", "A", "a.b", "a b", "é", "a\0"] {
            assert!(Place::of(Path::new("/s/state.json"), &GrantName::new(grant)).is_err(), "{grant:?}");
        }
        for path in ["/", "..", "/a/.."] {
            assert!(Place::of(Path::new(path), &GrantName::new("default")).is_err(), "{path}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn shares_over_a_network_are_known_by_their_magic_numbers() {
        for (kind, name) in [
            (0x6969, "NFS"),
            (0x517b, "an SMB share"),
            (0xff53_4d42, "an SMB share"),
            (0xfe53_4d42, "an SMB share"),
            (0x0102_1997, "9P"),
            (0x00c3_6400, "CephFS"),
        ] {
            assert_eq!(unfit_for_locks(kind, true), None, "asked for");
            let why = unfit_for_locks(kind, false).unwrap();
            assert!(
                why.contains(&format!("it lies on {name}, ")) && why.contains("allow_network_fs"),
                "{why}"
            );
        }
        let own = [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630, 0x2fc1_2fc1, 0x6573_5546];
        for kind in own {
            assert_eq!(
                unfit_for_locks(kind, false),
                None,
                "{kind:x}: ext4, tmpfs, XFS, btrfs, overlay, ZFS, FUSE"
            );
        }
    }
}
