//! Two troubles at once: what one of them asks for is done, and the other makes it no worse.

use super::*;
use crate::grant::error::Code;

/// Runs a bench that may keep its thread for itself: paused time would then stand still for ever.
fn within_real_seconds<F: Future<Output = ()> + 'static>(seconds: u64, bench: fn() -> F) {
    let (done, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(bench());
        done.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(seconds)).expect("an end in time");
}

#[test]
fn a_request_that_waits_while_a_rotation_is_unsaved_leaves_the_thread_to_others() {
    within_real_seconds(20, || async {
        let release = Arc::new(Notify::new());
        let odd = Step::Waits(Arc::clone(&release), 200, r#"{"refresh_token":"R2","access_token":5}"#);
        let bench = Bench::new([odd, GOOD]);
        bench.until("the redeem", |bench| bench.script.redeems() == 1).await;
        bench.fails.store(true, Ordering::SeqCst);
        release.notify_one();
        bench.until("unsaved", |bench| bench.handle.board.look().unsaved_rotation).await;
        assert!(bench.handle.reader.ready(10 * SECOND).await.is_err(), "it is answered at its deadline");
        bench.fails.store(false, Ordering::SeqCst);
        bench.is(State::Active).await;
        assert_eq!(bench.script.presented(), ["R1", "R2"]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_steps_ahead_fills_no_bucket() {
    let bench = Bench::new([Step::Says(200, r#"{"access_token":"A1","expires_in":1}"#)]);
    bench.until("two redeems", |bench| bench.script.redeems() == 2).await;
    bench.clock.step_wall(60);
    assert!(bench.handle.reader.ready(2 * SECOND).await.is_err());
    assert_eq!(bench.script.redeems(), 2, "both are taken, whatever the wall clock says (R8)");
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(bench.script.redeems(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_patience_gets_it_though_a_refusal_stands() {
    let bench = Bench::new([REFUSED, Step::Later(240), REFUSED]);
    bench.until("a probe", |bench| bench.script.redeems() == 2).await;
    tokio::time::sleep(230 * SECOND).await;
    assert_eq!((bench.script.redeems(), bench.handle.board.look().state), (2, State::SignInRequired));
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!(bench.script.redeems(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_was_replaced_while_we_waited_for_the_lock_begins_no_line() {
    let bench = Bench::new([ROTATED]);
    let mut other = bench.store.begin(SECOND).await.unwrap();
    tokio::time::sleep(SECOND).await;
    std::fs::write(bench.seed.path(), "S2").unwrap();
    let seeds = vec![RefreshToken::new("S2").fingerprint()];
    other.commit(Record { seeds, access_token: None, ..resting("", START, 0) }).await.unwrap();
    drop(other);
    bench.has_token().await;
    assert_eq!(bench.script.presented(), ["R7"], "the other's line, and not the seed that we read before");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expired_on_its_way_takes_no_good_ones_place() {
    let release = Arc::new(Notify::new());
    let short = r#"{"access_token":"A2","expires_in":5,"token_type":"Bearer"}"#;
    let bench = Bench::new([GOOD, Step::Waits(Arc::clone(&release), 200, short), Step::NotSent]);
    bench.until("the second redeem", |bench| bench.script.redeems() == 2).await;
    tokio::time::sleep(10 * SECOND).await;
    release.notify_one();
    tokio::time::sleep(SECOND).await;
    assert!(bench.handle.reader.now().is_ok(), "the first is good for some seconds yet");
    bench.until("another try", |bench| bench.script.redeems() >= 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_outlast_the_line_that_was_refused() {
    let bench = Bench::new([REFUSED]);
    bench.is(State::SignInRequired).await;
    bench.script.then([Step::Unanswered, GOOD]);
    std::fs::write(bench.seed.path(), "S2").unwrap();
    bench.until("the new seed", |bench| bench.script.redeems() == 2).await;
    let then = bench.clock_at();
    bench.is(State::Active).await;
    assert!(
        bench.clock_at() - then <= 5 * SECOND,
        "an unanswered redeem of the new seed is repeated soon (R51)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_was_set_back_makes_no_stored_token_the_later_one() {
    let bench = Bench::new([Step::Says(200, r#"{"access_token":"A","expires_in":9000}"#)]);
    bench.has_token().await;
    bench.clock.step_wall(-60);
    bench.handle.tell(Command::Refresh);
    bench.until("a second redeem", |bench| bench.script.redeems() == 2).await;
    tokio::time::sleep(61 * SECOND).await;
    // An earlier save, which a later one did not follow.
    let mut txn = bench.store.begin(SECOND).await.unwrap();
    let (refresh_token, stored) = (Some(RefreshToken::new("R1")), resting("older", START, 9000));
    let lineage = bench.rests().await.lineage;
    txn.commit(Record { lineage, refresh_token, ..stored }).await.unwrap();
    drop(txn);
    bench.handle.tell(Command::Refresh);
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.script.redeems(), 3, "a refresh, and not the stored token once more");
}

#[tokio::test(start_paused = true)]
async fn what_an_impatient_operator_asks_during_a_refresh_is_one_more_refresh() {
    let release = Arc::new(Notify::new());
    let bench = Bench::new([Step::Waits(Arc::clone(&release), 500, ""), Step::Says(500, "")]);
    bench.until("the redeem", |bench| bench.script.redeems() == 1).await;
    for _ in 0..10 {
        bench.handle.tell(Command::Refresh);
    }
    release.notify_one();
    tokio::time::sleep(SECOND / 8).await;
    assert_eq!(bench.script.redeems(), 2, "the others would have followed at once");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_was_read_again_is_heard_though_a_refresh_is_always_due() {
    let release = Arc::new(Notify::new());
    let short = Step::Waits(Arc::clone(&release), 200, r#"{"access_token":"A1","expires_in":1}"#);
    let bench = Bench::new([short]);
    bench.until("the redeem", |bench| bench.script.redeems() == 1).await;
    let other = Script::of([GOOD]);
    let endpoint = Arc::clone(&other) as Arc<dyn TokenEndpoint>;
    bench.handle.tell(Command::Reconfigure(Box::new(params(&bench.seed)), endpoint));
    tokio::time::sleep(6 * SECOND).await;
    release.notify_one();
    bench.is(State::Active).await;
    assert_eq!((bench.script.redeems(), other.redeems()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_doubt_asks_for_nothing_while_a_refusal_stands_whatever_befell_its_probe() {
    let bench = Bench::new([GOOD]);
    bench.has_token().await;
    tokio::time::sleep(15 * SECOND).await;
    bench.script.then([REFUSED, Step::NotSent, REFUSED]);
    bench.handle.tell(Command::Refresh);
    bench.is(State::SignInRequired).await;
    let endpoint = Arc::clone(&bench.script) as Arc<dyn TokenEndpoint>;
    bench.handle.tell(Command::Reconfigure(Box::new(params(&bench.seed)), endpoint));
    bench.until("a probe", |bench| bench.script.redeems() == 3).await;
    bench.handle.reader.doubt(1);
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(bench.script.redeems(), 3);
}

/// An endpoint that cannot even be asked.
struct Unprepared(AtomicU32);

impl TokenEndpoint for Unprepared {
    fn forget(&self) {}

    fn disown(&self) {}

    fn prepare(&self) -> Pending<'_, Result<Prepared, RefreshError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            Err(RefreshError::new(Class::Misconfigured, Code::DiscoveryFailed, "No document."))
        })
    }

    fn redeem<'a>(
        &'a self,
        _: &'a Prepared,
        _: Option<&'a RefreshToken>,
        _: Option<&'a ProofKey>,
    ) -> Pending<'a, Redeemed> {
        unreachable!("nothing is prepared")
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_there_all_along_is_no_news_to_a_grant_that_cannot_be_asked_about() {
    let seed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(seed.path(), "R1").unwrap();
    let mut params = params(&seed);
    params.credentials.secrets = vec![grant::Secret::File(seed.path().to_owned())];
    let endpoint = Arc::new(Unprepared(AtomicU32::new(0)));
    let asked = Arc::clone(&endpoint);
    let clock = Clock::Test(TestClock::starting_at(START));
    let _handle = grant::spawn(params, endpoint, Arc::new(MemoryStore::default()), clock, || 0.0);
    tokio::time::sleep(600 * SECOND).await;
    let asked = asked.0.load(Ordering::SeqCst);
    assert!((9..=12).contains(&asked), "once a minute (R54), and not at each look: {asked}");
}

#[tokio::test(start_paused = true)]
async fn two_whose_tokens_are_not_bound_as_they_must_be_do_not_wake_each_other() {
    let seed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(seed.path(), "R1").unwrap();
    let params = Params { dpop: Dpop::Required, ..params(&seed) };
    // Each answer replaces the refresh token, and gives an access token that is bound to no key.
    let answers = (2..400).map(|number| {
        let body = format!(
            r#"{{"access_token":"A","token_type":"Bearer","refresh_token":"R{number}","expires_in":9}}"#
        );
        Step::Says(200, Box::leak(body.into_boxed_str()))
    });
    let one = Bench::of(params.clone(), seed, answers, MemoryStore::default());
    let store: Arc<dyn Store> = Arc::clone(&one.store) as Arc<dyn Store>;
    let clock = Clock::Test(one.clock.clone());
    let endpoint = Arc::clone(&one.script) as Arc<dyn TokenEndpoint>;
    one.is(State::Misconfigured).await;
    let other = grant::spawn(params, endpoint, store, clock, || 0.0);
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(other.board.look().state, State::Misconfigured);
    let asked = one.script.redeems();
    assert!((8..=24).contains(&asked), "each once a minute (R54): {asked}");
}

#[tokio::test(start_paused = true)]
async fn two_that_stand_under_one_refusal_do_not_wake_each_other() {
    let one = Bench::new([REFUSED]);
    let store: Arc<dyn Store> = Arc::clone(&one.store) as Arc<dyn Store>;
    let clock = Clock::Test(one.clock.clone());
    let endpoint = Arc::clone(&one.script) as Arc<dyn TokenEndpoint>;
    one.is(State::SignInRequired).await;
    let other = grant::spawn(params(&one.seed), endpoint, store, clock, || 0.0);
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(other.board.look().state, State::SignInRequired);
    let asked = one.script.redeems();
    assert!((2..=6).contains(&asked), "each after one minute and after five more (R53): {asked}");
}
