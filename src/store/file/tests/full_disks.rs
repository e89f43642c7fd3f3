//! Real disks that are full, read-only or mounted in the wrong place; skipped, loudly, where nothing may be mounted.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::secret::RefreshToken;
use crate::store::Store as _;
use crate::store::sample::{intent, record};

/// A file system of 1 MiB, gone when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
    filling: PathBuf,
}

impl SmallDisk {
    fn mount(promise: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "bearerd-test"];
        let mounted = Command::new("mount").args(mount).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            let filling = folder.path().join("filling");
            return Some(Self { folder, filling });
        }
        eprintln!("SKIPPED, nothing may be mounted here: {promise}");
        None
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    fn fill(&self) {
        let mut filling = File::create(&self.filling).unwrap();
        let full = loop {
            if let Err(error) = filling.write_all(&[1; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        assert!(mount.args(["-o", options]).arg(self.folder.path()).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_after_the_intent_cannot_lose_a_larger_successor() {
    let Some(disk) = SmallDisk::mount("a_disk_that_fills_up_after_the_intent_cannot_lose_a_larger_successor")
    else {
        return;
    };
    rest(&disk.path(), record(1)).await;
    let mut txn = begin(&disk.path()).await.unwrap();
    txn.intend(intent("refresh-1", "one")).await.unwrap();
    disk.fill();
    let larger = Record { refresh_token: Some(RefreshToken::new("r".repeat(60_000))), ..record(2) };
    txn.commit(larger.clone()).await.unwrap();
    drop(txn);
    assert_eq!(found(&disk.path()).await, Some(larger));
}

#[tokio::test]
async fn on_a_full_disk_there_is_no_intent_and_the_record_stays() {
    let Some(disk) = SmallDisk::mount("on_a_full_disk_there_is_no_intent_and_the_record_stays") else {
        return;
    };
    rest(&disk.path(), record(1)).await;
    disk.fill();
    let mut txn = begin(&disk.path()).await.unwrap();
    let error = txn.intend(intent("refresh-1", "one")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    txn.abandon().await.unwrap();
    assert_eq!(found(&disk.path()).await, Some(record(1)));

    let probed = store(&disk.path()).probe().await.unwrap_err().to_string();
    assert!(probed.contains("free some room"), "{probed}");
    fs::remove_file(&disk.filling).unwrap();
    store(&disk.path()).probe().await.unwrap();
    assert_eq!(names(&disk.path()), ["state.json", "state.json.lock"]);
}

#[tokio::test]
async fn a_read_only_disk_is_refused_at_start_and_can_still_be_read() {
    let Some(disk) = SmallDisk::mount("a_read_only_disk_is_refused_at_start_and_can_still_be_read") else {
        return;
    };
    rest(&disk.path(), record(1)).await;
    disk.remount("remount,ro");
    let probed = store(&disk.path()).probe().await.unwrap_err().to_string();
    assert!(probed.contains("the file system is read-only"), "{probed}");
    assert_eq!(store(&disk.path()).peek().await.unwrap(), Some(record(1)));
}

#[tokio::test]
async fn a_record_that_is_a_mount_of_its_own_is_refused_at_start() {
    let Some(disk) = SmallDisk::mount("a_record_that_is_a_mount_of_its_own_is_refused_at_start") else {
        return;
    };
    rest(&disk.path(), record(1)).await;
    let mut bind = Command::new("mount");
    assert!(bind.arg("--bind").args([disk.path(), disk.path()]).status().unwrap().success());
    let probed = store(&disk.path()).probe().await.unwrap_err().to_string();
    assert!(Command::new("umount").arg(disk.path()).status().unwrap().success());
    assert!(probed.contains("mount its folder instead"), "{probed}");
    assert_eq!(found(&disk.path()).await, Some(record(1)));
}
