//! When a server that gives no verdict may stand for a grant that is gone (R56). Pure: the time comes in as an argument.

use std::time::Duration;

use super::error::{Class, Code, RefreshError};
use super::schedule::LONGEST_RETRY_AFTER;
use crate::clock::Moment;

/// How long a server may fail past the access token's end until a person is told that the grant may be gone (R56).
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Failures that are further apart are of two outages: between them the machine slept, or nobody was reached. No server
/// may ask us to stay away for so long.
const APART: Duration = LONGEST_RETRY_AFTER.saturating_mul(2);

/// The suspicion as a sentence: for log, status and page.
pub const SUSPICION: &str = "The authorization server has failed for 15 minutes, and there is no access token any more. Some servers answer so for ever for a grant that is gone, as Authgear does for old ones. Retries go on; if other clients of the server work, sign in again, or provide a new seed.";

/// Failures in which the server was asked and gave no verdict, since the last word that it gave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outage {
    /// The first of them and the last.
    failures: Option<(Moment, Moment)>,
    suspected: bool,
}

impl Outage {
    /// Notes a failed refresh, and when the access token that was to be followed ends, or ended; whether the suspicion
    /// begins with it.
    pub fn met(&mut self, error: &RefreshError, now: Moment, expires: Option<Moment>) -> bool {
        match error.class {
            Class::Refused | Class::Misconfigured => *self = Self::default(),
            Class::Unanswered if error.code != Code::Internal => return self.lasts(now, expires),
            // Who was not reached, or is busy, has said nothing of the grant: neither that it is gone nor that it is there.
            _ => {}
        }
        false
    }

    /// Whether a person may have to sign in, though no verdict says so.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        self.suspected
    }

    fn lasts(&mut self, now: Moment, expires: Option<Moment>) -> bool {
        let first = match self.failures {
            Some((first, last)) if now.since(last) < APART => first,
            _ => now,
        };
        self.failures = Some((first, now));
        let past_end = expires.map_or(Duration::MAX, |expires| past(expires, now));
        let is_new = !self.suspected && now.since(first).min(past_end) >= PATIENCE;
        self.suspected |= is_new;
        is_new
    }
}

/// For how long this moment has been past, by the clock that says the most: a token ends by either (R4).
fn past(at: Moment, now: Moment) -> Duration {
    now.boot.saturating_sub(at.boot).max(now.wall.saturating_sub(at.wall))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment { boot: Duration::from_secs(1_000), wall: Duration::from_secs(1_800_000_000) };
    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    /// So long past the token's end (R56).
    const QUARTER: Duration = Duration::from_secs(900);

    fn failed(class: Class, code: Code) -> RefreshError {
        RefreshError::new(class, code, "")
    }

    /// An outage that has met `error` each minute from `NOW` until, and not at, `end`.
    fn since_now(error: &RefreshError, end: Duration, expires: Option<Moment>) -> Outage {
        let mut outage = Outage::default();
        for minute in 0..end.as_secs().div_ceil(60) {
            let raised = outage.met(error, NOW.plus(MINUTE * u32::try_from(minute).unwrap()), expires);
            assert!(!raised, "minute {minute}");
        }
        outage
    }

    #[test]
    fn a_quarter_of_an_hour_without_a_verdict_and_a_token_is_suspicious_once() {
        for code in [Code::TokenEndpointError, Code::TokenEndpointUnanswered, Code::AnswerUnusable] {
            let error = failed(Class::Unanswered, code);
            // No token; one that ended before the first failure; one that outlives it by ten minutes.
            for (expires, from) in
                [(None, 0), (Some(NOW.minus(30 * MINUTE)), 0), (Some(NOW.plus(10 * MINUTE)), 10)]
            {
                let due = MINUTE * from + QUARTER;
                let mut outage = since_now(&error, due, expires);
                assert!(!outage.met(&error, NOW.plus(due - SECOND), expires) && !outage.is_suspicious());
                assert!(outage.met(&error, NOW.plus(due), expires) && outage.is_suspicious(), "{expires:?}");
                assert!(!outage.met(&error, NOW.plus(due + SECOND), expires), "told once");
                assert!(outage.is_suspicious(), "and it stands");
            }
        }
    }

    #[test]
    fn a_token_that_ended_by_the_wall_clock_alone_has_ended() {
        let error = failed(Class::Unanswered, Code::TokenEndpointError);
        let expires = Moment { boot: NOW.boot + 3600 * SECOND, ..NOW };
        let mut outage = since_now(&error, QUARTER, Some(expires));
        assert!(outage.met(&error, NOW.plus(QUARTER), Some(expires)));
    }

    #[test]
    fn a_verdict_ends_it_and_what_says_nothing_of_the_grant_does_neither() {
        let error = failed(Class::Unanswered, Code::TokenEndpointError);
        for (class, code) in
            [(Class::Refused, Code::GrantRejected), (Class::Misconfigured, Code::ClientRejected)]
        {
            let mut outage = since_now(&error, QUARTER, None);
            assert!(outage.met(&error, NOW.plus(QUARTER), None));
            assert!(!outage.met(&failed(class, code), NOW.plus(QUARTER), None) && !outage.is_suspicious());
            assert!(!outage.met(&error, NOW.plus(QUARTER), None), "it begins anew");
        }
        for (class, code) in [
            (Class::NotSent, Code::TokenEndpointUnreachable),
            (Class::Busy { retry_after: None }, Code::TokenEndpointBusy),
            (Class::Unusable, Code::AnswerUnusable),
            (Class::Blocked, Code::TokenEndpointBlocked),
            (Class::Store, Code::StoreUnavailable),
            (Class::Unanswered, Code::Internal),
        ] {
            let other = failed(class, code);
            let mut alone = since_now(&other, 2 * QUARTER, None);
            assert!(!alone.met(&other, NOW.plus(2 * QUARTER), None) && !alone.is_suspicious(), "{class:?}");
            let mut outage = since_now(&error, QUARTER, None);
            assert!(!outage.met(&other, NOW.plus(QUARTER), None), "{class:?} raises nothing");
            assert!(outage.met(&error, NOW.plus(QUARTER), None), "{class:?} puts nothing off");
            outage.met(&other, NOW.plus(QUARTER), None);
            assert!(outage.is_suspicious(), "{class:?} takes nothing back");
        }
    }

    #[test]
    fn two_failures_with_a_long_silence_between_them_are_no_outage() {
        let error = failed(Class::Unanswered, Code::TokenEndpointUnanswered);
        let mut outage = Outage::default();
        outage.met(&error, NOW, None);
        let awake = NOW.plus(8 * 3600 * SECOND);
        assert!(!outage.met(&error, awake, None), "a machine that slept");
        let mut outage = since_now(&error, QUARTER, None);
        outage.met(&error, NOW.plus(QUARTER), None);
        assert!(!outage.met(&error, awake, None) && outage.is_suspicious(), "what stands outlasts it");
    }

    #[test]
    fn a_server_that_asks_us_to_stay_away_is_still_the_same_outage() {
        let error = failed(Class::Unanswered, Code::TokenEndpointError);
        let mut outage = Outage::default();
        let told: Vec<bool> =
            (0..5).map(|n| outage.met(&error, NOW.plus(n * LONGEST_RETRY_AFTER), None)).collect();
        assert_eq!(told, [false, false, false, true, false]);
    }
}
