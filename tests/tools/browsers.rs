//! The browser goes where it is sent, and does at the loopback redirect what a test wants done there.

use std::process::Command;

use crate::support::authorization_server::{AuthorizationServer, Client, Endpoint, Exchange};
use crate::support::browser::{self, Callback};
use crate::support::process::Process;
use crate::support::raw::Server;

/// Whoever comes is told what has come: the first line, the Host, and the body.
fn mirror() -> Server {
    Server::start(|_, mut peer| async move {
        let head = peer.head().await;
        let body = String::from_utf8(peer.body(&head).await).unwrap();
        let told = format!("{}|{}|{body}", head.start, head.header("host").unwrap());
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len())).await;
    })
}

/// Signed in at a server, and about to be sent to the mirror.
async fn callback(mirror: &Server) -> Callback {
    let uri = format!("http://{}/callback", mirror.address());
    let server = AuthorizationServer::authgear().client(Client::public("app").redirects_to(&uri)).start();
    let url = format!(
        "{}?client_id=app&redirect_uri={}&response_type=code&scope=openid&state=s%20t&code_challenge=x\
         &code_challenge_method=S256",
        server.authorization_endpoint(),
        browser::escaped(&uri)
    );
    let program = Process::spawn(Command::new("echo").arg(format!("go to {url} please")));
    let printed = browser::printed_url(&program, &server).await;
    assert_eq!((&printed, browser::asked(&printed, "state")), (&url, Some("s t".to_owned())));
    let callback = browser::open(&printed).await.callback();
    let is_authorization = |one: &&Exchange| one.endpoint == Endpoint::Authorization;
    assert_eq!(server.requests().iter().filter(is_authorization).count(), 1);
    assert_eq!(
        (callback.address(), mirror.connections()),
        (mirror.address(), 0),
        "nobody was sent there yet"
    );
    callback
}

#[tokio::test]
async fn a_callback_is_delivered_as_it_is_or_spoiled() {
    let mirror = mirror();
    let callback = callback(&mirror).await;
    let (host, code) = (mirror.address(), callback.parameter("code").unwrap());
    let rows = [
        (callback.get().await, format!("GET /callback?code={code}&state=s%20t HTTP/1.1|{host}|")),
        (callback.get().await, format!("GET /callback?code={code}&state=s%20t HTTP/1.1|{host}|")),
        (callback.without("code").get().await, format!("GET /callback?state=s%20t HTTP/1.1|{host}|")),
        (
            callback.with("state", "other").get().await,
            format!("GET /callback?code={code}&state=other HTTP/1.1|{host}|"),
        ),
        (
            callback.get_as("evil.example").await,
            format!("GET /callback?code={code}&state=s%20t HTTP/1.1|evil.example|"),
        ),
        (callback.post().await, format!("POST /callback HTTP/1.1|{host}|code={code}&state=s%20t")),
        (callback.get_path("/favicon.ico").await, format!("GET /favicon.ico HTTP/1.1|{host}|")),
    ];
    for (reply, told) in rows {
        assert_eq!(reply.text(), told);
    }
}
