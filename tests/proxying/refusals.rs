//! What the proxy itself answers when an upstream cannot, or says what it must not.

use std::time::Duration;

use bearerd::proxy::upstream::{HttpVersion, Target};

use super::front::{Options, TOKEN, ask, get, http2_caller, send};
use crate::support::certificates::Authority;
use crate::support::raw::{Peer, Reply, Server};
use crate::support::upstream::Upstream;

async fn refused(options: Options, code: &str) -> String {
    let front = options.start();
    let reply: Reply = Peer::connect(front.address).await.get("/x", "localhost").await;
    assert_eq!((reply.status(), reply.json()["code"].as_str()), (502, Some(code)), "{}", reply.text());
    assert!(!reply.text().contains(TOKEN));
    reply.json()["detail"].as_str().unwrap().to_owned()
}

/// An address at which nobody listens, and nobody will: a port that was let go may be the next test's.
fn nobody() -> (tokio::net::TcpSocket, std::net::SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_named_with_its_port() {
    let (_held, address) = nobody();
    let detail = refused(Options::to(address), "upstream_unreachable").await;
    assert!(detail.contains(&format!("127.0.0.1 port {}", address.port())), "{detail}");
    assert!(detail.contains("refused"), "{detail}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_named() {
    let upstream = Upstream::tls();
    let untrusted = Options { ca_file: None, ..Options::tls(upstream.address(), upstream.ca_file()) };
    let detail = refused(untrusted, "upstream_unreachable").await;
    assert!(detail.contains("signed by nobody that is trusted here"), "{detail}");
}

#[tokio::test]
async fn a_certificate_of_another_host_or_of_another_time_is_refused_and_named() {
    let authority = Authority::new();
    for (config, wrong) in [
        (authority.server(&["other.example"], &[b"http/1.1"]), "names another host"),
        (authority.expired_server(&["localhost"]), "has expired"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(config);
            while let Ok((stream, _)) = listener.accept().await {
                let handshake = acceptor.accept(stream);
                tokio::spawn(async move { drop(handshake.await) });
            }
        });
        let detail = refused(Options::tls(address, authority.ca_file()), "upstream_unreachable").await;
        assert!(detail.contains(wrong), "{detail}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_an_upstream_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("upstream.sock");
    let options = || Options {
        target: Target::Unix(path.clone()),
        ..Options::to(std::net::SocketAddr::from(([127, 0, 0, 1], 1)))
    };
    let detail = refused(options(), "upstream_unreachable").await;
    assert!(detail.contains("upstream.sock"), "{detail}");

    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
        let head = String::from_utf8_lossy(&buffer[..read]).to_lowercase();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
    });
    let front = options().start();
    let reply = Peer::connect(front.address).await.get("/x", "localhost").await;
    assert!(reply.status() == 200 && reply.text().contains("host: localhost\r\n"), "{}", reply.text());
}

#[tokio::test]
async fn what_is_not_http_is_said() {
    for (said, expected) in [
        ("SSH-2.0-OpenSSH\r\n", "not HTTP/1.1"),
        ("HTTP/1.1 200 O", "broke off in the head"),
        ("", "without an answer"),
    ] {
        let server = Server::start(move |_, mut peer| async move {
            peer.head().await;
            peer.send(said).await;
        });
        let detail = refused(Options::to(server.address()), "upstream_protocol").await;
        assert!(detail.contains(expected), "{detail}");
    }
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_refused() {
    let server = Server::start(move |_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        peer.rest().await;
    });
    let detail = refused(Options::to(server.address()), "upstream_protocol").await;
    assert!(detail.contains("nobody had asked"), "{detail}");
}

#[tokio::test]
async fn a_grpc_caller_gets_a_status_in_trailers() {
    let (_held, address) = nobody();
    let front = Options { http: HttpVersion::Two, ..Options::to(address) }.start();
    let mut request = get("/service/Method");
    request.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    let response = send(&http2_caller(front.address).await, request).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["grpc-status"]),
        (200, &"14".parse().unwrap())
    );
}

#[tokio::test]
async fn a_fault_of_our_own_ends_one_request_alone() {
    let server = Server::start(|_, mut peer| async move {
        peer.head().await;
        peer.rest().await;
    });
    // The configuration allows no such span, and arithmetic with it panics.
    let front = Options { response_timeout: Some(Duration::MAX), ..Options::to(server.address()) }.start();
    let caller = http2_caller(front.address).await;
    for _ in 0..2 {
        let (status, problem) = ask(&caller, get("/")).await;
        assert!(status == 500 && problem.contains("\"internal\""), "{status} {problem}");
    }
}
