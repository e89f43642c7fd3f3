//! When a grant ends by itself, how that is put off (R11), and how long before it people are warned (R37). Pure: the time comes in as an argument.

use std::time::Duration;

use crate::clock::Moment;
use crate::store::GrantEnd;

const DAY: Duration = Duration::from_secs(86_400);

/// How long before the end people are warned.
pub const WARNINGS: [Duration; 3] = [Duration::from_secs(14 * 86_400), Duration::from_secs(3 * 86_400), DAY];

/// The end as it is known once an answer has told that the grant lives for `life` from `asked` on; one that tells
/// nothing takes nothing back.
#[must_use]
pub fn told(before: Option<GrantEnd>, asked: Moment, life: Option<Duration>) -> Option<GrantEnd> {
    let Some(life) = life else { return before };
    let now = GrantEnd { told: asked.wall, at: asked.wall.saturating_add(life) };
    Some(match before {
        // What is put off with each refresh ends only if there is none. Answers take their time, so an end that stands
        // still is not told the same to the second.
        Some(before) if now.at.saturating_sub(before.at) < now.told.saturating_sub(before.told) / 2 => {
            GrantEnd { told: before.told, at: now.at }
        }
        _ => now,
    })
}

/// How many of the warnings are due; none for a grant that never lived so long.
#[must_use]
pub fn warnings_due(end: GrantEnd, now: Moment) -> usize {
    let (life, left) = (end.at.saturating_sub(end.told), end.at.saturating_sub(now.wall));
    let is_due = |before: &&Duration| left <= **before && life > **before;
    WARNINGS.iter().filter(is_due).count()
}

/// When the grant has to be used again for its end to be put off, in time since the Unix epoch: after half of what it was
/// given (R11). An end that stood still when a token was `obtained` by then is not put off, and needs no use: what is
/// told of it is not the same to the second, so about then is enough.
#[must_use]
pub fn use_by(end: GrantEnd, obtained: Moment) -> Option<Duration> {
    let life = end.at.saturating_sub(end.told);
    let half = end.told.saturating_add(life / 2);
    Some(half).filter(|half| half.saturating_sub(obtained.wall) > life / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: u32) -> Moment {
        Moment { boot: Duration::ZERO, wall: DAY * (1000 + days) }
    }

    #[test]
    fn an_end_that_stands_still_is_warned_of_three_times() {
        let mut end = None;
        let mut due = Vec::new();
        for day in 0..30 {
            // Each answer takes its time.
            let left = DAY * (30 - day) + Duration::from_secs(u64::from(day % 3) * 7);
            end = told(end, at(day), Some(left));
            due.push(warnings_due(end.unwrap(), at(day)));
        }
        let days = |count| due.iter().filter(|due| **due == count).count();
        assert!(due.is_sorted(), "{due:?}");
        assert_eq!((days(0), days(1), days(2)), (17, 10, 3), "{due:?}");
        assert_eq!(warnings_due(end.unwrap(), at(30)), 3);
        assert_eq!(told(end, at(30), None), end, "silence takes nothing back");
    }

    #[test]
    fn an_end_that_each_refresh_puts_off_is_warned_of_only_when_none_does() {
        for life in [DAY / 48, DAY * 2, DAY * 30] {
            let (mut end, mut now) = (None, at(0));
            for _ in 0..1000 {
                end = told(end, now, Some(life));
                assert_eq!(warnings_due(end.unwrap(), now), 0, "{life:?}");
                now = now.plus(life / 3);
            }
        }
        let end = told(None, at(0), Some(DAY * 30)).unwrap();
        assert_eq!([15, 16, 27, 29].map(|day| warnings_due(end, at(day))), [0, 1, 2, 3]);
    }

    #[test]
    fn a_grant_that_each_use_prolongs_is_used_when_half_of_it_is_over() {
        let life = Duration::from_secs(1800);
        let (mut end, mut now) = (None, at(0));
        for _ in 0..100 {
            end = told(end, now, Some(life));
            assert_eq!(use_by(end.unwrap(), now), Some(now.plus(life / 2).wall));
            // The answer to what is asked then takes its time.
            now = now.plus(life / 2).plus(Duration::from_secs(7));
        }
    }

    #[test]
    fn a_grant_whose_end_stands_still_is_used_once_more_and_not_ever_more_often() {
        let life = Duration::from_secs(1800);
        let end = told(None, at(0), Some(life)).unwrap();
        let mut now = at(0).plus(life / 2);
        assert_eq!(use_by(end, at(0)), Some(now.wall));
        let mut kept = end;
        for _ in 0..5 {
            let left = end.at - now.wall + Duration::from_secs(3);
            kept = told(Some(kept), now, Some(left)).unwrap();
            assert_eq!(use_by(kept, now), None);
            now = now.plus(Duration::from_secs(120));
        }
    }

    #[test]
    fn no_life_is_too_long() {
        let end = told(None, at(0), Some(Duration::MAX)).unwrap();
        assert_eq!(warnings_due(end, at(30)), 0);
    }
}
