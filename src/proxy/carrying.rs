//! What a connection and a request hold while they last, so that limits, drain and timers know of them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::clock::Stopwatch;
use crate::metrics::Shard;

/// Counts over all workers.
#[derive(Debug, Default)]
pub struct Totals {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Totals {
    /// Connections that are open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests that are being carried now.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Takes one of `limit` places; whoever has it gives it back when it is dropped.
fn take_place(count: &AtomicUsize, limit: usize) -> bool {
    let taken = count.fetch_add(1, Ordering::AcqRel) < limit;
    if !taken {
        count.fetch_sub(1, Ordering::AcqRel);
    }
    taken
}

/// One connection of a caller's: counted while it lasts, and known to the drain of its worker.
#[derive(Debug)]
pub struct Caller {
    totals: Arc<Totals>,
    alive: Rc<Alive>,
    shard: Arc<Shard>,
    /// Requests of this connection that are being carried.
    busy: Cell<usize>,
    /// How many it has had.
    served: Cell<u64>,
    /// When the last of them ended, or the connection began.
    quiet_since: Cell<Stopwatch>,
}

/// What a worker's drain waits for.
#[derive(Debug, Default)]
pub struct Alive {
    count: Cell<usize>,
    gone: Notify,
}

impl Alive {
    /// Waits until no connection is left.
    pub async fn none_left(&self) {
        while self.count.get() > 0 {
            self.gone.notified().await;
        }
    }
}

impl Caller {
    /// Takes a connection in; `None` when there are `limit` already.
    #[must_use]
    pub fn enter(
        totals: &Arc<Totals>,
        alive: &Rc<Alive>,
        shard: &Arc<Shard>,
        limit: usize,
    ) -> Option<Rc<Self>> {
        if !take_place(&totals.connections, limit) {
            shard.connection_turned_away();
            return None;
        }
        alive.count.set(alive.count.get() + 1);
        shard.connection_opened();
        let (totals, alive, shard) = (Arc::clone(totals), Rc::clone(alive), Arc::clone(shard));
        Some(Rc::new(Self {
            totals,
            alive,
            shard,
            busy: Cell::new(0),
            served: Cell::new(0),
            quiet_since: Cell::new(Stopwatch::start()),
        }))
    }

    /// Whether a request of this connection is being carried.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy.get() > 0
    }

    /// How many requests it has had.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.get()
    }

    /// When it last was, or when the connection began.
    #[must_use]
    pub fn quiet_since(&self) -> Stopwatch {
        self.quiet_since.get()
    }

    /// Begins to carry a request; `None` when there are `limit` already.
    #[must_use]
    pub fn carry(self: &Rc<Self>, limit: usize) -> Option<Carrying> {
        self.served.set(self.served.get() + 1);
        if !take_place(&self.totals.requests, limit) {
            self.quiet_since.set(Stopwatch::start());
            return None;
        }
        self.busy.set(self.busy.get() + 1);
        self.shard.request_started();
        Some(Carrying { caller: Rc::clone(self) })
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.totals.connections.fetch_sub(1, Ordering::AcqRel);
        self.shard.connection_closed();
        self.alive.count.set(self.alive.count.get() - 1);
        self.alive.gone.notify_one();
    }
}

/// One request being carried: held by the response body until its end.
#[derive(Debug)]
pub struct Carrying {
    caller: Rc<Caller>,
}

impl Drop for Carrying {
    fn drop(&mut self) {
        self.caller.totals.requests.fetch_sub(1, Ordering::AcqRel);
        self.caller.shard.request_ended();
        self.caller.busy.set(self.caller.busy.get() - 1);
        self.caller.quiet_since.set(Stopwatch::start());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_limited_and_given_back() {
        let (totals, alive) = (Arc::new(Totals::default()), Rc::new(Alive::default()));
        let shard = Arc::new(Shard::default());
        let caller = Caller::enter(&totals, &alive, &shard, 1).unwrap();
        assert!(Caller::enter(&totals, &alive, &shard, 1).is_none());
        let first = caller.carry(1).unwrap();
        assert!(caller.carry(1).is_none() && caller.is_busy());
        drop(first);
        assert!(!caller.is_busy() && totals.requests() == 0);
        drop(caller);
        alive.none_left().await;
        assert_eq!(totals.connections(), 0);
    }
}
