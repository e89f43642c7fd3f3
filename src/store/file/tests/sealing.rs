//! Records that are sealed: who may use the store, and what becomes of a record whose key is not there.

use std::fs;

use super::faults::How;
use super::*;
use crate::secret::ClientSecret;
use crate::store::record::encode;
use crate::store::sample::{self, intent, record};

/// A store whose records the first of these keys seals.
fn under(numbers: &[u8], path: &Path) -> FileStore {
    let keys: Vec<Secret> = numbers.iter().copied().map(key).collect();
    store_under(&keys, path, &Faults::default())
}

/// The folder of `path` once more.
fn copied(path: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in names(path) {
        fs::copy(path.parent().unwrap().join(&name), copy.path().join(&name)).unwrap();
    }
    copy
}

fn refused<T>(done: Result<T, StoreError>) -> String {
    match done {
        Err(StoreError::Refused { place, why }) => format!("{place}: {why}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Whoever has not the key is refused whatever is asked, and nothing in the folder changes.
async fn assert_refused(store: &FileStore, path: &Path, says: &str) {
    let contents = || {
        let read = |name: String| (name.clone(), fs::read(path.parent().unwrap().join(name)).unwrap());
        names(path).into_iter().map(read).collect::<Vec<_>>()
    };
    let before = contents();
    for told in [refused(store.peek().await), refused(store.begin(LONG).await), refused(store.probe().await)]
    {
        assert!(told.contains(says) && told.contains("state.json"), "{told}");
    }
    assert_eq!(contents(), before);
}

#[tokio::test]
async fn a_sealed_record_without_its_key_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    under(&[1], &path).begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
    assert_refused(&under(&[], &path), &path, "names none").await;
    assert_refused(&under(&[2], &path), &path, "name that key as well").await;
    assert_eq!(names(&path), ["state.json", "state.json.lock"], "nothing is set aside");
    assert_eq!(under(&[2, 1], &path).peek().await.unwrap(), Some(record(1)));
}

#[tokio::test]
async fn a_probe_without_the_key_is_refused_also_while_another_process_holds_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let mut txn = under(&[1], &path).begin(LONG).await.unwrap();
    txn.commit(record(1)).await.unwrap();
    under(&[1], &path).probe().await.unwrap();
    assert!(refused(under(&[], &path).probe().await).contains("names none"));
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_told_at_the_start_though_nothing_rests() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("state.json"), folder.path().join("key"));
    let store = store_under(&[Secret::File(file.clone())], &path, &Faults::default());
    assert!(refused(store.probe().await).contains("cannot read"));
    fs::write(&file, "short").unwrap();
    assert!(refused(store.probe().await).contains("openssl rand -base64 32"));
    let Secret::Env { value, .. } = key(1) else { panic!("its text") };
    fs::write(&file, ClientSecret::expose(&value)).unwrap();
    store.probe().await.unwrap();
    fs::remove_file(&file).unwrap();
    store.begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
    assert_eq!(under(&[1], &path).peek().await.unwrap(), Some(record(1)), "it was read once, and kept");
}

#[tokio::test]
async fn a_record_from_before_there_was_a_key_is_taken_up_and_sealed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    under(&[], &path).begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
    let store = under(&[1], &path);
    store.probe().await.unwrap();
    assert!(!fs::read_to_string(&path).unwrap().contains("refresh-1"));
    assert_eq!(store.peek().await.unwrap(), Some(record(1)));
    let mut txn = store.begin(LONG).await.unwrap();
    assert_eq!(txn.record(), Some(&record(1)));
    txn.intend(intent("refresh-1", "one")).await.unwrap();
    drop(txn);
    assert!(!fs::read_to_string(&path).unwrap().contains("refresh-1"));
    assert!(refused(under(&[], &path).peek().await).contains("names none"));
}

#[tokio::test]
async fn after_one_start_only_the_first_key_is_needed() {
    for before in [&[][..], &[1]] {
        for last in [1, 2] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.json");
            under(before, &path).begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
            if last == 2 {
                let keys: Vec<Secret> = before.iter().copied().map(key).collect();
                let keys = Seal::new(&GrantName::new(GrantName::DEFAULT), &keys).keys().unwrap();
                fs::write(folder.path().join("state.json.spare"), &*keys.encode(&record(2)).unwrap())
                    .unwrap();
            }
            under(&[2, 1], &path).probe().await.unwrap();
            let txn = under(&[2], &path).begin(LONG).await.unwrap();
            assert_eq!(txn.record(), Some(&record(last)), "{before:?}");
        }
    }
}

#[tokio::test]
async fn a_start_that_is_cut_off_while_it_changes_the_key_loses_nothing() {
    for step in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        under(&[1], &path).begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
        let keys: Vec<Secret> = [2, 1].into_iter().map(key).collect();
        let faults = Faults::at(step, How::Killed);
        let _cut_off = store_under(&keys, &path, &faults).probe().await;
        let txn = under(&[2, 1], &path).begin(LONG).await.unwrap();
        assert_eq!(txn.record(), Some(&record(1)), "step {step}");
        if faults.steps().len() <= step {
            assert!(step > 3, "there are steps to die at");
            break;
        }
    }
}

#[tokio::test]
async fn what_an_export_has_left_is_known_for_it_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let exported = sample::full(7).exported;
    let left = Record { refresh_token: None, access_token: None, exported, ..record(7) };
    under(&[1], &path).begin(LONG).await.unwrap().commit(left.clone()).await.unwrap();
    for keys in [&[][..], &[2], &[1]] {
        under(keys, &path).probe().await.unwrap();
        assert_eq!(under(keys, &path).peek().await.unwrap().as_ref(), Some(&left), "{keys:?}");
    }
}

#[tokio::test]
async fn a_successor_that_was_not_yet_renamed_is_not_removed_by_whoever_lacks_its_key() {
    // The first write under a new key is killed before its rename: what rests opens without that key, what is to follow
    // does not.
    for (before, after) in [(&[][..], &[1][..]), (&[1], &[2, 1])] {
        for step in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.json");
            under(before, &path).begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
            let keys: Vec<Secret> = after.iter().copied().map(key).collect();
            let faults = Faults::at(step, How::Killed);
            let begun = store_under(&keys, &path, &faults).begin(LONG).await;
            let committed = match begun {
                Ok(mut txn) => txn.commit(record(2)).await.is_ok(),
                Err(_) => false,
            };
            let undisturbed = copied(&path);
            let found_by = |numbers, path: &Path| {
                let store = under(numbers, path);
                async move { store.begin(LONG).await.map(|txn| txn.record().cloned()) }
            };
            let expected = found_by(after, &undisturbed.path().join("state.json")).await.unwrap();
            let without = found_by(before, &path).await;
            assert!(matches!(without, Ok(_) | Err(StoreError::Refused { .. })), "step {step}: {without:?}");
            assert_eq!(found_by(after, &path).await.unwrap(), expected, "step {step}: nothing was removed");
            assert!(!committed || expected == Some(record(2)), "step {step}: committed, and lost");
            if faults.steps().len() <= step {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_sealed_record_that_was_changed_is_set_aside_as_any_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let store = under(&[1], &path);
    store.begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let at = text.find("\"text\": \"").unwrap() + 20;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    fs::write(&path, &changed).unwrap();
    let Err(StoreError::Corrupt { aside: Some(aside), .. }) = store.begin(LONG).await else { panic!() };
    assert_eq!(fs::read_to_string(aside).unwrap(), changed);
}

#[tokio::test]
async fn a_start_beside_a_redeem_waits_for_it_and_seals_with_the_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let mut txn = under(&[1], &path).begin(LONG).await.unwrap();
    txn.commit(record(1)).await.unwrap();
    let start = tokio::spawn({
        let path = path.clone();
        async move { under(&[2, 1], &path).probe().await }
    });
    // Longer than a start waits that has nothing to seal.
    tokio::time::sleep(2 * crate::store::file::PROBE_PATIENCE).await;
    assert!(!start.is_finished());
    drop(txn);
    start.await.unwrap().unwrap();
    assert_eq!(under(&[2], &path).peek().await.unwrap(), Some(record(1)), "the old key may go");
}

#[tokio::test]
async fn what_is_left_of_a_save_and_cannot_be_read_is_kept_and_the_lock_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    store(&path).begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
    fs::write(folder.path().join("state.json.spare"), &*encode(&record(2)).unwrap()).unwrap();
    let faults = Faults::at(0, How::Fail);
    let said = store_with(&path, &faults).begin(LONG).await.err().unwrap().to_string();
    assert_eq!(faults.steps(), ["read"]);
    assert!(said.contains("cannot read what a save has left in") && said.contains(".spare"), "{said}");
    assert_eq!(store(&path).begin(LONG).await.unwrap().record(), Some(&record(2)));
}

#[tokio::test]
async fn what_was_plain_and_left_over_is_still_finished_under_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    under(&[], &path).begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
    fs::write(folder.path().join("state.json.spare"), &*encode(&record(2)).unwrap()).unwrap();
    assert_eq!(under(&[1], &path).begin(LONG).await.unwrap().record(), Some(&record(2)));
}
