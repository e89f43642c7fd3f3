//! What a server's metadata said, kept between token requests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::grant::wire::Metadata;

/// The metadata of one issuer.
#[derive(Default)]
pub(super) struct Discovered(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// As they were last read.
    current: Option<Metadata>,
    /// The same, once they are to be read again.
    outdated: Option<Metadata>,
    /// Those by which a token request was last answered with success.
    good: Option<Metadata>,
}

impl Discovered {
    /// What is gone by, unless it is to be read again.
    pub(super) fn current(&self) -> Option<Metadata> {
        self.kept().current.clone()
    }

    /// These were read.
    pub(super) fn learn(&self, found: &Metadata) {
        self.kept().current = Some(found.clone());
    }

    /// Has them read again.
    pub(super) fn forget(&self) {
        let mut kept = self.kept();
        kept.outdated = kept.current.take().or(kept.outdated.take());
    }

    /// A token request that went by them was answered with success.
    pub(super) fn were_good(&self) {
        let mut kept = self.kept();
        if kept.current.is_some() {
            kept.good = kept.current.clone();
        }
    }

    /// They cannot be read again: goes by those that were good, or else were read last, until they are to be read again
    /// (R73).
    pub(super) fn fall_back(&self) -> Option<Metadata> {
        let mut kept = self.kept();
        kept.current = kept.good.clone().or(kept.outdated.clone());
        kept.current.clone()
    }

    /// Whether there are any to fall back on.
    pub(super) fn can_fall_back(&self) -> bool {
        let kept = self.kept();
        kept.good.is_some() || kept.outdated.is_some()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
