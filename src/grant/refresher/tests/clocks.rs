//! Clocks that are set, machines that sleep, and another process that was quicker.

use super::*;

const HOUR: u32 = 3600;

/// Half an hour of life: it would be renewed after 24 minutes.
const HALF_AN_HOUR: Step =
    Step::Says(200, r#"{"access_token":"A1","expires_in":1800,"token_type":"Bearer"}"#);

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_five_hours_hands_out_no_old_token_and_refreshes_within_a_nap() {
    let bench = Bench::new([HALF_AN_HOUR]);
    bench.has_token().await;
    bench.clock.pass(5 * HOUR * SECOND);
    assert!(bench.handle.reader.now().is_err(), "no timer has seen it yet");
    tokio::time::sleep(16 * SECOND).await;
    assert_eq!(bench.script.redeems(), 2);
    assert!(bench.handle.reader.now().is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_waits_on_a_machine_that_slept_is_served_at_once() {
    let bench = Bench::new([HALF_AN_HOUR]);
    bench.has_token().await;
    bench.clock.pass(5 * HOUR * SECOND);
    assert!(bench.handle.reader.ready(SECOND).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_is_told_and_one_that_slept_is_not() {
    let log = Kept::default();
    let _logging = log.of_this_thread();
    let bench = Bench::new([HALF_AN_HOUR]);
    bench.has_token().await;
    bench.clock.pass(HOUR * SECOND);
    tokio::time::sleep(40 * SECOND).await;
    bench.clock.step_wall(4);
    tokio::time::sleep(40 * SECOND).await;
    assert_eq!(log.text().matches("clock_set").count(), 0, "{}", log.text());
    for (seconds, told) in [(-600, 1), (7, 2)] {
        bench.clock.step_wall(seconds);
        tokio::time::sleep(40 * SECOND).await;
        assert_eq!(log.text().matches("clock_set").count(), told, "{}", log.text());
        assert_eq!(bench.handle.board.look().totals.clock_jumps, told as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_lengthens_no_life_and_costs_no_refresh() {
    let bench = Bench::new([HALF_AN_HOUR, Step::NotSent]);
    bench.has_token().await;
    bench.clock.step_wall(-i64::from(HOUR));
    tokio::time::sleep(20 * 60 * SECOND).await;
    assert_eq!((bench.script.redeems(), bench.handle.reader.now().is_ok()), (1, true));
    tokio::time::sleep(10 * 60 * SECOND).await;
    assert!(bench.script.redeems() > 1, "it is renewed by the boot clock");
    assert!(bench.handle.reader.now().is_err(), "and ends by it");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_another_process_got_is_taken_up_and_nothing_presented() {
    let bench = Bench::new([HALF_AN_HOUR]);
    bench.has_token().await;
    tokio::time::sleep(10 * 60 * SECOND).await;
    let now = bench.clock.now();
    let mut txn = bench.store.begin(SECOND).await.unwrap();
    txn.commit(resting("another's", now, 1800)).await.unwrap();
    drop(txn);
    let other = |bench: &Bench| bench.handle.board.look().generation == 2;
    bench.until("the other's token", other).await;
    assert_eq!(bench.handle.board.look().state, State::Active);
    assert_eq!(bench.script.redeems(), 1);
    bench.until("a refresh", |bench| bench.script.redeems() == 2).await;
    assert_eq!(bench.script.presented(), ["R1", "R7"], "with the refresh token that rests now");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_earlier_boot_is_renewed_in_time_by_either_clock() {
    // Asked for long before this boot: it is to be renewed in 200 s, and ends in 500 s.
    let saved = resting("stored", START.minus(1000 * SECOND), 1500);
    let access_token =
        saved.access_token.clone().map(|token| SavedToken { boot_id: "earlier".to_owned(), ..token });
    let bench = Bench::resting([ROTATED], MemoryStore::holding(Record { access_token, ..saved }));
    bench.has_token().await;
    bench.clock.step_boot(300);
    tokio::time::sleep(16 * SECOND).await;
    assert_eq!(bench.script.redeems(), 1, "the wall clock missed a sleep");
}
