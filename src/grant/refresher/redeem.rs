//! One refresh: lock, intent, redeem, save, publish.

use std::time::Duration;

use http::Uri;

use super::super::end;
use super::super::endpoint::{Prepared, Redeemed, Source};
use super::super::error::{Class, Code, RefreshError};
use super::super::lineage::{self, Line};
use super::super::lock;
use super::super::schedule;
use super::super::wire::{self, Answer, Issued, Told};
use super::{Done, Ending, Refresher, Resting, Used};
use crate::clock::Moment;
use crate::net;
use crate::panics::caught;
use crate::secret::RefreshToken;
use crate::store::{Intent, QUIET_REDEEMS, Record, Refusal, SavedToken, StoreError, Txn};

/// Why a grant was refused: an answer with its new refresh token never arrived. A code, and what the record says.
const LOST: &str = Code::LostRotation.word();

impl Refresher {
    /// As `refresh`, but a panic becomes an error: the loop goes on, with the store read anew (R21).
    pub(super) async fn refresh_guarded(&mut self) -> Result<Done, RefreshError> {
        // The next refresh reads the store anew, and takes nothing from this one.
        let outcome = caught(Box::pin(self.refresh()).as_mut()).await;
        outcome.unwrap_or_else(|| {
            Err(RefreshError::new(
                Class::Unanswered,
                Code::Internal,
                "The refresh met a fault of bearerd's own.",
            ))
        })
    }

    async fn refresh(&mut self) -> Result<Done, RefreshError> {
        let cause = self.cause;
        if let Some(done) = self.refresh_by_what_is_known().await? {
            return Ok(done);
        }
        self.endpoint.forget();
        self.cause = cause;
        let unread = || {
            let sentence = "The metadata of the authorization server are to be read again.";
            RefreshError::new(Class::NotSent, Code::DiscoveryFailed, sentence)
        };
        self.refresh_by_what_is_known().await?.ok_or_else(unread)
    }

    /// A refresh; none where what is kept of the metadata has to be read again first.
    async fn refresh_by_what_is_known(&mut self) -> Result<Option<Done>, RefreshError> {
        let seed = self.seed().await;
        self.used = Used { seed: seed.as_ref().map(RefreshToken::fingerprint), ..Used::default() };
        let prepared = self.endpoint.prepare().await?;
        self.used.secrets = prepared.fingerprint();
        let mut txn = match self.begin(seed.as_ref()).await {
            Ok(txn) => txn,
            // Whoever has the lock may have been stopped with it, after it had saved what is good for all.
            Err(_) if self.take_up_without_the_lock().await => return Ok(Some(Done::Adopted)),
            Err(error) => return Err(error),
        };
        // Anew: while we waited for the lock, its holder may have begun a line with a seed that came after ours.
        let seed = self.seed().await;
        self.used.seed = seed.as_ref().map(RefreshToken::fingerprint);
        let record = self.line(&mut txn, seed.as_ref()).await?;
        self.desk.grant_ends(record.grant_end);
        let key = self.proof_key(&record)?;
        if self.take_up(&record) {
            if !self.due.has_come(self.clock.now()) {
                self.desk.adopted(&record);
                return Ok(Some(Done::Adopted));
            }
            self.publisher.heed_doubts(self.doubts_heeded_from());
        }
        // Nothing says yet where tokens of a new line come from: metadata that were read for an earlier one may be older.
        let is_new = record.token_endpoint.is_none() && self.metadata_read_for != record.lineage;
        self.metadata_read_for.clone_from(&record.lineage);
        let is_read = !matches!(prepared.source, Source::Kept | Source::Instead(_));
        if is_new && !is_read {
            self.endpoint.disown();
            return Ok(None);
        }
        match lineage::still_at(&record, &prepared) {
            Err(_moved) if matches!(prepared.source, Source::Kept) => return Ok(None),
            at => at?,
        }
        self.intend(&mut txn, &record).await?;
        let asked = self.clock.now();
        match self.endpoint.redeem(&prepared, self.presents(&record), key.as_deref()).await {
            Redeemed::NotSent(why) => {
                self.take_back(txn).await;
                Err(RefreshError::new(
                    Class::NotSent,
                    Code::TokenEndpointUnreachable,
                    format!("The token endpoint was not reached: {}.", wire::printable(&why)),
                ))
            }
            Redeemed::Untrusted(why) => {
                self.take_back(txn).await;
                Err(RefreshError::untrusted(&why))
            }
            Redeemed::Unanswered(why) => {
                self.in_doubt = self.presents(&record).map(RefreshToken::fingerprint);
                Err(RefreshError::new(
                    Class::Unanswered,
                    Code::TokenEndpointUnanswered,
                    format!(
                        "The token endpoint did not answer ({}); the refresh token is tried again.",
                        wire::printable(&why)
                    ),
                ))
            }
            Redeemed::Answer(answer) => self.digest(txn, record, asked, (&answer, &prepared)).await.map(Some),
        }
    }

    /// What this flow presents: a refresh token that an earlier flow left, or that a server gave unasked, is not for it.
    fn presents<'a>(&self, record: &'a Record) -> Option<&'a RefreshToken> {
        record.refresh_token.as_ref().filter(|_| self.needs_refresh_token())
    }

    async fn begin(&mut self, seed: Option<&RefreshToken>) -> Result<Box<dyn Txn>, RefreshError> {
        let unread = self.unread_seed.clone();
        if let Err(damage) = lock::leave_damage(&self.params, self.store.as_ref(), unread.is_some()).await {
            let mut error = RefreshError::from(damage);
            let why = unread.unwrap_or_default();
            error.sentence = format!(
                "{} The configured seed cannot be read either ({why}), and has to be known before another record takes this one's place: put it there, or take `refresh_token` out of the configuration.",
                error.sentence
            );
            return Err(error);
        }
        let patience = lock::patience(&self.params);
        let needed = self.needs_refresh_token();
        let stand_in = lineage::after_damage(&self.params.identity(), seed);
        let stands_in = Resting::of(&stand_in);
        tokio::select! {
            begun = self.store.begin_or(patience, Box::new(move || needed.then_some(stand_in))) => {
                if matches!(begun, Err(StoreError::Corrupt { aside: Some(_), .. })) {
                    self.resting = Some(stands_in);
                }
                Ok(begun?)
            }
            // Nothing has been presented, so there is nothing to finish.
            _ = self.ending.wait_for(|ending| *ending != Ending::None) => {
                Err(RefreshError::new(Class::Store, Code::Stopping, "The refresher is to end."))
            }
        }
    }

    /// The record to go on with; a new line rests before its token is presented, and so does the key that the answer's
    /// tokens may be bound to.
    async fn line(
        &mut self,
        txn: &mut Box<dyn Txn>,
        seed: Option<&RefreshToken>,
    ) -> Result<Record, RefreshError> {
        let rests = txn.record().cloned();
        self.goes_on_with(rests.as_ref().map(Resting::of));
        let decided = lineage::decide(rests, &self.params.identity(), seed, self.needs_refresh_token());
        let (mut record, begins) = match decided.map_err(|error| self.no_seed_because(error))? {
            Line::Rests(record) => (record, false),
            Line::Begins(record) => (record, true),
        };
        let bound = self.bind(&mut record).await?;
        if begins || bound {
            record.generation = record.generation.saturating_add(u64::from(!begins));
            let rests = self.commit(txn, &record).await;
            if rests.is_ok() {
                self.resting = Some(Resting::of(&record));
            }
            // Without a refresh token there is nothing to lose.
            if self.needs_refresh_token() {
                rests?;
            }
            self.forgets_refusal();
        }
        let presented = self.presents(&record).map(RefreshToken::fingerprint);
        if let Some(intent) = &record.intent
            && Some(&intent.presented) == presented.as_ref()
            && self.in_doubt != presented
        {
            // We hold the lock, so whoever wrote this is gone without having saved an answer.
            self.desk.intent_found(intent);
            self.in_doubt = presented.clone();
        }
        match &record.refused {
            // A verdict that was reached before the last start, or by another process, is not asked for again at once
            // (R53); whoever stands under it asks when that is due, or when a person wants it.
            Some(refusal)
                if self.parked_on.is_none()
                    && self.cause != "manual"
                    && Some(&refusal.presented) == presented.as_ref() =>
            {
                Err(refused_before(refusal))
            }
            _ => Ok(record),
        }
    }

    /// Another refresh token than the one that was refused is presented from now on, or with another key: a fault that it
    /// meets is retried as any other.
    fn forgets_refusal(&mut self) {
        self.desk.forgets_refusal();
        self.parked_on = None;
    }

    /// That there is no grant, told by its nearest cause.
    fn no_seed_because(&self, mut error: RefreshError) -> RefreshError {
        if let (Code::NoGrant, Some(why)) = (error.code, &self.unread_seed) {
            error.sentence =
                format!("There is no refresh token yet, and the configured one is not there: {why}.");
        }
        error
    }

    /// No durable intent, no redeem; but for a line whose last redeems brought no new refresh token (R78).
    async fn intend(&mut self, txn: &mut Box<dyn Txn>, record: &Record) -> Result<(), RefreshError> {
        let Some(presented) = self.presents(record) else { return Ok(()) };
        let intent = Intent {
            presented: presented.fingerprint(),
            holder: format!("process {}", std::process::id()),
            started: self.clock.now().wall,
        };
        match txn.intend(intent).await {
            Ok(()) => Ok(()),
            Err(error) if record.quiet_redeems >= QUIET_REDEEMS => {
                self.desk.store_failed(&error, self.clock.now());
                Ok(())
            }
            Err(error) => {
                self.desk.store_failed(&error, self.clock.now());
                Err(error.into())
            }
        }
    }

    /// First the refresh token, to durable storage; then the rest.
    async fn digest(
        &mut self,
        mut txn: Box<dyn Txn>,
        mut record: Record,
        asked: Moment,
        (answer, prepared): (&Answer, &Prepared),
    ) -> Result<Done, RefreshError> {
        let presented = self.presents(&record).cloned();
        let successor = wire::salvage(answer).filter(|_| self.needs_refresh_token());
        let successor = successor.filter(|successor| Some(successor) != presented.as_ref());
        let rotated = successor.is_some();
        let mut saved = Ok(());
        if let Some(successor) = successor {
            record = succeeded_by(record, successor, &prepared.endpoint);
            self.in_doubt = None;
            self.forgets_refusal();
            saved = self.save_rotation(&mut txn, &record).await;
        }
        if answer.status.is_success() {
            self.bucket.take(self.clock.now());
        }
        let told = Told { refresh_token: presented.as_ref(), others: &prepared.told };
        let issued = match wire::read(answer, told, self.params.dpop) {
            Ok(issued) => issued,
            Err(error) => return Err(self.rue(txn, record, rotated, saved.is_ok(), error).await),
        };
        self.in_doubt = None;
        record.token_endpoint = Some(net::authority(&prepared.endpoint));
        self.use_token(txn, record, asked, answer.status.as_u16(), (rotated, saved.is_ok()), issued).await
    }

    pub(super) async fn save_rotation(
        &mut self,
        txn: &mut Box<dyn Txn>,
        record: &Record,
    ) -> Result<(), StoreError> {
        let watch = crate::clock::Stopwatch::start();
        let saved = self.commit(txn, record).await;
        if saved.is_ok() {
            self.desk.rotation_saved(record, watch.elapsed());
        }
        saved
    }

    /// Publishes a good answer's token: at once when no rotation waits to be saved.
    async fn use_token(
        &mut self,
        mut txn: Box<dyn Txn>,
        mut record: Record,
        asked: Moment,
        status: u16,
        (rotated, saved): (bool, bool),
        issued: Issued,
    ) -> Result<Done, RefreshError> {
        self.desk.oddities(&issued.oddities);
        self.desk.granted(&self.params.scopes, issued.scope.as_deref());
        let expires = schedule::expiry(asked, issued.life);
        record = with_token(record, &issued, asked, expires, self.clock.boot_id(), rotated);
        self.desk.grant_ends(record.grant_end);
        let token = record.access_token.clone();
        if !saved {
            self.hold(txn, record, issued.life);
            return Ok(Done::Unsaved { status });
        }
        if let Some(token) = &token {
            self.publish(&record, token, issued.life);
        }
        // The refresh token is safe already; if this fails, a restart costs one refresh.
        let _told_and_counted = self.commit(&mut txn, &record).await;
        Ok(Done::Renewed { rotated, status })
    }

    /// An answer without a usable token: what is to be kept of it?
    async fn rue(
        &mut self,
        txn: Box<dyn Txn>,
        record: Record,
        rotated: bool,
        saved: bool,
        mut error: RefreshError,
    ) -> RefreshError {
        let presented = self.presents(&record).map(RefreshToken::fingerprint);
        match error.class {
            _ if rotated && !saved => self.hold(txn, record, Duration::ZERO),
            _ if rotated => drop(txn),
            // The intent stands: the server may have rotated.
            Class::Unanswered => self.in_doubt = presented,
            Class::Refused => error = self.note_refusal(txn, record, error).await,
            // "Not now" should mean unspent, and so should what answers in the server's place, or without any token; should it
            // not, a refusal that follows is to be told for what it is.
            Class::Busy { .. } | Class::Blocked | Class::Unusable => {
                self.in_doubt = presented;
                self.take_back(txn).await;
            }
            _ => self.take_back(txn).await,
        }
        error
    }

    /// The verdict rests with the record: the refresh token is kept, and not asked about at every start (R52). Of a token
    /// that was presented without an answer before, it means that the answer was lost.
    async fn note_refusal(
        &mut self,
        mut txn: Box<dyn Txn>,
        mut record: Record,
        mut error: RefreshError,
    ) -> RefreshError {
        let Some(presented) = self.presents(&record).map(RefreshToken::fingerprint) else {
            return error;
        };
        // A verdict that stands is not another one for a fault that a later probe met.
        let before = record.refused.as_ref().filter(|refusal| refusal.presented == presented);
        let is_lost =
            before.map_or(self.in_doubt.as_ref() == Some(&presented), |before| before.reason == LOST);
        let mut reason = "rejected";
        if is_lost {
            reason = LOST;
            error.code = Code::LostRotation;
            error.sentence = format!(
                "An earlier answer of the authorization server was lost after it had replaced the refresh token. {}",
                error.sentence
            );
        }
        record.refused = Some(Refusal { reason: reason.to_owned(), presented, at: self.clock.now().wall });
        record.intent = None;
        record.generation = record.generation.saturating_add(1);
        let _told_and_counted = self.commit(&mut txn, &record).await;
        error
    }

    async fn take_back(&mut self, txn: Box<dyn Txn>) {
        if let Err(error) = txn.abandon().await {
            self.desk.store_failed(&error, self.clock.now());
        }
    }

    async fn commit(&mut self, txn: &mut Box<dyn Txn>, record: &Record) -> Result<(), StoreError> {
        let committed = txn.commit(record.clone()).await;
        match &committed {
            Ok(()) => self.desk.store_wrote(),
            Err(error) => self.desk.store_failed(error, self.clock.now()),
        }
        committed
    }
}

/// The record with a new refresh token and nothing else changed: what is saved before anything depends on it.
fn succeeded_by(record: Record, successor: RefreshToken, endpoint: &Uri) -> Record {
    Record {
        token_endpoint: Some(net::authority(endpoint)),
        generation: record.generation.saturating_add(1),
        refresh_token: Some(successor),
        quiet_redeems: 0,
        intent: None,
        refused: None,
        ..record
    }
}

fn with_token(
    record: Record,
    issued: &Issued,
    asked: Moment,
    expires: Moment,
    boot_id: String,
    rotated: bool,
) -> Record {
    let Issued { access_token, bound, .. } = issued;
    let saved = SavedToken { text: access_token.clone(), bound: *bound, obtained: asked, expires, boot_id };
    Record {
        generation: record.generation.saturating_add(1),
        access_token: Some(saved),
        quiet_redeems: if rotated { 0 } else { record.quiet_redeems.saturating_add(1) },
        grant_end: end::told(record.grant_end, asked, issued.grant_life),
        intent: None,
        refused: None,
        ..record
    }
}

fn refused_before(refusal: &Refusal) -> RefreshError {
    let code = if refusal.reason == LOST { Code::LostRotation } else { Code::GrantRejected };
    RefreshError::new(
        Class::Refused,
        code,
        "The authorization server has refused this refresh token before. Sign in again, or provide a new seed.",
    )
}
