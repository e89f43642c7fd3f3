//! What the file store promises beyond what every store does.

mod crashes;
pub(super) mod faults;
mod full_disks;
mod places;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::faults::Faults;
use super::disk::Disk;
use super::place::Place;
use super::{FileStore, Store as _, StoreError, Txn};
use crate::store::Record;
use crate::token::GrantName;

const LONG: Duration = Duration::from_secs(60);

fn store_with(path: &Path, faults: &Faults) -> FileStore {
    let place = Place::of(path, &GrantName::new("default")).unwrap();
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
