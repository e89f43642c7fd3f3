//! What every kind of store promises.

use std::sync::Arc;
use std::time::Duration;

use super::keyring::tests::Desktop;
use super::sample::{intent, record};
use super::seal::tests::key;
use super::{Params, Record, Store, StoreError, Txn, open};
use crate::token::GrantName;

const LONG: Duration = Duration::from_secs(60);

/// Opens the store once more, as another process does; the one in memory can only be shared.
type Opens = Box<dyn Fn() -> Arc<dyn Store>>;

/// A store of each kind; the folder lasts as long as the test.
fn each_kind() -> Vec<(tempfile::TempDir, Opens, Arc<dyn Store>)> {
    let in_file = |encryption_keys| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let params = Params::File { path, allow_network_fs: false, encryption_keys };
        let opens = move || open(&params, &GrantName::new("default")).unwrap();
        (folder, Box::new(opens) as Opens)
    };
    let in_keyring = || {
        let folder = tempfile::tempdir().unwrap();
        let (desktop, path) = (Desktop::default(), folder.path().join("state.json"));
        let opens = move || Arc::new(desktop.store(&path)) as Arc<dyn Store>;
        (folder, Box::new(opens) as Opens)
    };
    let in_memory = || {
        let store = open(&Params::Memory, &GrantName::new("default")).unwrap();
        (tempfile::tempdir().unwrap(), Box::new(move || Arc::clone(&store)) as Opens)
    };
    let kinds = [in_file(Vec::new()), in_file(vec![key(1)]), in_keyring(), in_memory()];
    let opened = |(folder, opens): (_, Opens)| {
        let store = opens();
        (folder, opens, store)
    };
    kinds.into_iter().map(opened).collect()
}

async fn begin(store: &Arc<dyn Store>) -> Box<dyn Txn> {
    store.begin(LONG).await.unwrap()
}

async fn rest(store: &Arc<dyn Store>, record: Record) {
    begin(store).await.commit(record).await.unwrap();
}

fn generation(record: Option<&Record>) -> Option<u64> {
    record.map(|record| record.generation)
}

#[tokio::test]
async fn what_is_committed_is_what_the_next_holder_finds() {
    for (_folder, _, store) in each_kind() {
        assert!(begin(&store).await.record().is_none(), "{}", store.place());
        let mut txn = begin(&store).await;
        txn.commit(record(1)).await.unwrap();
        txn.commit(record(2)).await.unwrap();
        assert_eq!(txn.record(), Some(&record(2)));
        drop(txn);
        assert_eq!(begin(&store).await.record(), Some(&record(2)));
        assert_eq!(store.peek().await.unwrap(), Some(record(2)));
    }
}

#[tokio::test]
async fn the_lock_keeps_others_out_for_as_long_as_it_is_held() {
    for (_folder, _, store) in each_kind() {
        rest(&store, record(1)).await;
        let txn = begin(&store).await;
        let kept_out = store.begin(Duration::from_millis(120)).await.err();
        assert!(matches!(kept_out, Some(StoreError::Locked { .. })), "{kept_out:?}");
        assert_eq!(generation(store.peek().await.unwrap().as_ref()), Some(1), "reading needs no lock");
        drop(txn);
        begin(&store).await;
    }
}

#[tokio::test]
async fn one_who_waits_gets_the_lock_when_it_is_given_up() {
    for (_folder, _, store) in each_kind() {
        let mut txn = begin(&store).await;
        let waiter = tokio::spawn({
            let store = Arc::clone(&store);
            async move { generation(begin(&store).await.record()) }
        });
        tokio::task::yield_now().await;
        txn.commit(record(7)).await.unwrap();
        drop(txn);
        assert_eq!(waiter.await.unwrap(), Some(7), "and reads what was committed meanwhile");
    }
}

#[tokio::test]
async fn an_intent_whose_holder_is_gone_is_there_for_the_next_one() {
    for (_folder, _, store) in each_kind() {
        rest(&store, record(1)).await;
        let mut txn = begin(&store).await;
        txn.intend(intent("refresh-1", "one")).await.unwrap();
        assert_eq!(txn.record().and_then(|record| record.intent.clone()), Some(intent("refresh-1", "one")));
        drop(txn);
        let noted = Record { intent: Some(intent("refresh-1", "one")), ..record(1) };
        assert_eq!(begin(&store).await.record(), Some(&noted));
        assert_eq!(store.peek().await.unwrap(), Some(noted));
    }
}

#[tokio::test]
async fn an_abandoned_intent_is_gone_and_so_is_the_lock() {
    for (_folder, _, store) in each_kind() {
        rest(&store, record(1)).await;
        let mut txn = begin(&store).await;
        txn.intend(intent("refresh-1", "one")).await.unwrap();
        txn.abandon().await.unwrap();
        assert_eq!(begin(&store).await.record(), Some(&record(1)));
    }
}

#[tokio::test]
async fn abandoning_leaves_the_intent_of_an_earlier_holder_standing() {
    for (_folder, _, store) in each_kind() {
        let left = Record { intent: Some(intent("refresh-1", "gone")), ..record(1) };
        rest(&store, left.clone()).await;
        begin(&store).await.abandon().await.unwrap();
        assert_eq!(store.peek().await.unwrap(), Some(left.clone()), "with no intent of ours");

        let mut txn = begin(&store).await;
        txn.intend(intent("refresh-1", "second")).await.unwrap();
        txn.intend(intent("refresh-1", "third")).await.unwrap();
        txn.abandon().await.unwrap();
        assert_eq!(store.peek().await.unwrap(), Some(left), "in place of ours");
    }
}

#[tokio::test]
async fn a_commit_settles_an_intent_and_nothing_is_left_to_abandon() {
    for (_folder, _, store) in each_kind() {
        rest(&store, Record { intent: Some(intent("refresh-1", "gone")), ..record(1) }).await;
        let mut txn = begin(&store).await;
        txn.intend(intent("refresh-1", "one")).await.unwrap();
        txn.commit(record(2)).await.unwrap();
        txn.abandon().await.unwrap();
        assert_eq!(store.peek().await.unwrap(), Some(record(2)));
    }
}

#[tokio::test]
async fn there_is_no_intent_without_a_record() {
    for (_folder, _, store) in each_kind() {
        let refusal = begin(&store).await.intend(intent("seed", "one")).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::Refused { why, .. } if why.contains("first")), "{refusal}");
        assert_eq!(store.peek().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_probe_changes_nothing() {
    for (_folder, _, store) in each_kind() {
        store.probe().await.unwrap();
        assert_eq!(store.peek().await.unwrap(), None);
        let noted = Record { intent: Some(intent("refresh-1", "one")), ..record(1) };
        rest(&store, noted.clone()).await;
        store.probe().await.unwrap();
        assert_eq!(store.peek().await.unwrap(), Some(noted));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_update_is_lost_when_many_want_the_lock() {
    const HOLDERS: u64 = 8;
    const TURNS: u64 = 50;
    for (_folder, opens, store) in each_kind() {
        rest(&store, record(0)).await;
        let holders = (0..HOLDERS).map(|_| {
            let store = opens();
            tokio::spawn(async move {
                for _ in 0..TURNS {
                    let mut txn = store.begin(LONG * 5).await.unwrap();
                    let next = txn.record().unwrap().generation + 1;
                    txn.commit(record(next)).await.unwrap();
                }
            })
        });
        for holder in holders.collect::<Vec<_>>() {
            holder.await.unwrap();
        }
        assert_eq!(store.peek().await.unwrap(), Some(record(HOLDERS * TURNS)), "{}", store.place());
    }
}
