//! What an operator puts in place is noticed, and what must not be presented is not.

use super::*;

const SOON: Duration = Duration::from_secs(16);

impl Bench {
    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn reseed(&self, seed: &str) {
        std::fs::write(self.seed.path(), format!("{seed}\n")).unwrap();
    }

    fn presented_last(&self) -> String {
        self.script.presented().pop().unwrap_or_default()
    }

    fn start_with(params: Params, steps: impl IntoIterator<Item = Step>, store: MemoryStore) -> Self {
        let seed = tempfile::NamedTempFile::new().unwrap();
        Self::of(params, seed, steps, store)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_server_that_cannot_be_reached_is_found_out_again_now_and_then() {
    let bench = Bench::new([Step::NotSent]);
    let forgotten = |bench: &Bench| bench.script.forgotten.load(Ordering::SeqCst);
    for (redeems, times) in [(9, 0), (10, 1), (19, 1), (20, 2)] {
        bench.until("attempts", |bench| bench.script.redeems() == redeems).await;
        bench.until("their end", |bench| bench.handle.board.look().attempts() == redeems as u64).await;
        assert_eq!(forgotten(&bench), times, "after {redeems}");
    }
    let bench = Bench::new([GOOD, REFUSED]);
    bench.has_token().await;
    assert_eq!(forgotten(&bench), 0);
    bench.handle.tell(Command::Refresh);
    bench.is(State::SignInRequired).await;
    assert_eq!(forgotten(&bench), 1, "a verdict");
}

#[tokio::test(start_paused = true)]
async fn a_new_seed_is_noticed_while_the_upstream_doubts_without_end() {
    let bench = Bench::new([ROTATED]);
    bench.has_token().await;
    bench.script.then([REFUSED]);
    bench.handle.tell(Command::Refresh);
    bench.is(State::SignInRequired).await;
    bench.script.then([Step::Says(200, r#"{"access_token":"A9","refresh_token":"R9","expires_in":100}"#)]);
    bench.reseed("S2");
    for _ in 0..SOON.as_millis() / 400 {
        bench.handle.reader.doubt(1);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(bench.presented_last(), "S2");
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_came_while_the_old_one_was_refused_is_tried() {
    let release = Arc::new(Notify::new());
    let bench = Bench::new([Step::Waits(Arc::clone(&release), 400, r#"{"error":"invalid_grant"}"#), ROTATED]);
    bench.until("the redeem", |bench| bench.script.redeems() == 1).await;
    bench.reseed("S2");
    release.notify_one();
    bench.is(State::SignInRequired).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.script.presented(), ["R1", "S2"]);
    bench.is(State::Active).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_seed_is_taken_though_the_grant_is_well() {
    let bench = Bench::resting([ROTATED], MemoryStore::holding(resting("stored", START, 36_000)));
    bench.has_token().await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(bench.script.redeems(), 0, "a seed that was met before is no news");
    bench.reseed("S2");
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.script.presented(), ["S2"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_for_other_scopes_is_asked_for_at_once() {
    let bench = Bench::resting([ROTATED], MemoryStore::holding(resting("stored", START, 36_000)));
    bench.has_token().await;
    let other = Params { scopes: vec!["read".to_owned()], ..params(&bench.seed) };
    let endpoint = Arc::clone(&bench.script) as Arc<dyn TokenEndpoint>;
    bench.handle.tell(Command::Reconfigure(Box::new(params(&bench.seed)), Arc::clone(&endpoint)));
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.script.redeems(), 0);
    bench.handle.tell(Command::Reconfigure(Box::new(other), endpoint));
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.script.redeems(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_intent_rests_before_the_refresh_token_is_presented() {
    let release = Arc::new(Notify::new());
    let expired = resting("old", START.minus(500 * SECOND), 100);
    let held = Step::Waits(
        Arc::clone(&release),
        200,
        r#"{"access_token":"A","refresh_token":"R8","expires_in":100}"#,
    );
    let bench = Bench::resting([held], MemoryStore::holding(expired));
    bench.until("the redeem", |bench| bench.script.redeems() == 1).await;
    let intent = bench.rests().await.intent.expect("a process that dies now leaves word");
    assert_eq!(intent.presented, RefreshToken::new("R7").fingerprint());
    release.notify_one();
    bench.is(State::Active).await;
    assert_eq!(bench.rests().await.intent, None);
}

#[tokio::test(start_paused = true)]
async fn without_room_for_an_intent_what_rests_is_not_presented() {
    let expired = resting("old", START.minus(500 * SECOND), 100);
    let bench = Bench::resting([ROTATED], MemoryStore::holding(expired));
    bench.fails.store(true, Ordering::SeqCst);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((bench.script.redeems(), bench.handle.board.look().state), (0, State::Unavailable));
    bench.fails.store(false, Ordering::SeqCst);
    bench.is(State::Active).await;
    assert_eq!(bench.script.presented(), ["R7"]);
}

#[tokio::test(start_paused = true)]
async fn client_credentials_present_no_refresh_token_whoever_left_one() {
    let generous = r#"{"access_token":"A1","refresh_token":"KC1","expires_in":10,"token_type":"Bearer"}"#;
    let seed = tempfile::NamedTempFile::new().unwrap();
    let params = Params { flow: Flow::ClientCredentials, ..params(&seed) };
    let earlier = MemoryStore::holding(resting("old", START.minus(500 * SECOND), 100));
    let bench = Bench::start_with(params, [Step::Says(200, generous)], earlier);
    bench.until("three tokens", |bench| bench.script.redeems() >= 3).await;
    assert!(bench.script.presented().iter().all(String::is_empty), "{:?}", bench.script.presented());
    assert_eq!(
        bench.rests().await.refresh_token,
        Some(RefreshToken::new("R7")),
        "what rests is not thrown away"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stored_token_older_than_the_stored_answer_does_not_displace_it() {
    let bench = Bench::new([ROTATED]);
    bench.has_token().await;
    let generation = bench.handle.reader.now().unwrap().generation();
    // Older, and good for longer: an earlier save that a later one did not follow.
    let mut txn = bench.store.begin(SECOND).await.unwrap();
    let record = Record {
        lineage: bench.rests().await.lineage,
        refresh_token: Some(RefreshToken::new("R2")),
        ..resting("older", START.minus(SECOND), 9000)
    };
    txn.commit(record).await.unwrap();
    drop(txn);
    bench.handle.tell(Command::Refresh);
    bench.until("a refresh", |bench| bench.script.redeems() == 2).await;
    bench.until("its token", |bench| bench.handle.reader.now().unwrap().generation() > generation).await;
}

#[test]
fn of_an_earlier_boot_a_stored_token_keeps_its_life() {
    let at = |boot: u32, wall: u32| Moment { boot: boot * SECOND, wall: START.wall + wall * SECOND };
    let saved = resting("stored", at(50_000, 0), 36_000).access_token.unwrap();
    let (obtained, expires) = still_good(&saved, at(23_000, 30_000), "new").unwrap();
    assert_eq!(expires.wall - obtained.wall, 36_000 * SECOND);
    assert_eq!(expires.remaining(at(23_000, 30_000)), 6_000 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_stands_whatever_befalls_the_next_probe() {
    let bench = Bench::new([REFUSED, Step::NotSent, Step::Says(503, ""), Step::Unanswered, REFUSED]);
    bench.is(State::SignInRequired).await;
    for probes in 2..=5 {
        bench.until("a probe", |bench| bench.script.redeems() == probes).await;
        tokio::time::sleep(SECOND).await;
        let status = bench.handle.board.look();
        assert_eq!((status.state, bench.code()), (State::SignInRequired, "grant_rejected"), "probe {probes}");
    }
    assert!(bench.clock_at() >= START.wall + 240 * SECOND, "and it is probed as slowly as before");
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_is_not_there_is_named() {
    let seed = tempfile::NamedTempFile::new().unwrap();
    let missing = seed.path().display().to_string();
    let params = params(&seed);
    std::fs::remove_file(seed.path()).unwrap();
    let bench = Bench::start_with(params, [ROTATED], MemoryStore::default());
    bench.is(State::SignInRequired).await;
    let status = bench.handle.board.look();
    let sentence = &status.problem.as_ref().unwrap().sentence;
    assert!(sentence.contains(&missing), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_another_process_has_heard_is_not_asked_for_again_at_once() {
    let record = resting("stored", START, 100);
    let presented = record.refresh_token.as_ref().unwrap().fingerprint();
    let refused = Some(store::Refusal { reason: "rejected".to_owned(), presented, at: START.wall });
    let bench = Bench::resting([ROTATED], MemoryStore::holding(Record { refused, ..record }));
    bench.has_token().await;
    bench.is(State::SignInRequired).await;
    assert_eq!(bench.script.redeems(), 0);
    bench.is(State::Active).await;
    assert_eq!(bench.script.redeems(), 1, "it is asked for later, as every refused grant is");
}

#[tokio::test(start_paused = true)]
async fn what_rests_is_taken_up_though_whoever_saved_it_keeps_the_lock() {
    let bench = Bench::resting([ROTATED], MemoryStore::holding(resting("first", START, 100)));
    bench.has_token().await;
    let mut holder = bench.store.begin(SECOND).await.unwrap();
    let later = Moment { boot: START.boot + 50 * SECOND, wall: START.wall + 50 * SECOND };
    holder.commit(Record { generation: 9, ..resting("second", later, 3_600) }).await.unwrap();
    bench.until("the second token", |bench| bench.handle.board.look().generation == 2).await;
    assert_eq!(bench.script.redeems(), 0, "the holder of the lock is the one to ask");
    drop(holder);
}

/// What a person's sign-in leaves in the store: another line, with an access token of 100 s.
fn signed_in(before: &Record, now: Moment, token: &str) -> Record {
    let saved = SavedToken {
        text: AccessTokenText::new(token),
        bound: false,
        obtained: now,
        expires: now.plus(SECOND * 98),
        boot_id: Clock::Test(TestClock::starting_at(START)).boot_id(),
    };
    Record {
        lineage: "of-the-sign-in".to_owned(),
        generation: 0,
        refresh_token: Some(RefreshToken::new("R9")),
        access_token: Some(saved),
        refused: None,
        intent: None,
        ..before.clone()
    }
}

async fn put(bench: &Bench, record: Record) {
    bench.store.begin(SECOND).await.unwrap().commit(record).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_under_a_verdict_is_taken_up_within_two_seconds_by_itself() {
    let bench = Bench::new([REFUSED]);
    bench.is(State::SignInRequired).await;
    for _ in 0..20 {
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(bench.script.redeems(), 1, "looking is not asking");
    let record = signed_in(&bench.rests().await, bench.now(), "A9");
    put(&bench, record).await;
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!((bench.handle.board.look().state, bench.script.redeems()), (State::Active, 1));
    assert!(bench.handle.reader.now().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_look_takes_up_a_sign_in_though_the_grant_is_well() {
    let bench = Bench::new([ROTATED]);
    bench.has_token().await;
    tokio::time::sleep(SECOND).await;
    assert!(bench.handle.tell(Command::Look));
    tokio::time::sleep(SECOND).await;
    let status = bench.handle.board.look();
    assert_eq!((status.generation, bench.script.redeems()), (1, 1), "there is no news");

    // Its token was there before ours: of another line, that counts for nothing.
    let before = bench.now().minus(SECOND * 30);
    put(&bench, signed_in(&bench.rests().await, before, "A9")).await;
    bench.handle.tell(Command::Look);
    tokio::time::sleep(SECOND / 2).await;
    let status = bench.handle.board.look();
    assert_eq!((status.generation, status.state, bench.script.redeems()), (2, State::Active, 1));
    assert_eq!((status.obtained, bench.rests().await.lineage), (Some(before), "of-the-sign-in".to_owned()));

    // Without an access token beside it, the refresh token is redeemed.
    let record = signed_in(&bench.rests().await, before, "A9");
    let record = Record { lineage: "another".to_owned(), access_token: None, ..record };
    put(&bench, record).await;
    bench.handle.tell(Command::Look);
    bench.until("a redeem", |bench| bench.handle.board.look().generation == 3).await;
    assert_eq!(bench.script.presented().last().unwrap(), "R9");
}

#[tokio::test(start_paused = true)]
async fn a_look_withdraws_the_token_of_who_has_signed_out_and_no_other() {
    for refused in [false, true] {
        let bench = Bench::new([ROTATED, REFUSED]);
        bench.has_token().await;
        tokio::time::sleep(SECOND).await;
        if refused {
            bench.handle.tell(Command::Refresh);
            bench.is(State::SignInRequired).await;
            assert!(bench.handle.reader.now().is_ok(), "a verdict leaves the token while it lives");
        }
        let redeems = bench.script.redeems();
        let record = Record { refresh_token: None, access_token: None, ..bench.rests().await };
        put(&bench, record).await;
        bench.handle.tell(Command::Look);
        bench.until("no token", |bench| bench.handle.reader.now().is_err()).await;
        bench.is(State::SignInRequired).await;
        assert_eq!((bench.code(), bench.script.redeems()), ("no_grant", redeems), "{refused}");
        assert_eq!(bench.handle.board.look().expires, None);
    }
}
