//! The invariants I1–I8 (engine.md §3): a witness of every fact, who says which of them a fact has broken.

use std::collections::HashMap;

use super::events::Who;
use super::pace::{Outcome, Pace};
use super::server::Token;
use super::*;

/// More than the longest pause between two tries to save a rotation (R42), with a slow store's write.
const SAVED_WITHIN: Duration = Duration::from_secs(5 + 2 + 1);

/// What the world knows of one grant.
#[derive(Default)]
pub(super) struct Witness {
    /// What has been broken, the invariant's name first.
    pub(super) broken: Vec<String>,
    /// What has happened, for whoever has to find out why: tasks take turns as they like, so that the same schedule may
    /// take another course.
    pub(super) course: Vec<String>,
    in_flight: u32,
    /// The latest refresh token that has rested in the store.
    pub(super) rested: Option<Token>,
    /// A refresh token that was returned and has not rested yet.
    pub(super) unsaved: Option<Unsaved>,
    issued: HashMap<u64, Issue>,
    boots: u32,
    paces: [Pace; 2],
    ends: [End; 2],
}

/// How a process ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum End {
    #[default]
    None,
    Stopped,
    Killed,
}

/// A refresh token that is in one process's memory and nowhere else.
#[derive(Clone, Copy)]
pub(super) struct Unsaved {
    token: Token,
    pub(super) holder: Who,
    returned: Duration,
    tried: Option<Duration>,
}

/// An access token as it was issued.
struct Issue {
    /// Before the request was sent.
    asked: Moment,
    life: Duration,
    boot: u32,
    /// Of an earlier boot, the wall clock alone can tell; this is the most that a process may have read from it.
    bound: Duration,
}

impl Issue {
    fn ends_by_wall(&self) -> Duration {
        self.asked.wall.saturating_add(self.life)
    }

    fn rebound(&self, now: Moment) -> Duration {
        now.boot + self.ends_by_wall().saturating_sub(now.wall)
    }
}

impl Witness {
    pub(super) fn broke(&mut self, invariant: &str, how: impl std::fmt::Display) {
        self.broken.push(format!("{invariant}: {how}"));
    }

    pub(super) fn notes(&mut self, now: Duration, what: impl std::fmt::Debug) {
        self.course.push(format!("{now:?} {what:?}"));
    }

    pub(super) fn pace(&mut self, who: Who) -> &mut Pace {
        &mut self.paces[who as usize]
    }

    /// I1, I4, I6: a refresh token goes to the server.
    pub(super) fn presented(&mut self, who: Who, token: Token, now: Duration, boot: Duration) {
        self.notes(now, ("presented by", who, token));
        self.in_flight += 1;
        if self.in_flight > 1 {
            self.broke("I1", format!("{} token requests are in flight at once", self.in_flight));
        }
        if let Some(rested) = self.rested.filter(|rested| *rested > token) {
            self.broke("I4", format!("{token} is presented, though its successor {rested} has rested"));
        }
        if let Some(unsaved) = self.unsaved.filter(|unsaved| unsaved.token > token) {
            self.broke("I4", format!("{token} is presented, though {} was returned", unsaved.token));
        }
        if let Err(how) = self.pace(who).presented(token, now, boot) {
            self.broke("I6", how);
        }
    }

    pub(super) fn out_of_flight(&mut self) {
        self.in_flight -= 1;
    }

    /// The server's answer, or its lack, has reached the process.
    pub(super) fn answered(
        &mut self,
        who: Who,
        (presented, outcome): (Token, Outcome),
        returned: Option<Token>,
        (now, boot): (Duration, Duration),
    ) {
        self.notes(now, (who, outcome, returned));
        self.pace(who).answered(outcome, presented, now, boot);
        if let Some(token) = returned {
            self.unsaved = Some(Unsaved { token, holder: who, returned: now, tried: None });
        }
    }

    pub(super) fn issues(&mut self, access: u64, asked: Moment, life: Duration) {
        self.issued.insert(access, Issue { asked, life, boot: self.boots, bound: Duration::ZERO });
    }

    pub(super) fn tries_to_save(&mut self, token: Option<Token>, now: Duration) {
        match &mut self.unsaved {
            Some(unsaved) if token == Some(unsaved.token) => unsaved.tried = Some(now),
            Some(unsaved) => {
                let how = format!("{} was returned, and {token:?} is saved instead", unsaved.token);
                self.broke("I3", how);
            }
            None => {}
        }
    }

    /// I3: a record rests.
    pub(super) fn rests(&mut self, who: Who, token: Option<Token>, now: Duration) {
        self.notes(now, ("rests", token));
        if let Some(rested) = self.rested.filter(|rested| token < Some(*rested)) {
            self.broke("I3", format!("{token:?} takes the place of the later {rested}"));
        }
        self.rested = self.rested.max(token);
        if self.unsaved.is_some_and(|unsaved| token == Some(unsaved.token)) {
            self.unsaved = None;
        }
        // Whoever waits for a change in the store may try again.
        let other = if who == Who::Main { Who::Peer } else { Who::Main };
        self.pace(other).absolve(now);
    }

    /// I3: a refresh token in memory is saved at once, or as soon as that is possible.
    pub(super) fn is_saving(&mut self, now: Duration) {
        let Some(Unsaved { token, returned, tried, .. }) = self.unsaved else { return };
        match tried {
            None if now > returned + Duration::from_millis(10) => {
                self.broke("I3", format!("{token} was returned and not saved at once"));
            }
            Some(tried) if now > tried + SAVED_WITHIN => {
                self.broke("I3", format!("{token} is unsaved, and was tried last {:?} ago", now - tried));
            }
            _ => {}
        }
    }

    pub(super) fn starts(&mut self, who: Who) {
        *self.pace(who) = Pace::default();
        self.ends[who as usize] = End::None;
    }

    pub(super) fn ends(&mut self, who: Who, end: End) {
        self.ends[who as usize] = end;
    }

    /// I3: a process gives up the lock. What it has in memory only is lost then, which only its end excuses: at once when
    /// it is killed, else while the store cannot be written.
    pub(super) fn unlocks(&mut self, who: Who, is_writable: bool) {
        if let Some(Unsaved { token, .. }) = self.unsaved.take_if(|unsaved| unsaved.holder == who) {
            match self.ends[who as usize] {
                End::Killed => {}
                End::Stopped if !is_writable => {}
                end => self.broke("I3", format!("{token} is given up unsaved (end: {end:?})")),
            }
        }
    }

    /// A clock was set; `booted` when the machine was.
    pub(super) fn clock_set(&mut self, clock: Moment, booted: bool, now: Duration) {
        self.boots += u32::from(booted);
        for issue in self.issued.values_mut().filter(|issue| issue.boot != self.boots) {
            let rebound = issue.rebound(clock);
            issue.bound = if booted { rebound } else { issue.bound.max(rebound) };
        }
        self.paces.iter_mut().for_each(|pace| pace.clock_set(now));
    }

    /// Something has happened after which a process may try again at once.
    pub(super) fn excuse(&mut self, now: Duration) {
        self.paces.iter_mut().for_each(|pace| pace.excuse(now));
    }

    /// I2: a reader got this access token.
    pub(super) fn handed_out(&mut self, access: u64, clock: Moment) {
        let Some(issue) = self.issued.get(&access) else {
            return self.broke("I2", format!("A{access} was never issued"));
        };
        let ends_by_boot =
            if issue.boot == self.boots { issue.asked.boot.saturating_add(issue.life) } else { issue.bound };
        if clock.boot >= ends_by_boot || clock.wall >= issue.ends_by_wall() {
            let how = format!(
                "A{access}, asked for at {:?} for {:?}, is handed out at {clock:?}",
                issue.asked, issue.life
            );
            self.broke("I2", how);
        }
    }
}
