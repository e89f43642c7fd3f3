//! A server that fails for ever may stand for a grant that is gone (R56).

use super::*;

/// So long past the token's end (R56).
const PATIENCE: Duration = Duration::from_secs(900);

const FAILS: Step = Step::Says(500, r#"{"error":"server_error"}"#);

impl Bench {
    fn is_suspected(&self) -> bool {
        self.handle.board.look().reauth_suspected
    }

    async fn suspects(&self) {
        self.until("the suspicion", Self::is_suspected).await;
    }

    /// How long the token has been past its end.
    fn past_end(&self) -> Duration {
        self.clock.now().since(self.handle.board.look().expires.unwrap())
    }
}

/// The lines that tell of it.
fn told(log: &Kept) -> Vec<String> {
    log.text().lines().filter(|line| line.contains("reauth_suspected")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_for_ever_is_told_once_and_tried_on() {
    for fails in [FAILS, Step::Unanswered] {
        let log = Kept::default();
        let _logging = log.of_this_thread();
        let bench = Bench::new([GOOD, fails]);
        bench.is(State::Unavailable).await;
        bench.until("the last moment", |bench| bench.past_end() >= PATIENCE - SECOND).await;
        assert!(!bench.is_suspected() && told(&log).is_empty());
        bench.suspects().await;
        assert!(bench.past_end() <= PATIENCE + 5 * SECOND, "{:?}", bench.past_end());
        let redeems = bench.script.redeems();
        tokio::time::sleep(2 * PATIENCE).await;
        let status = bench.handle.board.look();
        assert!(status.reauth_suspected && status.state == State::Unavailable, "the word is as before");
        assert!(bench.script.redeems() > redeems + 400, "retries go on as they were");
        let told = told(&log);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains(r#""level":"ERROR""#) && told[0].contains(r#""code":"token_endpoint_"#),
            "{told:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_token_it_counts_from_the_first_failure() {
    let bench = Bench::new([FAILS]);
    tokio::time::sleep(PATIENCE - SECOND).await;
    assert!(!bench.is_suspected());
    bench.suspects().await;
    assert!(bench.clock_at() - START.wall <= PATIENCE + 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_success_takes_it_back_and_the_next_outage_is_another() {
    let log = Kept::default();
    let _logging = log.of_this_thread();
    let bench = Bench::new([FAILS]);
    bench.suspects().await;
    bench.script.then([GOOD, FAILS]);
    bench.is(State::Active).await;
    assert!(!bench.is_suspected());
    bench.suspects().await;
    assert!(bench.past_end() >= PATIENCE);
    assert_eq!(told(&log).len(), 2, "each is told");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_says_it_better() {
    let bench = Bench::new([FAILS]);
    bench.suspects().await;
    bench.script.then([REFUSED, FAILS]);
    bench.is(State::SignInRequired).await;
    assert!(!bench.is_suspected());
    tokio::time::sleep(8 * PATIENCE).await;
    assert!(!bench.is_suspected(), "the refusal stands, whatever its probes meet");
}

#[tokio::test(start_paused = true)]
async fn who_was_not_reached_or_is_busy_is_not_suspected_and_takes_nothing_back() {
    for other in [Step::NotSent, Step::Later(30)] {
        let bench = Bench::new([other.clone()]);
        tokio::time::sleep(3 * PATIENCE).await;
        assert!(!bench.is_suspected());
        bench.script.then([FAILS]);
        bench.suspects().await;
        bench.script.then([other]);
        tokio::time::sleep(3 * PATIENCE).await;
        assert!(bench.is_suspected());
    }
}

#[tokio::test(start_paused = true)]
async fn another_grant_begins_without_suspicion() {
    let bench = Bench::new([FAILS]);
    bench.suspects().await;
    std::fs::write(bench.seed.path(), "S2").unwrap();
    bench.until("the new seed", |bench| bench.script.presented().last().unwrap() == "S2").await;
    bench.until("no suspicion", |bench| !bench.is_suspected()).await;
    bench.suspects().await;

    // A person has signed in, and the first answer to the new grant is lost as well.
    let now = bench.clock.now();
    let mut txn = bench.store.begin(SECOND).await.unwrap();
    let rests = txn.record().cloned().unwrap();
    let signed_in =
        Record { lineage: "another".to_owned(), seeds: rests.seeds, ..resting("", now.minus(SECOND), 0) };
    txn.commit(Record { access_token: None, ..signed_in }).await.unwrap();
    drop(txn);
    bench.until("the new grant", |bench| bench.script.presented().last().unwrap() == "R7").await;
    bench.until("no suspicion", |bench| !bench.is_suspected()).await;
    bench.suspects().await;
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_nobody_signs_in_for_is_never_suspected() {
    let seed = tempfile::NamedTempFile::new().unwrap();
    let params = Params { flow: Flow::ClientCredentials, ..params(&seed) };
    let bench = Bench::of(params, seed, [FAILS], MemoryStore::default());
    tokio::time::sleep(3 * PATIENCE).await;
    assert!(bench.script.redeems() > 400 && !bench.is_suspected());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_gives_verdicts_is_never_suspected() {
    for verdict in [REFUSED, Step::Says(401, r#"{"error":"invalid_client"}"#)] {
        let bench = Bench::new([GOOD, verdict]);
        bench.has_token().await;
        tokio::time::sleep(3 * PATIENCE).await;
        assert!(bench.script.redeems() > 1 && !bench.is_suspected());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_it_back_if_it_changes_what_is_asked_for() {
    let bench = Bench::new([FAILS]);
    bench.suspects().await;
    let reload =
        |params| Command::Reconfigure(Box::new(params), Arc::clone(&bench.script) as Arc<dyn TokenEndpoint>);
    bench.handle.tell(reload(params(&bench.seed)));
    tokio::time::sleep(20 * SECOND).await;
    assert!(bench.is_suspected(), "nothing was changed");
    bench.handle.tell(reload(Params { scopes: vec!["read".to_owned()], ..params(&bench.seed) }));
    bench.until("no suspicion", |bench| !bench.is_suspected()).await;
}
