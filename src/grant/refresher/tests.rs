//! The refresher's promises, against a scripted endpoint and a store in memory, in paused time.

mod clocks;
mod ends;
mod mending;
mod overlaps;
mod properties;
mod suspicion;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;

use super::*;
use crate::clock::TestClock;
use crate::dpop::ProofKey;
use crate::grant::client_auth::Proof;
use crate::grant::endpoint::{Pending, Prepared, Presents, Redeemed, Source};
use crate::grant::status::State;
use crate::grant::wire::Answer;
use crate::grant::{self, Dpop, Flow, Handle, Server, sample};
use crate::secret::{AccessTokenText, RefreshToken};
use crate::store::memory::MemoryStore;
use crate::store::{self, GrantEnd, Intent, StandIn, StoreError, Txn};
use crate::telemetry::tests::Kept;

const START: Moment = Moment { boot: Duration::from_secs(100), wall: Duration::from_secs(1_800_000_000) };
const SECOND: Duration = Duration::from_secs(1);

/// One answer of the scripted endpoint.
#[derive(Clone)]
enum Step {
    Says(u16, &'static str),
    /// 429, and in how many seconds to come back.
    Later(u16),
    NotSent,
    Unanswered,
    Waits(Arc<Notify>, u16, &'static str),
    Panics,
}

/// A token endpoint that follows a script, then repeats its last step.
struct Script {
    steps: Mutex<VecDeque<Step>>,
    presented: Mutex<Vec<Option<String>>>,
    /// How often what is known of the server was to be found out again.
    forgotten: AtomicUsize,
}

impl Script {
    fn of(steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        let steps = Mutex::new(steps.into_iter().collect());
        Arc::new(Self { steps, presented: Mutex::default(), forgotten: AtomicUsize::default() })
    }

    fn then(&self, steps: impl IntoIterator<Item = Step>) {
        *self.steps.lock().unwrap() = steps.into_iter().collect();
    }

    fn presented(&self) -> Vec<String> {
        self.presented.lock().unwrap().iter().map(|token| token.clone().unwrap_or_default()).collect()
    }

    fn redeems(&self) -> usize {
        self.presented.lock().unwrap().len()
    }
}

impl TokenEndpoint for Script {
    fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    fn disown(&self) {}

    fn prepare(&self) -> Pending<'_, Result<Prepared, RefreshError>> {
        Box::pin(async { Ok(prepared()) })
    }

    fn redeem<'a>(
        &'a self,
        _: &'a Prepared,
        presented: Option<&'a RefreshToken>,
        _: Option<&'a ProofKey>,
    ) -> Pending<'a, Redeemed> {
        self.presented.lock().unwrap().push(presented.map(|token| token.expose().to_owned()));
        let step = {
            let mut steps = self.steps.lock().unwrap();
            if steps.len() > 1 { steps.pop_front().unwrap() } else { steps.front().unwrap().clone() }
        };
        Box::pin(async move {
            match step {
                Step::Says(status, body) => says(status, body),
                Step::Later(seconds) => later(seconds),
                Step::NotSent => Redeemed::NotSent("refused".to_owned()),
                Step::Unanswered => Redeemed::Unanswered("reset".to_owned()),
                Step::Waits(release, status, body) => {
                    release.notified().await;
                    says(status, body)
                }
                Step::Panics => panic!("a fault of bearerd's own"),
            }
        })
    }
}

fn says(status: u16, body: &str) -> Redeemed {
    Redeemed::Answer(Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: zeroize::Zeroizing::new(body.as_bytes().to_vec()),
        complete: true,
    })
}

fn later(seconds: u16) -> Redeemed {
    let Redeemed::Answer(mut answer) = says(429, "") else { unreachable!() };
    answer.headers.insert(http::header::RETRY_AFTER, seconds.into());
    Redeemed::Answer(answer)
}

const GOOD: Step = Step::Says(200, r#"{"access_token":"A1","expires_in":100,"token_type":"Bearer"}"#);
const ROTATED: Step =
    Step::Says(200, r#"{"access_token":"A2","refresh_token":"R2","expires_in":100,"token_type":"Bearer"}"#);
const REFUSED: Step = Step::Says(400, r#"{"error":"invalid_grant"}"#);

/// A store that fails when told to, and counts.
struct Moody {
    inner: Arc<MemoryStore>,
    fails: Arc<AtomicBool>,
    commits: Arc<AtomicU32>,
}

struct MoodyTxn {
    inner: Box<dyn Txn>,
    fails: Arc<AtomicBool>,
    commits: Arc<AtomicU32>,
}

fn full() -> StoreError {
    StoreError::Io { doing: "write".to_owned(), source: std::io::ErrorKind::StorageFull.into() }
}

impl Store for Moody {
    fn begin_or(
        &self,
        patience: Duration,
        stand_in: StandIn,
    ) -> store::Pending<'_, Result<Box<dyn Txn>, StoreError>> {
        Box::pin(async move {
            let inner = self.inner.begin_or(patience, stand_in).await?;
            let (fails, commits) = (Arc::clone(&self.fails), Arc::clone(&self.commits));
            Ok(Box::new(MoodyTxn { inner, fails, commits }) as Box<dyn Txn>)
        })
    }

    fn peek(&self) -> store::Pending<'_, Result<Option<Record>, StoreError>> {
        self.inner.peek()
    }

    fn probe(&self) -> store::Pending<'_, Result<(), StoreError>> {
        self.inner.probe()
    }

    fn place(&self) -> String {
        "moody".to_owned()
    }
}

impl Txn for MoodyTxn {
    fn record(&self) -> Option<&Record> {
        self.inner.record()
    }

    fn intend(&mut self, intent: Intent) -> store::Pending<'_, Result<(), StoreError>> {
        if self.fails.load(Ordering::SeqCst) {
            return Box::pin(async { Err(full()) });
        }
        self.inner.intend(intent)
    }

    fn commit(&mut self, record: Record) -> store::Pending<'_, Result<(), StoreError>> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Box::pin(async { Err(full()) });
        }
        self.inner.commit(record)
    }

    fn abandon(self: Box<Self>) -> store::Pending<'static, Result<(), StoreError>> {
        self.inner.abandon()
    }
}

/// A refresher with everything around it.
struct Bench {
    handle: Handle,
    script: Arc<Script>,
    store: Arc<MemoryStore>,
    fails: Arc<AtomicBool>,
    clock: TestClock,
    seed: tempfile::NamedTempFile,
}

impl Bench {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::resting(steps, MemoryStore::default())
    }

    fn resting(steps: impl IntoIterator<Item = Step>, store: MemoryStore) -> Self {
        let seed = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(seed.path(), "R1\n").unwrap();
        Self::of(params(&seed), seed, steps, store)
    }

    fn of(
        params: Params,
        seed: tempfile::NamedTempFile,
        steps: impl IntoIterator<Item = Step>,
        store: MemoryStore,
    ) -> Self {
        let clock = TestClock::starting_at(START);
        let (script, store, fails) = (Script::of(steps), Arc::new(store), Arc::new(AtomicBool::new(false)));
        let moody = Moody { inner: Arc::clone(&store), fails: Arc::clone(&fails), commits: Arc::default() };
        let handle = grant::spawn(
            params,
            Arc::clone(&script) as Arc<dyn TokenEndpoint>,
            Arc::new(moody),
            Clock::Test(clock.clone()),
            || 0.0,
        );
        Self { handle, script, store, fails, clock, seed }
    }

    /// Waits, in paused time, until the grant is as described.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..200_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never: {what}; {:?}", self.handle.board.look());
    }

    async fn has_token(&self) {
        self.until("a token", |bench| bench.handle.reader.now().is_ok()).await;
    }

    async fn is(&self, state: State) {
        self.until(state.word(), |bench| bench.handle.board.look().state == state).await;
    }

    async fn rests(&self) -> Record {
        self.store.peek().await.unwrap().unwrap()
    }

    fn code(&self) -> &'static str {
        self.handle.board.look().problem.as_ref().map_or("", |problem| problem.code)
    }
}

fn params(seed: &tempfile::NamedTempFile) -> Params {
    Params {
        flow: Flow::RefreshToken { seed: Some(grant::Secret::File(seed.path().to_owned())) },
        ..bare_params()
    }
}

/// What a public client asks with.
fn prepared() -> Prepared {
    let endpoint = http::Uri::from_static("https://id.example/token");
    Prepared {
        endpoint,
        source: Source::Configuration,
        proofs: vec![Proof::Id],
        presents: Presents::Nothing,
        told: Vec::new(),
    }
}

/// Without a seed.
fn bare_params() -> Params {
    let server = Server::Endpoint { token_endpoint: "https://id.example/token".to_owned() };
    sample::params(server, "billing")
}

fn resting(text: &str, obtained: Moment, life: u64) -> Record {
    Record {
        lineage: "line".to_owned(),
        generation: 7,
        issuer: "https://id.example/token".to_owned(),
        client_id: "billing".to_owned(),
        token_endpoint: None,
        refresh_token: Some(RefreshToken::new("R7")),
        access_token: Some(SavedToken {
            text: AccessTokenText::new(text),
            bound: false,
            obtained,
            expires: obtained.plus(life as u32 * SECOND),
            boot_id: "test-boot".to_owned(),
        }),
        dpop_key: None,
        seeds: vec![RefreshToken::new("R1").fingerprint()],
        quiet_redeems: 0,
        grant_end: None,
        intent: None,
        refused: None,
        exported: None,
        signed_out: None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_start_redeems_the_seed_and_saves_what_came() {
    let bench = Bench::new([ROTATED]);
    bench.has_token().await;
    bench.is(State::Active).await;
    let record = bench.rests().await;
    assert_eq!(bench.script.presented(), ["R1"]);
    assert_eq!(record.refresh_token, Some(RefreshToken::new("R2")));
    assert!(record.access_token.is_some() && record.intent.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stored_token_that_is_good_costs_no_refresh() {
    let record = resting("stored", START, 1000);
    let bench = Bench::resting([ROTATED], MemoryStore::holding(record));
    bench.has_token().await;
    tokio::time::sleep(700 * SECOND).await;
    assert_eq!(bench.script.redeems(), 0);
    bench.until("a refresh before the expiry", |bench| bench.script.presented() == ["R7"]).await;
    assert!(bench.clock_at() < START.plus(1000 * SECOND).wall, "in time");
}

impl Bench {
    fn clock_at(&self) -> Duration {
        self.clock.now().wall
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_the_wall_clock_tells_whether_a_stored_token_is_good() {
    let at = |boot: u32, wall: u32| Moment { boot: boot * SECOND, wall: START.wall + wall * SECOND };
    let saved =
        SavedToken { boot_id: "old".to_owned(), ..resting("stored", at(5000, 0), 100).access_token.unwrap() };
    let boot = "new";
    let (obtained, expires) = still_good(&saved, at(3, 40), boot).unwrap();
    assert_eq!((obtained.wall, expires), (at(0, 0).wall, at(63, 100)));
    assert!(still_good(&saved, at(3, 100), boot).is_none(), "past its end");
    assert!(still_good(&saved, at(3, 0).minus(SECOND), boot).is_none(), "before its birth: a clock is wrong");
    let same = SavedToken { boot_id: boot.to_owned(), ..saved };
    assert!(still_good(&same, at(4999, 40), boot).is_none(), "the boot clock was set back?");
    assert!(still_good(&same, at(5040, 40), boot).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_rotated_token_presents_itself_next_time_and_not_the_seed() {
    let bench = Bench::new([ROTATED, REFUSED]);
    bench.until("two redeems", |bench| bench.script.redeems() == 2).await;
    assert_eq!(bench.script.presented(), ["R1", "R2"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_leaves_a_good_token_in_place() {
    let bench = Bench::new([GOOD, Step::Says(500, "")]);
    bench.has_token().await;
    bench.is(State::Degraded).await;
    assert!(bench.handle.reader.now().is_ok());
    bench.is(State::Unavailable).await;
    assert!(bench.handle.reader.now().is_err(), "and an expired one is not handed out");
    bench.script.then([GOOD]);
    let then = bench.clock_at();
    bench.is(State::Active).await;
    assert!(bench.clock_at() - then <= 5 * SECOND, "it recovers within 5 s of the server");
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_a_bad_access_token_still_gives_its_refresh_token() {
    let odd = Step::Says(200, r#"{"refresh_token":"R2","expires_in":"abc","access_token":5}"#);
    let bench = Bench::new([odd, GOOD]);
    bench.has_token().await;
    assert_eq!(bench.script.presented(), ["R1", "R2"]);
    assert_eq!(bench.rests().await.refresh_token, Some(RefreshToken::new("R2")));
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_redeem_is_repeated_and_its_refusal_is_a_lost_rotation() {
    let bench = Bench::new([GOOD, Step::Unanswered, REFUSED]);
    bench.has_token().await;
    bench.is(State::SignInRequired).await;
    assert_eq!(bench.code(), "lost_rotation");
    assert!(bench.handle.reader.now().is_ok(), "the old access token is used while it lives");
    let record = bench.rests().await;
    assert_eq!(bench.script.presented(), ["R1", "R1", "R1"]);
    assert_eq!(record.refresh_token, Some(RefreshToken::new("R1")), "a refused token is kept (R52)");
    assert_eq!(record.refused.unwrap().reason, "lost_rotation");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_behind_an_answer_that_hid_what_the_server_did_is_a_lost_rotation() {
    let page = Step::Says(403, "<html>");
    for hidden in [page, Step::Says(200, "{}"), Step::Later(1), Step::Says(500, "")] {
        let bench = Bench::new([hidden.clone(), REFUSED]);
        bench.is(State::SignInRequired).await;
        assert_eq!(bench.code(), "lost_rotation");
        // Once an answer has come, what was hidden before it is history.
        let bench = Bench::new([hidden, GOOD, REFUSED]);
        bench.has_token().await;
        bench.is(State::SignInRequired).await;
        assert_eq!(bench.code(), "grant_rejected");
    }
    let told = Bench::new([Step::Says(401, r#"{"error":"invalid_client"}"#), REFUSED]);
    told.is(State::SignInRequired).await;
    assert_eq!(told.code(), "grant_rejected", "who was refused as a client has not spent its token");
}

#[tokio::test(start_paused = true)]
async fn a_refused_grant_is_probed_slowly_and_heals_by_itself() {
    let bench = Bench::new([REFUSED]);
    bench.is(State::SignInRequired).await;
    assert_eq!(bench.code(), "grant_rejected");
    tokio::time::sleep(3600 * SECOND).await;
    assert!((2..=5).contains(&bench.script.redeems()), "{}", bench.script.redeems());
    bench.script.then([GOOD]);
    bench.is(State::Active).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_seed_heals_a_refused_grant_within_a_nap() {
    let bench = Bench::new([REFUSED]);
    bench.is(State::SignInRequired).await;
    bench.script.then([GOOD]);
    std::fs::write(bench.seed.path(), "S2").unwrap();
    let then = bench.clock_at();
    bench.is(State::Active).await;
    assert!(bench.clock_at() - then <= 16 * SECOND);
    assert_eq!(bench.script.presented().last().unwrap(), "S2");
}

/// A rotation that came while the store failed, and lives in memory only.
async fn unsaved() -> Bench {
    let release = Arc::new(Notify::new());
    let rotated = r#"{"access_token":"A2","refresh_token":"R2","expires_in":1000,"token_type":"Bearer"}"#;
    let bench = Bench::new([GOOD, Step::Waits(Arc::clone(&release), 200, rotated)]);
    bench.until("the second redeem", |bench| bench.script.redeems() == 2).await;
    bench.fails.store(true, Ordering::SeqCst);
    release.notify_one();
    bench.until("unsaved", |bench| bench.handle.board.look().unsaved_rotation).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_cannot_be_saved_is_kept_and_published_once_the_old_token_is_gone() {
    let bench = unsaved().await;
    assert_eq!(bench.handle.board.look().state, State::Degraded);
    assert_eq!(bench.handle.reader.now().unwrap().generation(), 1, "save before publish");
    let new = |bench: &Bench| bench.handle.reader.now().is_ok_and(|token| token.generation() == 2);
    bench.until("the new token", new).await;
    assert!(bench.clock_at() >= START.wall + 98 * SECOND, "only when the old one had expired");
    bench.fails.store(false, Ordering::SeqCst);
    bench.until("saved", |bench| !bench.handle.board.look().unsaved_rotation).await;
    assert_eq!(bench.rests().await.refresh_token, Some(RefreshToken::new("R2")));
    bench.is(State::Active).await;
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_cannot_be_saved_is_told_as_an_error_once_a_minute() {
    let log = Kept::default();
    let _logging = log.of_this_thread();
    let bench = unsaved().await;
    tokio::time::sleep(5 * 60 * SECOND).await;
    let told = |log: &Kept| log.text().lines().filter(|line| line.contains("store_write_failed")).count();
    assert!((5..=6).contains(&told(&log)), "{}", log.text());
    bench.fails.store(false, Ordering::SeqCst);
    bench.until("saved", |bench| !bench.handle.board.look().unsaved_rotation).await;
    let errors: Vec<String> =
        log.text().lines().filter(|line| line.contains(r#""level":"ERROR""#)).map(str::to_owned).collect();
    assert_eq!(errors.len(), told(&log), "{errors:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_for_less_than_was_asked_for_is_used_and_told_once() {
    let log = Kept::default();
    let _logging = log.of_this_thread();
    let says = |scope: &'static str| Step::Says(200, scope);
    let seed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(seed.path(), "R1").unwrap();
    let scopes = ["openid", "offline_access", "read", "write"].map(str::to_owned).to_vec();
    let steps = [
        says(r#"{"access_token":"A1","expires_in":100,"token_type":"Bearer","scope":"write read admin"}"#),
        says(r#"{"access_token":"A2","expires_in":100,"token_type":"Bearer","scope":"read"}"#),
    ];
    let asks = Params { scopes, ..params(&seed) };
    let bench = Bench::of(asks, seed, steps, MemoryStore::default());
    bench.until("the first", |bench| bench.script.redeems() == 1).await;
    assert!(!log.text().contains("scope_narrowed"), "{}", log.text());
    bench.until("two more", |bench| bench.script.redeems() == 3).await;
    bench.has_token().await;
    let text = log.text();
    let told: Vec<_> = text.lines().filter(|line| line.contains("scope_narrowed")).collect();
    assert!(told.len() == 1 && told[0].contains(r#""scopes":"write""#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn callers_that_are_refused_are_an_error_in_the_log() {
    let log = Kept::default();
    let _logging = log.of_this_thread();
    let bench = Bench::new([GOOD, Step::NotSent]);
    bench.is(State::Unavailable).await;
    let line = log.text().lines().find(|line| line.contains(r#""state":"unavailable""#)).unwrap().to_owned();
    assert!(line.contains(r#""level":"ERROR""#), "{line}");
}

#[tokio::test(start_paused = true)]
async fn without_a_durable_intent_nothing_is_presented() {
    let bench = Bench::new([ROTATED]);
    bench.fails.store(true, Ordering::SeqCst);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((bench.script.redeems(), bench.handle.board.look().state), (0, State::Unavailable));
    bench.fails.store(false, Ordering::SeqCst);
    bench.is(State::Active).await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_never_rotates_is_redeemed_without_an_intent_too() {
    let quiet =
        Record { quiet_redeems: store::QUIET_REDEEMS, ..resting("old", START.minus(500 * SECOND), 100) };
    let bench = Bench::resting([GOOD], MemoryStore::holding(quiet));
    bench.fails.store(true, Ordering::SeqCst);
    bench.has_token().await;
    bench.is(State::Degraded).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_program_waits_for_the_refresh_in_flight() {
    let release = Arc::new(Notify::new());
    let rotated = r#"{"access_token":"A2","refresh_token":"R2","expires_in":100,"token_type":"Bearer"}"#;
    let bench = Bench::new([Step::Waits(Arc::clone(&release), 200, rotated)]);
    bench.until("the redeem", |bench| bench.script.redeems() == 1).await;
    let ending = tokio::spawn(bench.handle.stop());
    tokio::time::sleep(8 * SECOND).await;
    assert!(!ending.is_finished());
    release.notify_one();
    ending.await.unwrap();
    assert_eq!(bench.store.peek().await.unwrap().unwrap().refresh_token, Some(RefreshToken::new("R2")));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_refresh_ends_that_refresh_alone() {
    let bench = Bench::new([Step::Panics, GOOD]);
    bench.has_token().await;
    bench.is(State::Active).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiting_requests_make_one_redeem() {
    let release = Arc::new(Notify::new());
    let body = r#"{"access_token":"A1","expires_in":100}"#;
    let bench = Bench::new([Step::Waits(Arc::clone(&release), 200, body)]);
    let waiting: Vec<_> = (0..1000)
        .map(|_| {
            let reader = bench.handle.reader.clone();
            tokio::spawn(async move { reader.ready(10 * SECOND).await.is_ok() })
        })
        .collect();
    tokio::time::sleep(SECOND).await;
    release.notify_one();
    for waiter in waiting {
        assert!(waiter.await.unwrap());
    }
    assert_eq!(bench.script.redeems(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_gives_no_life_is_asked_fourteen_times_a_minute_at_most() {
    let bench = Bench::new([Step::Says(200, r#"{"access_token":"A1","expires_in":0}"#)]);
    tokio::time::sleep(60 * SECOND).await;
    assert!((5..=14).contains(&bench.script.redeems()), "{}", bench.script.redeems());
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_grants_end_outlasts_silence_and_a_restart() {
    let day = 24 * 3600;
    let told = r#"{"access_token":"A1","expires_in":1000,"authorization_expires_in":2592000}"#;
    let bench =
        Bench::new([Step::Says(200, told), Step::Says(200, r#"{"access_token":"A2","expires_in":1000}"#)]);
    bench.has_token().await;
    let end = GrantEnd { told: START.wall, at: START.wall + 30 * day * SECOND };
    assert_eq!(bench.handle.board.look().grant_end, Some(end));
    bench.until("another answer, which tells nothing", |bench| bench.script.redeems() == 2).await;
    bench.until("its token", |bench| bench.handle.board.look().generation == 2).await;
    assert_eq!(bench.rests().await.grant_end, Some(end), "it rests with the record");
    let record = bench.rests().await;
    let again = Bench::resting([GOOD], MemoryStore::holding(record));
    again.has_token().await;
    assert_eq!(again.handle.board.look().grant_end, Some(end));
}

#[tokio::test(start_paused = true)]
async fn a_doubted_token_is_refreshed_once_and_a_young_one_not_at_all() {
    let bench = Bench::new([GOOD]);
    bench.has_token().await;
    bench.handle.reader.doubt(1);
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(bench.script.redeems(), 1, "too young to be doubted");
    tokio::time::sleep(10 * SECOND).await;
    for _ in 0..200 {
        bench.handle.reader.doubt(1);
    }
    bench.until("the successor", |bench| bench.handle.board.look().generation == 2).await;
    bench.handle.reader.doubt(1);
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(bench.script.redeems(), 2, "a late doubt about the old token is none");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_always_says_401_costs_two_refreshes_a_minute_at_most() {
    let bench = Bench::new([GOOD]);
    bench.has_token().await;
    tokio::time::sleep(30 * SECOND).await;
    let (before, reader) = (bench.script.redeems(), bench.handle.reader.clone());
    let callers = async {
        loop {
            let used = reader.now().unwrap().generation();
            reader.doubt(used);
            if let Some(token) = reader.successor(used, 10 * SECOND).await {
                assert!(token.generation() > used);
            }
            tokio::time::sleep(SECOND / 10).await;
        }
    };
    let _elapsed = tokio::time::timeout(60 * SECOND, callers).await.unwrap_err();
    assert_eq!(bench.script.redeems() - before, 2);
}

#[tokio::test(start_paused = true)]
async fn who_doubts_a_token_waits_for_its_successor_while_there_is_hope_and_no_longer() {
    let bench = Bench::new([GOOD, Step::Says(500, ""), GOOD]);
    bench.has_token().await;
    let clock = Clock::Test(bench.clock.clone());
    let started = clock.now();
    bench.handle.reader.doubt(1);
    assert!(bench.handle.reader.successor(1, 60 * SECOND).await.is_none(), "too young");
    assert_eq!(clock.now(), started, "nobody waits");
    tokio::time::sleep(15 * SECOND).await;
    bench.handle.reader.doubt(1);
    assert!(bench.handle.reader.successor(1, 60 * SECOND).await.is_none(), "the refresh fails");
    assert!(clock.now().since(started) < 20 * SECOND, "and nobody waits for the next");
    bench.until("the retry", |bench| bench.handle.board.look().generation == 2).await;
    let successor = bench.handle.reader.successor(1, 60 * SECOND).await.unwrap();
    assert_eq!((successor.generation(), bench.script.redeems()), (2, 3), "it is there already");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_steps_ahead_costs_one_refresh() {
    let bench = Bench::new([GOOD]);
    bench.has_token().await;
    bench.clock.step_wall(3600);
    bench.until("a refresh", |bench| bench.script.redeems() == 2).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(bench.script.redeems(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_another_client_is_not_presented() {
    let foreign = Record { client_id: "other".to_owned(), ..resting("stored", START, 1000) };
    let bench = Bench::resting([GOOD], MemoryStore::holding(foreign.clone()));
    bench.is(State::Misconfigured).await;
    assert_eq!((bench.code(), bench.script.redeems()), ("store_of_another_client", 0));
    assert_eq!(bench.rests().await, foreign, "and not overwritten");
    assert!(bench.handle.reader.now().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_intent_is_presented_again_and_its_refusal_explained() {
    let presented = RefreshToken::new("R7").fingerprint();
    let intent = Intent { presented, holder: "process 1".to_owned(), started: START.wall };
    let torn = Record { intent: Some(intent), access_token: None, ..resting("", START, 0) };
    let bench = Bench::resting([REFUSED], MemoryStore::holding(torn));
    bench.is(State::SignInRequired).await;
    assert_eq!((bench.code(), bench.script.presented()), ("lost_rotation", vec!["R7".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_server_leaves_no_intent_standing() {
    let bench = Bench::new([Step::NotSent]);
    bench.until("three attempts", |bench| bench.script.redeems() == 3).await;
    bench.until("no intent", |bench| bench.handle.board.look().consecutive_failures >= 3).await;
    assert!(bench.rests().await.intent.is_none());
}
