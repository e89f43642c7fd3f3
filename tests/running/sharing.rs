//! Many processes share one file: one redeems for all, whoever of them is started, ended, killed or stopped meanwhile.

mod household;
mod stopped;

use std::sync::Arc;
use std::time::Duration;

use bearerd::clock::Stopwatch;
use bearerd::secret::RefreshToken;
use rustix::process::Signal;
use serde_json::Value;

use self::household::{Household, Member};
use super::kills::steady_load;
use crate::support::process::field;
use crate::support::random::Draws;
use crate::support::wanted;

/// How many.
const MEMBERS: usize = 8;

/// How long access tokens live, in seconds.
const LIFE: u64 = 6;

/// Past `timeout`, which is 2 s, and past the patience with the lock, which is 5 s more.
const LONG: Duration = Duration::from_millis(8_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_processes_one_redeems_and_the_others_take_up_its_token() {
    let house = Household::of(LIFE, MEMBERS).await;
    for member in &house.members {
        member.recovers().await;
    }
    let before = house.server.redeems().len();
    house.server.wait_for_redeems(before + 2).await;
    for member in &house.members {
        // The one that has redeemed both times has nothing to take up.
        let redeemed = || member.bearerd.events("refresh_token_saved").len() >= 2;
        if !redeemed() {
            member.bearerd.wait_for_event("grant_adopted").await;
        }
    }
    house.ends_well(&[]).await;
}

/// One place in the house: whoever lives there is started again after each end.
async fn commotion(
    house: Arc<Household>,
    mut member: Member,
    mut draws: Draws,
    span: Duration,
) -> Vec<Member> {
    let (proxy, whereabouts) = tokio::sync::watch::channel(Some(member.proxy));
    let load = tokio::spawn(steady_load(whereabouts));
    let (watch, mut gone) = (Stopwatch::start(), Vec::new());
    while watch.elapsed() < span {
        tokio::time::sleep(Duration::from_millis(draws.below(2_500))).await;
        let deed = draws.below(8);
        if deed < 5 {
            proxy.send_replace(None);
        }
        match deed {
            0..3 => member.bearerd.kill(),
            3 | 4 => member.bearerd.signal(Signal::TERM),
            _ => {
                let span = if deed == 5 { LONG } else { Duration::from_millis(draws.below(3_000)) };
                member.bearerd.signal(Signal::STOP);
                tokio::time::sleep(span).await;
                member.bearerd.signal(Signal::CONT);
                continue;
            }
        }
        member.bearerd.wait().await;
        tokio::time::sleep(Duration::from_millis(draws.below(500))).await;
        gone.push(std::mem::replace(&mut member, house.start().await));
        proxy.send_replace(Some(member.proxy));
    }
    drop(proxy);
    println!("{} lives, {} requests answered well", gone.len() + 1, load.await.unwrap());
    gone.push(member);
    gone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_that_come_and_go_and_stop_present_nothing_twice() {
    let span = Duration::from_secs(wanted("BEARERD_SHARING_SECONDS", 10));
    let mut house = Household::of(LIFE, MEMBERS).await;
    let members = std::mem::take(&mut house.members);
    let house = Arc::new(house);
    let places = members
        .into_iter()
        .zip(1..)
        .map(|(member, number)| tokio::spawn(commotion(Arc::clone(&house), member, Draws::of(number), span)));
    let places: Vec<_> = places.collect();
    // A kill in the window that nobody can close costs the grant here as everywhere; a person mends it.
    let mending = tokio::spawn({
        let house = Arc::clone(&house);
        async move {
            let mut mended = 0;
            loop {
                if house.server.reuse_errors() > mended {
                    mended += 1;
                    house.home.write("seed", &house.server.seed("billing"));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    });
    let mut everybody = Vec::new();
    for place in places {
        everybody.extend(place.await.unwrap());
    }
    house.ends_well(&everybody).await;
    mending.abort();
    println!(
        "{} redeems, {} grants lost in the window",
        house.server.redeems().len(),
        house.server.reuse_errors()
    );
}

/// Which refresh tokens the logs say were saved, by fingerprint; and since when the access token that came with it counts,
/// as time since the Unix epoch, where that was saved as well before the process met its end.
fn saved(everybody: &[Member]) -> Vec<(String, Option<Duration>)> {
    let mut saved = Vec::new();
    for member in everybody {
        let mut open = None;
        for line in member.bearerd.log() {
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            match field(&line, "event").and_then(Value::as_str) {
                Some("refresh_token_saved") => {
                    open = field(&line, "refresh_token").and_then(Value::as_str).map(str::to_owned);
                    saved.extend(open.iter().map(|token| (token.clone(), None)));
                }
                Some("refresh_succeeded") => {
                    if let (Some(_), Some(last)) = (open.take(), saved.last_mut()) {
                        last.1 = Some(begun(&line));
                    }
                }
                _ => {}
            }
        }
    }
    saved
}

/// When the attempt began that this line tells the end of, as time since the Unix epoch: what comes of it is reckoned from
/// then, and a busy machine may take its time until the server receives it.
fn begun(line: &Value) -> Duration {
    let ended: jiff::Timestamp = field(line, "timestamp").and_then(Value::as_str).unwrap().parse().unwrap();
    let took = field(line, "took_ms").and_then(Value::as_u64).unwrap();
    Duration::try_from(ended.as_duration()).unwrap() - Duration::from_millis(took)
}

/// One redeem a period, but when a process died between the refresh token and the access token: then the next cannot but
/// redeem at once. And what came twice is what a kill in the window has cost.
fn assert_frugal(house: &Household, everybody: &[Member], rests: &str) {
    // The soonest renewal of a token by one who took it up, and knows its end but not the second cut off before that:
    // half of it, less a quarter of that of jitter.
    let period = Duration::from_secs(house.life - 1).mul_f64(0.5 * 0.75);
    let redeems = house.server.redeems();
    let saved = saved(everybody);
    let short = |token: &str| RefreshToken::new(token).fingerprint().short().to_owned();
    let answered: Vec<_> = redeems.iter().filter(|redeem| redeem.refresh_token.is_some()).collect();
    let mut lost = 0;
    for pair in answered.windows(2) {
        let [one, next] = pair else { continue };
        let issued = one.refresh_token.as_deref().unwrap();
        let follows = next.presented() == Some(issued);
        let known = saved.iter().find(|(token, _)| *token == short(issued));
        lost += usize::from(!follows && known.is_none() && rests != issued);
        let Some(began) = known.and_then(|(_, began)| *began) else { continue };
        let gap = next.received.wall.saturating_sub(began);
        assert!(
            !follows || gap >= period,
            "{} came {gap:?} after the beginning of {}",
            next.summary(),
            one.summary()
        );
    }
    assert_eq!(house.server.reuse_errors(), lost, "what came twice is what a kill in the window has cost");
}
