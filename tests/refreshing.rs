//! A grant is kept alive over real sockets and a real file, whatever the token endpoint does.

mod bench;
mod credentials;
mod failures;
mod faults;
mod moves;
mod oddities;
mod proofs;
mod strangers;
mod verdicts;

use bearerd::grant::status::State;

use self::bench::Bench;
use crate::support::authorization_server::{AuthorizationServer, Client};

#[tokio::test]
async fn a_rotating_server_sees_each_refresh_token_once() {
    let server = AuthorizationServer::strict().client(Client::public("billing")).expires_in(4).start();
    let bench = Bench::of(&server, "billing").start().await;
    let redeems = server.wait_for_redeems(4).await;
    let presented: Vec<_> = redeems.iter().filter_map(|exchange| exchange.presented()).collect();
    let unique: std::collections::HashSet<_> = presented.iter().collect();
    assert_eq!((unique.len(), server.reuse_errors()), (presented.len(), 0));
    bench.is(State::Active).await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_stored_token_and_never_with_the_seed() {
    let server = AuthorizationServer::strict().client(Client::public("billing")).expires_in(60).start();
    let first = Bench::of(&server, "billing").start().await;
    first.is(State::Active).await;
    let again = first.restart().await;
    again.is(State::Active).await;
    assert_eq!(server.redeems().len(), 1, "the stored access token is good (R12)");
    again.refresh();
    server.wait_for_redeems(2).await;
    again.generation(2).await;
    assert_eq!(server.reuse_errors(), 0);
}

#[tokio::test]
async fn authgear_is_served_with_and_without_rotation_with_opaque_and_jwt_tokens() {
    for (rotates, jwt) in [(false, false), (false, true), (true, false), (true, true)] {
        let options =
            AuthorizationServer::authgear().client(Client::public("app").rotates(rotates)).expires_in(4);
        let server = if jwt { options.jwt() } else { options }.start();
        let bench = Bench::of(&server, "app").start().await;
        let redeems = server.wait_for_redeems(3).await;
        let kinds: std::collections::HashSet<_> =
            redeems.iter().filter_map(|exchange| exchange.presented()).collect();
        assert_eq!(kinds.len() > 1, rotates, "rotation {rotates}, jwt {jwt}");
        bench.is(State::Active).await;
    }
}
