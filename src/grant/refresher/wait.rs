//! What wakes the refresher: time, a doubt, a demand, a command, a change in what a verdict rested on, the end.

use std::time::Duration;

use super::super::schedule;
use super::{Command, Inputs, Refresher, Resting, Used};
use crate::clock::{self, Moment, NAP};
use crate::grant::Flow;
use crate::secret::{Fingerprint, RefreshToken, Secret};
use crate::store::Record;
use crate::token::Wanted;

/// We wake this much later, so that the moment has come when we look.
const HAIR: Duration = Duration::from_millis(1);

/// How often the store is looked at while a verdict stands: whoever has signed in is served at once. Of every store there
/// is, a look is one at a small file, or at memory.
const WATCH: Duration = Duration::from_secs(1);

/// Why a refresh is due before its time: an upstream doubts the token.
const UPSTREAM_401: &str = "upstream_401";

impl Refresher {
    /// Returns true when a refresh is due, false when it is to end.
    pub(super) async fn wait_until_due(&mut self) -> bool {
        // A demand that cannot be served before its time is heard once; it lasts, and would keep us awake.
        let mut hears_demand = true;
        // A moment of its own: whoever wakes us in between does not put it off.
        let mut look = self.next_look();
        loop {
            // What was asked during a refresh is one more refresh, however often, and not put off by one that is due.
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command, &mut look);
            }
            self.tend_unsaved().await;
            self.post();
            let now = self.clock.now();
            self.desk.look_at_clocks(now);
            if look.has_come(now) {
                self.look_for_news().await;
                (look, hears_demand) = (self.next_look(), true);
            }
            if self.is_ending() {
                return false;
            }
            if self.due.has_come(now) {
                // It may have come by a wall clock that was set; the pace is kept by the boot clock (R8).
                self.due = self.bucket.not_before(self.due, now);
            }
            // An unsaved rotation comes first: without a durable intent nothing is redeemed.
            if self.unsaved.is_none() && self.due.has_come(now) {
                return true;
            }
            let nap = self.nap(now).min(look.remaining(now)) + HAIR;
            tokio::select! {
                changed = self.ending.changed() => {
                    if changed.is_err() || self.is_ending() {
                        return false;
                    }
                }
                Some(command) = self.commands.recv() => self.obey(command, &mut look),
                wanted = self.publisher.wanted(), if hears_demand => match wanted {
                    Wanted::Doubt(_) => self.weigh_doubt(),
                    // Heard, and weighed above. It lasts as long as somebody waits, and is not listened to again before
                    // the next nap: nothing else would run while an unsaved rotation keeps us from serving it.
                    Wanted::Demand => hears_demand = false,
                },
                () = tokio::time::sleep_until(clock::in_(nap)) => hears_demand = true,
            }
        }
    }

    /// Until the next thing that can happen by itself; never longer than a nap (R5).
    fn nap(&self, now: Moment) -> Duration {
        let expires = self.current.as_ref().map(|current| current.expires).filter(|at| !at.has_come(now));
        let next = self.unsaved.as_ref().map_or(self.due, |unsaved| unsaved.retry);
        let next = [Some(next), expires].into_iter().flatten();
        next.map(|moment| moment.remaining(now)).min().unwrap_or(NAP).min(NAP)
    }

    fn next_look(&self) -> Moment {
        let pause = if self.parked_on.is_some() { WATCH } else { NAP };
        self.clock.now().plus(pause)
    }

    fn obey(&mut self, command: Command, look: &mut Moment) {
        match command {
            Command::Look => *look = self.clock.now(),
            Command::Refresh => self.plan(self.clock.now(), "manual"),
            Command::Reconfigure(params, endpoint) => {
                let asks_alike = self.params.asks_like(&params);
                self.params = *params;
                self.endpoint = endpoint;
                if !asks_alike {
                    self.desk.forgets_suspicion();
                }
                if self.parked_on.is_some() || !asks_alike {
                    self.failures = 0;
                    self.plan(self.clock.now(), "manual");
                } else {
                    self.plan_renewal();
                }
            }
        }
    }

    /// An upstream does not like the token: one refresh, if the token is of an age to be disliked (DESIGN §4).
    fn weigh_doubt(&mut self) {
        let now = self.clock.now();
        if self.cause != UPSTREAM_401 && self.doubts_heeded_from().is_some_and(|from| from.has_come(now)) {
            self.last_doubt = Some(now);
            self.plan(now, UPSTREAM_401);
        }
    }

    /// From when on a doubt is heeded, if at all.
    pub(super) fn doubts_heeded_from(&self) -> Option<Moment> {
        let current = self.current.as_ref()?;
        // While refreshes fail, the retries are under way already.
        let idle = self.failures == 0 && self.unsaved.is_none();
        let from = match self.last_doubt {
            Some(heeded) if self.cause == UPSTREAM_401 => heeded,
            last => schedule::doubts_heeded_from(current.obtained, current.expires, last),
        };
        idle.then_some(from)
    }

    /// Has a person put a new seed in place, signed in or out, or, while a verdict stands, put a new secret there (R48)?
    async fn look_for_news(&mut self) {
        let (inputs, rests) = self.inputs().await;
        let is_new = match &self.parked_on {
            // Tokens that another process has got change what a refusal says of them; under another verdict they would have
            // every process that shares the store ask in turn, each waking the next.
            Some(parked_on) => {
                parked_on.given != inputs.given
                    || self.desk.stands_refused() && parked_on.rests != inputs.rests
            }
            None => inputs.given.seed.is_some() && inputs.given.seed != self.used.seed,
        };
        let is_another_line = rests.is_some_and(|record| self.is_another_line(&record));
        if is_new || is_another_line {
            self.used.seed.clone_from(&inputs.given.seed);
            self.parked_on = self.parked_on.is_some().then_some(inputs);
            self.failures = 0;
            self.plan(self.clock.now(), "manual");
        }
    }

    /// Whether the store holds another line than was gone on with: one that a person has begun, whose token is then taken
    /// up under the lock, or ended, and then the token is used no more.
    fn is_another_line(&mut self, record: &Record) -> bool {
        let rests = Some(Resting::of(record));
        if self.resting == rests || self.unsaved.is_some() {
            return false;
        }
        self.goes_on_with(rests);
        if self.needs_refresh_token() && record.refresh_token.is_none() && record.access_token.is_none() {
            self.withdraw();
        }
        true
    }

    /// What the operator gave before, where it is not to be read only to look: to the verdict that stands, since an attempt
    /// after it may have stopped before it had read all of it.
    pub(super) fn before(&self) -> &Used {
        self.parked_on.as_ref().map_or(&self.used, |parked_on| &parked_on.given)
    }

    /// What a verdict rests on, read anew, and the record that rests.
    pub(super) async fn inputs(&mut self) -> (Inputs, Option<Record>) {
        let references = self.params.secrets();
        let secrets = if references.is_empty() {
            None
        } else if references.iter().all(Secret::can_be_watched) {
            let read =
                move || references.iter().filter_map(|reference| reference.read().ok()).collect::<Vec<_>>();
            tokio::task::spawn_blocking(read).await.ok().and_then(|read| Fingerprint::of_all(&read))
        } else {
            // A command is not run only to see whether it says something else.
            self.before().secrets.clone()
        };
        let seed = match &self.params.flow {
            Flow::RefreshToken { seed: Some(seed) } if !seed.can_be_watched() => self.before().seed.clone(),
            _ => self.seed().await.map(|seed| seed.fingerprint()),
        };
        let rests = self.store.peek().await.ok().flatten();
        let inputs = Inputs {
            given: Used { seed, secrets, dpop_key: self.key_as_it_is().await },
            rests: rests.as_ref().map(what_rests),
        };
        (inputs, rests)
    }

    /// The configured seed, if there is one to be read; after the first start it may be gone.
    pub(super) async fn seed(&mut self) -> Option<RefreshToken> {
        let Flow::RefreshToken { seed: Some(reference) } = self.params.flow.clone() else {
            self.unread_seed = None;
            return None;
        };
        let read = tokio::task::spawn_blocking(move || reference.read_refresh_token()).await;
        let read = read.unwrap_or_else(|fault| Err(fault.to_string()));
        self.unread_seed = read.as_ref().err().cloned();
        read.ok()
    }
}

/// Names the tokens of a record: what another process, or a person, puts there. Not the verdicts beside them, of which two
/// processes under one refusal would wake each other for ever.
fn what_rests(record: &Record) -> Fingerprint {
    let refresh_token = record.refresh_token.as_ref().map(RefreshToken::fingerprint);
    let access_token = record.access_token.as_ref().map(|saved| saved.text.fingerprint());
    Fingerprint::of(&format!("{} {refresh_token:?} {access_token:?}", record.lineage))
}
