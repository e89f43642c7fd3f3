//! The task that keeps one grant alive: wait until due, refresh, again. THE OTHER LOOP.
//!
//! It is the one owner of the refresh token. It alone redeems, saves and publishes, in this order: an intent is made
//! durable, the token is redeemed, a new refresh token is saved, and only then is anything else of the answer used.

mod desk;
mod key;
mod redeem;
#[cfg(test)]
mod tests;
mod unsaved;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::desk::Desk;
use self::key::Ready;
use self::unsaved::Unsaved;
use super::endpoint::TokenEndpoint;
use super::error::{Class, RefreshError};
use super::schedule::{self, Bucket};
use super::status::Board;
use super::{Params, end};
use crate::clock::{Clock, Moment};
use crate::dpop::ProofKey;
use crate::secret::Fingerprint;
use crate::store::{Record, SavedToken, Store};
use crate::token::{AccessToken, Binding, Publisher};

/// What others may ask of a refresher.
pub enum Command {
    /// Refresh now, if the pace allows it.
    Refresh,
    /// Look at the store, the seed and the secrets now: a person may have signed in or out.
    Look,
    /// The configuration was read again: go on with these, and try again if a verdict stood in the way.
    Reconfigure(Box<Params>, Arc<dyn TokenEndpoint>),
}

/// What a refresher is told of its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It is to go on.
    #[default]
    None,
    /// Its grant is no longer wanted here. A rotation that is in memory only is saved first, however long that takes.
    Leave,
    /// The program ends: what cannot be saved within seconds is lost.
    Stop,
}

/// What a refresher works with; built by the composition root, or by a test.
pub struct Parts {
    /// What the configuration says.
    pub params: Params,
    /// Where refresh tokens are redeemed.
    pub endpoint: Arc<dyn TokenEndpoint>,
    /// Where they rest.
    pub store: Arc<dyn Store>,
    /// Where access tokens go.
    pub publisher: Publisher,
    /// The clocks.
    pub clock: Clock,
    /// Draws from `0.0..1.0`, for jitter.
    pub dice: fn() -> f64,
    /// Where snapshots of the status go.
    pub board: Board,
    /// What others ask.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// Whether to go on.
    pub ending: watch::Receiver<Ending>,
}

/// Keeps one grant alive.
pub struct Refresher {
    params: Params,
    endpoint: Arc<dyn TokenEndpoint>,
    store: Arc<dyn Store>,
    /// Where the store is, for people; looked up where that may block.
    place: String,
    publisher: Publisher,
    clock: Clock,
    dice: fn() -> f64,
    commands: mpsc::UnboundedReceiver<Command>,
    ending: watch::Receiver<Ending>,
    desk: Desk,
    /// The token that readers have.
    current: Option<Current>,
    /// What could not be saved yet; holds the lock, so that nobody presents what has been replaced.
    unsaved: Option<Unsaved>,
    /// When to try next, and why.
    due: Moment,
    cause: &'static str,
    /// The key that tokens are bound to.
    ready: Ready,
    /// Failures in a row.
    failures: u32,
    /// What rests in the store, as it was last gone on with.
    resting: Option<Resting>,
    /// What a verdict that needs a person rested on; when it changes, the verdict is asked for again.
    parked_on: Option<Inputs>,
    /// What the last attempt was made with.
    used: Used,
    /// The line of the last attempt: the metadata that it knows of are not older than that.
    metadata_read_for: String,
    /// Why the configured seed cannot be read, if it cannot.
    unread_seed: Option<String>,
    /// The refresh token that was presented without a verdict, so that a refusal of it means a lost rotation.
    in_doubt: Option<Fingerprint>,
    bucket: Bucket,
    last_doubt: Option<Moment>,
    generation: u64,
}

/// The token that readers have.
struct Current {
    /// Of the record that it came with.
    lineage: String,
    obtained: Moment,
    expires: Moment,
    life: Duration,
    /// When the grant has to be used again, lest it end (R11); time since the Unix epoch.
    use_by: Option<Duration>,
}

/// A line of refresh tokens in the store: begun by a sign-in or a seed, ended by a sign-out or an export.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resting {
    lineage: String,
    /// Whether a refresh token is there.
    can_refresh: bool,
}

impl Resting {
    fn of(record: &Record) -> Self {
        Self { lineage: record.lineage.clone(), can_refresh: record.refresh_token.is_some() }
    }
}

/// What an operator gives to an attempt: the seed, and all other secrets, as they were read for it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Used {
    seed: Option<Fingerprint>,
    secrets: Option<Fingerprint>,
    /// `dpop_key`, where it had to be read.
    dpop_key: Option<Fingerprint>,
}

/// What a verdict rests on: what the operator gave, and what rests in the store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Inputs {
    given: Used,
    rests: Option<Fingerprint>,
}

impl Refresher {
    /// Sets one up; nothing happens until [`Refresher::run`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { params, endpoint, store, publisher, clock, dice, board, commands, ending } = parts;
        let now = clock.now();
        let (desk, place) = (Desk::new(params.name.clone(), board), store.place());
        Self {
            params,
            endpoint,
            store,
            place,
            publisher,
            clock,
            dice,
            commands,
            ending,
            desk,
            current: None,
            unsaved: None,
            due: now,
            cause: "startup",
            ready: Ready::default(),
            failures: 0,
            resting: None,
            parked_on: None,
            used: Used::default(),
            metadata_read_for: String::new(),
            unread_seed: None,
            in_doubt: None,
            bucket: Bucket::new(),
            last_doubt: None,
            generation: 0,
        }
    }

    /// Keeps the grant alive until it is told to end; a refresh in flight is finished first (R16). A refused grant
    /// waits, and heals.
    pub async fn run(mut self) {
        self.take_up_what_rests().await;
        while self.wait_until_due().await {
            let started = self.clock.now();
            let cause = self.cause;
            let outcome = self.refresh_guarded().await;
            self.settle(cause, started, outcome).await;
        }
        self.save_before_leaving().await;
    }

    /// A stored token that is still good goes out at once; a start then costs no refresh (R12).
    async fn take_up_what_rests(&mut self) {
        self.used.seed = self.seed().await.map(|seed| seed.fingerprint());
        self.take_up_without_the_lock().await;
        self.post();
    }

    /// Publishes a later token that another process, or an earlier start, has left; whether there is one.
    async fn take_up_without_the_lock(&mut self) -> bool {
        let Ok(Some(record)) = self.store.peek().await else { return false };
        self.goes_on_with(Some(Resting::of(&record)));
        // If the record has not met the seed, an operator wants another line.
        let is_ours = self.used.seed.as_ref().is_none_or(|seed| record.seeds.contains(seed));
        let taken_up = self.params.identity().owns(&record) && is_ours && self.take_up(&record);
        if taken_up {
            self.desk.adopted(&record);
        }
        taken_up
    }

    /// Publishes the record's access token if it is good and not the one that readers have; plans its refresh.
    fn take_up(&mut self, record: &Record) -> bool {
        let now = self.clock.now();
        let Some(saved) = record.access_token.as_ref() else { return false };
        let Some((obtained, expires)) = still_good(saved, now, &self.clock.boot_id()) else { return false };
        // Of one line only a later one: what rests may be older than what could not be saved. In one boot the boot clock tells, which
        // cannot be set.
        let is_of_this_boot = saved.boot_id == self.clock.boot_id();
        let when = |at: Moment| if is_of_this_boot { at.boot } else { at.wall };
        let is_no_older = |current: &Current| when(current.obtained) >= when(saved.obtained);
        if self.current.as_ref().is_some_and(|has| has.lineage == record.lineage && is_no_older(has)) {
            return false;
        }
        // What is stored is the expiry as it counts; the life it came from was a little longer. By the wall clock: of an
        // earlier boot nothing else is left.
        let life = saved.expires.wall.saturating_sub(saved.obtained.wall);
        let saved = SavedToken { obtained, expires, ..saved.clone() };
        self.publish(record, &saved, life)
    }

    /// Gives readers a token, and plans when to renew it; false where it can be none. One that was long on its way and has
    /// expired takes no good one's place.
    fn publish(&mut self, record: &Record, saved: &SavedToken, life: Duration) -> bool {
        let (obtained, expires) = (saved.obtained, saved.expires);
        let key = record.dpop_key.as_ref().filter(|_| saved.bound);
        let key = key.and_then(|key| self.ready.key(key).ok());
        let Some(binding) = binding(saved, key).filter(|_| self.params.dpop.takes(saved.bound)) else {
            return false;
        };
        let now = self.clock.now();
        let is_good = |expires: Moment| !expires.has_come(now);
        if is_good(expires) || !self.current.as_ref().is_some_and(|current| is_good(current.expires)) {
            let token = AccessToken::new(saved.text.clone(), binding, self.generation + 1, expires);
            let Ok(token) = token else { return false };
            self.generation += 1;
            self.publisher.publish(token);
            let lineage = record.lineage.clone();
            let use_by = record.grant_end.and_then(|end| end::use_by(end, obtained));
            self.current = Some(Current { lineage, obtained, expires, life, use_by });
        }
        self.plan_renewal();
        true
    }

    /// Notes what rests in the store. What was suspected of another line says nothing of this one.
    fn goes_on_with(&mut self, rests: Option<Resting>) {
        if self.resting != rests {
            self.desk.forgets_suspicion();
        }
        self.resting = rests;
    }

    /// Takes the token from readers.
    fn withdraw(&mut self) {
        self.current = None;
        self.publisher.withdraw();
    }

    /// Plans the renewal of the token that readers have.
    fn plan_renewal(&mut self) {
        let Some(current) = &self.current else { return };
        let wish = schedule::refresh_at(current.obtained, current.life, self.params.margin, (self.dice)());
        let wish = current.use_by.map_or(wish.wall, |use_by| use_by.min(wish.wall));
        // So long before its end by both clocks: of an earlier boot, its beginning may lie before the boot clock's.
        let early = current.expires.wall.saturating_sub(wish);
        self.plan(current.expires.minus(early), "schedule");
    }

    /// Sets the next attempt, no sooner than the pace allows.
    fn plan(&mut self, wish: Moment, cause: &'static str) {
        self.due = self.bucket.not_before(wish, self.clock.now());
        self.cause = cause;
    }

    /// Draws the consequences of an attempt.
    async fn settle(&mut self, cause: &'static str, started: Moment, outcome: Result<Done, RefreshError>) {
        let now = self.clock.now();
        match &outcome {
            Ok(_) => {
                self.failures = 0;
                self.parked_on = None;
            }
            Err(error) => {
                let outlasted = self.desk.outlasts(error);
                self.failures = match outlasted {
                    // Not none, though a person began the count anew: no doubt is to start a refresh.
                    true => self.failures.max(1),
                    false if self.desk.has_same_class(error) => self.failures + 1,
                    false => 1,
                };
                let expires = self.current.as_ref().map(|current| current.expires);
                let mut wish = schedule::retry_at(error.class, self.failures, now, expires, (self.dice)());
                // Without a refresh token there is nothing that a sign-in would mend; under a verdict, nothing to suspect.
                if self.needs_refresh_token() && !outlasted {
                    self.desk.suspects(error, now, expires);
                }
                if outlasted {
                    // A verdict stands until the server takes it back: a fault on the way to the next is none.
                    let probe =
                        schedule::retry_at(Class::Refused, self.failures, now, expires, (self.dice)());
                    wish = if wish.since(probe).is_zero() { probe } else { wish };
                }
                self.plan(wish, "retry");
                // Where nobody answers any more, as where a person has to act, the metadata may tell of a change.
                if needs_a_person(error.class) || self.failures.is_multiple_of(schedule::METADATA_AFTER) {
                    self.endpoint.forget();
                }
                if needs_a_person(error.class) {
                    // What was put in place while it was asked has not been tried; where it did not come to that, nobody
                    // knows what it was before.
                    let (now, _) = self.inputs().await;
                    let secrets = self.used.secrets.clone().or(now.given.secrets.clone());
                    self.parked_on = Some(Inputs { given: Used { secrets, ..self.used.clone() }, ..now });
                }
            }
        }
        self.desk.attempted(cause, started, now, outcome, self.in_doubt.is_some());
        let store = Arc::clone(&self.store);
        if let Ok(place) = tokio::task::spawn_blocking(move || store.place()).await {
            self.place = place;
        }
        self.post();
    }

    /// Tells readers and operators how things are.
    fn post(&mut self) {
        let now = self.clock.now();
        let usable = self.current.as_ref().filter(|current| !current.expires.has_come(now));
        let next = self.unsaved.as_ref().map_or(self.due, |unsaved| unsaved.retry);
        let absent = self.desk.post(desk::View {
            now,
            usable: usable.is_some(),
            obtained: self.current.as_ref().map(|current| current.obtained),
            expires: self.current.as_ref().map(|current| current.expires),
            generation: self.generation,
            next,
            unsaved: self.unsaved.is_some(),
            store: self.place.clone(),
        });
        self.publisher.explain_absence(absent);
        self.publisher.heed_doubts(self.doubts_heeded_from());
    }

    fn is_ending(&self) -> bool {
        *self.ending.borrow() != Ending::None
    }

    fn needs_refresh_token(&self) -> bool {
        self.params.needs_refresh_token()
    }
}

/// What a refresh achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// A new access token.
    Renewed { rotated: bool, status: u16 },
    /// Another process had refreshed already.
    Adopted,
    /// A new access token, and a new refresh token that could not be saved yet.
    Unsaved { status: u16 },
}

/// What a token needs beside it; none where it is bound to a key that is not there.
fn binding(saved: &SavedToken, key: Option<Arc<ProofKey>>) -> Option<Binding> {
    if saved.bound { key.map(Binding::Dpop) } else { Some(Binding::None) }
}

/// The record's access token as readers would have it, if it may be used now.
#[must_use]
pub fn at_rest(record: &Record, now: Moment, boot_id: &str) -> Option<AccessToken> {
    let saved = record.access_token.as_ref()?;
    let (_, expires) = still_good(saved, now, boot_id)?;
    let key = record.dpop_key.as_ref().and_then(|key| ProofKey::new(key).ok()).map(Arc::new);
    AccessToken::new(saved.text.clone(), binding(saved, key)?, 0, expires).ok()
}

/// Whether only a person can help.
fn needs_a_person(class: Class) -> bool {
    matches!(class, Class::Refused | Class::Misconfigured)
}

/// The moments of a stored token as they are now, if it may still be used: neither clock is before its birth or past
/// its end; of another boot, the wall clock alone can tell (DESIGN §4).
fn still_good(saved: &SavedToken, now: Moment, boot_id: &str) -> Option<(Moment, Moment)> {
    let (obtained, expires) = if saved.boot_id == boot_id {
        (saved.obtained, saved.expires)
    } else {
        let age = now.wall.checked_sub(saved.obtained.wall)?;
        let left = saved.expires.wall.checked_sub(now.wall)?;
        let expires = Moment { boot: now.boot + left, wall: saved.expires.wall };
        (Moment { boot: now.boot.saturating_sub(age), wall: saved.obtained.wall }, expires)
    };
    let born = now.wall >= obtained.wall && now.boot >= obtained.boot;
    (born && !expires.has_come(now)).then_some((obtained, expires))
}
