//! The disk under the running program fills up, or becomes read-only: nothing is presented that could not be saved, and
//! what was presented is saved. Skipped, loudly, where nothing may be mounted.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::stage::{Stage, addresses, furnished, strict};
use crate::support::authorization_server::{Exchange, Fault, Phase, Stage as Progress};
use crate::support::process::Home;

/// How long access tokens live, in seconds.
const LIFE: u64 = 6;

/// A file system of 1 MiB in the place of a home, with what the home held; gone when dropped.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    fn over(home: &Home) -> Option<Self> {
        let folder = home.path().to_owned();
        let files = ["seed", "proxy.toml"].map(|name| (name, std::fs::read(folder.join(name)).unwrap()));
        let mount = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "bearerd-test"];
        let mounted = Command::new("mount").args(mount).arg(&folder).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            return None;
        }
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        Some(Self { folder })
    }

    fn filling(&self) -> PathBuf {
        self.folder.join("filling")
    }

    fn fill(&self) {
        let mut filling = File::create(self.filling()).unwrap();
        let full = loop {
            if let Err(error) = filling.write_all(&[1; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    fn empty(&self) {
        std::fs::remove_file(self.filling()).unwrap();
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        assert!(mount.args(["-o", options]).arg(&self.folder).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone_already = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

/// The program on a disk of its own, with a first token; none where nothing may be mounted.
async fn on_a_small_disk(promise: &str) -> Option<(Stage, SmallDisk)> {
    let (server, upstream, home) = furnished(strict(LIFE), "\n[limits]\ntoken_wait = \"1s\"\n");
    let Some(disk) = SmallDisk::over(&home) else {
        println!("!! SKIPPED, nothing may be mounted here: {promise}");
        return None;
    };
    let bearerd = home.run().keeps_secrets_of(&server);
    let (proxy, admin) = Box::pin(addresses(&bearerd)).await;
    let stage = Stage { server, upstream, home, bearerd, proxy, admin };
    stage.recovers().await;
    Some((stage, disk))
}

/// While the disk cannot be written nothing is presented, callers are served while the token lives and told so after,
/// and all is well soon once it can be written.
async fn nothing_is_presented(promise: &str, spoil: fn(&SmallDisk), mend: fn(&SmallDisk)) {
    let Some((stage, disk)) = Box::pin(on_a_small_disk(promise)).await else { return };
    // Between two refreshes: nobody is writing.
    let presented = stage.server.wait_for_redeems(stage.server.redeems().len() + 1).await.len();
    stage.bearerd.wait_for_events("refresh_succeeded", presented).await;
    spoil(&disk);
    stage.bearerd.wait_for_event("store_write_failed").await;
    let status = stage.is("degraded").await;
    assert_eq!(status["grants"][0]["problem"]["code"], "store_unavailable", "{promise}: {status}");
    stage.is("unavailable").await;
    assert_eq!(stage.get("/echo").await.status(), 503, "{promise}");
    assert_eq!(
        stage.server.redeems().len(),
        presented,
        "{promise}: without a durable intent nothing is presented"
    );
    mend(&disk);
    stage.recovers().await;
    stage.is("active").await;
    assert_eq!(stage.server.reuse_errors(), 0, "{promise}");
    stage.assert_clean();
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_presented_until_there_is_room() {
    let promise = "on_a_full_disk_nothing_is_presented_until_there_is_room";
    Box::pin(nothing_is_presented(promise, SmallDisk::fill, SmallDisk::empty)).await;
}

#[tokio::test]
async fn on_a_disk_that_has_become_read_only_nothing_is_presented_until_it_can_be_written() {
    let promise = "on_a_disk_that_has_become_read_only_nothing_is_presented_until_it_can_be_written";
    let mend = |disk: &SmallDisk| disk.remount("remount,rw");
    Box::pin(nothing_is_presented(promise, |disk| disk.remount("remount,ro"), mend)).await;
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_redeem_keeps_what_the_redeem_brings() {
    let promise = "a_disk_that_fills_up_during_a_redeem_keeps_what_the_redeem_brings";
    let Some((mut stage, disk)) = Box::pin(on_a_small_disk(promise)).await else { return };
    let seen = stage.server.requests().len();
    stage.server.fault_once(Fault::Hang, Phase::BeforeProcessing);
    stage.server.next_that(seen, |redeem| redeem.stage == Progress::Held).await;
    disk.fill();
    stage.server.release();
    let redeem = stage.server.next_that(seen, Exchange::has_ended).await;
    let saved = stage.bearerd.events("refresh_token_saved").len();
    stage.bearerd.wait_for_events("refresh_token_saved", saved.max(2)).await;
    // No room is left, and the successor rests in that which was set aside.
    stage.bearerd.kill();
    assert!(
        rests(stage.home.path()).contains(redeem.refresh_token.as_deref().unwrap()),
        "the successor rests"
    );
    disk.empty();
    stage.restart().await;
    stage.server.wait_for_redeems(stage.server.redeems().len() + 1).await;
    stage.recovers().await;
    assert_eq!(stage.server.reuse_errors(), 0);
    stage.assert_clean();
}

fn rests(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("state.json")).unwrap()
}
