//! Whether an upstream has said anything: after its first byte nothing is sent twice.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// Set by the connection that reads, asked by whoever sent something over it.
#[derive(Debug, Default)]
pub(super) struct Heard {
    anything: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Heard {
    /// A byte has come.
    pub(super) fn set(&self) {
        self.anything.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// From now on only what comes counts.
    pub(super) fn forget(&self) {
        self.anything.set(false);
    }

    /// Whether a byte has come.
    pub(super) fn is_set(&self) -> bool {
        self.anything.get()
    }

    /// Ready when a byte has come.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_set() {
            return Poll::Ready(());
        }
        self.waiting.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}
