//! Steady load through rotations, stop and start: callers never notice.

use std::time::Duration;

use rustix::process::Signal;

use super::stage::{Stage, strict};
use crate::support::authorization_server::{AuthorizationServer, Client};
use crate::support::raw::Peer;

/// Requests one after another on a kept connection until `redeems` redeems have been seen; all must be good.
async fn steady(stage: &Stage, redeems: usize) {
    let mut peer = Peer::connect(stage.proxy).await;
    while stage.server.redeems().len() < redeems {
        let reply = peer.get("/echo", "localhost").await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.assert_clean();
    assert_eq!(stage.server.reuse_errors(), 0);
}

#[tokio::test]
async fn no_request_notices_a_rotation() {
    let stage = Stage::of(strict(6)).await;
    steady(&stage, 6).await;
}

#[tokio::test]
async fn authgear_serves_a_steady_load() {
    for rotates in [false, true] {
        let client = Client::public("billing").rotates(rotates);
        let options = AuthorizationServer::authgear().client(client).expires_in(6).jwt();
        steady(&Stage::of(options).await, 4).await;
    }
}

#[tokio::test]
async fn a_stop_ends_well_and_a_start_goes_on_with_the_stored_token() {
    let mut stage = Stage::of(strict(60)).await;
    stage.recovers().await;
    stage.bearerd.signal(Signal::TERM);
    assert_eq!(stage.bearerd.wait().await.code(), Some(0));
    stage.restart().await;
    stage.recovers().await;
    assert_eq!(stage.server.redeems().len(), 1, "R12");
    stage.assert_clean();
}

#[tokio::test]
async fn a_reload_takes_a_good_file_and_leaves_a_bad_one() {
    let stage = Stage::of(strict(60)).await;
    stage.recovers().await;
    let good = std::fs::read_to_string(stage.home.path().join("proxy.toml")).unwrap();
    stage.home.configure("listen = 7\n");
    stage.bearerd.signal(Signal::HUP);
    stage.bearerd.wait_for_event("config_rejected").await;
    assert_eq!(stage.get("/echo").await.status(), 200);
    stage.home.configure(&good.replace("upstream = ", "methods = [\"POST\"]\nupstream = "));
    stage.bearerd.signal(Signal::HUP);
    stage.bearerd.wait_for_event("config_reloaded").await;
    let refused = async {
        while stage.get("/echo").await.status() != 405 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    crate::support::in_time("the new configuration", refused).await;
}
