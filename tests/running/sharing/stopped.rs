//! Whoever holds the lock is stopped in the middle of a redeem, past every timeout: the others serve what they have while
//! it lives, say so when it does not, and go on soon after it does, or is dead.

use std::time::Duration;

use bearerd::clock::{Clock, Stopwatch};
use rustix::process::Signal;

use super::household::{Household, Member};
use crate::support::authorization_server::{Fault, Phase, Stage};

/// Long enough for a redeem to be given up while the access token lives.
const LIFE: u64 = 8;

/// How soon the others go on.
const RECOVERY: Duration = Duration::from_secs(5);

/// For a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// What becomes of the redeem while its holder is stopped, and then of the holder.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Course {
    /// It is answered, and the holder goes on and finds the answer.
    AnsweredThenContinued,
    /// It is not: the holder goes on, gives up and leaves the token to whoever comes first.
    SilenceThenContinued,
    /// It is not, and the holder dies.
    SilenceThenKilled,
    /// It is answered, and the holder dies with the answer.
    AnsweredThenKilled,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_holder_of_the_lock_is_stopped_the_others_serve_then_refuse_then_go_on() {
    use Course::{AnsweredThenContinued, AnsweredThenKilled, SilenceThenContinued, SilenceThenKilled};
    let mut courses = tokio::task::JoinSet::new();
    for course in [SilenceThenContinued, SilenceThenKilled, AnsweredThenKilled] {
        courses.spawn(run(course));
    }
    // Whether a process that wakes up sees its timeout first or the answer is chance: one in four, where it was counted.
    for _ in 0..6 {
        courses.spawn(run(AnsweredThenContinued));
    }
    while let Some(done) = courses.join_next().await {
        done.unwrap();
    }
}

async fn run(course: Course) {
    let mut house =
        Box::pin(Household::of(LIFE, if course == Course::AnsweredThenContinued { 2 } else { 3 })).await;
    for member in &house.members {
        member.recovers().await;
    }
    let before = house.server.requests().len();
    house.server.fault_once(Fault::Hang, Phase::BeforeProcessing);
    let held = house.server.next_that(before, |redeem| redeem.stage == Stage::Held).await;
    let holder = house.holder();
    let mut holder = house.members.remove(holder);
    holder.bearerd.signal(Signal::STOP);
    let ends: f64 = house.record()["access_token"]["expires"]["wall"].as_str().unwrap().parse().unwrap();
    for other in &house.members {
        let status = other.asked().await;
        // On a machine that is late nothing is left to be served.
        let is_over = Clock::System.now().wall.as_secs_f64() >= ends;
        assert!(status == 200 || is_over, "{course:?}: {status} though a good token rests");
    }
    let answered = matches!(course, Course::AnsweredThenContinued | Course::AnsweredThenKilled);
    if answered {
        house.server.release();
        house.server.next_that(before, |redeem| redeem.stage == Stage::Answered).await;
    }

    for other in &house.members {
        serves_then_refuses(other, &format!("{course:?}")).await;
        // Past its patience with the lock, and so past every timeout of the holder's redeem.
        other.bearerd.wait_for_event("refresh_failed").await;
    }
    assert_eq!(
        house.server.redeems().len(),
        held_only(&house, held.number),
        "{course:?}: nobody else redeems"
    );

    let watch = Stopwatch::start();
    match course {
        Course::AnsweredThenContinued | Course::SilenceThenContinued => holder.bearerd.signal(Signal::CONT),
        Course::SilenceThenKilled | Course::AnsweredThenKilled => holder.bearerd.kill(),
    }
    if course == Course::AnsweredThenKilled {
        // The window that nobody can close, as wide as the holder was stopped: told for what it is.
        for other in &house.members {
            other.is("sign_in_required").await;
        }
        assert_eq!(house.server.reuse_errors(), 1, "one has asked, and told the others through the record");
        return;
    }
    for other in &house.members {
        other.recovers().await;
    }
    let took = watch.elapsed();
    println!("{course:?}: served again after {took:.1?}");
    assert!(took < RECOVERY + SLACK, "{course:?}: {took:?}");
    if course != Course::SilenceThenKilled {
        holder.recovers().await;
    }
    assert_eq!(house.server.reuse_errors(), 0, "{course:?}");
    if course == Course::AnsweredThenContinued {
        // What had come while it was stopped was not thrown away: it is what was presented next, or rests.
        let redeems = house.server.redeems();
        let issued =
            redeems.iter().find(|redeem| redeem.number == held.number).unwrap().refresh_token.clone();
        let presented = redeems.iter().any(|redeem| redeem.presented() == issued.as_deref());
        assert!(presented || house.record()["refresh_token"].as_str() == issued.as_deref());
    }
    house.members.push(holder);
    house.ends_well(&[]).await;
}

/// How many redeems there were when this one was the last.
fn held_only(house: &Household, number: usize) -> usize {
    house.server.redeems().iter().filter(|redeem| redeem.number <= number).count()
}

/// Good answers while it says that it has a token, then 503.
async fn serves_then_refuses(other: &Member, what: &str) {
    while other.is_ready().await {
        let status = other.asked().await;
        assert!([200, 503].contains(&status), "{what}: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(other.asked().await, 503, "{what}: the token has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_stopped_through_several_rotations_takes_up_the_last_and_redeems_nothing() {
    let house = Box::pin(Household::of(4, 3)).await;
    for member in &house.members {
        member.recovers().await;
    }
    // Early in a token's life, when it has no reason to hold the lock.
    let stopped = &house.members[0];
    let last = house.server.redeems().len();
    house.server.wait_for_redeems(last + 1).await;
    stopped.recovers().await;
    stopped.bearerd.signal(Signal::STOP);
    let before = house.server.redeems().len();
    house.server.wait_for_redeems(before + 3).await;
    let adopted = stopped.bearerd.events("grant_adopted").len();
    stopped.bearerd.signal(Signal::CONT);
    stopped.bearerd.wait_for_events("grant_adopted", adopted + 1).await;
    stopped.recovers().await;
    house.ends_well(&[]).await;
}
