//! The last requests of a worker, for people: what was asked and what came of it, and nothing that is secret.
//!
//! The ring is the worker's own, and its texts are written over in place: to record a request takes no lock and, once
//! the ring has gone round, no memory.

use std::cell::RefCell;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::clock::Moment;

/// How much of a path is kept, in bytes.
const LONGEST_PATH: usize = 200;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it began.
    pub at: Moment,
    /// Its method.
    pub method: Method,
    /// Its path, without the query, and cut where it is long.
    pub path: String,
    /// Which route took it; empty for none.
    pub route: String,
    /// The status of the answer.
    pub status: StatusCode,
    /// How long the answer's head took.
    pub took: Duration,
    /// Whether it was sent again with the next token, after the upstream had answered 401.
    pub renewed: bool,
    /// Why the proxy answered itself; none where the answer is the upstream's.
    pub code: Option<&'static str>,
}

/// A ring of the last ones.
#[derive(Debug)]
pub struct Recent {
    most: usize,
    ring: RefCell<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    slots: Vec<Request>,
    /// The oldest, which the next one replaces.
    next: usize,
}

impl Recent {
    /// A ring of `most` requests; none for 0.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, ring: RefCell::default() }
    }

    /// How many it holds at most.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Notes a request; `path` and `route` are copied over what a slot held before.
    pub fn note(&self, path: &str, route: &str, request: impl FnOnce(String, String) -> Request) {
        if self.most == 0 {
            return;
        }
        let mut ring = self.ring.borrow_mut();
        let Ring { slots, next } = &mut *ring;
        let (mut kept_path, mut kept_route) = match slots.get_mut(*next) {
            Some(slot) => (std::mem::take(&mut slot.path), std::mem::take(&mut slot.route)),
            None => Default::default(),
        };
        kept_path.clear();
        kept_route.clear();
        kept_path.push_str(cut(path));
        kept_route.push_str(route);
        let request = request(kept_path, kept_route);
        match slots.get_mut(*next) {
            Some(slot) => *slot = request,
            None => slots.push(request),
        }
        *next = (*next + 1) % self.most;
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Request> {
        self.ring.borrow().slots.clone()
    }
}

/// The beginning of a path, as far as it is kept.
fn cut(path: &str) -> &str {
    let end = (0..=LONGEST_PATH.min(path.len())).rev().find(|end| path.is_char_boundary(*end));
    path.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(recent: &Recent, path: &str) {
        let at = Moment { boot: Duration::ZERO, wall: Duration::ZERO };
        recent.note(path, "/", |path, route| Request {
            at,
            method: Method::GET,
            path,
            route,
            status: StatusCode::OK,
            took: Duration::ZERO,
            renewed: false,
            code: None,
        });
    }

    fn paths(recent: &Recent) -> Vec<String> {
        recent.all().into_iter().map(|request| request.path).collect()
    }

    #[test]
    fn the_oldest_gives_way_and_its_memory_is_used_again() {
        let recent = Recent::new(3);
        ["/one", "/two", "/three"].iter().for_each(|path| note(&recent, path));
        assert_eq!(paths(&recent), ["/one", "/two", "/three"]);
        let memory = |recent: &Recent| recent.ring.borrow().slots[0].path.as_ptr();
        let before = memory(&recent);
        note(&recent, "/4");
        assert_eq!(paths(&recent), ["/4", "/two", "/three"]);
        assert_eq!(memory(&recent), before);
    }

    #[test]
    fn a_long_path_is_cut_and_none_is_kept_of_none() {
        let recent = Recent::new(1);
        note(&recent, &format!("/{}", "ü".repeat(500)));
        assert_eq!(paths(&recent)[0].len(), 199);
        let off = Recent::new(0);
        note(&off, "/");
        assert!(off.all().is_empty());
    }
}
