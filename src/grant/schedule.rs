//! When to refresh next. Pure: the time and the dice come in as arguments.

use std::time::Duration;

use super::Margin;
use super::error::Class;
use crate::clock::Moment;

/// What an absent or unreadable `expires_in` is taken for (DESIGN §4).
pub const DEFAULT_LIFE: Duration = Duration::from_secs(300);

/// However long a token lives, it is renewed this often (R7): a revocation is then noticed within half a day.
const LONGEST_INTERVAL: Duration = Duration::from_secs(12 * 3600);

/// Lives beyond this are taken for this (R9); adding more to a clock could overflow.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Bounds of a margin that is a share of the life (R2).
const SHORTEST_MARGIN: Duration = Duration::from_secs(30);
const LONGEST_MARGIN: Duration = Duration::from_secs(3600);

/// A life shorter than this has half of itself as margin (R2).
const SHORT_LIFE: Duration = Duration::from_secs(60);

/// After a success at most one redeem in this time, two at once (R8).
const REFILL: Duration = Duration::from_secs(5);
const BURST: u32 = 2;

/// The longest wait between attempts while the token is good (R50).
const PATIENT: Duration = Duration::from_secs(30);
/// The longest once it is not: with an attempt's own time this keeps recovery within 5 s of the server's (DESIGN §4).
const URGENT: Duration = Duration::from_secs(4);
/// How long a server may ask us to stay away (R50).
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// After how many failures in a row, and as many again, a server's metadata are read anew: it may have moved.
pub const METADATA_AFTER: u32 = 10;

/// How often a configuration error is tried again (R54).
const MISCONFIGURED_RETRY: Duration = Duration::from_secs(60);

/// A doubted token younger than this, or than half its life, is believed over the upstream (DESIGN §4).
const TOO_YOUNG_TO_DOUBT: Duration = Duration::from_secs(10);
/// Doubts start at most one refresh in this time (R60).
const DOUBT_INTERVAL: Duration = Duration::from_secs(30);

/// A life as it is used: bounded.
#[must_use]
pub fn bounded_life(life: Duration) -> Duration {
    life.min(LONGEST_LIFE)
}

/// From when on a token counts as expired. `asked` is before the request was sent (R3). Servers cut `exp` to whole
/// seconds and the promise is kept by the upstream's clock, hence 2 s early, 1 s where the life is under 20 s.
#[must_use]
pub fn expiry(asked: Moment, life: Duration) -> Moment {
    let early = Duration::from_secs(if life < Duration::from_secs(20) { 1 } else { 2 });
    asked.plus(bounded_life(life).saturating_sub(early))
}

/// When to renew a token: before its expiry by the margin, and by a quarter of it more as `dice` (`0.0..1.0`) falls;
/// however small the margin, not after it counts as expired.
#[must_use]
pub fn refresh_at(asked: Moment, life: Duration, margin: Margin, dice: f64) -> Moment {
    let life = bounded_life(life);
    let margin = match margin {
        Margin::Share(_) if life < SHORT_LIFE => life / 2,
        Margin::Share(share) => life.mul_f64(share).clamp(SHORTEST_MARGIN, LONGEST_MARGIN),
        Margin::Span(span) => span.min(life.saturating_sub(Duration::from_secs(5))),
    };
    let jitter = margin.mul_f64(0.25 * dice);
    let latest = expiry(asked, life).since(asked).min(LONGEST_INTERVAL);
    asked.plus(life.saturating_sub(margin).saturating_sub(jitter).min(latest))
}

/// When to try again after `failures` failures in a row, the last of `class`. While the token is good the waits grow
/// to half a minute; the moment it is not they are short.
#[must_use]
pub fn retry_at(class: Class, failures: u32, now: Moment, expires: Option<Moment>, dice: f64) -> Moment {
    match class {
        Class::Refused => now.plus(probe_after(failures)),
        Class::Misconfigured => now.plus(MISCONFIGURED_RETRY),
        // "At once" is no answer to a crowd: never sooner than without the word (R8, R50).
        Class::Busy { retry_after: Some(span) } => {
            now.plus(span.min(LONGEST_RETRY_AFTER).max(backoff(class, failures, URGENT, dice)))
        }
        _ => {
            let patient = now.plus(backoff(class, failures, PATIENT, dice));
            let urgent = now.plus(backoff(class, failures, URGENT, dice));
            match expires {
                // The token dies while we wait: from then on, urgently.
                Some(expires) if !expires.has_come(now) => {
                    let at_expiry = now.plus(expires.remaining(now).max(urgent.since(now)));
                    if patient.boot <= at_expiry.boot { patient } else { at_expiry }
                }
                _ => urgent,
            }
        }
    }
}

/// Doubling waits with jitter between half and the whole: never so short that a server in trouble is hammered.
fn backoff(class: Class, failures: u32, longest: Duration, dice: f64) -> Duration {
    let base = match class {
        // The one that may have rotated: the sooner the same token is tried again, the likelier its grace holds (R51).
        Class::Unanswered => Duration::from_millis(500),
        Class::Busy { .. } => Duration::from_secs(2),
        _ => Duration::from_secs(1),
    };
    let doubled = base.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(longest).mul_f64(0.5 + 0.5 * dice)
}

/// How long a refused grant waits until it is tried once more (R53): a disabled user may have been enabled again.
fn probe_after(failures: u32) -> Duration {
    let minutes = match failures {
        0 | 1 => 1,
        2 => 5,
        3 => 15,
        _ => 60,
    };
    Duration::from_secs(minutes * 60)
}

/// Whether a 401 to a token obtained at `obtained` is reason to refresh.
#[must_use]
pub fn doubts_heeded_from(obtained: Moment, expires: Moment, last_doubt: Option<Moment>) -> Moment {
    let half_life = expires.since(obtained) / 2;
    let old_enough = obtained.boot + TOO_YOUNG_TO_DOUBT.min(half_life);
    let rare_enough = last_doubt.map_or(Duration::ZERO, |last| last.boot + DOUBT_INTERVAL);
    // By the boot clock alone, which cannot be set.
    Moment { boot: old_enough.max(rare_enough), wall: Duration::MAX }
}

/// Keeps answered redeems apart, whatever the server says of lifetimes (R8).
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// When the bucket is full again; each redeem moves it on.
    full_at: Option<Moment>,
}

impl Bucket {
    /// Full.
    #[must_use]
    pub fn new() -> Self {
        Self { full_at: None }
    }

    /// Takes one, because a redeem was answered.
    pub fn take(&mut self, now: Moment) {
        let full_at = self.full_at.filter(|at| !at.has_come(now)).unwrap_or(now);
        // Refilled by the boot clock alone: a wall clock that jumps ahead must not grant requests.
        self.full_at = Some(Moment { boot: full_at.boot.max(now.boot) + REFILL, wall: Duration::MAX });
    }

    /// When the next redeem may go out; never before `wish`.
    #[must_use]
    pub fn not_before(&self, wish: Moment, now: Moment) -> Moment {
        let Some(full_at) = self.full_at else { return wish };
        let free_boot = full_at.boot.saturating_sub(REFILL * (BURST - 1));
        let wait = free_boot.saturating_sub(now.boot);
        if wish.remaining(now) >= wait { wish } else { now.plus(wait) }
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment { boot: Duration::from_secs(1_000), wall: Duration::from_secs(1_800_000_000) };
    const SHARE: Margin = Margin::Share(0.2);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_token_is_renewed_a_fifth_of_its_life_before_its_end_or_earlier() {
        let life = seconds(1800);
        assert_eq!(refresh_at(NOW, life, SHARE, 0.0), NOW.plus(seconds(1440)));
        assert_eq!(refresh_at(NOW, life, SHARE, 1.0), NOW.plus(seconds(1350)));
    }

    #[test]
    fn margins_are_bounded() {
        let cases = [
            (seconds(10), SHARE, 5),                        // under a minute: half
            (seconds(60), SHARE, 30),                       // at least 30 s
            (seconds(86_400), SHARE, 43_200),               // 12 h at the latest
            (seconds(36_000), SHARE, 32_400),               // at most an hour of margin
            (seconds(600), Margin::Span(seconds(90)), 510), // as written
            (seconds(600), Margin::Span(seconds(9000)), 5), // at most the life less 5 s
            (seconds(3), Margin::Span(seconds(90)), 2),     // no life to speak of: when it expires
            (seconds(600), Margin::Span(seconds(1)), 598),  // no margin to speak of: when it expires
            (seconds(400_000_000), SHARE, 43_200),          // ten years and more
        ];
        for (life, margin, expected) in cases {
            assert_eq!(
                refresh_at(NOW, life, margin, 0.0),
                NOW.plus(seconds(expected)),
                "{life:?} {margin:?}"
            );
        }
    }

    #[test]
    fn a_token_expires_a_little_early() {
        assert_eq!(expiry(NOW, seconds(1800)), NOW.plus(seconds(1798)));
        assert_eq!(expiry(NOW, seconds(10)), NOW.plus(seconds(9)));
        assert_eq!(expiry(NOW, seconds(1)), NOW);
    }

    #[test]
    fn failures_wait_longer_and_longer_while_the_token_is_good() {
        let far = Some(NOW.plus(seconds(10_000)));
        let waits: Vec<u64> =
            (1..8).map(|n| retry_at(Class::NotSent, n, NOW, far, 1.0).since(NOW).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn without_a_token_no_wait_keeps_recovery_from_five_seconds() {
        for class in [
            Class::NotSent,
            Class::Unanswered,
            Class::Unusable,
            Class::Blocked,
            Class::Busy { retry_after: None },
        ] {
            for failures in 1..50 {
                assert!(
                    retry_at(class, failures, NOW, None, 1.0).since(NOW) <= URGENT,
                    "{class:?} {failures}"
                );
            }
        }
    }

    #[test]
    fn a_token_that_dies_during_a_wait_cuts_it_short() {
        let soon = Some(NOW.plus(seconds(6)));
        assert_eq!(retry_at(Class::NotSent, 9, NOW, soon, 1.0), NOW.plus(seconds(6)));
        let sooner = Some(NOW.plus(seconds(1)));
        assert_eq!(retry_at(Class::NotSent, 9, NOW, sooner, 1.0), NOW.plus(URGENT));
    }

    #[test]
    fn an_unanswered_redeem_is_repeated_soon() {
        assert!(retry_at(Class::Unanswered, 1, NOW, None, 1.0).since(NOW) <= Duration::from_millis(500));
    }

    #[test]
    fn retry_after_is_honoured_up_to_five_minutes() {
        let wait = |span| retry_at(Class::Busy { retry_after: Some(span) }, 1, NOW, None, 0.0).since(NOW);
        assert_eq!((wait(seconds(17)), wait(seconds(9000))), (seconds(17), LONGEST_RETRY_AFTER));
    }

    #[test]
    fn a_server_that_says_at_once_is_not_asked_at_once() {
        let at_once = Class::Busy { retry_after: Some(Duration::ZERO) };
        let waits: Vec<_> = (1..5).map(|n| retry_at(at_once, n, NOW, None, 0.0).since(NOW)).collect();
        assert_eq!(waits, [seconds(1), seconds(2), seconds(2), seconds(2)]);
    }

    #[test]
    fn a_refused_grant_is_probed_ever_more_slowly() {
        let waits: Vec<u64> =
            (1..6).map(|n| retry_at(Class::Refused, n, NOW, None, 0.5).since(NOW).as_secs() / 60).collect();
        assert_eq!(waits, [1, 5, 15, 60, 60]);
    }

    #[test]
    fn a_server_that_gives_no_life_gets_fourteen_requests_a_minute_at_most() {
        let (mut bucket, mut now, mut requests) = (Bucket::new(), NOW, 0);
        let end = NOW.plus(seconds(60));
        while !end.has_come(now) {
            requests += 1;
            bucket.take(now);
            now = bucket.not_before(now.plus(Duration::from_millis(1)), now);
        }
        assert!((12..=14).contains(&requests), "{requests}");
    }

    #[test]
    fn an_idle_bucket_fills_up_and_no_further() {
        let mut bucket = Bucket::new();
        bucket.take(NOW);
        let later = NOW.plus(seconds(3600));
        for expected in [0, 0, 5] {
            assert_eq!(bucket.not_before(later, later).since(later), seconds(expected));
            bucket.take(bucket.not_before(later, later));
        }
    }

    #[test]
    fn only_a_token_of_some_age_is_doubted_and_not_often() {
        let expires = NOW.plus(seconds(600));
        let heeded = |age, last: Option<u64>| {
            let last = last.map(|ago| NOW.plus(seconds(age - ago)));
            doubts_heeded_from(NOW, expires, last).has_come(NOW.plus(seconds(age)))
        };
        assert!(!heeded(9, None) && heeded(10, None));
        assert!(!heeded(60, Some(29)) && heeded(60, Some(30)));
        assert!(
            doubts_heeded_from(NOW, NOW.plus(seconds(6)), None).has_come(NOW.plus(seconds(3))),
            "half of a short life"
        );
    }
}
