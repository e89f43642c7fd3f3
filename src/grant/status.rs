//! What an operator may know of a grant: the same words in /readyz, status, metrics, logs and exit texts.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Moment;
use crate::store::GrantEnd;

/// How many refreshes the history keeps.
pub const HISTORY: usize = 20;

/// The state of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No token yet, and none refused yet.
    Starting,
    /// A usable token, and nothing wrong.
    Active,
    /// A usable token, but the last refresh or save failed.
    Degraded,
    /// No usable token; a refresh is being tried.
    Unavailable,
    /// A person has to sign in.
    SignInRequired,
    /// A person has to mend the configuration.
    Misconfigured,
}

impl State {
    /// Every state, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Starting,
        Self::Active,
        Self::Degraded,
        Self::Unavailable,
        Self::SignInRequired,
        Self::Misconfigured,
    ];

    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
            Self::SignInRequired => "sign_in_required",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A snapshot; holds no secret.
#[derive(Clone, Debug)]
pub struct Status {
    /// The state's word.
    pub state: State,
    /// Since when, both clocks.
    pub since: Moment,
    /// From when on the published token counts as expired; none without a token.
    pub expires: Option<Moment>,
    /// When the published token was asked for.
    pub obtained: Option<Moment>,
    /// Counts the tokens published in this process.
    pub generation: u64,
    /// When the grant ends by itself, if the server says so.
    pub grant_end: Option<GrantEnd>,
    /// When the next attempt is due; none while nothing is planned.
    pub next_attempt: Option<Moment>,
    /// When a refresh last succeeded.
    pub last_success: Option<Moment>,
    /// Failed attempts since the last success.
    pub consecutive_failures: u32,
    /// What is wrong: a code and a sentence that says what to do.
    pub problem: Option<Problem>,
    /// A rotated refresh token lives in memory only, because it could not be saved.
    pub unsaved_rotation: bool,
    /// The server has given no verdict for so long that the grant may be gone (R56); the state's word stays.
    pub reauth_suspected: bool,
    /// The last attempts, the latest first.
    pub history: VecDeque<Attempt>,
    /// Whether this grant has had a token, or a verdict that needs a person, since the start (/startupz).
    pub settled: bool,
    /// Totals for the metrics.
    pub totals: Totals,
    /// Where the record rests, as the store names it.
    pub store: String,
}

/// A code of the one namespace, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// snake_case, stable.
    pub code: &'static str,
    /// What is wrong and what to do; never a secret.
    pub sentence: String,
}

/// One refresh, for the history.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began.
    pub at: Moment,
    /// Why: `startup`, `schedule`, `on_demand`, `upstream_401`, `retry`, `manual`.
    pub cause: &'static str,
    /// How it ended: a label of `bearerd_refresh_attempts_total`.
    pub outcome: &'static str,
    /// How long it took.
    pub took: Duration,
    /// The token endpoint's HTTP status, if it answered.
    pub http_status: Option<u16>,
    /// Whether a new refresh token came.
    pub rotated: bool,
    /// What is wrong, if anything.
    pub problem: Option<Problem>,
}

/// Totals since the start.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Attempts by cause and outcome.
    pub attempts: std::collections::BTreeMap<(&'static str, &'static str), u64>,
    /// How often a new refresh token came.
    pub rotations: u64,
    /// How often a rotation was lost.
    pub lost_rotations: u64,
    /// How often the wall clock was seen to have been set.
    pub clock_jumps: u64,
    /// Writes to the store, by outcome `success` or `error`.
    pub store_writes: std::collections::BTreeMap<&'static str, u64>,
    /// Every attempt's length in seconds, as a histogram: counts by [`Totals::BUCKETS`], the last for longer ones.
    pub durations: [u64; 9],
    /// The sum of the lengths, in seconds.
    pub duration_sum: f64,
}

impl Totals {
    /// Upper bounds of `durations`, seconds; the token request's default timeout is 20 s.
    pub const BUCKETS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0];
}

impl Status {
    /// Before anything has happened.
    #[must_use]
    pub fn starting(now: Moment, store: String) -> Self {
        Self {
            state: State::Starting,
            since: now,
            expires: None,
            obtained: None,
            generation: 0,
            grant_end: None,
            next_attempt: None,
            last_success: None,
            consecutive_failures: 0,
            problem: None,
            unsaved_rotation: false,
            reauth_suspected: false,
            history: VecDeque::new(),
            settled: false,
            totals: Totals::default(),
            store,
        }
    }

    /// How many attempts have ended: whoever asks for a refresh waits until there is one more.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.totals.attempts.values().sum()
    }

    /// Whether a token could be put on a request now: what /readyz asks.
    #[must_use]
    pub fn is_usable(&self, now: Moment) -> bool {
        self.expires.is_some_and(|expires| !expires.has_come(now))
    }
}

/// Where the refresher puts snapshots and everybody else reads them.
#[derive(Clone)]
pub struct Board(Arc<ArcSwap<Status>>);

impl Board {
    /// A board with a first snapshot.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(status)))
    }

    /// The last snapshot.
    #[must_use]
    pub fn look(&self) -> Arc<Status> {
        self.0.load_full()
    }

    /// Replaces the snapshot; only the refresher does.
    pub fn post(&self, status: Status) {
        self.0.store(Arc::new(status));
    }
}
