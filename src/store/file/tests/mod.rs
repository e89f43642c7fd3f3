//! What the file store promises beyond what every store does.

mod crashes;
pub(in crate::store) mod faults;
mod full_disks;
mod places;
mod sealing;
mod sizes;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::faults::Faults;
use super::disk::Disk;
use super::place::Place;
use super::{FileStore, Store as _, StoreError, Txn};
use crate::secret::Secret;
use crate::store::Record;
use crate::store::seal::Seal;
use crate::store::seal::tests::key;
use crate::token::GrantName;

const LONG: Duration = Duration::from_secs(60);

/// The folder whose records are sealed; those of every other rest as they are.
const SEALED: &str = "sealed";

/// A folder of either kind.
const KINDS: [&str; 2] = ["plain", SEALED];

fn store_with(path: &Path, faults: &Faults) -> FileStore {
    let is_sealed = path.parent().is_some_and(|folder| folder.ends_with(SEALED));
    let keys: &[Secret] = if is_sealed { &[key(1)] } else { &[] };
    store_under(keys, path, faults)
}

fn store_under(keys: &[Secret], path: &Path, faults: &Faults) -> FileStore {
    let grant = GrantName::new("default");
    let mut place = Place::of(path, &grant).unwrap();
    place.seal = Seal::new(&grant, keys);
    FileStore { place: Arc::new(place), disk: Disk { faults: faults.clone(), ..Disk::default() } }
}

fn store(path: &Path) -> FileStore {
    store_with(path, &Faults::default())
}

async fn begin(path: &Path) -> Result<Box<dyn Txn>, StoreError> {
    store(path).begin(LONG).await
}

async fn rest(path: &Path, record: Record) {
    begin(path).await.unwrap().commit(record).await.unwrap();
}

/// What the next holder of the lock finds.
async fn found(path: &Path) -> Option<Record> {
    begin(path).await.unwrap().record().cloned()
}

/// The names in the record's folder, sorted.
fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
