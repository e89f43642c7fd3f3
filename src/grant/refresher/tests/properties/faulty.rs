//! The store as the schedule has it: it fails, is slow, or fails after it has done what was asked; a witness looks on.

use super::events::{Mood, Who};
use super::server::Token;
use super::world::World;
use super::*;

/// One process's way to the store that all share.
pub(super) struct Watched {
    pub(super) world: Arc<World>,
    pub(super) who: Who,
}

struct WatchedTxn {
    /// Before `inner`, so that its end is known before anybody else has the lock.
    lock: Lock,
    inner: Box<dyn Txn>,
}

struct Lock {
    world: Arc<World>,
    who: Who,
    /// Whether anything was written under it.
    is_used: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let is_writable = !self.world.mood().commit_fails;
        self.world.witness(|witness, now| {
            witness.unlocks(self.who, is_writable);
            if !self.is_used {
                // What rests was taken up, and a refusal from before is forgotten over it.
                witness.pace(self.who).absolve(now);
            }
        });
    }
}

async fn pause(world: &World) -> Mood {
    let slow = Duration::from_millis(u64::from(world.mood().slow));
    if !slow.is_zero() {
        tokio::time::sleep(slow / 2).await;
    }
    world.mood()
}

impl Store for Watched {
    fn begin_or(
        &self,
        patience: Duration,
        stand_in: StandIn,
    ) -> store::Pending<'_, Result<Box<dyn Txn>, StoreError>> {
        Box::pin(async move {
            if pause(&self.world).await.begin_fails {
                return Err(full());
            }
            let inner = self.world.store.begin_or(patience, stand_in).await?;
            let lock = Lock { world: Arc::clone(&self.world), who: self.who, is_used: false };
            Ok(Box::new(WatchedTxn { lock, inner }) as Box<dyn Txn>)
        })
    }

    fn peek(&self) -> store::Pending<'_, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            if self.world.mood().peek_fails { Err(full()) } else { self.world.store.peek().await }
        })
    }

    fn probe(&self) -> store::Pending<'_, Result<(), StoreError>> {
        self.world.store.probe()
    }

    fn place(&self) -> String {
        "watched".to_owned()
    }
}

impl Txn for WatchedTxn {
    fn record(&self) -> Option<&Record> {
        self.inner.record()
    }

    fn intend(&mut self, intent: Intent) -> store::Pending<'_, Result<(), StoreError>> {
        self.lock.is_used = true;
        Box::pin(async move {
            let mood = pause(&self.lock.world).await;
            if !mood.intend_fails || mood.done_all_the_same {
                self.inner.intend(intent).await?;
            }
            if pause(&self.lock.world).await.intend_fails || mood.intend_fails { Err(full()) } else { Ok(()) }
        })
    }

    fn commit(&mut self, record: Record) -> store::Pending<'_, Result<(), StoreError>> {
        self.lock.is_used = true;
        Box::pin(async move {
            let token = record.refresh_token.as_ref().map(Token::of);
            self.lock.world.witness(|witness, now| witness.tries_to_save(token, now));
            let mood = pause(&self.lock.world).await;
            if !mood.commit_fails || mood.done_all_the_same {
                self.inner.commit(record).await?;
                self.lock.world.witness(|witness, now| witness.rests(self.lock.who, token, now));
            }
            if pause(&self.lock.world).await.commit_fails || mood.commit_fails { Err(full()) } else { Ok(()) }
        })
    }

    fn abandon(self: Box<Self>) -> store::Pending<'static, Result<(), StoreError>> {
        let intend_fails = self.lock.world.mood().intend_fails;
        Box::pin(async move { if intend_fails { Err(full()) } else { self.inner.abandon().await } })
    }
}
