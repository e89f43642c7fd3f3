//! The refresher's paperwork: state words, history, totals, and every log line about a grant.

use std::time::Duration;

use super::super::end;
use super::super::error::{Class, Code, RefreshError};
use super::super::outage::{Outage, SUSPICION};
use super::super::status::{Attempt, Board, HISTORY, Problem, State, Status, Totals};
use super::Done;
use crate::clock::Moment;
use crate::secret::RefreshToken;
use crate::store::{GrantEnd, Intent, Record, StoreError};
use crate::token::{Absent, AbsentReason, GrantName};

/// A wall clock that is set by more than this is told of, in seconds (R6); less is how clocks are kept right.
const JUMP: f64 = 5.0;

/// How often a store that cannot be written is told.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Keeps the status of one grant and tells about it.
pub(super) struct Desk {
    grant: GrantName,
    board: Board,
    status: Status,
    /// Why the last attempt failed; none after a success.
    failed: Option<(Class, Problem)>,
    /// Why the last write to the store failed; none after one that succeeded.
    store_problem: Option<Problem>,
    /// When that was told last.
    store_told: Option<Moment>,
    /// The configured scopes that the last token was not granted.
    lacking: Vec<String>,
    /// How far the wall clock was ahead of the boot clock when it was last looked at, in seconds.
    ahead: Option<f64>,
    /// Of how many of the warnings before the grant's end people have been told.
    warned: usize,
    /// For how long the server has given no verdict.
    outage: Outage,
}

/// What the refresher knows at this moment.
pub(super) struct View {
    pub(super) now: Moment,
    pub(super) usable: bool,
    pub(super) obtained: Option<Moment>,
    pub(super) expires: Option<Moment>,
    pub(super) generation: u64,
    pub(super) next: Moment,
    pub(super) unsaved: bool,
    pub(super) store: String,
}

impl Desk {
    pub(super) fn new(grant: GrantName, board: Board) -> Self {
        let status = Status::clone(&board.look());
        Self {
            grant,
            board,
            status,
            failed: None,
            store_problem: None,
            store_told: None,
            lacking: Vec::new(),
            ahead: None,
            warned: 0,
            outage: Outage::default(),
        }
    }

    /// Whether an error is of the kind of the last one: then it is told once, and waits grow.
    pub(super) fn has_same_class(&self, error: &RefreshError) -> bool {
        let same = |class: &Class| std::mem::discriminant(class) == std::mem::discriminant(&error.class);
        let needs_person = |class: &Class| super::needs_a_person(*class);
        self.failed
            .as_ref()
            .is_some_and(|(class, _)| same(class) || !needs_person(class) && !needs_person(&error.class))
    }

    /// Whether the server's refusal is the verdict that stands.
    pub(super) fn stands_refused(&self) -> bool {
        matches!(self.failed, Some((Class::Refused, _)))
    }

    /// Whether the refusal that was told last outlasts this error, which says nothing about the grant.
    pub(super) fn outlasts(&self, error: &RefreshError) -> bool {
        self.stands_refused() && !super::needs_a_person(error.class)
    }

    /// What was refused is not what is presented from now on.
    pub(super) fn forgets_refusal(&mut self) {
        self.failed.take_if(|(class, _)| *class == Class::Refused);
        self.forgets_suspicion();
    }

    /// What was suspected says nothing of what is presented from now on.
    pub(super) fn forgets_suspicion(&mut self) {
        self.outage = Outage::default();
    }

    /// Weighs what a failure may mean for the grant. Told once for as long as the suspicion stands (R56).
    pub(super) fn suspects(&mut self, error: &RefreshError, now: Moment, expires: Option<Moment>) {
        if self.outage.met(error, now, expires) {
            tracing::error!(event = "reauth_suspected", grant = %self.grant, code = error.code.word(), "{SUSPICION}");
        }
    }

    /// Notes the end of an attempt.
    pub(super) fn attempted(
        &mut self,
        cause: &'static str,
        started: Moment,
        now: Moment,
        outcome: Result<Done, RefreshError>,
        in_doubt: bool,
    ) {
        let took = now.since(started);
        let label = match &outcome {
            Ok(Done::Adopted) => "adopted",
            Ok(_) => "success",
            Err(error) => error.outcome(),
        };
        let (http_status, rotated) = match &outcome {
            Ok(Done::Renewed { rotated, status }) => (Some(*status), *rotated),
            Ok(Done::Unsaved { status }) => (Some(*status), true),
            Ok(Done::Adopted) => (None, false),
            Err(error) => (error.http_status, false),
        };
        let problem = outcome.as_ref().err().map(RefreshError::problem);
        let attempt = Attempt { at: started, cause, outcome: label, took, http_status, rotated, problem };
        self.status.history.push_front(attempt);
        self.status.history.truncate(HISTORY);
        count(&mut self.status.totals, cause, label, took, rotated);
        match outcome {
            Ok(_) => self.succeeded(cause, now, took, rotated),
            Err(error) => self.stumbled(cause, error, in_doubt),
        }
    }

    fn succeeded(&mut self, cause: &'static str, now: Moment, took: Duration, rotated: bool) {
        self.failed = None;
        self.forgets_suspicion();
        self.status.last_success = Some(now);
        self.status.consecutive_failures = 0;
        self.status.settled = true;
        let took_ms = millis(took);
        tracing::info!(event = "refresh_succeeded", grant = %self.grant, cause, rotated, took_ms, "Refreshed grant {}", self.grant);
    }

    fn stumbled(&mut self, cause: &'static str, error: RefreshError, in_doubt: bool) {
        let known = self.failed.as_ref().is_some_and(|(_, problem)| problem.code == error.code.word());
        self.status.consecutive_failures += 1;
        self.status.settled |= super::needs_a_person(error.class);
        if error.code == Code::LostRotation && !known {
            self.status.totals.lost_rotations += 1;
        }
        let (grant, code, sentence) = (&self.grant, error.code.word(), error.sentence.as_str());
        let failures = self.status.consecutive_failures;
        // A failure is told once, and again when its kind changes (R56).
        if known {
            tracing::debug!(event = "refresh_failed", %grant, cause, code, failures, in_doubt, "{sentence}");
        } else {
            tracing::warn!(event = "refresh_failed", %grant, cause, code, failures, in_doubt, "{sentence}");
        }
        if !self.outlasts(&error) {
            self.failed = Some((error.class, error.problem()));
        }
    }

    /// Another process, or an earlier start, left a good token.
    pub(super) fn adopted(&mut self, record: &Record) {
        self.status.settled = true;
        self.grant_ends(record.grant_end);
        let (grant, generation) = (&self.grant, record.generation);
        tracing::info!(event = "grant_adopted", %grant, generation, refresh_token = shown(record), "Took up the stored access token of grant {grant}");
    }

    /// What is known of the grant's end.
    pub(super) fn grant_ends(&mut self, end: Option<GrantEnd>) {
        self.status.grant_end = end;
    }

    /// Warns once as the end comes within two weeks, three days and one: only a sign-in puts it off.
    fn warn_of_the_end(&mut self, now: Moment) {
        let Some(end) = self.status.grant_end else { return };
        let due = end::warnings_due(end, now);
        if due > self.warned {
            let (grant, at) = (&self.grant, Moment { wall: end.at, ..now }.rfc3339());
            tracing::warn!(event = "grant_ends_soon", %grant, at, "Grant {grant} ends at {at}: sign in again before, or provide a new seed");
        }
        self.warned = due;
    }

    /// A new refresh token is on durable storage.
    pub(super) fn rotation_saved(&mut self, record: &Record, took: Duration) {
        let (grant, generation) = (&self.grant, record.generation);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(event = "refresh_token_saved", %grant, generation, refresh_token = shown(record), took_us, "Saved the new refresh token of grant {grant}");
    }

    /// An earlier holder died between presenting a refresh token and saving the answer.
    pub(super) fn intent_found(&self, intent: &Intent) {
        let (grant, holder, presented) = (&self.grant, &intent.holder, intent.presented.short());
        tracing::warn!(event = "intent_found", %grant, %holder, presented, "{holder} presented the refresh token of grant {grant} and saved no answer; it is tried again");
    }

    /// What was odd about an answer.
    pub(super) fn oddities(&self, oddities: &[&'static str]) {
        for oddity in oddities {
            tracing::warn!(event = "answer_odd", grant = %self.grant, oddity, "The token endpoint's answer: {oddity}");
        }
    }

    /// A token for less than is configured is used all the same, and told once (R36). What asks for a sign-in or a refresh
    /// token is for no API, and many servers leave it out.
    pub(super) fn granted(&mut self, wanted: &[String], granted: Option<&str>) {
        let Some(granted) = granted else { return };
        let has = |scope: &str| granted.split(' ').any(|one| one == scope);
        let counts = |scope: &&String| !["openid", "offline_access"].contains(&scope.as_str());
        let lacking: Vec<String> =
            wanted.iter().filter(counts).filter(|scope| !has(scope)).cloned().collect();
        if lacking != self.lacking && !lacking.is_empty() {
            let (grant, scopes) = (&self.grant, lacking.join(" "));
            tracing::warn!(event = "scope_narrowed", %grant, scopes, "The access token of grant {grant} is not for all that `scopes` asks for; it lacks: {scopes}");
        }
        self.lacking = lacking;
    }

    /// Tells of a wall clock that was set (R6): the boot clock, which cannot be, goes on counting while the machine sleeps.
    pub(super) fn look_at_clocks(&mut self, now: Moment) {
        let ahead = now.wall.as_secs_f64() - now.boot.as_secs_f64();
        let by = ahead - self.ahead.replace(ahead).unwrap_or(ahead);
        if by.abs() > JUMP {
            let grant = &self.grant;
            self.status.totals.clock_jumps += 1;
            tracing::warn!(event = "clock_set", %grant, seconds = by, "The clock was set by {by:+.0} s; no token is used past its end by either clock");
        }
    }

    pub(super) fn store_wrote(&mut self) {
        *self.status.totals.store_writes.entry("success").or_default() += 1;
        (self.store_problem, self.store_told) = (None, None);
    }

    /// Told once a minute for as long as it lasts: what ends with the process is only one restart away (engine.md §4).
    pub(super) fn store_failed(&mut self, error: &StoreError, now: Moment) {
        *self.status.totals.store_writes.entry("error").or_default() += 1;
        let sentence = format!("The store could not be written: {error}.");
        if self.store_told.is_none_or(|told| now.since(told) >= TOLD_AGAIN) {
            self.store_told = Some(now);
            tracing::error!(event = "store_write_failed", grant = %self.grant, code = Code::StoreWriteFailed.word(), "{sentence}");
        }
        self.store_problem = Some(Problem { code: Code::StoreWriteFailed.word(), sentence });
    }

    pub(super) fn all_saved(&mut self) {
        tracing::info!(event = "store_recovered", grant = %self.grant, "The refresh token of grant {} is saved", self.grant);
    }

    /// The program ends with a rotation that could not be saved.
    pub(super) fn rotation_lost_with_us(&self, record: &Record) {
        let grant = &self.grant;
        tracing::error!(event = "rotation_unsaved_at_exit", %grant, refresh_token = shown(record), "The new refresh token of grant {grant} could not be saved and ends with this process; a new sign-in will be needed");
    }

    /// Posts a snapshot; returns what readers are told when there is no token.
    pub(super) fn post(&mut self, view: View) -> Absent {
        self.warn_of_the_end(view.now);
        let state = self.state(&view);
        let status = &mut self.status;
        status.settled |= view.usable;
        if status.state != state {
            let (grant, was, code) =
                (&self.grant, status.state, self.failed.as_ref().map(|(_, problem)| problem.code));
            // Callers are refused from here on (R56).
            if matches!(state, State::SignInRequired | State::Misconfigured | State::Unavailable) {
                tracing::error!(event = "grant_state_changed", %grant, state = %state, %was, code, "Grant {grant} is {state} (was {was})");
            } else {
                tracing::info!(event = "grant_state_changed", %grant, state = %state, %was, code, "Grant {grant} is {state} (was {was})");
            }
            status.state = state;
            status.since = view.now;
        }
        status.expires = view.expires;
        status.obtained = view.obtained;
        status.generation = view.generation;
        status.next_attempt = Some(view.next);
        status.unsaved_rotation = view.unsaved;
        status.reauth_suspected = self.outage.is_suspicious();
        status.problem =
            self.failed.as_ref().map(|(_, problem)| problem.clone()).or_else(|| self.store_problem.clone());
        status.store = view.store;
        self.board.post(status.clone());
        Absent { reason: reason(state), retry_after: whole_seconds(view.next.remaining(view.now)) }
    }

    fn state(&self, view: &View) -> State {
        match &self.failed {
            Some((Class::Refused, _)) => State::SignInRequired,
            Some((Class::Misconfigured, _)) => State::Misconfigured,
            failed if view.usable => {
                let well = failed.is_none() && self.store_problem.is_none() && !view.unsaved;
                if well { State::Active } else { State::Degraded }
            }
            None if self.status.last_success.is_none() && view.expires.is_none() => State::Starting,
            _ => State::Unavailable,
        }
    }
}

fn reason(state: State) -> AbsentReason {
    match state {
        State::SignInRequired => AbsentReason::SignInRequired,
        State::Misconfigured => AbsentReason::Misconfigured,
        _ => AbsentReason::Unavailable,
    }
}

/// Rounded up, at least one: what callers are told changes once a second at most.
fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs((span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1))
}

fn count(totals: &mut Totals, cause: &'static str, outcome: &'static str, took: Duration, rotated: bool) {
    *totals.attempts.entry((cause, outcome)).or_default() += 1;
    totals.rotations += u64::from(rotated);
    let seconds = took.as_secs_f64();
    totals.duration_sum += seconds;
    let bucket = Totals::BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(Totals::BUCKETS.len());
    if let Some(count) = totals.durations.get_mut(bucket) {
        *count += 1;
    }
}

fn shown(record: &Record) -> String {
    record
        .refresh_token
        .as_ref()
        .map_or_else(String::new, |token| RefreshToken::fingerprint(token).short().to_owned())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
