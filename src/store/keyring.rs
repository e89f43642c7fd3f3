//! The record in the desktop's keyring: one entry per grant, and beside it the lock file that the file store has.
//!
//! The entry is named after the file that the record would be in, so that whoever holds that file's lock is its one
//! holder. What a write is worth is the keyring's to say: there is no spare and no rename here.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::file::{self, Locked, Place, blocking};
use super::record::{self, Unreadable};
use super::{Intent, NO_RECORD, Pending, Record, Store, StoreError, Txn};
use crate::secret::Entry;
use crate::token::GrantName;

/// The `service` of every entry.
const SERVICE: &str = "bearerd";

/// How long a probe waits for the lock: one save's time.
const PATIENCE: Duration = Duration::from_secs(1);

/// `kind = "keyring"`, for one grant.
pub(super) struct KeyringStore {
    place: Arc<Place>,
    entry: Entry,
}

impl KeyringStore {
    pub(super) fn new(path: &Path, grant: &GrantName) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let place = Arc::new(Place::of(&path, grant)?);
        let entry = Entry { service: SERVICE.to_owned(), name: place.asked() };
        Ok(Self { place, entry })
    }
}

impl Store for KeyringStore {
    fn begin(&self, patience: Duration) -> Pending<'_, Result<Box<dyn Txn>, StoreError>> {
        Box::pin(async move {
            let lock = file::take(&self.place, patience).await?;
            let entry = self.entry.clone();
            let held = blocking(move || {
                refuse_a_file(&lock)?;
                let resting = read(&entry)?;
                Ok(Held { _lock: lock, entry, resting, ours: None })
            })
            .await?;
            let record = held.resting.clone();
            Ok(Box::new(KeyringTxn { held: Arc::new(Mutex::new(held)), record }) as Box<dyn Txn>)
        })
    }

    fn peek(&self) -> Pending<'_, Result<Option<Record>, StoreError>> {
        let entry = self.entry.clone();
        Box::pin(blocking(move || read(&entry)))
    }

    /// Writes what rests once more; where nothing does, an entry beside it, which is then removed.
    fn probe(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let lock = match file::take(&self.place, PATIENCE).await {
                Ok(lock) => lock,
                // Its holder lives and is saving in this very place.
                Err(StoreError::Locked { .. }) => return self.peek().await.map(drop),
                Err(error) => return Err(error),
            };
            let entry = self.entry.clone();
            blocking(move || {
                refuse_a_file(&lock)?;
                match read(&entry)? {
                    Some(record) => write(&entry, &record),
                    None => {
                        let trial = Entry { name: format!("{}.probe", entry.name), ..entry.clone() };
                        trial
                            .write(b"probe")
                            .and_then(|()| trial.remove())
                            .map_err(|why| refused(&entry, why))
                    }
                }
            })
            .await
        })
    }

    fn place(&self) -> String {
        self.entry.to_string()
    }
}

/// A record in the file of that name is of the same grant, and would be presented a second time when the kind is changed
/// back: a grant moves, or stays.
fn refuse_a_file(lock: &Locked) -> Result<(), StoreError> {
    let path = lock.record();
    if std::fs::symlink_metadata(path).is_err() || file::is_left_behind(path) {
        return Ok(());
    }
    let why = "a record is there, from when `[store] kind` was \"file\": export it under that kind and import it under \
               this one, or remove the file";
    Err(StoreError::Refused { place: path.display().to_string(), why: why.to_owned() })
}

fn refused(entry: &Entry, why: String) -> StoreError {
    StoreError::Refused { place: entry.to_string(), why }
}

/// What is no record is not set aside: whoever has put it there sees it in the keyring.
fn read(entry: &Entry) -> Result<Option<Record>, StoreError> {
    let Some(bytes) = entry.read().map_err(|why| refused(entry, why))? else { return Ok(None) };
    record::decode(&bytes).map(Some).map_err(|unreadable| match unreadable {
        Unreadable::Damaged(why) => StoreError::Corrupt { place: entry.to_string(), why, aside: None },
        Unreadable::Newer(version) => {
            refused(entry, format!("it is of form {version}, written by a newer bearerd; run that one"))
        }
        Unreadable::Sealed(why) => refused(entry, why),
    })
}

fn write(entry: &Entry, record: &Record) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { doing: format!("write {entry}"), source };
    let bytes = record::encode(record).map_err(failed)?;
    entry.write(&bytes).map_err(|why| failed(io::Error::other(why)))
}

/// What one transaction holds.
struct Held {
    _lock: Locked,
    entry: Entry,
    resting: Option<Record>,
    ours: Option<Displaced>,
}

/// What stood in the record before an intent of ours.
struct Displaced(Option<Intent>);

impl Held {
    fn rest(&mut self, record: Record) -> Result<(), StoreError> {
        write(&self.entry, &record)?;
        self.resting = Some(record);
        Ok(())
    }

    fn intend(&mut self, intent: Intent) -> Result<(), StoreError> {
        let Some(resting) = self.resting.clone() else {
            return Err(refused(&self.entry, NO_RECORD.to_owned()));
        };
        self.ours.get_or_insert(Displaced(resting.intent.clone()));
        self.rest(Record { intent: Some(intent), ..resting })
    }

    fn commit(&mut self, record: Record) -> Result<(), StoreError> {
        self.rest(record)?;
        self.ours = None;
        Ok(())
    }

    fn abandon(&mut self) -> Result<(), StoreError> {
        match (self.ours.take(), self.resting.clone()) {
            (Some(Displaced(before)), Some(record)) => self.rest(Record { intent: before, ..record }),
            _ => Ok(()),
        }
    }
}

/// The lock, held, and the record as last known to rest. Shared with the blocking task, as the file store's is.
struct KeyringTxn {
    held: Arc<Mutex<Held>>,
    record: Option<Record>,
}

impl KeyringTxn {
    async fn change(
        &mut self,
        work: impl FnOnce(&mut Held) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let held = Arc::clone(&self.held);
        self.record = blocking(move || {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut held)?;
            Ok(held.resting.clone())
        })
        .await?;
        Ok(())
    }
}

impl Txn for KeyringTxn {
    fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    fn intend(&mut self, intent: Intent) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |held| held.intend(intent)))
    }

    fn commit(&mut self, record: Record) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |held| held.commit(record)))
    }

    fn abandon(self: Box<Self>) -> Pending<'static, Result<(), StoreError>> {
        let held = self.held;
        Box::pin(blocking(move || held.lock().unwrap_or_else(PoisonError::into_inner).abandon()))
    }
}
