//! What the keyring's store promises beyond what every store does: where the keyring and the disk do not agree, nothing is
//! presented.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;
use crate::store::file::tests::faults::{EVERY_WAY, Faults, How};
use crate::store::sample::{self, intent, record};
use crate::store::{Exported, Params, open, transfer};

const LONG: Duration = Duration::from_secs(60);

/// A desktop's keyring.
#[derive(Clone, Default)]
pub(in crate::store) struct Desktop {
    entries: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    mood: Arc<Mutex<Mood>>,
}

#[derive(Default)]
enum Mood {
    #[default]
    Well,
    /// It wants to be unlocked.
    Locked,
    /// It says that it has written, and has not.
    Lies,
    /// It writes later than anybody waits for.
    Late(Vec<Arc<Bare>>),
}

struct OneEntry {
    desktop: Desktop,
    name: String,
    faults: Faults,
}

impl Desktop {
    pub(in crate::store) fn store(&self, path: &Path) -> KeyringStore {
        self.store_with(path, &Faults::default())
    }

    /// Each step of it and each on the disk is one that may fail.
    fn store_with(&self, path: &Path, faults: &Faults) -> KeyringStore {
        let entry = |ending| {
            let name = format!("bearerd/{}{ending}", path.display());
            Arc::new(OneEntry { desktop: self.clone(), name, faults: faults.clone() }) as Arc<dyn Slot>
        };
        let disk = Disk { faults: faults.clone(), ..Disk::default() };
        let place = Arc::new(Place::of(path, &GrantName::new("default")).unwrap());
        KeyringStore { place, disk, entry: entry(""), trial: entry(".probe"), seen: Arc::default() }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn kept(&self, path: &Path) -> Option<Record> {
        let entries = self.entries.lock().unwrap();
        entries.get(&format!("bearerd/{}", path.display())).map(|bytes| record::decode(bytes).unwrap())
    }

    fn keep(&self, path: &Path, record: &Record) {
        let bytes = record::encode(record).unwrap().to_vec();
        self.entries.lock().unwrap().insert(format!("bearerd/{}", path.display()), bytes);
    }

    async fn rest(&self, path: &Path, record: Record) {
        self.store(path).begin(LONG).await.unwrap().commit(record).await.unwrap();
    }

    /// What the next holder of the lock finds.
    async fn found(&self, path: &Path) -> Option<Record> {
        let found = self.store(path).begin(LONG).await.unwrap().record().cloned();
        assert_eq!(self.store(path).peek().await.unwrap(), found, "without the lock as with it");
        found
    }

    /// What every way to look at it says.
    async fn refusal(&self, path: &Path) -> String {
        let store = self.store(path);
        let said = [
            store.begin(LONG).await.err().unwrap().to_string(),
            store.peek().await.unwrap_err().to_string(),
            store.probe().await.unwrap_err().to_string(),
        ];
        assert!(said.iter().all(|each| *each == said[0]), "{said:?}");
        said[0].clone()
    }
}

impl OneEntry {
    fn step(&self, name: &'static str) -> Result<(), String> {
        self.faults.doing(name).map_err(|error| error.to_string())?;
        match &*self.desktop.mood.lock().unwrap() {
            Mood::Locked => Err(format!(
                "the keyring's entry {} cannot be had: the keyring is locked: unlock it",
                self.name
            )),
            _ => Ok(()),
        }
    }
}

impl Slot for OneEntry {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        self.step("ask")?;
        Ok(self.desktop.entries.lock().unwrap().get(&self.name).cloned().map(Zeroizing::new))
    }

    fn write(&self, bytes: Zeroizing<Vec<u8>>, lock: Arc<Bare>) -> Result<(), String> {
        self.step("tell")?;
        match &mut *self.desktop.mood.lock().unwrap() {
            Mood::Lies => return Ok(()),
            Mood::Late(locks) => {
                locks.push(lock);
                return Err("did not answer".to_owned());
            }
            _ => {}
        }
        self.desktop.entries.lock().unwrap().insert(self.name.clone(), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, _: Arc<Bare>) -> Result<(), String> {
        self.step("forget")?;
        self.desktop.entries.lock().unwrap().remove(&self.name);
        Ok(())
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    (folder, path)
}

fn in_file(path: &Path) -> Arc<dyn Store> {
    in_file_under(path, Vec::new())
}

fn in_file_under(path: &Path, encryption_keys: Vec<crate::secret::Secret>) -> Arc<dyn Store> {
    let params = Params::File { path: path.to_owned(), allow_network_fs: false, encryption_keys };
    open(&params, &GrantName::new("default")).unwrap()
}

fn noted() -> Record {
    Record { intent: Some(intent("refresh-1", "one")), ..record(1) }
}

/// Another line's first record, which has met the seeds of the one before.
fn other_line() -> Record {
    Record { lineage: "another".to_owned(), ..record(0) }
}

fn exported() -> Exported {
    Exported { id: "one".to_owned(), to: "/b/grant.json".to_owned(), at: Duration::from_secs(7) }
}

fn retired() -> Record {
    let left = Record { refresh_token: None, access_token: None, quiet_redeems: 0, ..record(2) };
    Record { exported: Some(exported()), ..left }
}

fn shows_no_secret(path: &Path) {
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let name = entry.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&name).unwrap()).into_owned();
        assert!(!text.contains("refresh-") && !text.contains("access-"), "{}: {text}", name.display());
    }
}

/// What is done, over what rests, and what may be found after it was cut off: `old` before it is said to be done.
async fn cut_off_anywhere<F>(resting: Option<Record>, old: &[Option<Record>], new: &Record, work: F)
where
    F: AsyncFn(KeyringStore) -> bool,
{
    for how in EVERY_WAY {
        for step in 0.. {
            let (desktop, (_folder, path)) = (Desktop::default(), folder());
            if let Some(resting) = &resting {
                desktop.rest(&path, resting.clone()).await;
            }
            let faults = Faults::at(step, how);
            let is_done = work(desktop.store_with(&path, &faults)).await;
            let place = format!("{how:?} at {step}, {:?}", faults.steps().last());
            shows_no_secret(&path);
            let elsewhere = in_file(&path).peek().await;
            let found = desktop.found(&path).await;
            assert!(found.as_ref() == Some(new) || old.contains(&found), "{place}: {found:?}");
            assert!(!is_done || found.as_ref() == Some(new), "{place}: done, and lost");
            let has_secret = found.as_ref().is_some_and(Record::holds_a_secret);
            assert!(
                !has_secret || elsewhere.is_err() || elsewhere.unwrap().is_none(),
                "{place}: a file's store finds another"
            );
            assert!(!has_secret || in_file(&path).begin(LONG).await.is_err(), "{place}: nor may it begin");
            if faults.steps().len() <= step {
                assert!(is_done, "{place}: undisturbed");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_first_record_that_is_cut_off_anywhere_is_there_or_nothing_is() {
    cut_off_anywhere(None, &[None], &record(1), async |store| match store.begin(LONG).await {
        Ok(mut txn) => txn.commit(record(1)).await.is_ok(),
        Err(_) => false,
    })
    .await;
}

#[tokio::test]
async fn a_refresh_that_is_cut_off_anywhere_leaves_the_old_record_or_the_new() {
    let old = [Some(record(1)), Some(noted())];
    cut_off_anywhere(Some(record(1)), &old, &record(2), async |store| {
        let Ok(mut txn) = store.begin(LONG).await else { return false };
        txn.intend(intent("refresh-1", "one")).await.is_ok() && txn.commit(record(2)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_new_line_that_is_cut_off_anywhere_has_begun_or_the_old_one_goes_on() {
    cut_off_anywhere(Some(record(1)), &[Some(record(1))], &other_line(), async |store| {
        match store.begin(LONG).await {
            Ok(mut txn) => txn.commit(other_line()).await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test]
async fn an_export_that_is_cut_off_anywhere_has_left_or_rests() {
    cut_off_anywhere(Some(record(1)), &[Some(record(1))], &retired(), async |store| {
        match store.begin(LONG).await {
            Ok(mut txn) => transfer::retire(&mut txn, exported()).await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test]
async fn an_import_that_is_cut_off_anywhere_forgets_no_seed() {
    for line in ["line", "another"] {
        let imported = Record { lineage: line.to_owned(), ..record(7) };
        let settled = Record { generation: 8, ..imported.clone() };
        cut_off_anywhere(Some(retired()), &[Some(retired())], &settled, async |store| {
            match store.begin(LONG).await {
                Ok(mut txn) => transfer::settle(&mut txn, imported.clone(), None).await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }
}

#[tokio::test]
async fn no_presented_token_is_without_its_note() {
    for how in EVERY_WAY {
        for step in 0.. {
            let (desktop, (_folder, path)) = (Desktop::default(), folder());
            desktop.rest(&path, record(1)).await;
            let faults = Faults::at(step, how);
            let mut is_intended = false;
            let mut is_abandoned = false;
            if let Ok(mut txn) = desktop.store_with(&path, &faults).begin(LONG).await {
                is_intended = txn.intend(intent("refresh-1", "one")).await.is_ok();
                if step % 2 == 0 {
                    is_abandoned = txn.abandon().await.is_ok();
                }
            }
            let found = desktop.found(&path).await.unwrap();
            assert!([record(1), noted()].contains(&found), "{how:?} at {step}: {found:?}");
            assert!(
                !is_intended || is_abandoned || found == noted(),
                "{how:?} at {step}: presented without a note"
            );
            assert!(!is_abandoned || found == record(1), "{how:?} at {step}: taken back, and stands");
            if faults.steps().len() <= step {
                assert!(is_intended && (is_abandoned || step % 2 == 1), "{how:?} at {step}: undisturbed");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_disk_that_fails_after_the_intent_does_not_lose_the_successor() {
    for how in [How::Fail, How::Full] {
        for step in 0.. {
            let (desktop, (_folder, path)) = (Desktop::default(), folder());
            desktop.rest(&path, record(1)).await;
            let faults = Faults::at(step, how);
            let Ok(mut txn) = desktop.store_with(&path, &faults).begin(LONG).await else { continue };
            let is_intended = txn.intend(intent("refresh-1", "one")).await.is_ok();
            let is_committed = is_intended && txn.commit(record(2)).await.is_ok();
            drop(txn);
            let steps = faults.steps();
            let is_on_disk = steps.get(step).is_none_or(|name| !["ask", "tell"].contains(name));
            assert!(!is_intended || is_committed || !is_on_disk, "{how:?} at {step}: {steps:?}");
            assert!(!is_committed || desktop.found(&path).await == Some(record(2)), "{how:?} at {step}");
            if steps.len() <= step {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_mark_without_its_entry_is_refused_and_says_what_to_do() {
    let (_folder, path) = folder();
    Desktop::default().rest(&path, record(1)).await;
    let mark = fs::read(&path).unwrap();
    let another = Desktop::default();
    let said = another.refusal(&path).await;
    for word in ["state.json cannot be the store", "locked, or is another one", "Unlock", "new seed"] {
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(fs::read(&path).unwrap(), mark, "and it stays");
}

#[tokio::test]
async fn an_entry_without_its_mark_goes_on_and_is_marked_anew() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(3)).await;
    fs::remove_file(&path).unwrap();
    assert_eq!(desktop.found(&path).await, Some(record(3)));
    let said = in_file(&path).begin(LONG).await.err().unwrap().to_string();
    assert!(said.contains("rests in the keyring"), "{said}");
}

#[tokio::test]
async fn an_entry_that_is_older_or_of_another_line_is_refused() {
    for other in [record(4), other_line()] {
        let (desktop, (_folder, path)) = (Desktop::default(), folder());
        desktop.rest(&path, record(5)).await;
        desktop.keep(&path, &other);
        let said = desktop.refusal(&path).await;
        assert!(said.contains("does not speak of what is in the keyring"), "{said}");
        assert_eq!(desktop.kept(&path), Some(other), "and it stays");
    }
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, retired()).await;
    desktop.keep(&path, &other_line());
    assert!(desktop.refusal(&path).await.contains("does not speak"), "nor is what has left believed then");
}

#[tokio::test]
async fn a_mark_that_was_moved_is_refused() {
    let (desktop, (folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(1)).await;
    let moved = folder.path().join("moved.json");
    fs::rename(&path, &moved).unwrap();
    let said = desktop.refusal(&moved).await;
    assert!(said.contains("move it back") && said.contains("/state.json, and is not where it was"), "{said}");
}

#[tokio::test]
async fn where_the_kind_is_changed_the_record_is_not_passed_over() {
    for keys in [Vec::new(), vec![crate::store::seal::tests::key(1)]] {
        let (desktop, (_folder, path)) = (Desktop::default(), folder());
        let files = in_file_under(&path, keys);
        files.begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
        let said = desktop.refusal(&path).await;
        assert!(said.contains("bearerd export") && said.contains("bearerd import"), "{said}");
        assert_eq!(files.peek().await.unwrap(), Some(record(1)), "it stays");
        assert_eq!(desktop.kept(&path), None);
    }

    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(1)).await;
    let files = in_file(&path);
    let refusals = [
        files.begin(LONG).await.err().unwrap(),
        files.peek().await.unwrap_err(),
        files.probe().await.unwrap_err(),
    ];
    for refusal in refusals {
        let said = refusal.to_string();
        assert!(matches!(refusal, StoreError::Refused { .. }), "{said}");
        assert!(said.contains("kind = \"keyring\"") && said.contains("bearerd export"), "{said}");
    }
    assert_eq!(desktop.found(&path).await, Some(record(1)), "it stays");
}

#[tokio::test]
async fn what_an_export_leaves_is_found_by_either_kind() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    for round in 0..2 {
        desktop.rest(&path, Record { generation: 10 * round + 1, ..record(1) }).await;
        let mut txn = desktop.store(&path).begin(LONG).await.unwrap();
        transfer::retire(&mut txn, exported()).await.unwrap();
        drop(txn);
        assert_eq!(desktop.kept(&path), None, "nothing is left in the keyring");

        let mut txn = in_file(&path).begin(LONG).await.unwrap();
        assert_eq!(txn.record().unwrap().exported, Some(exported()));
        txn.commit(Record { generation: 10 * round + 5, ..record(1) }).await.unwrap();
        transfer::retire(&mut txn, exported()).await.unwrap();
        drop(txn);
        assert_eq!(desktop.found(&path).await.unwrap().exported, Some(exported()));
    }
}

#[tokio::test]
async fn a_locked_keyring_is_an_error_and_not_an_empty_one() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(1)).await;
    desktop.is(Mood::Locked);
    assert!(desktop.refusal(&path).await.contains("unlock it"));
    let (_folder, empty) = folder();
    assert!(desktop.refusal(&empty).await.contains("unlock it"), "nothing begins there either");
    desktop.is(Mood::Well);
    let mut txn = desktop.store(&path).begin(LONG).await.unwrap();
    desktop.is(Mood::Locked);
    let refused = txn.intend(intent("refresh-1", "one")).await.unwrap_err().to_string();
    assert!(refused.contains("unlock it"), "it is found out before anything is presented: {refused}");
    drop(txn);
    desktop.is(Mood::Well);
    assert_eq!(desktop.found(&path).await, Some(record(1)));
}

#[tokio::test]
async fn who_signs_out_or_exports_is_told_that_the_keyring_still_holds_the_token() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(1)).await;
    let mut txn = desktop.store(&path).begin(LONG).await.unwrap();
    desktop.is(Mood::Locked);
    let said = transfer::retire(&mut txn, exported()).await.unwrap_err().to_string();
    assert!(said.contains("still holds") && said.contains("run this again"), "{said}");
    drop(txn);
    assert!(desktop.kept(&path).is_some());
    // Said again as long as it is so; and gone with the first try that can.
    desktop.is(Mood::Well);
    let mut txn = desktop.store(&path).begin(LONG).await.unwrap();
    transfer::confirm(&mut txn).await.unwrap();
    drop(txn);
    assert_eq!((desktop.kept(&path), desktop.found(&path).await), (None, Some(retired())));
}

#[tokio::test]
async fn a_place_in_which_nothing_rests_asks_the_keyring_once() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    let faults = Faults::default();
    let store = desktop.store_with(&path, &faults);
    for _ in 0..5 {
        assert_eq!(store.peek().await.unwrap(), None);
    }
    assert_eq!(faults.steps(), ["ask"]);
    desktop.rest(&path, record(1)).await;
    assert_eq!(store.peek().await.unwrap(), Some(record(1)), "what another process began is seen");
}

#[tokio::test]
async fn a_look_from_beside_leaves_mark_lock_and_keyring_alone() {
    let (desktop, (folder, path)) = (Desktop::default(), folder());
    let names = || fs::read_dir(folder.path()).unwrap().count();
    let faults = Faults::default();
    desktop.store_with(&path, &faults).inspect().await.unwrap();
    assert_eq!((names(), faults.steps()), (0, vec!["ask"]));
    desktop.rest(&path, record(1)).await;
    let (mark, names_before) = (fs::read(&path).unwrap(), names());
    desktop.store(&path).inspect().await.unwrap();
    assert_eq!((fs::read(&path).unwrap(), names()), (mark, names_before));
    desktop.is(Mood::Locked);
    assert!(desktop.store(&path).inspect().await.unwrap_err().to_string().contains("unlock it"));
}

#[tokio::test]
async fn what_a_killed_save_of_a_file_left_stays_where_the_kind_was_changed() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    in_file(&path).begin(LONG).await.unwrap().commit(record(1)).await.unwrap();
    let spare = path.with_file_name("state.json.spare");
    fs::write(&spare, &*record::encode(&record(2)).unwrap()).unwrap();
    assert!(desktop.store(&path).begin(LONG).await.is_err());
    assert!(spare.exists(), "it may hold the only copy");
    assert_eq!(in_file(&path).begin(LONG).await.unwrap().record(), Some(&record(2)));
}

#[tokio::test]
async fn while_the_mark_is_as_it_was_nobody_is_asked_to_unlock_anything() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(1)).await;
    let store = desktop.store(&path);
    assert_eq!(store.peek().await.unwrap(), Some(record(1)));
    desktop.is(Mood::Locked);
    assert_eq!(store.peek().await.unwrap(), Some(record(1)));
    desktop.is(Mood::Well);
    desktop.rest(&path, record(2)).await;
    assert_eq!(store.peek().await.unwrap(), Some(record(2)), "what another process saved is seen");
}

#[tokio::test]
async fn a_keyring_that_did_not_keep_what_it_was_given_is_found_out() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(1)).await;
    let mut txn = desktop.store(&path).begin(LONG).await.unwrap();
    txn.intend(intent("refresh-1", "one")).await.unwrap();
    desktop.is(Mood::Lies);
    let found_out = txn.commit(record(2)).await.unwrap_err().to_string();
    assert!(found_out.contains("does not hold what was"), "{found_out}");
    desktop.is(Mood::Well);
    txn.commit(record(2)).await.unwrap();
    drop(txn);
    assert_eq!(desktop.found(&path).await, Some(record(2)), "the next try saves it");
}

#[tokio::test]
async fn whoever_comes_after_a_write_that_is_late_waits_for_it() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(1)).await;
    let mut txn = desktop.store(&path).begin(LONG).await.unwrap();
    desktop.is(Mood::Late(Vec::new()));
    txn.commit(record(2)).await.unwrap_err();
    drop(txn);
    let kept_out = desktop.store(&path).begin(Duration::from_millis(120)).await.err();
    assert!(matches!(kept_out, Some(StoreError::Locked { .. })), "{kept_out:?}");
    desktop.keep(&path, &record(2));
    desktop.is(Mood::Well);
    assert_eq!(desktop.found(&path).await, Some(record(2)));
}

#[tokio::test]
async fn a_damaged_mark_is_made_anew_for_its_entry_or_something_stands_in_for_it() {
    let (desktop, (folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(1)).await;
    fs::write(&path, "{ half a ma").unwrap();
    let stand_in =
        || -> StandIn { Box::new(|| Some(Record { refresh_token: None, access_token: None, ..record(0) })) };
    let txn = desktop.store(&path).begin_or(LONG, stand_in()).await.unwrap();
    assert_eq!(txn.record(), Some(&record(1)));
    drop(txn);
    assert_eq!(desktop.found(&path).await, Some(record(1)));

    let another = Desktop::default();
    fs::write(&path, "{ half a ma").unwrap();
    another.is(Mood::Locked);
    assert!(
        another.store(&path).begin_or(LONG, stand_in()).await.err().unwrap().to_string().contains("unlock")
    );
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{ half a ma",
        "not before the keyring has said what it holds"
    );
    another.is(Mood::Well);
    let set_aside = another.store(&path).begin_or(LONG, stand_in()).await.err();
    assert!(matches!(set_aside, Some(StoreError::Corrupt { aside: Some(_), .. })), "{set_aside:?}");
    assert!(another.found(&path).await.is_some_and(|record| record.refresh_token.is_none()));
    let kept = fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".corrupt-"));
    assert_eq!(kept.count(), 2, "both are kept");
}

#[tokio::test]
async fn what_is_no_record_in_the_entry_is_told_and_stays() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, record(1)).await;
    for bytes in ["{ half", "{\"version\": 9}", "{\"version\": 4, \"in_keyring\": \"a\"}"] {
        let name = format!("bearerd/{}", path.display());
        desktop.entries.lock().unwrap().insert(name.clone(), bytes.as_bytes().to_vec());
        let said = desktop.refusal(&path).await;
        assert!(said.contains("the keyring's entry bearerd/"), "{said}");
        assert_eq!(desktop.entries.lock().unwrap()[&name], bytes.as_bytes());
    }
}

#[tokio::test]
async fn a_trial_that_is_cut_off_anywhere_changes_nothing() {
    for before in [None, Some(record(1)), Some(retired())] {
        for how in EVERY_WAY {
            for step in 0.. {
                let (desktop, (_folder, path)) = (Desktop::default(), folder());
                if let Some(before) = &before {
                    desktop.rest(&path, before.clone()).await;
                }
                let faults = Faults::at(step, how);
                let _ = desktop.store_with(&path, &faults).probe().await;
                assert_eq!(desktop.found(&path).await, before, "{how:?} at {step}");
                if faults.steps().len() <= step {
                    assert!(desktop.entries.lock().unwrap().keys().all(|name| !name.ends_with(".probe")));
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn every_member_of_a_record_comes_back() {
    let (desktop, (_folder, path)) = (Desktop::default(), folder());
    desktop.rest(&path, sample::full(7)).await;
    assert_eq!(desktop.found(&path).await, Some(sample::full(7)));
    let large =
        Record { refresh_token: Some(crate::secret::RefreshToken::new("r".repeat(1 << 20))), ..record(9) };
    desktop.rest(&path, large.clone()).await;
    assert_eq!(desktop.found(&path).await, Some(large), "however large");
}
