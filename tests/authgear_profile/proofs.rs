//! Proofs of possession at Authgear: the refresh token may be bound to a key, and nothing else ever is.

use bearerd::clock::{Clock, Moment};
use bearerd::dpop::{ProofKey, Rapport};
use bearerd::secret::DpopKey;
use http::Method;

use super::{TOKEN, clients, connect, error, handled, with_headers};
use crate::support::authorization_server::AuthorizationServer;
use crate::support::keys::Key;
use crate::support::raw::{Peer, Reply};

fn proof(key: &Key, server: &AuthorizationServer, at: Moment) -> String {
    let key = ProofKey::new(&DpopKey::new(key.pem())).unwrap();
    let target = format!("{}{TOKEN}", server.issuer());
    let proof = key.prove(&Method::POST, &target, None, &Rapport::default(), at).unwrap();
    format!("DPoP: {}", proof.to_str().unwrap())
}

async fn present(peer: &mut Peer, host: &str, token: &str, headers: &str) -> Reply {
    let form = format!("grant_type=refresh_token&client_id=app&refresh_token={token}");
    let headers = if headers.is_empty() { "X-None: 1" } else { headers };
    peer.ask(with_headers(host, headers, &form)).await
}

#[tokio::test]
async fn a_bound_refresh_token_wants_a_proof_of_its_key_and_is_not_burned_without() {
    let server = clients(AuthorizationServer::authgear());
    let (ours, other, now) = (Key::p256(), Key::p256(), Clock::System.now());
    let token = server.seed("app");
    server.bind(&token, &ours.thumbprint());
    let (mut peer, host) = connect(&server).await;
    let refused = error("invalid_dpop_proof", "Invalid DPoP key binding");
    let old = now.minus(std::time::Duration::from_secs(11 * 60));
    for headers in
        [String::new(), proof(&other, &server, now), "DPoP: garbage".to_owned(), proof(&ours, &server, old)]
    {
        assert_eq!(super::normal(&present(&mut peer, &host, &token, &headers).await), refused, "{headers}");
    }
    let good = proof(&ours, &server, now);
    let reply = present(&mut peer, &host, &token, &good).await;
    let body = reply.json();
    assert_eq!(body["token_type"], "Bearer", "the access token is bound to nothing");
    assert_eq!(super::normal(&reply), handled("200 OK", reply.text().trim_end()), "and no nonce ever comes");
    // The same proof once more, and the successor is bound as well.
    let successor = body["refresh_token"].as_str().unwrap();
    assert_eq!(super::normal(&present(&mut peer, &host, successor, "").await), refused);
    assert_eq!(present(&mut peer, &host, successor, &good).await.status(), 200);
}

#[tokio::test]
async fn an_unbound_refresh_token_takes_any_good_proof_and_no_bad_one() {
    let server = clients(AuthorizationServer::authgear());
    let token = server.seed("calm");
    let (mut peer, host) = connect(&server).await;
    let good = proof(&Key::p256(), &server, Clock::System.now());
    let mut ask = async |headers: &str| {
        let form = format!("grant_type=refresh_token&client_id=calm&refresh_token={token}");
        peer.ask(with_headers(&host, headers, &form)).await
    };
    assert_eq!(ask(&good).await.status(), 200);
    let refused = ask("DPoP: garbage").await;
    assert_eq!((refused.status(), &refused.json()["error"]), (400, &"invalid_dpop_proof".into()));
    assert_eq!(ask("X-None: 1").await.status(), 200, "it was bound to nothing by the first");
}
