//! A store that forgets: the same lock and the same intents, and nothing survives a restart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::{Intent, NO_RECORD, Pending, Record, StandIn, Store, StoreError, Txn};

const PLACE: &str = "memory";

/// `kind = "memory"`.
#[derive(Default)]
pub struct MemoryStore {
    resting: Arc<Mutex<Option<Record>>>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl MemoryStore {
    /// A store in which `record` rests already.
    #[must_use]
    pub fn holding(record: Record) -> Self {
        Self { resting: Arc::new(Mutex::new(Some(record))), lock: Arc::default() }
    }
}

impl Store for MemoryStore {
    fn begin_or(&self, patience: Duration, _: StandIn) -> Pending<'_, Result<Box<dyn Txn>, StoreError>> {
        Box::pin(async move {
            let taken = tokio::time::timeout(patience, Arc::clone(&self.lock).lock_owned()).await;
            let lock = taken.map_err(|_| StoreError::Locked { place: PLACE.to_owned() })?;
            let txn = MemoryTxn {
                record: read(&self.resting),
                resting: Arc::clone(&self.resting),
                ours: None,
                _lock: lock,
            };
            Ok(Box::new(txn) as Box<dyn Txn>)
        })
    }

    fn peek(&self) -> Pending<'_, Result<Option<Record>, StoreError>> {
        Box::pin(async { Ok(read(&self.resting)) })
    }

    fn probe(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn place(&self) -> String {
        PLACE.to_owned()
    }
}

fn read(resting: &Mutex<Option<Record>>) -> Option<Record> {
    resting.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

struct MemoryTxn {
    resting: Arc<Mutex<Option<Record>>>,
    record: Option<Record>,
    ours: Option<Displaced>,
    _lock: OwnedMutexGuard<()>,
}

/// What stood in the record before an intent of ours.
struct Displaced(Option<Intent>);

impl MemoryTxn {
    fn rest(&mut self, record: Record) {
        *self.resting.lock().unwrap_or_else(PoisonError::into_inner) = Some(record.clone());
        self.record = Some(record);
    }
}

impl Txn for MemoryTxn {
    fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    fn intend(&mut self, intent: Intent) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(mut record) = self.record.clone() else {
                return Err(StoreError::Refused { place: PLACE.to_owned(), why: NO_RECORD.to_owned() });
            };
            let before = record.intent.replace(intent);
            self.ours.get_or_insert(Displaced(before));
            self.rest(record);
            Ok(())
        })
    }

    fn commit(&mut self, record: Record) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.rest(record);
            self.ours = None;
            Ok(())
        })
    }

    fn abandon(mut self: Box<Self>) -> Pending<'static, Result<(), StoreError>> {
        Box::pin(async move {
            if let (Some(Displaced(before)), Some(record)) = (self.ours.take(), self.record.clone()) {
                self.rest(Record { intent: before, ..record });
            }
            Ok(())
        })
    }
}
