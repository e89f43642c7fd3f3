//! A grant whose tokens are bound to a key (RFC 9449): a proof stands beside the token on every request, and callers know
//! nothing of it.

use serde_json::Value;

use super::revocations::OLD_ENOUGH;
use super::stage::Stage;
use crate::support::authorization_server::{AuthorizationServer, Client, Options};
use crate::support::canaries;
use crate::support::process::Process;
use crate::support::raw::Peer;
use crate::support::upstream::{Seen, Upstream, Verdict};

/// A server that binds every token, and asks for nonces.
fn proving() -> Options {
    AuthorizationServer::strict().client(Client::public("billing").proves()).nonces().expires_in(600)
}

async fn stage(options: Options, environment: &[(&str, &str)]) -> Stage {
    let begun = Stage::begun(options, "", |home| {
        let mut command = home.to_run();
        command.env("BEARERD_OAUTH_DPOP", "required").envs(environment.iter().copied());
        Process::spawn(&mut command)
    });
    let stage = Box::pin(begun).await;
    stage.recovers().await;
    stage
}

fn verdicts(upstream: &Upstream, from: usize) -> Vec<bool> {
    upstream.requests()[from..].iter().map(|seen| seen.verdict == Verdict::Good).collect()
}

fn post(size: usize) -> String {
    format!("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n{}", "x".repeat(size))
}

#[tokio::test]
async fn every_request_carries_a_proof_of_its_own_and_nothing_of_the_callers() {
    for http in ["1", "2"] {
        let stage = stage(proving(), &[("BEARERD_HTTP", http)]).await;
        let before = stage.upstream.requests().len();
        for ask in [
            "GET /echo/a%2Fb?q=1 HTTP/1.1\r\nHost: localhost\r\nDPoP: forged\r\nAuthorization: DPoP x\r\n\r\n",
            "DELETE /echo HTTP/1.1\r\nHost: localhost\r\n\r\n",
            &post(4),
        ] {
            assert_eq!(Peer::connect(stage.proxy).await.ask(ask).await.status(), 200, "{ask}");
        }
        let seen = stage.upstream.requests();
        assert_eq!(verdicts(&stage.upstream, before), [true; 3], "the upstream believes no proof twice");
        let schemes =
            |seen: &Seen| seen.all("authorization")[0].starts_with("DPoP ") && seen.all("dpop").len() == 1;
        assert!(seen.iter().all(schemes));
        stage.assert_clean();
    }
}

#[tokio::test]
async fn a_nonce_of_the_upstreams_costs_one_more_request_and_no_caller_an_answer() {
    let stage = stage(proving(), &[]).await;
    let before = stage.upstream.requests().len();
    stage.upstream.change_nonce();
    assert_eq!(stage.get("/echo").await.status(), 200);
    assert_eq!(verdicts(&stage.upstream, before), [false, true]);
    assert_eq!(stage.get("/echo").await.status(), 200);
    assert_eq!(verdicts(&stage.upstream, before), [false, true, true], "what it said last is remembered");

    // With a body that is held, over a connection that was used before and one that was not.
    let mut peer = Peer::connect(stage.proxy).await;
    for _ in 0..2 {
        stage.upstream.change_nonce();
        let reply = peer.ask(post(1000)).await;
        assert_eq!((reply.status(), reply.json()["length"].as_u64()), (200, Some(1000)));
    }
    // One that is too long to be held is refused once, and the next knows better.
    stage.upstream.change_nonce();
    let (refused, carried) = (peer.ask(post(100_000)).await, peer.ask(post(100_000)).await);
    assert_eq!((refused.status(), carried.status()), (401, 200));
    assert_eq!(stage.server.redeems().len(), 2, "the token was never in doubt");
    let count = async |outcome| stage.count("bearerd_retries_after_401", Some(("outcome", outcome))).await;
    assert_eq!((count("recovered").await, count("body_not_replayable").await), (3.0, 1.0));
}

#[tokio::test]
async fn what_on_401_says_is_about_the_token_and_not_about_its_proof() {
    let stage = stage(proving(), &[("BEARERD_ON_401", "pass")]).await;
    tokio::time::sleep(OLD_ENOUGH).await;
    let before = stage.upstream.requests().len();
    stage.upstream.change_nonce();
    assert_eq!(stage.get("/echo").await.status(), 200);
    assert_eq!(verdicts(&stage.upstream, before), [false, true]);
    stage.server.revoke(stage.server.redeems().last().unwrap().access_token.as_deref().unwrap());
    stage.upstream.change_nonce();
    let before = stage.upstream.requests().len();
    assert_eq!(stage.get("/echo").await.status(), 401);
    assert_eq!(verdicts(&stage.upstream, before).len(), 1);
    stage.server.wait_for("the refresh", |log| log.iter().filter(|one| one.is_redeem()).count() == 3).await;
}

#[tokio::test]
async fn an_upstream_whose_clock_is_another_gets_proofs_of_its_own_time() {
    let stage = stage(proving(), &[]).await;
    for ahead in [7200, 0, -7200] {
        let before = stage.upstream.requests().len();
        stage.upstream.set_clock(ahead);
        for _ in 0..2 {
            assert_eq!(stage.get("/echo").await.status(), 200, "{ahead}");
        }
        assert_eq!(verdicts(&stage.upstream, before), [false, true, true], "{ahead}");
    }
}

const NONCE: Option<&str> = Some("DPoP error=\"use_dpop_nonce\"");
const PROOF: Option<&str> = Some("DPoP error=\"invalid_dpop_proof\"");
const TOKEN: Option<&str> = Some("DPoP error=\"invalid_token\"");

#[tokio::test]
async fn a_nonce_a_clock_and_a_revoked_token_cost_a_request_each_in_any_order_and_no_caller_an_answer() {
    for refusals in [[NONCE, PROOF, TOKEN], [TOKEN, NONCE, PROOF], [PROOF, TOKEN, NONCE]] {
        let stage = stage(proving(), &[]).await;
        tokio::time::sleep(OLD_ENOUGH).await;
        let last = stage.server.redeems().into_iter().rev().find_map(|redeem| redeem.access_token).unwrap();
        stage.upstream.change_nonce();
        stage.upstream.set_clock(7200);
        stage.upstream.dislike(refusals);
        let before = stage.upstream.requests().len();
        assert_eq!(Peer::connect(stage.proxy).await.ask(post(1000)).await.status(), 200, "{refusals:?}");
        let seen = stage.upstream.requests()[before..].to_vec();
        let renewed: Vec<bool> =
            seen.iter().map(|seen| !seen.all("authorization")[0].ends_with(&last)).collect();
        let at = refusals.iter().position(|refusal| *refusal == TOKEN).unwrap();
        assert_eq!(renewed, (0..4).map(|sent| sent > at).collect::<Vec<_>>(), "{refusals:?}");
        assert!(seen.iter().all(|seen| seen.body_length == 1000));
        let count =
            async |outcome| stage.count("bearerd_retries_after_401", Some(("outcome", outcome))).await;
        assert_eq!((count("recovered").await, count("still_401").await), (1.0, 0.0));
    }
}

#[tokio::test]
async fn each_refusal_is_answered_once_and_then_passes() {
    let stage = stage(proving(), &[]).await;
    stage.upstream.change_nonce();
    stage.upstream.set_clock(7200);
    stage.upstream.dislike([NONCE, PROOF, NONCE]);
    let before = stage.upstream.requests().len();
    assert_eq!(stage.get("/echo").await.status(), 401);
    assert_eq!(stage.upstream.requests().len() - before, 3);
    // Its time is known by now: another proof would be no other.
    stage.upstream.dislike([PROOF]);
    let before = stage.upstream.requests().len();
    assert_eq!(stage.get("/echo").await.status(), 401);
    assert_eq!(stage.upstream.requests().len() - before, 1);
    assert_eq!(stage.count("bearerd_retries_after_401", Some(("outcome", "still_401"))).await, 1.0);
}

#[tokio::test]
async fn a_request_to_switch_protocols_is_proved_as_well() {
    const ASK: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let stage = stage(proving(), &[]).await;
    stage.upstream.change_nonce();
    stage.upstream.set_clock(7200);
    stage.upstream.dislike([NONCE, PROOF]);
    let before = stage.upstream.requests().len();
    let mut peer = Peer::connect(stage.proxy).await;
    peer.send(ASK).await;
    assert_eq!(peer.head().await.status(), 101);
    assert_eq!(stage.upstream.requests().len() - before, 3, "a nonce, a time, a connection of its own");
}

#[tokio::test]
async fn the_key_is_told_nowhere_and_neither_is_a_proof() {
    let mut stage = stage(proving(), &[]).await;
    stage.get("/echo").await;
    let record: Value =
        serde_json::from_slice(&std::fs::read(stage.home.path().join("state.json")).unwrap()).unwrap();
    let key = record["dpop_key"].as_str().unwrap().lines().nth(1).unwrap().to_owned();
    let proofs = stage
        .upstream
        .requests()
        .into_iter()
        .flat_map(|seen| seen.all("dpop").into_iter().map(str::to_owned).collect::<Vec<_>>());
    let mut secrets: Vec<String> = proofs.collect();
    assert!(secrets.len() > 1);
    secrets.push(key);
    let mut said = String::new();
    for page in ["/", "/metrics", "/api/v1/status", "/livez"] {
        said.push_str(&Peer::connect(stage.admin).await.get(page, "localhost").await.text());
    }
    stage.bearerd.kill();
    said.push_str(&stage.bearerd.log().join("\n"));
    said.push_str(&stage.bearerd.output());
    assert!(said.contains("refresh_token_saved"));
    assert_eq!(canaries::found(&said, &secrets), None);
}
