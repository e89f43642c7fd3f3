//! After an upstream's 401 a request is sent once more with the next token, and no more often.

use std::time::Duration;

use bearerd::clock::{Clock, Moment};
use bearerd::proxy::route::OnUnauthorized;
use bearerd::proxy::upstream::HttpVersion;
use bearerd::token::Wanted;

use super::front::{Front, Options, ask, get, http2_caller, post, token};
use crate::support::in_time;
use crate::support::raw::Peer;
use crate::support::upstream::Upstream;

const INVALID: Option<&str> = Some("Bearer realm=\"api\", error=\"invalid_token\"");

/// As the refresher says it of a token that is old enough.
fn heeds_doubts(front: &mut Front) {
    front.publisher.heed_doubts(Some(Moment { wall: Duration::MAX, ..Clock::System.now() }));
}

/// Does what the refresher does: waits for the doubt about `generation`, publishes its successor, and says what holds of
/// doubts about that one.
async fn renews(front: &mut Front, generation: u64) {
    assert_eq!(in_time("a doubt", front.publisher.wanted()).await, Wanted::Doubt(generation));
    front.publisher.publish(token(generation + 1));
    heeds_doubts(front);
}

/// The tokens that came, in order.
fn tokens(upstream: &Upstream) -> Vec<String> {
    upstream.requests().iter().map(|seen| seen.all("authorization").join(", ")).collect()
}

const ONE_AND_TWO: [&str; 2] = ["Bearer the-fixed-token", "Bearer token-2"];

fn request(method: &str, body: &str) -> String {
    format!("{method} /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn any_method_is_sent_again_with_the_token_that_the_refresh_brings() {
    for (method, body) in [("GET", ""), ("POST", "once"), ("PATCH", ""), ("DELETE", "")] {
        for challenge in [INVALID, None, Some("Basic realm=\"x\"")] {
            let upstream = Upstream::open();
            let mut front = Options::to(upstream.address()).start();
            heeds_doubts(&mut front);
            upstream.dislike([challenge]);
            let mut peer = Peer::connect(front.address).await;
            let asked = request(method, body);
            let (reply, ()) = tokio::join!(peer.ask(asked), renews(&mut front, 1));
            assert_eq!(reply.status(), 200, "{method} {challenge:?}");
            assert_eq!(tokens(&upstream), ONE_AND_TWO, "{method} {challenge:?}");
            let bodies: Vec<_> = upstream.requests().iter().map(|seen| seen.body_length).collect();
            assert_eq!(bodies[1], body.len() as u64, "whole");
            assert_eq!(peer.get("/echo", "localhost").await.status(), 200, "and the connection goes on");
            assert_eq!(upstream.connections().0, 1, "as does the upstream's");
        }
    }
}

#[tokio::test]
async fn a_token_that_was_replaced_meanwhile_costs_no_refresh() {
    let upstream = Upstream::open();
    let mut front = Options::to(upstream.address()).start();
    upstream.dislike([INVALID]);
    // The answer is on its way when the successor comes.
    let mut peer = Peer::connect(front.address).await;
    peer.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\non").await;
    upstream.wait_for("its head", |upstream| upstream.requests().len() == 1).await;
    front.publisher.publish(token(2));
    heeds_doubts(&mut front);
    peer.send("ce").await;
    let mut reader = peer;
    assert_eq!(reader.head().await.status(), 200);
    assert_eq!(tokens(&upstream), ONE_AND_TWO);
    let idle = tokio::time::timeout(Duration::from_millis(100), front.publisher.wanted()).await;
    assert!(idle.is_err(), "nobody asks for a refresh");
}

#[tokio::test]
async fn a_crowd_shares_one_refresh_and_nobody_sees_the_401() {
    const CROWD: usize = 200;
    let upstream = Upstream::open();
    let mut front = Options::to(upstream.address()).start();
    heeds_doubts(&mut front);
    upstream.dislike([INVALID; CROWD]);
    let mut crowd = tokio::task::JoinSet::new();
    let address = front.address;
    for _ in 0..CROWD {
        crowd.spawn(async move { Peer::connect(address).await.get("/echo", "localhost").await.status() });
    }
    upstream.wait_for("all of them", |upstream| upstream.requests().len() == CROWD).await;
    renews(&mut front, 1).await;
    assert_eq!(in_time("the answers", crowd.join_all()).await, [200; CROWD]);
    let first = tokens(&upstream).iter().filter(|token| *token == ONE_AND_TWO[0]).count();
    assert_eq!((first, upstream.requests().len()), (CROWD, 2 * CROWD));
}

#[tokio::test]
async fn a_401_passes_when_no_successor_is_to_come_or_that_one_is_refused_too() {
    let upstream = Upstream::open();
    let mut front = Options::to(upstream.address()).start();
    upstream.dislike([INVALID, INVALID, INVALID]);
    let mut peer = Peer::connect(front.address).await;
    let reply = peer.get("/echo", "localhost").await;
    assert_eq!((reply.status(), reply.head.header("www-authenticate")), (401, INVALID), "as it came");
    assert_eq!(tokens(&upstream).len(), 1, "a doubt is not heeded: nobody waits");
    assert_eq!(in_time("the doubt", front.publisher.wanted()).await, Wanted::Doubt(1));

    heeds_doubts(&mut front);
    let (reply, ()) = tokio::join!(peer.get("/echo", "localhost"), renews(&mut front, 1));
    assert_eq!(reply.status(), 401);
    assert_eq!(tokens(&upstream)[1..], ONE_AND_TWO, "once more, and not twice");

    upstream.dislike([INVALID]);
    let refreshes_fail = async {
        assert_eq!(in_time("a doubt", front.publisher.wanted()).await, Wanted::Doubt(2));
        front.publisher.heed_doubts(None);
    };
    let (reply, ()) = tokio::join!(peer.get("/echo", "localhost"), refreshes_fail);
    assert_eq!(
        (reply.status(), tokens(&upstream).len()),
        (401, 4),
        "the refresh has failed: nobody waits on"
    );
}

#[tokio::test]
async fn a_refusal_of_something_else_than_the_token_passes_and_doubts_nothing() {
    for error in ["insufficient_scope", "invalid_request"] {
        let upstream = Upstream::open();
        let mut front = Options::to(upstream.address()).start();
        heeds_doubts(&mut front);
        upstream.dislike([Some(format!("Bearer error=\"{error}\"").as_str())]);
        let reply = Peer::connect(front.address).await.get("/echo", "localhost").await;
        assert_eq!((reply.status(), tokens(&upstream).len()), (401, 1), "{error}");
        let idle = tokio::time::timeout(Duration::from_millis(100), front.publisher.wanted()).await;
        assert!(idle.is_err(), "{error}");
    }
}

#[tokio::test]
async fn on_401_says_what_is_sent_again() {
    let rows = [
        (OnUnauthorized::ReplaySafe, "GET", 200),
        (OnUnauthorized::ReplaySafe, "POST", 401),
        (OnUnauthorized::ReplaySafe, "PUT", 401),
        (OnUnauthorized::Pass, "GET", 401),
    ];
    for (on_401, method, status) in rows {
        let upstream = Upstream::open();
        let mut front = Options { on_401, ..Options::to(upstream.address()) }.start();
        heeds_doubts(&mut front);
        upstream.dislike([INVALID]);
        let mut peer = Peer::connect(front.address).await;
        let (reply, ()) = tokio::join!(peer.ask(request(method, "")), renews(&mut front, 1));
        assert_eq!(reply.status(), status, "{on_401:?} {method}; and the token is doubted in each case");
        // The same over a connection that was used before.
        upstream.dislike([INVALID]);
        let (reply, ()) = tokio::join!(peer.ask(request(method, "")), renews(&mut front, 2));
        assert_eq!((reply.status(), upstream.connections().0), (status, 1), "{on_401:?} {method}");
    }
}

#[tokio::test]
async fn a_body_is_sent_again_if_it_was_held_in_full() {
    let chunked = |size: usize| {
        let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size))
    };
    let sized = |size: usize| request("POST", &"x".repeat(size));
    let rows = [
        (sized(1024), 200),
        (sized(1025), 401),
        (chunked(1024), 200),
        (chunked(1025), 401),
        (sized(200_000), 401),
        (chunked(200_000), 401),
    ];
    for (asked, status) in rows {
        let upstream = Upstream::open();
        let mut options = Options::to(upstream.address());
        options.limits.replay_body = 1024;
        let mut front = options.start();
        heeds_doubts(&mut front);
        upstream.dislike([INVALID]);
        let mut peer = Peer::connect(front.address).await;
        let length = asked.len();
        let (reply, ()) = tokio::join!(peer.ask(asked), renews(&mut front, 1));
        assert_eq!(reply.status(), status, "{length}");
        let bodies: Vec<_> = upstream.requests().iter().map(|seen| seen.body_sha256.clone()).collect();
        assert!(status == 401 || bodies[0] == bodies[1], "{length}: {bodies:?}");
    }
}

#[tokio::test]
async fn over_http2_it_is_the_same() {
    let upstream = Upstream::open();
    let mut front = Options { http: HttpVersion::Two, ..Options::to(upstream.address()) }.start();
    heeds_doubts(&mut front);
    upstream.dislike([INVALID]);
    let caller = http2_caller(front.address).await;
    let (answer, ()) = tokio::join!(ask(&caller, get("/echo")), renews(&mut front, 1));
    assert_eq!((answer.0, tokens(&upstream)), (200, ONE_AND_TWO.map(str::to_owned).to_vec()));
    upstream.dislike([INVALID]);
    let (answer, ()) = tokio::join!(ask(&caller, post("/echo", "once")), renews(&mut front, 2));
    assert_eq!((answer.0, tokens(&upstream).len()), (200, 4));
    assert_eq!(upstream.requests()[3].body_length, 4);
    assert_eq!(upstream.connections().0, 1, "on the same connection");
}
