//! Old or new, never anything else: each step on the disk fails, stops the process or stops the machine, in turn.

use std::fs;
use std::path::{Path, PathBuf};

use super::faults::{EVERY_WAY, Faults, How};
use super::*;
use crate::store::sample::{intent, record};
use crate::store::{Record, Store as _};

/// How far a refresh got before the disk failed it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Progress {
    intended: bool,
    committed: bool,
}

/// A refresh of generation 1: it stops at the first error, as a refresher that may not present its token does.
async fn refresh(path: &Path, faults: &Faults) -> Progress {
    let mut progress = Progress::default();
    let Ok(mut txn) = store_with(path, faults).begin(LONG).await else { return progress };
    progress.intended = txn.intend(intent("refresh-1", "one")).await.is_ok();
    if progress.intended {
        progress.committed = txn.commit(record(2)).await.is_ok();
    }
    progress
}

fn noted() -> Record {
    Record { intent: Some(intent("refresh-1", "one")), ..record(1) }
}

/// A folder of this kind in which nothing rests.
fn empty(kind: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(kind).join("state.json");
    (folder, path)
}

/// The same in which generation 1 rests.
async fn resting(kind: &str) -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = empty(kind);
    rest(&path, record(1)).await;
    (folder, path)
}

/// Of a sealed record no file holds a token, whatever was going on when the process ended.
fn assert_shows_nothing(path: &Path, place: &str) {
    let folder = path.parent().unwrap();
    if !folder.ends_with(SEALED) {
        return;
    }
    for name in names(path) {
        let text = String::from_utf8_lossy(&fs::read(folder.join(&name)).unwrap()).into_owned();
        for token in ["refresh-", "access-"] {
            assert!(!text.contains(token), "{place}: {name} tells a token");
        }
    }
}

/// The steps of a refresh that nothing disturbs, to be gone through one by one.
async fn undisturbed() -> Vec<&'static str> {
    let (_folder, path) = resting("plain").await;
    let faults = Faults::default();
    assert!(refresh(&path, &faults).await.committed);
    let steps = faults.steps();
    assert!(steps.len() > 12, "{steps:?}");
    steps
}

#[tokio::test]
async fn a_refresh_that_is_cut_off_anywhere_leaves_the_old_record_or_the_new() {
    let steps = undisturbed().await;
    let ways = KINDS.iter().flat_map(|kind| EVERY_WAY.map(|how| (kind, how)));
    for (kind, how) in ways {
        for (step, name) in steps.iter().enumerate() {
            let (_folder, path) = resting(kind).await;
            let progress = refresh(&path, &Faults::at(step, how)).await;
            let place = format!("{kind}, {how:?} at {step}, {name}: {progress:?}");
            assert_shows_nothing(&path, &place);
            let found = found(&path).await.unwrap_or_else(|| panic!("{place}: nothing rests"));

            assert!([record(1), noted(), record(2)].contains(&found), "{place}: {found:?}");
            assert!(!progress.intended || found != record(1), "{place}: presented, and no intent stands");
            assert!(!progress.committed || found == record(2), "{place}: committed, and lost");
            assert_eq!(names(&path), ["state.json", "state.json.lock"], "{place}");
        }
    }
}

#[tokio::test]
async fn one_failure_of_the_disk_after_the_intent_does_not_lose_the_successor() {
    let steps = undisturbed().await;
    for how in [How::Fail, How::Full, How::FullWithoutInPlace] {
        for (step, name) in steps.iter().enumerate() {
            for kind in KINDS {
                let (_folder, path) = resting(kind).await;
                let progress = refresh(&path, &Faults::at(step, how)).await;
                assert!(progress.committed || !progress.intended, "{kind}, {how:?} at {step}, {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_successor_that_reached_the_disk_is_saved_by_the_next_holder() {
    let steps = undisturbed().await;
    let last_rename = steps.iter().rposition(|name| *name == "rename").unwrap();
    let deaths = [How::Killed, How::PowerCut { renames_undone: true }];
    for (kind, how) in KINDS.iter().flat_map(|kind| deaths.map(|how| (kind, how))) {
        let (_folder, path) = resting(kind).await;
        let progress = refresh(&path, &Faults::at(last_rename, how)).await;
        assert_eq!(progress, Progress { intended: true, committed: false });
        assert_eq!(store(&path).peek().await.unwrap(), Some(noted()), "not renamed yet");
        assert_eq!(found(&path).await, Some(record(2)), "{how:?}");
        assert_eq!(store(&path).peek().await.unwrap(), Some(record(2)), "and it rests now");
    }
}

#[tokio::test]
async fn finishing_a_save_may_itself_be_cut_off_anywhere() {
    let last_rename = undisturbed().await.iter().rposition(|name| *name == "rename").unwrap();
    for (kind, how) in KINDS.iter().flat_map(|kind| EVERY_WAY.map(|how| (kind, how))) {
        for step in 0.. {
            let (_folder, path) = resting(kind).await;
            refresh(&path, &Faults::at(last_rename, How::Killed)).await;
            let faults = Faults::at(step, how);
            let begun = store_with(&path, &faults).begin(LONG).await.map(drop);
            assert_shows_nothing(&path, &format!("{how:?} at {step}"));
            assert_eq!(found(&path).await, Some(record(2)), "{how:?} at {step}: {begun:?}");
            if faults.steps().len() <= step {
                break;
            }
        }
    }
}

#[tokio::test]
async fn leftovers_of_another_lineage_or_without_a_record_are_cleared_not_saved() {
    let other = Record { lineage: "another".to_owned(), ..record(9) };
    for (left, resting) in [(other, Some(record(1))), (record(9), None), (record(1), Some(record(1)))] {
        for ending in ["spare", "new", "probe"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.json");
            if let Some(resting) = &resting {
                rest(&path, resting.clone()).await;
            }
            let bytes = crate::store::record::encode(&left).unwrap();
            fs::write(folder.path().join(format!("state.json.{ending}")), &*bytes).unwrap();
            assert_eq!(found(&path).await, resting, "{ending}");
            assert!(!names(&path).contains(&format!("state.json.{ending}")), "{ending}");
        }
    }
}

#[tokio::test]
async fn what_was_committed_outlasts_a_power_cut() {
    for renames_undone in [true, false] {
        let (_folder, path) = resting("plain").await;
        let faults = Faults::default();
        assert!(refresh(&path, &faults).await.committed);
        faults.cut_power(renames_undone);
        assert_eq!(store(&path).peek().await.unwrap(), Some(record(2)), "with nothing left to finish");
        assert_eq!(found(&path).await, Some(record(2)));
    }
}

#[tokio::test]
async fn an_intent_that_is_durable_outlasts_a_power_cut() {
    for renames_undone in [true, false] {
        let (_folder, path) = resting("plain").await;
        let faults = Faults::default();
        let mut txn = store_with(&path, &faults).begin(LONG).await.unwrap();
        txn.intend(intent("refresh-1", "one")).await.unwrap();
        faults.cut_power(renames_undone);
        drop(txn);
        assert_eq!(found(&path).await, Some(noted()));
    }
}

#[tokio::test]
async fn a_first_commit_that_is_cut_off_leaves_nothing_or_the_record() {
    for (kind, how) in KINDS.iter().flat_map(|kind| EVERY_WAY.map(|how| (kind, how))) {
        for step in 0.. {
            let (_folder, path) = empty(kind);
            let faults = Faults::at(step, how);
            let committed = match store_with(&path, &faults).begin(LONG).await {
                Ok(mut txn) => txn.commit(record(1)).await.is_ok(),
                Err(error) => panic!("nothing is there to fail at: {error}"),
            };
            assert_shows_nothing(&path, &format!("{how:?} at {step}"));
            let found = found(&path).await;
            assert!(found.is_none() || found == Some(record(1)), "{how:?} at {step}: {found:?}");
            assert!(!committed || found.is_some(), "{how:?} at {step}: committed, and lost");
            if faults.steps().len() <= step {
                break;
            }
        }
    }
}

#[tokio::test]
async fn an_intent_taken_back_is_taken_back_or_stands() {
    for (kind, how) in KINDS.iter().flat_map(|kind| EVERY_WAY.map(|how| (kind, how))) {
        for step in 0.. {
            let (_folder, path) = resting(kind).await;
            let faults = Faults::at(step, how);
            let mut abandoned = false;
            if let Ok(mut txn) = store_with(&path, &faults).begin(LONG).await {
                let _ = txn.intend(intent("refresh-1", "one")).await;
                abandoned = txn.abandon().await.is_ok();
            }
            let found = found(&path).await.unwrap();
            assert!([record(1), noted()].contains(&found), "{how:?} at {step}: {found:?}");
            assert!(!abandoned || found == record(1), "{how:?} at {step}: taken back, and stands");
            if faults.steps().len() <= step {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_probe_that_is_cut_off_anywhere_loses_nothing() {
    for before in [None, Some(record(1)), Some(noted())] {
        for (kind, how) in KINDS.iter().flat_map(|kind| EVERY_WAY.map(|how| (kind, how))) {
            for step in 0.. {
                let (_folder, path) = empty(kind);
                if let Some(before) = &before {
                    rest(&path, before.clone()).await;
                }
                let faults = Faults::at(step, how);
                let _ = store_with(&path, &faults).probe().await;
                assert_shows_nothing(&path, &format!("{how:?} at {step}"));
                assert_eq!(found(&path).await, before, "{how:?} at {step}");
                if faults.steps().len() <= step {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn at_no_time_is_the_place_of_a_damaged_record_empty() {
    let damaged = "{ half a rec";
    for how in EVERY_WAY {
        for step in 0.. {
            let (_folder, path) = resting("plain").await;
            fs::write(&path, damaged).unwrap();
            let faults = Faults::at(step, how);
            let stand_in = || -> crate::store::StandIn { Box::new(|| Some(record(0))) };
            let begun = store_with(&path, &faults).begin_or(LONG, stand_in()).await.map(drop);
            let place = format!("{how:?} at {step}: {begun:?}");
            let rests = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{place}: nothing rests"));
            let again = store(&path).begin_or(LONG, stand_in()).await;
            let found = again.map(|txn| txn.record().cloned());
            match rests == damaged {
                true => assert!(matches!(found, Err(StoreError::Corrupt { aside: Some(_), .. })), "{place}"),
                false => assert_eq!(found.unwrap(), Some(record(0)), "{place}"),
            }
            let kept = names(&path).into_iter().find(|name| name.contains(".corrupt-"));
            let kept = kept.unwrap_or_else(|| panic!("{place}: it is kept"));
            assert_eq!(fs::read_to_string(path.with_file_name(kept)).unwrap(), damaged);
            if faults.steps().len() <= step {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_commit_after_one_that_failed_saves_the_later_record() {
    let steps = undisturbed().await;
    for step in 0..steps.len() {
        let (_folder, path) = resting("plain").await;
        let Ok(mut txn) = store_with(&path, &Faults::at(step, How::Fail)).begin(LONG).await else { continue };
        let _ = txn.intend(intent("refresh-1", "one")).await;
        let _ = txn.commit(record(2)).await;
        txn.commit(record(3)).await.unwrap();
        drop(txn);
        assert_eq!(found(&path).await, Some(record(3)), "step {step}");
    }
}

#[tokio::test]
async fn a_caller_dropped_in_mid_commit_neither_stops_it_nor_gives_up_the_lock_too_early() {
    let (_folder, path) = resting("plain").await;
    let (faults, reached, go_on) = Faults::pausing_at("rename");
    let mut txn = store_with(&path, &faults).begin(LONG).await.unwrap();
    let caller = tokio::spawn(async move { txn.commit(record(2)).await });
    tokio::task::spawn_blocking(move || reached.recv().unwrap()).await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());

    let kept_out = store(&path).begin(Duration::from_millis(120)).await.err();
    assert!(matches!(kept_out, Some(StoreError::Locked { .. })), "{kept_out:?}");
    go_on.send(()).unwrap();
    assert_eq!(found(&path).await, Some(record(2)));
}
