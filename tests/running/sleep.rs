//! The machine sleeps, reboots, or has its clock set: no token that has ended meanwhile is ever sent (R4, R5, R12).

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::stage::{Stage, strict};
use crate::support::authorization_server::TokenState;
use crate::support::in_time;
use crate::support::raw::Peer;

const REQUEST: &str = "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The token that was issued last.
fn issued(stage: &Stage) -> String {
    stage.server.redeems().into_iter().filter_map(|redeem| redeem.access_token).next_back().unwrap()
}

/// Stopped until the token has ended; what was asked meanwhile is there when it goes on.
async fn sleeps_through_the_tokens_end(stage: &Stage) -> Vec<Peer> {
    stage.recovers().await;
    let token = issued(stage);
    Box::pin(stage.bearerd.stop()).await;
    let mut asked = Vec::new();
    for _ in 0..8 {
        let mut peer = Peer::connect(stage.proxy).await;
        peer.send(REQUEST).await;
        asked.push(peer);
    }
    let ended = async {
        while stage.server.state_of(&token) != TokenState::Expired {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    Box::pin(in_time("the token's end", ended)).await;
    asked
}

#[tokio::test]
async fn who_asked_while_it_slept_waits_for_the_next_token() {
    let stage = Stage::of(strict(6)).await;
    for _ in 0..2 {
        let asked = Box::pin(sleeps_through_the_tokens_end(&stage)).await;
        stage.bearerd.signal(Signal::CONT);
        for mut peer in asked {
            assert_eq!(Box::pin(peer.reply()).await.status(), 200);
        }
    }
    stage.assert_clean();
    assert_eq!(stage.server.reuse_errors(), 0);
}

#[tokio::test]
async fn where_the_server_is_gone_when_it_wakes_callers_are_told_and_the_old_token_stays() {
    let stage = Box::pin(Stage::with(strict(6), "\n[limits]\ntoken_wait = \"1s\"\n", &[])).await;
    let asked = Box::pin(sleeps_through_the_tokens_end(&stage)).await;
    stage.server.refuse_connections().await;
    let carried = stage.upstream.tally().requests;
    stage.bearerd.signal(Signal::CONT);
    for mut peer in asked {
        let reply = Box::pin(peer.reply()).await;
        assert_eq!((reply.status(), &reply.json()["code"]), (503, &Value::from("token_unavailable")));
    }
    assert_eq!(stage.upstream.tally().requests, carried);
    stage.server.accept_connections().await;
    stage.recovers().await;
    stage.assert_clean();
    assert_eq!(stage.server.reuse_errors(), 0);
}

/// A stop, a change of the record, and the next start; how many redeems that start has made when it serves.
async fn restarts_with(change: impl Fn(&mut Value)) -> usize {
    let mut stage = Stage::of(strict(3600)).await;
    stage.recovers().await;
    stage.bearerd.signal(Signal::TERM);
    stage.bearerd.wait().await;
    let before = stage.server.redeems().len();
    let path: PathBuf = stage.home.path().join("state.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut record["access_token"]);
    std::fs::write(&path, record.to_string()).unwrap();
    stage.restart().await;
    stage.recovers().await;
    stage.assert_clean();
    assert_eq!(stage.server.reuse_errors(), 0);
    stage.server.redeems().len() - before
}

/// Moves both ends of the token's life, by one of the clocks, by this many seconds; no clock goes below zero.
fn moved(token: &mut Value, clock: &str, seconds: i64) {
    for end in ["obtained", "expires"] {
        let (whole, fraction) = token[end][clock].as_str().unwrap().split_once('.').unwrap();
        let whole = whole.parse::<u64>().unwrap().saturating_add_signed(seconds);
        token[end][clock] = format!("{whole}.{fraction}").into();
    }
}

#[tokio::test]
async fn after_a_reboot_the_wall_clock_alone_tells_whether_the_stored_token_is_good() {
    let rebooted = |token: &mut Value| token["boot_id"] = "another".into();
    let redeems = restarts_with(|token| {
        rebooted(token);
        // The boot clock began anew; what it said before means nothing.
        moved(token, "boot", -1_000_000);
    });
    assert_eq!(Box::pin(redeems).await, 0);
    // Not synchronised yet: by this clock the token is not issued yet, and nobody knows how old it is.
    let redeems = restarts_with(|token| {
        rebooted(token);
        moved(token, "wall", 1800);
    });
    assert_eq!(Box::pin(redeems).await, 1);
    let redeems = restarts_with(|token| {
        rebooted(token);
        moved(token, "wall", -7200);
    });
    assert_eq!(Box::pin(redeems).await, 1);
}

#[tokio::test]
async fn in_the_same_boot_either_clock_ends_the_stored_token() {
    assert_eq!(Box::pin(restarts_with(|_| ())).await, 0);
    for (clock, seconds) in [("boot", -7200), ("boot", 1800), ("wall", -7200), ("wall", 1800)] {
        let redeems = Box::pin(restarts_with(|token| moved(token, clock, seconds))).await;
        assert_eq!(redeems, 1, "the {clock} clock, {seconds} s");
    }
}
