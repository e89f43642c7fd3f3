//! Where a record may rest, and what is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

use super::*;
use crate::store::Store as _;
use crate::store::sample::record;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn am_root(promise: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED, needs root: {promise}");
    }
    root
}

/// The sentence with which the place is refused, by every way in.
async fn refusal(path: &Path) -> String {
    let begun = begin(path).await.err().map(|error| error.to_string());
    let peeked = store(path).peek().await.err().map(|error| error.to_string());
    let probed = store(path).probe().await.err().map(|error| error.to_string());
    assert_eq!(begun, peeked);
    assert_eq!(begun, probed);
    let sentence = begun.expect("it is refused");
    assert!(sentence.contains("cannot be the store"), "{sentence}");
    sentence
}

#[tokio::test]
async fn a_missing_folder_is_made_for_us_alone_and_the_record_is_ours_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/state.json");
    assert_eq!(store(&path).peek().await.unwrap(), None);
    assert!(!folder.path().join("a").exists(), "looking makes nothing");
    rest(&path, record(1)).await;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!((mode(&path), mode(&folder.path().join("a/b/state.json.lock"))), (0o600, 0o600));
}

#[tokio::test]
async fn each_grant_has_its_own_record_and_lock() {
    let folder = tempfile::tempdir().unwrap();
    let params = crate::store::Params::File {
        path: folder.path().join("state.json"),
        allow_network_fs: false,
        encryption_keys: Vec::new(),
    };
    let default = crate::store::open(&params, &GrantName::new("default")).unwrap();
    let work = crate::store::open(&params, &GrantName::new("work")).unwrap();
    let (mut one, mut other) = (default.begin(LONG).await.unwrap(), work.begin(LONG).await.unwrap());
    one.commit(record(1)).await.unwrap();
    other.commit(record(2)).await.unwrap();
    assert_eq!(default.peek().await.unwrap(), Some(record(1)));
    assert_eq!(work.peek().await.unwrap(), Some(record(2)));
    assert!(work.place().ends_with("/state.work.json"), "{}", work.place());
}

#[tokio::test]
async fn the_lock_file_outlasts_every_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    rest(&path, record(1)).await;
    let lock = || fs::metadata(folder.path().join("state.json.lock")).unwrap().ino();
    let first = lock();
    rest(&path, record(2)).await;
    store(&path).probe().await.unwrap();
    begin(&path).await.unwrap().abandon().await.unwrap();
    assert_eq!(lock(), first);
}

#[tokio::test]
async fn a_record_that_others_can_read_is_refused_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    rest(&path, record(1)).await;
    for open in [0o640, 0o604, 0o644, 0o620, 0o666] {
        chmod(&path, open);
        let sentence = refusal(&path).await;
        assert!(sentence.contains(&format!("chmod 600 {}", path.display())), "{sentence}");
        assert_eq!(mode(&path), open, "and left as it is");
    }
    chmod(&path, 0o600);
    assert_eq!(found(&path).await, Some(record(1)));
}

#[tokio::test]
async fn what_a_kubelet_opened_to_the_pods_group_is_closed_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    rest(&path, record(1)).await;
    chmod(folder.path(), 0o2770);
    chmod(&path, 0o660);
    assert_eq!(store(&path).peek().await.unwrap(), Some(record(1)));
    store(&path).probe().await.unwrap();
    chmod(&path, 0o660);
    assert_eq!(found(&path).await, Some(record(1)));
    assert_eq!(mode(&path), 0o600);
    chmod(&path, 0o664);
    refusal(&path).await;
}

#[tokio::test]
async fn a_record_of_another_user_is_refused() {
    if !am_root("a_record_of_another_user_is_refused") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    rest(&path, record(1)).await;
    chown(&path, Some(12345), None).unwrap();
    assert!(refusal(&path).await.contains("user 12345"));
    assert_eq!(fs::metadata(&path).unwrap().uid(), 12345);
}

#[tokio::test]
async fn the_record_is_never_a_link_and_its_folder_may_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let (real, linked) = (folder.path().join("real"), folder.path().join("linked"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &linked).unwrap();
    rest(&linked.join("state.json"), record(1)).await;
    assert_eq!(found(&real.join("state.json")).await, Some(record(1)));

    symlink(real.join("state.json"), real.join("other.json")).unwrap();
    assert!(refusal(&real.join("other.json")).await.contains("a link"));
    symlink(real.join("nowhere"), real.join("dangling.json")).unwrap();
    assert!(refusal(&real.join("dangling.json")).await.contains("a link"));
    assert!(!real.join("nowhere").exists());
}

#[tokio::test]
async fn a_folder_or_a_pipe_in_the_records_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("state.json")).unwrap();
    assert!(refusal(&folder.path().join("state.json")).await.contains("not a regular file"));
    let pipe = folder.path().join("pipe.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(refusal(&pipe).await.contains("not a regular file"), "and nobody waits for its other end");
}

#[tokio::test]
async fn where_everybody_may_write_the_store_makes_a_folder_of_its_own() {
    for open in [0o777, 0o1777, 0o2777] {
        let folder = tempfile::tempdir().unwrap();
        chmod(folder.path(), open);
        let path = folder.path().join("state.json");
        store(&path).probe().await.unwrap();
        rest(&path, record(1)).await;
        let own = folder.path().join("bearerd");
        assert_eq!(mode(&own) & 0o777, 0o700);
        assert!(own.join("state.json").exists() && !path.exists());
        assert_eq!(store(&path).place(), format!("file {}", own.join("state.json").display()));
        assert_eq!(store(&path).peek().await.unwrap(), Some(record(1)));
    }
}

#[tokio::test]
async fn a_folder_that_somebody_else_put_there_first_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    chmod(folder.path(), 0o1777);
    let (path, own) = (folder.path().join("state.json"), folder.path().join("bearerd"));
    symlink("/tmp", &own).unwrap();
    let by_link = begin(&path).await.err().unwrap().to_string();
    assert!(by_link.contains("is not a folder"), "{by_link}");
    fs::remove_file(&own).unwrap();

    fs::create_dir(&own).unwrap();
    chmod(&own, 0o777);
    let open = begin(&path).await.err().unwrap().to_string();
    assert!(open.contains("chmod 700"), "{open}");
    chmod(&own, 0o700);

    if am_root("a_folder_that_somebody_else_put_there_first_is_refused") {
        chown(&own, Some(12345), None).unwrap();
        let foreign = begin(&path).await.err().unwrap().to_string();
        assert!(foreign.contains("user 12345"), "{foreign}");
    }
}

#[tokio::test]
async fn a_folder_whose_modes_changed_does_not_hide_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    rest(&path, record(1)).await;
    chmod(folder.path(), 0o777);
    assert!(refusal(&path).await.contains("chmod o-w"), "the record is outside the folder of our own");

    fs::create_dir(folder.path().join("bearerd")).unwrap();
    fs::rename(&path, folder.path().join("bearerd/state.json")).unwrap();
    assert_eq!(found(&path).await, Some(record(1)), "moved as told");
    chmod(folder.path(), 0o755);
    assert!(refusal(&path).await.contains("move it here"));
}

#[tokio::test]
async fn what_is_no_record_is_set_aside_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let mut kept = Vec::new();
    for text in ["", "not json", "{\"version\":1}"] {
        fs::write(&path, text).unwrap();
        chmod(&path, 0o600);
        assert!(matches!(store(&path).peek().await, Err(StoreError::Corrupt { aside: None, .. })));
        assert!(path.exists(), "who has no lock moves nothing");
        store(&path).probe().await.unwrap();

        let Err(StoreError::Corrupt { aside: Some(aside), .. }) = begin(&path).await else {
            panic!("{text:?}")
        };
        assert!(aside.to_string_lossy().contains("/state.json.corrupt-1"), "{aside:?}");
        kept.push((aside, text));
        assert_eq!(found(&path).await, None, "the next one meets an empty place");
    }
    for (aside, text) in kept {
        assert_eq!(fs::read_to_string(aside).unwrap(), text);
    }
}

#[tokio::test]
async fn a_record_of_a_newer_program_is_refused_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let text = r#"{"version":9,"anything":"else"}"#;
    fs::write(&path, text).unwrap();
    chmod(&path, 0o600);
    assert!(refusal(&path).await.contains("a newer bearerd"));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_file_far_too_large_is_no_record_and_is_not_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    chmod(&path, 0o600);
    assert!(matches!(begin(&path).await, Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_probe_passes_while_a_living_process_holds_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let _txn = begin(&path).await.unwrap();
    store(&path).probe().await.unwrap();
}

#[tokio::test]
async fn errors_name_the_place_and_tell_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    fs::write(&path, r#"{"version":1,"lineage":"l","generation":"canary","refresh_token":"canary"}"#)
        .unwrap();
    chmod(&path, 0o600);
    let error = begin(&path).await.err().unwrap();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("state.json") && !shown.contains("canary"), "{shown}");
}
