//! A transaction on what blocks: its steps are done where they may, whoever waits for them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Intent, Pending, Record, StoreError, Txn};

/// The lock, held, and what may be done under it. Each of these may block.
pub(super) trait Held: Send + 'static {
    /// The record as it rests, as far as is known.
    fn resting(&self) -> Option<&Record>;

    /// As [`Txn::intend`].
    fn intend(&mut self, intent: Intent) -> Result<(), StoreError>;

    /// As [`Txn::commit`].
    fn commit(&mut self, record: Record) -> Result<(), StoreError>;

    /// As [`Txn::abandon`].
    fn abandon(&mut self) -> Result<(), StoreError>;
}

/// What stood in the record before an intent of ours.
pub(super) struct Displaced(pub(super) Option<Intent>);

/// The lock, held, and the record as last known to rest.
///
/// `held` is shared with the blocking task that works on it: when a caller is dropped half-way, the lock lasts until all
/// has been left in order.
pub(super) struct HeldTxn<H> {
    held: Arc<Mutex<H>>,
    record: Option<Record>,
}

impl<H: Held> HeldTxn<H> {
    pub(super) fn boxed(held: H) -> Box<dyn Txn> {
        let record = held.resting().cloned();
        Box::new(Self { held: Arc::new(Mutex::new(held)), record })
    }

    async fn change(
        &mut self,
        work: impl FnOnce(&mut H) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let held = Arc::clone(&self.held);
        self.record = blocking(move || {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut held)?;
            Ok(held.resting().cloned())
        })
        .await?;
        Ok(())
    }
}

impl<H: Held> Txn for HeldTxn<H> {
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

/// Does `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            Err(StoreError::Io { doing: "work on the store".to_owned(), source: io::Error::other(error) })
        }
    }
}
