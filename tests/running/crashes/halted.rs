//! Stopped at a step instead of killed, past every timeout: nobody else presents anything while the lock is held, what
//! is good for all is taken up without it, and who goes on presents nothing that another has.

use rustix::process::{Pid, Signal, kill_process};

use super::{Course, Ground, child, points};
use crate::support::{in_time, in_time_or};

/// What another process on the same file can do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    /// Redeem: nobody has the lock.
    Redeems,
    /// Nothing but wait.
    Waits,
    /// Use the access token that rests.
    TakesUp,
}

/// The steps of a refresh at which it matters: which of that name, counted from the end, and what others can do.
const STEPS: [(&str, usize, Meanwhile); 9] = [
    ("take the lock, read the record", 0, Meanwhile::Redeems),
    ("create spare", 0, Meanwhile::Waits),
    ("rename new to record", 1, Meanwhile::Waits),
    ("send the request", 0, Meanwhile::Waits),
    ("take the answer", 0, Meanwhile::Waits),
    ("rename spare to record", 0, Meanwhile::Waits),
    ("create new", 0, Meanwhile::Waits),
    ("rename new to record", 0, Meanwhile::Waits),
    ("fsync the folder", 0, Meanwhile::TakesUp),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_at_any_step_a_process_neither_lets_others_present_its_token_nor_presents_theirs() {
    let points = points(Course::Refresh).await;
    let points: Vec<_> =
        points.into_iter().map(|(name, _)| name).filter(|name| !name.starts_with('(')).collect();
    let mut rows = tokio::task::JoinSet::new();
    for (name, nth, meanwhile) in STEPS {
        let mut named = points.iter().enumerate().rev().filter(|(_, point)| *point == name);
        let (at, _) = named.nth(nth).unwrap_or_else(|| panic!("there is no step {name}"));
        rows.spawn(halted(name, at, meanwhile));
    }
    while let Some(row) = rows.join_next().await {
        row.unwrap();
    }
}

async fn halted(name: &'static str, at: usize, meanwhile: Meanwhile) {
    let ground = Ground::of(Course::Refresh).await;
    let before = ground.server.redeems().len();
    let mut child = child::start_to_stop(ground.home.path(), &ground.server, at);
    let pid = Pid::from_child(&child);
    in_time_or(|| format!("{name}: its stop"), stopped(pid)).await;
    let presented = ground.server.redeems().len();

    let bearerd = ground.home.run().keeps_secrets_of(&ground.server);
    let event = match meanwhile {
        Meanwhile::Redeems => "refresh_succeeded",
        // Past its patience with the lock, and so past the timeout of a redeem.
        Meanwhile::Waits => "refresh_failed",
        Meanwhile::TakesUp => "grant_adopted",
    };
    bearerd.wait_for_event(event).await;
    let redeemed = ground.server.redeems().len() - presented;
    assert_eq!(redeemed, usize::from(meanwhile == Meanwhile::Redeems), "{name}: presented meanwhile");

    kill_process(pid, Signal::CONT).unwrap();
    let ended = in_time("the child's end", tokio::task::spawn_blocking(move || child.wait().unwrap())).await;
    assert!(ended.unwrap().success(), "{name}");
    bearerd.wait_for_event(if meanwhile == Meanwhile::Redeems { event } else { "grant_adopted" }).await;
    assert_eq!(ground.server.redeems().len(), before + 1, "{name}: one redeem in all");
    assert_eq!(ground.server.reuse_errors(), 0, "{name}");
}

/// Once the system says that it is stopped.
async fn stopped(pid: Pid) {
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    while !std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T ")) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
