//! A grant on its way from one store to another: what is written for it, and what rests at either end.
//!
//! An export is no copy of a record: it only comes to be where the record is about to be retired, so that one refresh
//! token never has two holders. A record itself is therefore not taken for one.

use std::borrow::Cow;
use std::io;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::record::{self, RecordForm, Unreadable};
use super::{Exported, Record, StoreError, Txn};
use crate::secret::{Fingerprint, random_hex};

/// What every export begins with, also one that was cut off.
const OPENING: &[u8] = b"{\n  \"exported_from\": ";

/// A record on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// A name of its own, by which what is left behind knows it again.
    pub id: String,
    /// What is on its way.
    pub record: Record,
}

impl Export {
    /// A new one.
    #[must_use]
    pub fn of(record: Record) -> Self {
        Self { id: random_hex(16), record }
    }
}

#[derive(Serialize, Deserialize)]
struct ExportForm<'a> {
    exported_from: Cow<'a, str>,
    export: Cow<'a, str>,
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
pub fn encode(export: &Export, from: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let Export { id, record } = export;
    let mut bytes = Zeroizing::new(Vec::with_capacity(record::room_for(record) + 6 * from.len()));
    let form = ExportForm { exported_from: from.into(), export: id.into(), record: RecordForm::from(record) };
    serde_json::to_writer_pretty(&mut *bytes, &form)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads an export.
///
/// # Errors
/// Why it is none; never what stands there.
pub fn decode(bytes: &[u8]) -> Result<Export, String> {
    let told = |unreadable| match unreadable {
        Unreadable::Damaged(why) => format!("it is no whole export: {why}"),
        Unreadable::Newer(version) => format!("it is of form {version}, written by a newer bearerd"),
        Unreadable::Sealed(why) => why,
        Unreadable::InKeyring(_) => "it only says where a record rests".to_owned(),
    };
    let head: Head = serde_json::from_slice(bytes).map_err(|error| told(record::damaged(error)))?;
    match head {
        Head { exported_from: Some(_), record: Some(Version { version }) } if version > record::VERSION => {
            Err(told(Unreadable::Newer(version)))
        }
        Head { exported_from: Some(_), record: Some(_) } => {
            let form: ExportForm<'_> =
                serde_json::from_slice(bytes).map_err(|error| told(record::damaged(error)))?;
            let record = form.record.into_record().map_err(told)?;
            if record.refresh_token.is_none() || record.exported.is_some() {
                return Err("it holds no refresh token to go on with".to_owned());
            }
            Ok(Export { id: form.export.into_owned(), record })
        }
        _ => Err(
            "it is no export; a store's own file is none, for its refresh token may still be presented from \
                  there: run `bearerd export` where it is in use"
                .to_owned(),
        ),
    }
}

/// Whether bytes are the beginning of an export and no more than that: whole lines as they are written, and an end that is
/// too early. A whole one of which a byte was damaged is none.
#[must_use]
pub fn is_cut_off(bytes: &[u8]) -> bool {
    let rest = match bytes.strip_prefix(OPENING) {
        Some(rest) => rest,
        None => return OPENING.starts_with(bytes),
    };
    let mut lines = rest.split(|byte| *byte == b'\n').skip(1).peekable();
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none();
        if !(line.starts_with(b"  ") || is_last && b"  ".starts_with(line)) {
            return false;
        }
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err_and(|error| error.is_eof())
}

/// Whether `retired` is what this export has left behind.
#[must_use]
pub fn is_left_by(retired: &Record, export: &Export) -> bool {
    retired.exported.as_ref().is_some_and(|left| left.id == export.id)
}

/// The later export of the grant that one has been used up for, if one has.
#[must_use]
pub fn later_export<'a>(resting: &'a Record, export: &Export) -> Option<&'a Exported> {
    let is_earlier =
        resting.lineage == export.record.lineage && export.record.generation < resting.generation;
    resting.exported.as_ref().filter(|left| is_earlier && left.id != export.id)
}

/// Takes the tokens out of a store. What is left says where they went, and keeps the seeds as met (R44), so that no
/// start begins with one of them anew.
///
/// # Errors
/// When that is not known to be durable; the grant may then still rest here.
pub async fn retire(txn: &mut Box<dyn Txn>, exported: Exported) -> Result<(), StoreError> {
    let Some(record) = txn.record().cloned() else { return Ok(()) };
    let retired = Record { exported: Some(exported), ..record.emptied() };
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
    let met = imported.seeds.clone().into_iter().chain(seed);
    let seeds = resting.map(|resting| resting.seeds.clone()).unwrap_or_default();
    // Later than either, so that whoever looks at the store sees that it is another.
    let generation = generation.saturating_add(1);
    let mut settled = Record { generation, seeds, exported: None, signed_out: None, ..imported };
    settled.meet(met);
    txn.commit(settled).await
}

/// Saves once more what rests: the save before may have ended before its last word was durable.
///
/// # Errors
/// When the record is not known to be durable.
pub async fn confirm(txn: &mut Box<dyn Txn>) -> Result<(), StoreError> {
    match txn.record().cloned() {
        Some(record) => txn.commit(record).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Store;
    use crate::store::memory::MemoryStore;
    use crate::store::sample;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn export(generation: u64) -> Export {
        let record = Record { exported: None, ..sample::full(generation) };
        Export { id: "one".to_owned(), record }
    }

    fn exported(id: &str) -> Exported {
        Exported { id: id.to_owned(), to: "/b/grant.json".to_owned(), at: Duration::from_secs(9) }
    }

    fn why_none(bytes: &[u8]) -> String {
        let why = decode(bytes).unwrap_err();
        assert!(!why.contains("refresh-7"), "{why}");
        why
    }

    #[test]
    fn an_export_comes_back_as_it_was_and_a_record_is_none() {
        let bytes = encode(&export(7), "file /a/state.json").unwrap();
        assert_eq!(decode(&bytes), Ok(export(7)));
        let refused = why_none(&record::encode(&export(7).record).unwrap());
        assert!(refused.contains("it is no export") && refused.contains("bearerd export"), "{refused}");
        let newer = String::from_utf8(bytes.to_vec()).unwrap().replace("\"version\": 2", "\"version\": 9");
        assert!(why_none(newer.as_bytes()).contains("a newer bearerd"));
        let without = Record { refresh_token: None, ..export(7).record };
        for record in [without, sample::full(7)] {
            let bytes = encode(&Export { record, ..export(7) }, "file /a").unwrap();
            assert!(why_none(&bytes).contains("no refresh token"));
        }
    }

    #[test]
    fn what_was_cut_off_is_told_from_what_was_damaged() {
        let whole = encode(&export(7), "file /a/state.json").unwrap();
        for length in 0..whole.len() - 1 {
            let cut = &whole[..length];
            assert!(is_cut_off(cut) && decode(cut).is_err(), "{length}");
        }
        assert!(!is_cut_off(&whole));
        for at in 0..whole.len() - 1 {
            for byte in [0, b' ', b'\n', b'\\', b'"', b'{', b'[', whole[at] ^ 1, whole[at] ^ 0x80] {
                let mut damaged = whole.to_vec();
                damaged[at] = byte;
                assert!(!is_cut_off(&damaged), "{byte} at {at}: {}", String::from_utf8_lossy(&damaged));
            }
        }
        for other in ["{", "{\n  \"version\": 1,\n", "a file of somebody's"] {
            assert!(!is_cut_off(other.as_bytes()) || OPENING.starts_with(other.as_bytes()), "{other}");
        }
    }

    #[tokio::test]
    async fn what_is_left_behind_has_no_secret_and_says_where_they_went() {
        let store = MemoryStore::holding(export(7).record);
        let mut txn = store.begin(PATIENCE).await.unwrap();
        retire(&mut txn, exported("one")).await.unwrap();
        let left = store.peek().await.unwrap().unwrap();
        assert!(is_left_by(&left, &export(7)), "it is known again");
        assert!(
            !is_left_by(&left, &Export { id: "two".to_owned(), ..export(7) }),
            "one with the same record is not"
        );
        assert!(!is_left_by(&export(7).record, &export(7)));
        let text = String::from_utf8(record::encode(&left).unwrap().to_vec()).unwrap();
        for secret in ["refresh-7", "access-7", "key-7"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!((left.seeds, left.lineage.as_str()), (sample::full(7).seeds, "line"));
        assert_eq!(left.exported, Some(exported("one")));
    }

    #[test]
    fn an_export_from_before_a_later_one_is_used_up() {
        let left = |generation, id| Record {
            refresh_token: None,
            exported: Some(exported(id)),
            ..sample::record(generation)
        };
        assert_eq!(later_export(&left(8, "one"), &export(7)), None, "the last one");
        for later in [left(8, "two"), left(11, "two")] {
            assert_eq!(later_export(&later, &export(7)), Some(&exported("two")));
        }
        assert_eq!(later_export(&left(7, "two"), &export(7)), None, "it went on elsewhere");
        assert_eq!(later_export(&sample::record(8), &export(7)), None);
        let other = Record { lineage: "other".to_owned(), ..left(11, "two") };
        assert_eq!(later_export(&other, &export(7)), None);
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
        assert_eq!(
            rests,
            Record { generation: 41, seeds, exported: None, signed_out: None, ..sample::full(7) }
        );
        assert!(rests_already(&rests, &sample::full(7)) && !is_alive_beside(&rests, &sample::full(7)));
    }
}
