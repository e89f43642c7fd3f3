//! Time, read in this file and nowhere else: a moment on both clocks, and the ways to wait for one.
//!
//! A token counts as expired when **either** clock says so (R4). The boot clock counts suspended time and cannot be
//! set; the wall clock is what the authorization server and the upstream go by.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest a scheduler sleeps before it looks at the clocks again (R5): a timer does not see a suspended machine
/// or a clock that was set.
pub const NAP: Duration = Duration::from_secs(15);

/// One moment, told by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time since the machine booted, suspended time included (CLOCK_BOOTTIME).
    pub boot: Duration,
    /// Time since the Unix epoch.
    pub wall: Duration,
}

impl Moment {
    /// The moment `span` after this one; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self { boot: self.boot.saturating_add(span), wall: self.wall.saturating_add(span) }
    }

    /// The moment `span` before this one; saturates at zero.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self { boot: self.boot.saturating_sub(span), wall: self.wall.saturating_sub(span) }
    }

    /// Whether this moment has come, by either clock.
    #[must_use]
    pub fn has_come(self, now: Self) -> bool {
        now.boot >= self.boot || now.wall >= self.wall
    }

    /// How long until this moment, by the clock that says the least.
    #[must_use]
    pub fn remaining(self, now: Self) -> Duration {
        self.boot.saturating_sub(now.boot).min(self.wall.saturating_sub(now.wall))
    }

    /// How long since `earlier` by the boot clock, which cannot be set.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.boot.saturating_sub(earlier.boot)
    }

    /// Wall time as seconds since the Unix epoch, for people, logs and metrics.
    #[must_use]
    pub fn unix_seconds(self) -> f64 {
        self.wall.as_secs_f64()
    }

    /// Wall time in RFC 3339, UTC, whole seconds.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let seconds = i64::try_from(self.wall.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map_or_else(|_| "out of range".to_owned(), |at| at.to_string())
    }
}

/// The system's clocks, or a test's.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// CLOCK_BOOTTIME and CLOCK_REALTIME.
    #[default]
    System,
    /// Clocks that follow tokio's (paused) time and can be set, one by one.
    Test(TestClock),
}

impl Clock {
    /// Now, on both clocks.
    #[must_use]
    pub fn now(&self) -> Moment {
        match self {
            Self::System => Moment { boot: boot_time(), wall: wall_time() },
            Self::Test(clock) => clock.now(),
        }
    }

    /// Names this boot of the machine, so that a stored boot time can be told from another boot's.
    #[must_use]
    pub fn boot_id(&self) -> String {
        match self {
            Self::System => boot_id(),
            Self::Test(clock) => clock.with(|hands| hands.boot_id.clone()),
        }
    }
}

/// Clocks for tests: they advance with tokio's time and can be pushed apart.
#[derive(Clone, Debug)]
pub struct TestClock {
    hands: Arc<Mutex<Hands>>,
}

#[derive(Debug)]
struct Hands {
    started: tokio::time::Instant,
    boot: Duration,
    wall: Duration,
    boot_id: String,
}

impl TestClock {
    /// Both clocks at `moment`, advancing from here with tokio's time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads time")]
    pub fn starting_at(moment: Moment) -> Self {
        let hands = Hands {
            started: tokio::time::Instant::now(),
            boot: moment.boot,
            wall: moment.wall,
            boot_id: "test-boot".to_owned(),
        };
        Self { hands: Arc::new(Mutex::new(hands)) }
    }

    /// Moves both clocks on, as a suspended machine finds them when it wakes.
    pub fn pass(&self, span: Duration) {
        self.with(|hands| {
            hands.boot = hands.boot.saturating_add(span);
            hands.wall = hands.wall.saturating_add(span);
        });
    }

    /// Moves the wall clock alone, as an administrator or NTP would; negative is back.
    pub fn step_wall(&self, seconds: i64) {
        self.with(|hands| hands.wall = step(hands.wall, seconds));
    }

    /// Moves the boot clock alone, as time in suspend with a wall clock that is wrong would.
    pub fn step_boot(&self, seconds: i64) {
        self.with(|hands| hands.boot = step(hands.boot, seconds));
    }

    /// Pretends that the machine was booted anew: another boot id, and the boot clock at `boot`.
    pub fn reboot(&self, boot: Duration) {
        let elapsed = self.with(|hands| hands.started.elapsed());
        self.with(|hands| {
            hands.boot = boot.saturating_sub(elapsed);
            hands.boot_id.push('+');
        });
    }

    /// Now, on both clocks.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.with(|hands| {
            let elapsed = hands.started.elapsed();
            Moment { boot: hands.boot.saturating_add(elapsed), wall: hands.wall.saturating_add(elapsed) }
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Hands) -> T) -> T {
        look(&mut self.hands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn step(hand: Duration, seconds: i64) -> Duration {
    let span = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { hand.saturating_sub(span) } else { hand.saturating_add(span) }
}

/// Reads a clock to measure how long something took; never to decide whether a token is good.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads time")]
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// The instant `span` after the start, for tokio's timers.
    #[must_use]
    pub fn deadline(self, span: Duration) -> tokio::time::Instant {
        self.0 + span
    }
}

/// The instant `span` from now, for tokio's timers.
#[must_use]
pub fn in_(span: Duration) -> tokio::time::Instant {
    Stopwatch::start().deadline(span)
}

#[expect(clippy::disallowed_methods, reason = "this is the file that reads time")]
fn wall_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Elsewhere the steady clock has to do; the wall clock still bounds a token's life across a suspend.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(clippy::disallowed_methods, reason = "this is the file that reads time")]
fn boot_time() -> Duration {
    use std::sync::OnceLock;
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_else(|_| format!("process-{}", std::process::id()))
}

/// Where the system names no boot, every process counts as a boot of its own: a stored token then rests on the wall
/// clock alone.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn boot_id() -> String {
    format!("process-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment { boot: Duration::from_secs(100), wall: Duration::from_secs(1_800_000_000) };

    #[tokio::test(start_paused = true)]
    async fn a_moment_has_come_when_either_clock_says_so() {
        let clock = TestClock::starting_at(START);
        let due = START.plus(Duration::from_secs(60));
        assert!(!due.has_come(clock.now()));

        clock.step_wall(61);
        assert!(due.has_come(clock.now()), "by the wall clock");
        clock.step_wall(-61);
        assert!(!due.has_come(clock.now()));
        clock.step_boot(61);
        assert!(due.has_come(clock.now()), "by the boot clock");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_set_back_does_not_lengthen_what_remains() {
        let clock = TestClock::starting_at(START);
        let due = START.plus(Duration::from_secs(60));
        clock.step_wall(-3600);
        assert_eq!(due.remaining(clock.now()), Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(due.has_come(clock.now()));
    }

    #[test]
    fn wall_time_is_told_in_rfc_3339() {
        assert_eq!(START.rfc3339(), "2027-01-15T08:00:00Z");
    }

    #[test]
    fn the_system_clocks_advance() {
        let (clock, then) = (Clock::System, Clock::System.now());
        assert!(clock.now().boot >= then.boot && clock.now().wall > Duration::from_secs(1_700_000_000));
        assert_eq!(clock.boot_id(), clock.boot_id());
    }
}
