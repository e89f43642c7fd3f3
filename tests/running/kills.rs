//! `kill -9` in the middle of everything: the grant survives, but for the one window that nobody can close.

use std::time::Duration;

use super::stage::{Stage, strict};
use crate::support::authorization_server::Exchange;

/// How many times; the full form is `BEARERD_KILLS=200 cargo test running::kills`.
fn kills() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "the full form of a long proof is asked for by the environment"
    )]
    std::env::var("BEARERD_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Whether the server had replaced the refresh token, and what the store held when the process was dead was the old
/// one: the one loss that is nobody's fault.
fn in_the_window(redeems: &[Exchange], state: &str) -> bool {
    let last_issued = redeems.iter().rev().find_map(|exchange| exchange.refresh_token.as_deref());
    last_issued.is_some_and(|issued| !state.contains(issued))
}

#[tokio::test]
async fn the_grant_survives_every_kill_but_those_in_the_one_window() {
    let mut stage = Stage::of(strict(2)).await;
    let (mut survived, mut lost) = (0, Vec::new());
    for round in 0..kills() {
        stage.recovers().await;
        let seen = stage.server.requests().len();
        // Half of them at once after the server has received a redeem, half of them anywhere.
        if round % 2 == 0 {
            stage.server.next_redeem(seen).await;
            tokio::time::sleep(Duration::from_micros(700 * (round as u64 % 40))).await;
        } else {
            tokio::time::sleep(Duration::from_millis(37 * (round as u64 % 17))).await;
        }
        stage.bearerd.kill();
        stage.bearerd.wait().await;
        let state = std::fs::read_to_string(stage.home.path().join("state.json")).unwrap();
        if in_the_window(&stage.server.redeems(), &state) {
            let last = stage.server.redeems().pop().unwrap();
            println!("round {round}: lost in the window; {} wrote {} bytes", last.summary(), last.written);
            lost.push(round);
            // A loss that is the window's is mended by a person: a new seed.
            stage.home.write("seed", &stage.server.seed("billing"));
        } else {
            survived += 1;
        }
        stage.restart().await;
    }
    stage.recovers().await;
    println!("{survived} of {} kills survived, {} fell into the window: {lost:?}", kills(), lost.len());
    assert_eq!(
        stage.server.reuse_errors(),
        0,
        "nothing that was replaced was presented, but by a lost rotation"
    );
    stage.assert_clean();
}
