//! I6, how often a process may ask: a bucket for answered redeems, and a pause after each that failed (R8, R50–R54).

use super::server::Token;
use super::*;

/// In any minute, whatever happens: the bucket's fourteen, or the retries of a failure that begins anew, and some more.
const IN_A_MINUTE: usize = 40;
const MINUTE: Duration = Duration::from_secs(60);

/// How long after an event an attempt may still be due to it: a nap, a redeem in flight and a wait for the lock.
const EXCUSED_FOR: Duration = Duration::from_secs(15 + 20 + 25);

/// How a redeem ended, as far as the next one depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// An answer with a 2xx status; what it gave is in the other.
    Issued,
    Unusable,
    Unanswered,
    UnansweredAfterAll,
    NotSent,
    Busy(Option<u16>),
    Blocked,
    Refused,
    RefusedAfterAll,
    Misconfigured,
}

impl Outcome {
    fn takes_from_bucket(self) -> bool {
        matches!(self, Self::Issued | Self::Unusable | Self::UnansweredAfterAll | Self::RefusedAfterAll)
    }

    /// The shortest wait that may follow.
    fn floor(self) -> Duration {
        match self {
            Self::Issued => Duration::ZERO,
            Self::Unanswered | Self::UnansweredAfterAll => Duration::from_millis(250),
            Self::Unusable | Self::NotSent | Self::Blocked => Duration::from_millis(500),
            Self::Busy(after) => Duration::from_secs(u64::from(after.unwrap_or(0)).clamp(1, 300)),
            Self::Refused | Self::RefusedAfterAll | Self::Misconfigured => MINUTE,
        }
    }
}

/// What one process has asked of the server since it started.
#[derive(Default)]
pub(super) struct Pace {
    /// The bucket: how many redeems have been answered that are not refilled yet, at a boot time.
    taken: f64,
    refilled: Duration,
    redeems: Vec<Duration>,
    excuses: Vec<Duration>,
    /// When the last one failed, and how long the server is to be let alone.
    failed: Option<(Duration, Duration)>,
    /// What was refused; the refusal outlasts a fault on the way to the next answer, and says nothing of another token.
    refused: Option<Token>,
    /// Whether the last answer asked for patience.
    pub(super) is_put_off: bool,
}

impl Pace {
    pub(super) fn presented(&mut self, token: Token, now: Duration, boot: Duration) -> Result<(), String> {
        self.refill(boot);
        self.redeems.push(now);
        let lately = |times: &[Duration], span| times.iter().filter(|at| **at + span > now).count();
        let (redeems, excuses) = (lately(&self.redeems, MINUTE), lately(&self.excuses, MINUTE + EXCUSED_FOR));
        if self.taken > 1.000_001 {
            return Err(format!("a redeem while {:.2} of 2 are taken from the bucket", self.taken));
        }
        if redeems > IN_A_MINUTE + excuses {
            return Err(format!("{redeems} redeems within a minute"));
        }
        if self.refused.is_some_and(|refused| refused != token) {
            (self.failed, self.refused) = (None, None);
        }
        let Some((at, floor)) = self.failed.take().filter(|(at, floor)| at.saturating_add(*floor) > now)
        else {
            return Ok(());
        };
        self.excuses.retain(|at| *at + EXCUSED_FOR > now);
        match self.excuses.is_empty() {
            true => Err(format!("a redeem {:?} after a failure that asks for {floor:?}", now - at)),
            false => {
                self.excuses.remove(0);
                Ok(())
            }
        }
    }

    pub(super) fn answered(&mut self, outcome: Outcome, token: Token, now: Duration, boot: Duration) {
        self.refill(boot);
        self.taken += f64::from(u8::from(outcome.takes_from_bucket()));
        self.is_put_off = matches!(outcome, Outcome::Busy(Some(_)));
        self.refused = match outcome {
            Outcome::Refused | Outcome::RefusedAfterAll => Some(token),
            Outcome::Issued | Outcome::Misconfigured => None,
            _ => self.refused,
        };
        let probe = if self.refused.is_some() { MINUTE } else { Duration::ZERO };
        let floor = outcome.floor().max(probe);
        self.failed = (!floor.is_zero()).then_some((now, floor));
    }

    fn refill(&mut self, boot: Duration) {
        let span = boot.saturating_sub(self.refilled);
        self.taken = (self.taken - span.as_secs_f64() / 5.0).max(0.0);
        self.refilled = boot;
    }

    pub(super) fn excuse(&mut self, now: Duration) {
        self.excuses.push(now);
    }

    /// A clock was set, and a wait may be over by it: once.
    pub(super) fn clock_set(&mut self, now: Duration) {
        self.excuse(now);
        self.failed = None;
    }

    /// The store holds something new: what was refused is not what would be presented.
    pub(super) fn absolve(&mut self, now: Duration) {
        self.excuse(now);
        (self.failed, self.refused) = (None, None);
    }
}
