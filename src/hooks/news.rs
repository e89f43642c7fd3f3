//! What is told of the grants' states, and when: the last word told, and a pause before the next (R68).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Moment;
use crate::grant::status::State;
use crate::token::GrantName;

/// From one telling about a grant to the next about it: a grant that goes back and forth is no flood of messages (R68).
pub(super) const PAUSE: Duration = Duration::from_secs(30);

/// A grant's state has another word than the last one told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) grant: GrantName,
    pub(super) previous: State,
    pub(super) state: State,
}

/// What has been told of each grant.
#[derive(Debug, Default)]
pub(super) struct News(BTreeMap<GrantName, Told>);

/// Of one grant.
#[derive(Clone, Copy, Debug)]
struct Told {
    word: State,
    /// When it was last told of.
    at: Option<Moment>,
}

impl Default for Told {
    fn default() -> Self {
        Self { word: State::Starting, at: None }
    }
}

impl Told {
    fn is_in_pause(self, now: Moment) -> bool {
        self.at.is_some_and(|at| now.since(at) < PAUSE)
    }
}

impl News {
    /// What is to be told now, of the grants as they are; it counts as told. Of several the one that was told of the
    /// longest ago comes first, so that none keeps another waiting for ever.
    ///
    /// `starting` is never told: a grant that begins anew has a word of its own in a moment.
    pub(super) fn next(&mut self, now: Moment, grants: &[(GrantName, State)]) -> Option<Change> {
        self.forget(now, grants);
        let due = grants.iter().filter(|(grant, state)| {
            let told = self.told(grant);
            *state != State::Starting && *state != told.word && !told.is_in_pause(now)
        });
        let last_told = |grant: &GrantName| self.told(grant).at.map(|at| at.boot);
        let (grant, state) = due.min_by_key(|(grant, _)| last_told(grant))?;
        let before = self.0.insert(grant.clone(), Told { word: *state, at: Some(now) }).unwrap_or_default();
        Some(Change { grant: grant.clone(), previous: before.word, state: *state })
    }

    /// Takes the grants as they are for told, while nobody is there to be told: what is old is no news to who comes later.
    pub(super) fn pass_over(&mut self, grants: &[(GrantName, State)]) {
        for (grant, state) in grants {
            self.0.entry(grant.clone()).or_default().word = *state;
        }
    }

    fn told(&self, grant: &GrantName) -> Told {
        self.0.get(grant).copied().unwrap_or_default()
    }

    /// A grant that is gone is forgotten, but for its pause: it may come back.
    fn forget(&mut self, now: Moment, grants: &[(GrantName, State)]) {
        self.0.retain(|grant, told| told.is_in_pause(now) || grants.iter().any(|(name, _)| name == grant));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The grants "a", "b", … with these states.
    fn grants(states: &[State]) -> Vec<(GrantName, State)> {
        let named = |(index, state): (usize, &State)| (GrantName::new(["a", "b", "c"][index]), *state);
        states.iter().enumerate().map(named).collect()
    }

    fn at(seconds: u64) -> Moment {
        let boot = Duration::from_secs(100);
        Moment { boot, wall: Duration::from_secs(1_800_000_000) }.plus(Duration::from_secs(seconds))
    }

    /// What is told, second by second, as `(second, grant, previous, state)`.
    fn told(seen: &[(u64, &[State])]) -> Vec<(u64, String, State, State)> {
        let mut news = News::default();
        let looks = seen.iter().filter_map(|(second, states)| {
            let Change { grant, previous, state } = news.next(at(*second), &grants(states))?;
            Some((*second, grant.to_string(), previous, state))
        });
        looks.collect()
    }

    use State::{Active, Degraded, SignInRequired, Starting, Unavailable};

    #[test]
    fn the_first_word_is_told_and_each_other_word_once() {
        assert_eq!(
            told(&[
                (0, &[Starting]),
                (1, &[Active]),
                (2, &[Active]),
                (40, &[SignInRequired]),
                (41, &[SignInRequired])
            ]),
            [(1, "a".to_owned(), Starting, Active), (40, "a".to_owned(), Active, SignInRequired)]
        );
        let first = told(&[(0, &[SignInRequired])]);
        assert_eq!(first, [(0, "a".to_owned(), Starting, SignInRequired)], "whatever word it is");
    }

    #[test]
    fn what_happens_within_the_pause_is_told_as_one_change_at_its_end() {
        let looks: &[(u64, &[State])] =
            &[(0, &[Active]), (1, &[Degraded]), (2, &[Unavailable]), (29, &[SignInRequired])];
        assert_eq!(told(looks), [(0, "a".to_owned(), Starting, Active)]);
        let until_its_end = [looks, &[(30, &[SignInRequired])]].concat();
        assert_eq!(told(&until_its_end)[1], (30, "a".to_owned(), Active, SignInRequired));
    }

    #[test]
    fn a_word_that_is_back_at_the_end_of_the_pause_is_not_told_again() {
        let looks: &[(u64, &[State])] =
            &[(0, &[Active]), (1, &[Unavailable]), (29, &[Active]), (31, &[Active])];
        assert_eq!(told(looks).len(), 1);
    }

    #[test]
    fn the_pause_is_by_the_clock_that_cannot_be_set() {
        let mut news = News::default();
        assert!(news.next(at(0), &grants(&[Active])).is_some());
        let set = Moment { boot: at(1).boot, wall: at(3600).wall };
        assert_eq!(news.next(set, &grants(&[Degraded])), None);
        let set_back = Moment { boot: at(30).boot, wall: at(0).wall };
        assert!(news.next(set_back, &grants(&[Degraded])).is_some());
    }

    #[test]
    fn each_grant_has_a_pause_of_its_own_and_the_one_that_was_told_of_the_longest_ago_comes_first() {
        let both = told(&[(0, &[Active, Active]), (0, &[Active, Active]), (1, &[Degraded, Active])]);
        let names: Vec<&str> = both.iter().map(|(_, name, ..)| name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        // "a" has another word again whenever its pause is over, and "b" is not kept waiting.
        let restless =
            told(&[(0, &[Active, Starting]), (30, &[Degraded, Active]), (30, &[Degraded, Active])]);
        let names: Vec<&str> = restless.iter().map(|(_, name, ..)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "a"]);
    }

    #[test]
    fn starting_is_never_told() {
        let anew =
            told(&[(0, &[Active]), (31, &[Starting]), (32, &[Active]), (33, &[Starting]), (34, &[Degraded])]);
        assert_eq!(anew[1..], [(34, "a".to_owned(), Active, Degraded)]);
    }

    #[test]
    fn what_was_before_anybody_was_there_to_be_told_is_not_told() {
        let mut news = News::default();
        news.pass_over(&grants(&[SignInRequired]));
        assert_eq!(news.next(at(0), &grants(&[SignInRequired])), None);
        let change = news.next(at(1), &grants(&[Active])).unwrap();
        assert_eq!((change.previous, change.state), (SignInRequired, Active));
    }

    #[test]
    fn a_grant_that_goes_and_comes_back_keeps_its_pause_and_is_forgotten_after_it() {
        let mut news = News::default();
        assert!(news.next(at(0), &grants(&[Active])).is_some());
        assert_eq!(news.next(at(1), &[]), None);
        assert_eq!(news.next(at(2), &grants(&[Active])), None);
        assert_eq!(news.next(at(3), &grants(&[Degraded])), None, "within the pause");
        assert_eq!(news.next(at(60), &[]), None);
        let anew = news.next(at(61), &grants(&[Active])).unwrap();
        assert_eq!(anew.previous, Starting);
    }
}
