//! Several at once, and more than are wanted: the window in which two refreshes both succeed, and the limits.

use std::time::Duration;

use super::{TOKEN, clients, connect, error, normal, refresh, with_headers};
use crate::support::authorization_server::AuthorizationServer;
use crate::support::raw::Reply;

/// Presents the same token of this client `count` times at once.
async fn at_once(
    server: &AuthorizationServer,
    client: &'static str,
    token: &str,
    count: usize,
) -> Vec<Reply> {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (server, token) = (server.clone(), token.to_owned());
        all.spawn(async move { refresh(&server, client, &token).await });
    }
    all.join_all().await
}

fn count(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|reply| reply.status() == status).count()
}

#[tokio::test]
async fn of_eight_at_once_as_many_succeed_as_the_database_takes_and_one_new_token_lives() {
    for (connections, succeed) in [(3, 3), (20, 8)] {
        let options = AuthorizationServer::authgear().refresh_takes(Duration::from_millis(300));
        let server = clients(options.database_connections(connections));
        let token = server.seed("app");
        let replies = at_once(&server, "app", &token, 8).await;
        assert_eq!((count(&replies, 200), count(&replies, 400)), (succeed, 8 - succeed), "{connections}");
        for refused in replies.iter().filter(|reply| reply.status() == 400) {
            assert_eq!(normal(refused), error("invalid_grant", "invalid refresh token"));
        }
        let current = server.current_refresh_token(&token);
        let lives = |reply: &&Reply| reply.json()["refresh_token"].as_str() == current.as_deref();
        let good: Vec<&Reply> = replies.iter().filter(|reply| reply.status() == 200).collect();
        assert_eq!(good.into_iter().filter(lives).count(), 1);
    }
}

#[tokio::test]
async fn without_rotation_those_at_once_do_each_other_no_harm() {
    let server = clients(AuthorizationServer::authgear().refresh_takes(Duration::from_millis(100)));
    let token = server.seed("calm");
    let replies = at_once(&server, "calm", &token, 2).await;
    assert_eq!(count(&replies, 200), 2);
    assert_eq!(server.current_refresh_token(&token), Some(token));
}

#[tokio::test]
async fn behind_the_window_the_second_is_refused() {
    let server = clients(AuthorizationServer::authgear());
    let token = server.seed("app");
    assert_eq!(refresh(&server, "app", &token).await.status(), 200);
    let late = refresh(&server, "app", &token).await;
    assert_eq!(normal(&late), error("invalid_grant", "invalid refresh token"));
}

#[tokio::test]
async fn a_user_s_limit_stands_before_rotation() {
    let server = clients(AuthorizationServer::authgear().refresh_takes(Duration::ZERO));
    let mut token = server.seed("app");
    loop {
        let reply = refresh(&server, "app", &token).await;
        if reply.status() == 429 {
            break;
        }
        token = reply.json()["refresh_token"].as_str().unwrap().to_owned();
    }
    assert_eq!(server.current_refresh_token(&token).as_ref(), Some(&token), "it is not burned");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(refresh(&server, "app", &token).await.status(), 200, "one a second comes back");
}

#[tokio::test]
async fn an_address_s_limit_refills_and_stands_behind_basic_alone() {
    let server = clients(AuthorizationServer::authgear());
    let (mut peer, host) = connect(&server).await;
    while peer.post(TOKEN, &host, "client_id=nope").await.status() != 429 {}
    let undecodable = with_headers(&host, "Authorization: Basic JXp6Ong=", "grant_type=refresh_token");
    assert_eq!(peer.ask(undecodable).await.status(), 400, "Basic is decoded first");
    assert_eq!(peer.get("/oauth2/userinfo", &host).await.status(), 401, "userinfo has no limit");
    let watch = bearerd::clock::Stopwatch::start();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut passed = 0;
    while peer.post(TOKEN, &host, "client_id=nope").await.status() != 429 {
        passed += 1;
    }
    let most = watch.elapsed().as_millis() as usize / 500 + 1;
    assert!((3..=most).contains(&passed), "{passed} of at most {most}");
}
