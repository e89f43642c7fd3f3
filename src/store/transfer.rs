//! A grant on its way from one store to another: what is written for it, and what rests at either end.
//!
//! An export is no copy of a record: it only comes to be where the record is about to be retired, so that one refresh
//! token never has two holders. A record itself is therefore not taken for one.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::record::{self, RecordForm, Unreadable};
use super::{Exported, Record, SEEDS_REMEMBERED, StoreError, Txn};
use crate::secret::Fingerprint;

/// What every export begins with, also one that was cut off.
pub const OPENING: &[u8] = b"{\n  \"exported_from\": ";

#[derive(Serialize, Deserialize)]
struct ExportForm<'a> {
    exported_from: Cow<'a, str>,
    record: RecordForm<'a>,
}

#[derive(Deserialize)]
struct Head {
    exported_from: Option<serde::de::IgnoredAny>,
    record: Option<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

/// What is written of a record that leaves `from`, a store's place; the buffer is wiped when dropped.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn encode(record: &Record, from: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(record::room_for(record) + 6 * from.len()));
    let form = ExportForm { exported_from: from.into(), record: RecordForm::from(record) };
    serde_json::to_writer_pretty(&mut *bytes, &form)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The record in an export.
///
/// # Errors
/// Why it is none; never what stands there.
pub fn decode(bytes: &[u8]) -> Result<Record, String> {
    let told = |unreadable| match unreadable {
        Unreadable::Damaged(why) => format!("it is no whole export: {why}"),
        Unreadable::Newer(version) => format!("it is of form {version}, written by a newer bearerd"),
        Unreadable::Sealed(why) => why,
    };
    let head: Head = serde_json::from_slice(bytes).map_err(|error| told(record::damaged(error)))?;
    match head {
        Head { exported_from: Some(_), record: Some(Version { version }) } if version > record::VERSION => {
            Err(told(Unreadable::Newer(version)))
        }
        Head { exported_from: Some(_), record: Some(_) } => {
            let form: ExportForm<'_> =
                serde_json::from_slice(bytes).map_err(|error| told(record::damaged(error)))?;
            form.record.into_record().map_err(told)
        }
        _ => Err(
            "it is no export; a store's own file is none, for its refresh token may still be presented from \
                  there: run `bearerd export` where it is in use"
                .to_owned(),
        ),
    }
}

/// Whether `retired` is what an export of `record` has left behind.
#[must_use]
pub fn is_left_by(retired: &Record, record: &Record) -> bool {
    retired.exported.is_some()
        && retired.lineage == record.lineage
        && retired.generation == record.generation.saturating_add(1)
}

/// Takes the tokens out of a store. What is left says where they went, and keeps the seeds as met (R44), so that no
/// start begins with one of them anew.
///
/// # Errors
/// When that is not known to be durable; the grant may then still rest here.
pub async fn retire(txn: &mut Box<dyn Txn>, to: &str, at: Duration) -> Result<(), StoreError> {
    let Some(record) = txn.record().cloned() else { return Ok(()) };
    let retired = Record {
        generation: record.generation.saturating_add(1),
        refresh_token: None,
        access_token: None,
        dpop_key: None,
        quiet_redeems: 0,
        intent: None,
        refused: None,
        exported: Some(Exported { to: to.to_owned(), at }),
        ..record
    };
    txn.commit(retired).await
}

/// Whether what rests is a grant that an import would end: one that the server has not refused, and that is not the
/// imported one at an earlier time.
#[must_use]
pub fn is_alive_beside(resting: &Record, imported: &Record) -> bool {
    resting.refresh_token.is_some() && resting.refused.is_none() && resting.lineage != imported.lineage
}

/// Whether an import has been done before: the grant rests here, as it came or as it went on.
#[must_use]
pub fn rests_already(resting: &Record, imported: &Record) -> bool {
    resting.refresh_token.is_some()
        && resting.lineage == imported.lineage
        && resting.generation >= imported.generation
}

/// Puts an imported record into a store. The seeds that were met here stay met, and so is the configured one from now
/// on: it is older than what is imported.
///
/// # Errors
/// When the record is not known to be durable.
pub async fn settle(
    txn: &mut Box<dyn Txn>,
    imported: Record,
    seed: Option<Fingerprint>,
) -> Result<(), StoreError> {
    let resting = txn.record();
    let generation = resting.map_or(0, |resting| resting.generation).max(imported.generation);
    let mut seeds = resting.map(|resting| resting.seeds.clone()).unwrap_or_default();
    for met in imported.seeds.iter().cloned().chain(seed) {
        seeds.retain(|known| *known != met);
        seeds.push(met);
    }
    seeds.drain(..seeds.len().saturating_sub(SEEDS_REMEMBERED));
    // Later than either, so that whoever looks at the store sees that it is another.
    txn.commit(Record { generation: generation.saturating_add(1), seeds, exported: None, ..imported }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::memory::MemoryStore;
    use crate::store::sample;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn an_export_comes_back_as_it_was_and_a_record_is_none() {
        let bytes = encode(&sample::full(7), "file /a/state.json").unwrap();
        assert_eq!(decode(&bytes), Ok(sample::full(7)));
        assert!(bytes.starts_with(OPENING));
        let refused = decode(&record::encode(&sample::full(7)).unwrap()).unwrap_err();
        assert!(refused.contains("it is no export") && refused.contains("bearerd export"), "{refused}");
        for length in 0..bytes.len() - 1 {
            let cut = decode(&bytes[..length]).unwrap_err();
            assert!(!cut.contains("refresh-7"), "{cut}");
        }
        let newer = String::from_utf8(bytes.to_vec()).unwrap().replace("\"version\": 2", "\"version\": 9");
        assert!(decode(newer.as_bytes()).unwrap_err().contains("a newer bearerd"));
    }

    #[tokio::test]
    async fn what_is_left_behind_has_no_secret_and_says_where_they_went() {
        let store = MemoryStore::holding(sample::full(7));
        let mut txn = store.begin(PATIENCE).await.unwrap();
        retire(&mut txn, "/b/grant.json", Duration::from_secs(9)).await.unwrap();
        let left = store.peek().await.unwrap().unwrap();
        assert!(is_left_by(&left, &sample::full(7)) && !is_left_by(&left, &sample::full(8)));
        let text = String::from_utf8(record::encode(&left).unwrap().to_vec()).unwrap();
        for secret in ["refresh-7", "access-7", "key-7"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!((left.seeds, left.lineage.as_str()), (sample::full(7).seeds, "line"));
        assert_eq!(
            left.exported,
            Some(Exported { to: "/b/grant.json".to_owned(), at: Duration::from_secs(9) })
        );
    }

    #[tokio::test]
    async fn what_is_imported_is_later_than_what_rested_and_has_met_every_seed() {
        let here = Record {
            lineage: "other".to_owned(),
            generation: 40,
            seeds: vec![Fingerprint::of("here")],
            ..sample::record(0)
        };
        let store = MemoryStore::holding(here.clone());
        let mut txn = store.begin(PATIENCE).await.unwrap();
        assert!(is_alive_beside(&here, &sample::full(7)) && !rests_already(&here, &sample::full(7)));
        settle(&mut txn, sample::full(7), Some(Fingerprint::of("configured"))).await.unwrap();
        let rests = store.peek().await.unwrap().unwrap();
        let seeds = ["here", "seed", "configured"].map(Fingerprint::of).to_vec();
        assert_eq!(rests, Record { generation: 41, seeds, exported: None, ..sample::full(7) });
        assert!(rests_already(&rests, &sample::full(7)) && !is_alive_beside(&rests, &sample::full(7)));
    }
}
