//! The authorization server fails, before it has processed a refresh and after: callers are served while the access
//! token lives, told so within `token_wait` after, and served again soon.

use std::time::Duration;

use bearerd::clock::Stopwatch;

use super::stage::{Stage, strict};
use crate::support::authorization_server::{AuthorizationServer, Client, Fault, Options, Phase};
use crate::support::raw::Peer;

/// Long enough for an attempt to fail, by its timeout too, while the access token lives.
const LIFE: u64 = 10;

/// `token_wait`.
const WAIT: Duration = Duration::from_secs(1);

/// How soon a recovery shows after the server's own.
const RECOVERY: Duration = Duration::from_secs(5);

/// `timeout`: a hang has to be given up first.
const TIMEOUT: Duration = Duration::from_secs(2);

/// For a busy machine.
const SLACK: Duration = Duration::from_secs(3);

fn authgear() -> Options {
    AuthorizationServer::authgear().client(Client::public("billing").rotates(true)).expires_in(LIFE)
}

/// A fault for as long as the access token lives and longer; then the server is well again.
async fn outage(options: Options, fault: Fault, phase: Phase) {
    let what = format!("{fault:?} {phase:?}");
    let within = RECOVERY + if fault == Fault::Hang { TIMEOUT } else { Duration::ZERO };
    let stage = fails(options, fault, phase, &[200, 503]).await;
    assert_eq!(refusal(&stage).await, "token_unavailable", "{what}");
    stage.server.heal();
    let watch = Stopwatch::start();
    stage.recovers().await;
    let recovered = watch.elapsed();
    println!("{what}: served again after {recovered:?}");
    assert!(recovered < within + SLACK, "{what}: {recovered:?}");
    stage.assert_clean();
    assert_eq!(stage.server.reuse_errors(), 0, "{what}");
}

/// The same once an answer was lost that had replaced the refresh token: only a person helps, and no restart is needed.
async fn lost_rotation(options: Options, fault: Fault, meanwhile: &'static [u16]) {
    let what = format!("{fault:?}, the answer lost");
    let stage = fails(options, fault, Phase::AfterProcessing, meanwhile).await;
    stage.server.heal();
    let status = stage.is("sign_in_required").await;
    assert_eq!(status["grants"][0]["problem"]["code"], "lost_rotation", "{what}: {status}");
    assert_eq!(refusal(&stage).await, "sign_in_required", "{what}");
    stage.home.write("seed", &stage.server.seed("billing"));
    stage.recovers().await;
    stage.assert_clean();
}

/// Up to the moment at which the access token is no longer usable; callers get one of `meanwhile` until then.
async fn fails(options: Options, fault: Fault, phase: Phase, meanwhile: &[u16]) -> Stage {
    let more = format!("\n[limits]\ntoken_wait = \"{}s\"\n", WAIT.as_secs());
    let stage = Box::pin(Stage::with(options, &more, &[])).await;
    stage.recovers().await;
    stage.server.fault(fault, phase);
    stage.bearerd.wait_for_event("refresh_failed").await;
    assert_eq!(stage.get("/echo").await.status(), 200, "while the access token lives");
    let served = async {
        while Peer::connect(stage.admin).await.get("/readyz", "localhost").await.status() == 200 {
            let status = stage.get("/echo").await.status();
            assert!(meanwhile.contains(&status), "{status}, not of {meanwhile:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    Box::pin(served).await;
    stage
}

/// What a caller is told: its code.
async fn refusal(stage: &Stage) -> String {
    let watch = Stopwatch::start();
    let reply = stage.get("/echo").await;
    assert!(watch.elapsed() < WAIT + SLACK, "the answer came after {:?}", watch.elapsed());
    assert_eq!(reply.status(), 503);
    assert!(reply.head.header("retry-after").is_some() && reply.head.header("www-authenticate").is_none());
    let live = Peer::connect(stage.admin).await.get("/livez", "localhost").await;
    assert_eq!(live.status(), 200, "nobody is to restart us for the server's sake");
    reply.json()["code"].as_str().unwrap().to_owned()
}

const FAULTS: [fn() -> Fault; 5] = [
    || Fault::ServerError,
    || Fault::Hang,
    || Fault::Close,
    || Fault::Garbage,
    || Fault::TooManyRequests(None),
];

/// Side by side: nearly all of the time is waiting.
#[tokio::test]
async fn every_fault_in_every_phase_is_survived_or_told() {
    let mut rows = tokio::task::JoinSet::new();
    for fault in FAULTS {
        let grace = Duration::from_secs(120);
        rows.spawn(outage(strict(LIFE), fault(), Phase::BeforeProcessing));
        rows.spawn(outage(strict(LIFE).no_rotation(), fault(), Phase::AfterProcessing));
        rows.spawn(outage(strict(LIFE).grace(grace), fault(), Phase::AfterProcessing));
        // Doorkeeper's: what was lost is never used, so what was presented stays good.
        rows.spawn(outage(strict(LIFE).until_use(), fault(), Phase::AfterProcessing));
        // Who comes in the token's last moment may wait for the next, which does not come: 503.
        rows.spawn(lost_rotation(authgear(), fault(), &[200, 503]));
        // The retry kills the family there, and the access token with it: the upstream's own 401 passes.
        rows.spawn(lost_rotation(strict(LIFE), fault(), &[200, 401, 503]));
    }
    while let Some(row) = rows.join_next().await {
        row.unwrap();
    }
}
