//! Doorkeeper's manner: the refresh token before ends with the first use of the new access token, and not sooner.

use super::{refresh, text};
use crate::support::authorization_server::{AuthorizationServer, TokenState};
use crate::support::raw::Peer;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn a_refresh_token_is_good_until_the_new_access_token_is_used() {
    let server = AuthorizationServer::doorkeeper().start();
    let first = server.seed("app");
    let (one, two) = (refresh(&server, &first).await.json(), refresh(&server, &first).await.json());
    assert_ne!(text(&one, "refresh_token"), text(&two, "refresh_token"), "each time another pair");
    assert_eq!(server.state_of(text(&two, "access_token")), TokenState::Active, "looking is no use");
    assert_eq!(server.use_of(text(&two, "access_token"), None), TokenState::Active);
    let ended = refresh(&server, &first).await;
    assert_eq!((ended.status(), text(&ended.json(), "error")), (400, "invalid_grant"));
    assert_eq!(server.reuse_errors(), 1);
    for pair in [one, two] {
        assert_eq!(refresh(&server, text(&pair, "refresh_token")).await.status(), 200, "no family is killed");
    }
}

#[tokio::test]
async fn the_access_token_that_came_with_it_ends_as_well() {
    let server = AuthorizationServer::doorkeeper().start();
    let first = refresh(&server, &server.seed("app")).await.json();
    let second = refresh(&server, text(&first, "refresh_token")).await.json();
    assert_eq!(server.use_of(text(&first, "access_token"), None), TokenState::Active);
    assert_eq!(server.use_of(text(&second, "access_token"), None), TokenState::Active);
    assert_eq!(server.use_of(text(&first, "access_token"), None), TokenState::Revoked);
    assert_eq!(server.use_of(text(&second, "access_token"), None), TokenState::Active);
}

#[tokio::test]
async fn a_request_to_the_upstream_is_a_use_and_so_is_an_introspection() {
    let server = AuthorizationServer::doorkeeper().start();
    let upstream = Upstream::checking(&server);
    for by_upstream in [true, false] {
        let first = server.seed("app");
        let body = refresh(&server, &first).await.json();
        let access = text(&body, "access_token");
        if by_upstream {
            let mut peer = Peer::connect(upstream.address()).await;
            let request =
                format!("GET /echo HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {access}\r\n\r\n");
            assert_eq!(peer.ask(request).await.status(), 200);
        } else {
            let mut peer = Peer::connect(server.address()).await;
            let form = format!("client_id=app&token={access}");
            assert_eq!(peer.post("/introspect", "id.test", &form).await.json()["active"], true);
        }
        assert_eq!(refresh(&server, &first).await.status(), 400, "by the upstream: {by_upstream}");
    }
}
