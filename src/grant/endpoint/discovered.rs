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
    /// Whether these are to be read again.
    outdated: bool,
    /// Those by which a token request was last answered with success.
    good: Option<Metadata>,
    /// They were not waited for long enough when they were last to be read again.
    takes_long: bool,
}

impl Discovered {
    /// What is gone by, unless it is to be read again.
    pub(super) fn current(&self) -> Option<Metadata> {
        let kept = self.kept();
        kept.current.clone().filter(|_| !kept.outdated)
    }

    /// These were read.
    pub(super) fn learn(&self, found: &Metadata) {
        let mut kept = self.kept();
        kept.current = Some(found.clone());
        (kept.outdated, kept.takes_long) = (false, false);
    }

    /// Has them read again.
    pub(super) fn forget(&self) {
        self.kept().outdated = true;
    }

    /// Goes by none of them any more.
    pub(super) fn disown(&self) {
        *self.kept() = Kept::default();
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
        kept.current = kept.good.clone().or(kept.current.take());
        kept.outdated = false;
        kept.current.clone()
    }

    /// Whether they are not worth a long wait: there are others to fall back on, and they were given time the last time.
    pub(super) fn is_hurried(&self) -> bool {
        let mut kept = self.kept();
        let can_fall_back = kept.good.is_some() || kept.current.is_some();
        can_fall_back && !std::mem::take(&mut kept.takes_long)
    }

    /// They were not waited for to the end: the next time they are.
    pub(super) fn takes_its_time(&self) {
        self.kept().takes_long = true;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
