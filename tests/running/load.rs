//! Steady load through rotations, stop and start: callers never notice.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use bearerd::clock::Stopwatch;
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::stage::{Stage, strict};
use crate::support::authorization_server::{AuthorizationServer, Client};
use crate::support::process::{Home, Process, field};
use crate::support::raw::Peer;
use crate::support::upstream::Upstream;
use crate::support::{in_time, wanted};

/// Requests one after another on a kept connection until it is `enough`; all must be good. Returns how many.
async fn steadily(stage: &Stage, enough: impl Fn() -> bool) -> usize {
    let mut peer = Peer::connect(stage.proxy).await;
    let mut requests = 0;
    while !enough() {
        let reply = peer.get("/echo", "localhost").await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        requests += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.assert_clean();
    assert_eq!(stage.server.reuse_errors(), 0);
    requests
}

#[tokio::test]
async fn no_request_notices_a_rotation() {
    let stage = Stage::of(strict(6)).await;
    steadily(&stage, || stage.server.redeems().len() >= 6).await;
}

#[tokio::test]
async fn authgear_serves_a_steady_load() {
    let span = Duration::from_secs(wanted("BEARERD_STEADY_SECONDS", 12));
    let mut rows = tokio::task::JoinSet::new();
    for (rotates, jwt) in [(false, false), (false, true), (true, false), (true, true)] {
        rows.spawn(async move {
            let client = Client::public("billing").rotates(rotates);
            let options = AuthorizationServer::authgear().client(client).expires_in(10);
            let stage = Stage::of(if jwt { options.jwt() } else { options }).await;
            let watch = Stopwatch::start();
            let requests = Box::pin(steadily(&stage, || watch.elapsed() >= span)).await;
            let redeems = stage.server.redeems();
            println!("rotates {rotates}, jwt {jwt}: {requests} requests, {} redeems", redeems.len());
            assert!(redeems.len() >= 3, "it had a rotation to notice");
            let tokens: HashSet<_> = redeems.iter().filter_map(|redeem| redeem.presented()).collect();
            assert_eq!(tokens.len(), if rotates { redeems.len() } else { 1 }, "rotates: {rotates}");
            let is_jwt = |token: &String| token.matches('.').count() == 2;
            assert!(redeems.iter().all(|redeem| redeem.access_token.as_ref().is_some_and(is_jwt) == jwt));
        });
    }
    while let Some(row) = rows.join_next().await {
        row.unwrap();
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

/// Eight callers that never rest, half of them on new connections, until the connection ends between two requests. All
/// that is answered is answered whole and well; returns how many answers that were.
pub(super) fn crowd(proxy: SocketAddr) -> JoinSet<usize> {
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        callers.spawn(async move {
            let mut answers = 0;
            'calling: while let Some(mut peer) = Peer::try_connect(proxy).await {
                for _ in 0..if caller % 2 == 0 { 1 } else { usize::MAX } {
                    let asked = peer.ask_if_open("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
                    let Some(reply) = asked else { break 'calling };
                    assert_eq!(reply.status(), 200, "{}", reply.text());
                    answers += 1;
                    if reply.head.has_token("connection", "close") {
                        break;
                    }
                }
            }
            answers
        });
    }
    callers
}

pub(super) async fn answers(crowd: JoinSet<usize>) -> usize {
    in_time("the end of the crowd", crowd.join_all()).await.into_iter().sum()
}

#[tokio::test]
async fn a_drain_under_load_ends_no_request_that_was_taken() {
    for workers in ["1", "2"] {
        let mut stage = Box::pin(Stage::with(strict(60), "", &["--workers", workers])).await;
        stage.recovers().await;
        let before = stage.upstream.tally().requests;
        let mut waiting = JoinSet::new();
        let (proxy, slow) = (stage.proxy, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for _ in 0..4 {
            waiting.spawn(async move { Peer::connect(proxy).await.ask(slow).await.status() });
        }
        let crowd = crowd(stage.proxy);
        stage.upstream.wait_for("load", |upstream| upstream.tally().requests > before + 200).await;
        stage.bearerd.signal(Signal::TERM);
        stage.bearerd.wait_for_event("draining").await;
        let answers = Box::pin(answers(crowd)).await;
        stage.upstream.release();
        assert_eq!(waiting.join_all().await, [200; 4], "what was in flight is answered");
        assert_eq!(stage.bearerd.wait().await.code(), Some(0));
        let taken = stage.upstream.tally().requests - before;
        assert_eq!(answers + 4, taken, "who was heard was answered");
        stage.assert_clean();
    }
}

#[tokio::test]
async fn callers_are_let_in_until_the_drain_delay_is_over() {
    let home = Home::new();
    let server = strict(60).start();
    home.write("seed", &server.seed("billing"));
    let upstream = Upstream::checking(&server);
    home.configure(&format!(
        "drain_delay = \"3s\"\nlisten = \"127.0.0.1:0\"\nupstream = \"{}\"\n[oauth]\nissuer = \"{}\"\n\
         client_id = \"billing\"\nrefresh_token = {{ file = \"seed\" }}\n[store]\nkind = \"memory\"\n\
         [admin]\nlisten = \"off\"\n",
        upstream.url(),
        server.issuer(),
    ));
    // What systemd would be told (sd_notify(3)).
    let socket = home.path().join("notify");
    let notified = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let told = async || {
        let mut room = [0; 256];
        let length = in_time("a notification", notified.recv(&mut room)).await.unwrap();
        String::from_utf8_lossy(&room[..length]).trim().to_owned()
    };
    let bearerd = Process::spawn(home.to_run().env("NOTIFY_SOCKET", &socket));
    let mut bearerd = bearerd.keeps_secrets_of(&server);
    assert_eq!(told().await, "READY=1");
    let event = bearerd.wait_for_event("listening").await;
    let proxy = field(&event, "address").unwrap().as_str().unwrap().parse().unwrap();
    bearerd.signal(Signal::TERM);
    assert_eq!(told().await, "STOPPING=1");
    bearerd.wait_for_event("draining").await;
    assert_eq!(Peer::connect(proxy).await.get("/echo", "localhost").await.status(), 200);
    assert_eq!(bearerd.wait().await.code(), Some(0));
    assert!(Peer::try_connect(proxy).await.is_none());
}
