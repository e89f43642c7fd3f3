//! The counters: each worker writes its own shard, and a scrape merges them.

mod process;
mod scrape;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

pub use self::scrape::{CONTENT_TYPE, Grants, scrape};
pub use self::table::{METRICS, Metric};
use crate::proxy::error::Code;

/// A number that one thread writes and any thread reads: no locked instruction on the hot path.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    /// Only the shard's own worker may call it: two writers would lose counts.
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's counters: one writer, any reader.
#[derive(Debug, Default)]
pub struct Shard {
    opened: Counter,
    closed: Counter,
    turned_away: Counter,
    started: Counter,
    ended: Counter,
    rejected: [Counter; Code::ALL.len()],
    /// Locked when routes are built and at a scrape, never on a request. A route that a reload keeps goes on counting.
    routes: Mutex<Vec<Arc<RouteSeries>>>,
}

impl Shard {
    /// The series of a route, by its label (the configured path, with the host before it if there is one); made when
    /// routes are built, never on a request.
    #[must_use]
    pub fn route(self: &Arc<Self>, label: &str) -> Arc<RouteSeries> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = routes.iter().find(|series| series.label == label) {
            return Arc::clone(series);
        }
        let series = Arc::new(RouteSeries { label: label.to_owned(), ..RouteSeries::default() });
        routes.push(Arc::clone(&series));
        series
    }

    /// A downstream connection began.
    pub fn connection_opened(&self) {
        self.opened.add(1);
    }

    /// A downstream connection ended.
    pub fn connection_closed(&self) {
        self.closed.add(1);
    }

    /// A downstream connection was one too many.
    pub fn connection_turned_away(&self) {
        self.turned_away.add(1);
    }

    /// The proxy gave an answer of its own.
    pub fn rejected(&self, code: Code) {
        if let Some(counter) = self.rejected.get(code as usize) {
            counter.add(1);
        }
    }

    /// A request began to be carried.
    pub fn request_started(&self) {
        self.started.add(1);
    }

    /// Its response, or its connection, ended.
    pub fn request_ended(&self) {
        self.ended.add(1);
    }

    /// The routes' series at this moment.
    fn series(&self) -> Vec<Arc<RouteSeries>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The methods that have a label of their own; others share `_OTHER`, so that callers cannot make up series.
const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "_OTHER"];

/// Statuses that have a cell of their own: 100 to 599, then one for each answer of the proxy's own.
const STATUSES: usize = 500;

/// Upper bounds in seconds: OpenTelemetry's advice for `http.server.request.duration`.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Answers with one method: a cell each for what they can be, made when the first such answer is counted.
type Answers = [OnceLock<Box<Durations>>; STATUSES + Code::ALL.len()];

/// One route's series in one worker's shard.
#[derive(Debug, Default)]
pub struct RouteSeries {
    label: String,
    answers: [OnceLock<Box<Answers>>; METHODS.len()],
    doubted: Counter,
    retried: [Counter; Retried::ALL.len()],
}

/// What became of a request whose answer was a 401 that put the token in doubt, or that took no proof beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It was sent again, and answered otherwise.
    Recovered,
    /// It was sent again, and answered with 401 once more.
    StillRefused,
    /// It was to be sent again, but its body was not held in full.
    BodyNotHeld,
    /// It was to be sent again, but no new token came.
    NoSuccessor,
}

impl Retried {
    /// All of them, in the order of a scrape.
    pub(crate) const ALL: [Self; 4] =
        [Self::Recovered, Self::StillRefused, Self::BodyNotHeld, Self::NoSuccessor];

    /// The `outcome` of the metric.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::StillRefused => "still_401",
            Self::BodyNotHeld => "body_not_replayable",
            Self::NoSuccessor => "no_new_token",
        }
    }
}

/// A histogram.
#[derive(Debug, Default)]
struct Durations {
    counts: [Counter; BUCKETS.len() + 1],
    microseconds: Counter,
}

impl RouteSeries {
    /// A request got its response head after `took`; `error` when the proxy itself answered.
    pub fn answered(&self, method: &Method, status: StatusCode, took: Duration, error: Option<Code>) {
        let other = METHODS.len() - 1;
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(other);
        let cell = match error {
            Some(code) => STATUSES + code as usize,
            None => usize::from(status.as_u16()).saturating_sub(100).min(STATUSES - 1),
        };
        let Some(answers) = self.answers.get(method) else { return };
        let answers = answers.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        if let Some(cell) = answers.get(cell) {
            cell.get_or_init(Box::default).observe(took);
        }
    }

    /// The upstream answered 401 and the token was doubted.
    pub fn doubted(&self) {
        self.doubted.add(1);
    }

    /// What became of it then.
    pub fn retried(&self, outcome: Retried) {
        if let Some(counter) = self.retried.get(outcome as usize) {
            counter.add(1);
        }
    }
}

impl Durations {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.add(1);
        }
        self.microseconds.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_counts_in_a_place_of_its_own() {
        for (place, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place);
        }
    }

    #[test]
    fn a_route_that_is_built_again_goes_on_counting() {
        let shard = Arc::new(Shard::default());
        shard.route("/").doubted();
        shard.route("/").doubted();
        assert_eq!((shard.series().len(), shard.route("/").doubted.read()), (1, 2));
    }
}
