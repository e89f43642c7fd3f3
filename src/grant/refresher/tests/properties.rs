//! The refresher's invariants (engine.md §3), over random schedules of events, faults and jumps of the clocks.
//!
//! A schedule is drawn ([`events`]) and played in paused time ([`world`]) by real refreshers against a model of an
//! authorization server ([`server`], [`endpoint`]) and a store that fails ([`faulty`]); [`witness`], [`pace`], [`process`]
//! and [`recovery`] say what must hold:
//!
//! | | | said by |
//! |---|---|---|
//! | I1 | one token request is in flight at most | [`witness`] |
//! | I2 | nobody is handed an access token past its end, by either clock | [`witness`] |
//! | I3 | a refresh token that was returned is in memory or rests, until a later one does | [`witness`], [`recovery`] |
//! | I4 | no refresh token is presented after its successor rests | [`witness`] |
//! | I5 | from every state something leads to a usable token | [`recovery`] |
//! | I6 | the server is asked no more often than the bucket and the pauses allow | [`pace`] |
//! | I7 | a refused grant keeps its access token until that expires | [`process`] |
//! | I8 | nobody waits longer than its deadline | [`process`] |

mod endpoint;
mod events;
mod faulty;
mod pace;
mod process;
mod recovery;
mod server;

mod witness;
mod world;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use self::events::{Schedule, schedules};
use super::*;
use crate::clock::Stopwatch;

/// How many schedules there are; the full form asks for more (`.ci/full`).
fn wanted() -> u32 {
    const SHORT: u32 = 2_000;
    #[expect(
        clippy::disallowed_methods,
        reason = "the full form of a long proof is asked for by the environment"
    )]
    let asked = std::env::var("BEARERD_SCHEDULES");
    asked.map_or(SHORT, |text| {
        text.parse().unwrap_or_else(|_| panic!("BEARERD_SCHEDULES={text} is no number"))
    })
}

fn play(schedule: &Schedule, seed: &std::path::Path) -> Result<(), String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).max_blocking_threads(1).build().unwrap();
    runtime.block_on(world::play(schedule, seed.to_owned()))
}

/// What is played, and since when.
type Playing = Arc<Mutex<Option<(Stopwatch, Schedule)>>>;

/// Plays so many random schedules; of one that breaks something the smallest like it is told.
fn plays(cases: u32, playing: &Playing) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("seed");
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let count = std::cell::Cell::new(0);
    let played = TestRunner::new(config).run(&schedules(), |schedule| {
        count.set(count.get() + 1);
        *playing.lock().unwrap() = Some((Stopwatch::start(), schedule.clone()));
        play(&schedule, &seed).map_err(TestCaseError::fail)
    });
    played.map_err(|error| match error {
        TestError::Fail(broken, schedule) => {
            format!("{broken}\nby {schedule:?}\nfound and made smaller in {} schedules", count.get())
        }
        TestError::Abort(why) => why.to_string(),
    })
}

/// Fails for a schedule that a refresher makes into an endless loop: time does not pass in it.
fn ends(playing: &Playing) {
    let playing = playing.lock().unwrap();
    if let Some((since, schedule)) = playing.as_ref().filter(|(since, _)| since.elapsed() > STUCK) {
        panic!("I5: nothing has come of it in {:?} of real time\nby {schedule:?}", since.elapsed());
    }
}

/// Real time; a schedule takes some milliseconds.
const STUCK: Duration = Duration::from_secs(60);

#[test]
fn the_invariants_hold_whatever_happens_in_whatever_order() {
    let cases = wanted();
    let shards = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let began = Stopwatch::start();
    let (done, told) = std::sync::mpsc::channel();
    let playing: Vec<Playing> = (0..shards).map(|_| Playing::default()).collect();
    for playing in &playing {
        let (done, playing) = (done.clone(), Arc::clone(playing));
        // One that ends by a panic tells nothing, and is found stuck.
        std::thread::spawn(move || done.send(plays(cases.div_ceil(shards), &playing)));
    }
    for _ in 0..shards {
        let broken = loop {
            match told.recv_timeout(Duration::from_secs(1)) {
                Ok(played) => break played.err(),
                Err(_none_yet) => playing.iter().for_each(ends),
            }
        };
        if let Some(broken) = broken {
            panic!("{broken}");
        }
    }
    println!("{cases} schedules in {:.1?}", began.elapsed());
}
