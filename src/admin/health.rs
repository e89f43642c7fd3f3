//! /livez, /readyz and /startupz: what each promises to a machine, and the sentence for whoever reads along.

use std::time::Duration;

use super::Overview;
use super::in_words;

/// A thread that has not moved for so long counts as stuck; it moves every second.
const STUCK: Duration = Duration::from_secs(10);

/// A verdict.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) good: bool,
    pub(super) body: String,
}

/// Good while every thread moves; never depends on an authorization server, so that nobody restarts us for its sake.
pub(super) fn live(overview: &Overview) -> Health {
    let now = overview.clock.now();
    let stuck = overview.heartbeats.iter().filter_map(|heartbeat| {
        let age = now.since((heartbeat.last)());
        (age > STUCK).then(|| format!("{} has not moved for {}\n", heartbeat.of, in_words(age)))
    });
    let stuck: String = stuck.collect();
    if stuck.is_empty() {
        Health { good: true, body: "alive\n".to_owned() }
    } else {
        Health { good: false, body: stuck }
    }
}

/// Good exactly when every grant that a route uses has a usable token, whatever its word.
pub(super) fn ready(overview: &Overview) -> Health {
    let now = overview.clock.now();
    let usable =
        overview.grants.iter().filter(|grant| grant.used).all(|grant| grant.board.look().is_usable(now));
    let good = usable && !overview.is_draining();
    let verdict = match (overview.is_draining(), usable) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    Health { good, body: format!("{verdict}\n{}", words(overview)) }
}

/// Good once each grant that a route uses has had a token, or needs a person.
pub(super) fn started(overview: &Overview) -> Health {
    let good = overview.grants.iter().filter(|grant| grant.used).all(|grant| grant.board.look().settled);
    let verdict = if good { "started" } else { "starting" };
    Health { good, body: format!("{verdict}\n{}", words(overview)) }
}

/// A line a grant.
fn words(overview: &Overview) -> String {
    overview.grants.iter().map(|grant| format!("{} {}\n", grant.name, grant.board.look().state)).collect()
}
