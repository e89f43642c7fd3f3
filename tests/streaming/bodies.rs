//! Bodies pass as they come, and end as they ended.

use std::time::Duration;

use http_body_util::BodyExt as _;

use crate::proxying::front::{Options, get, http2_caller, send};
use crate::support::in_time;
use crate::support::raw::{Peer, Server};
use crate::support::upstream::Upstream;

#[tokio::test]
async fn an_upload_goes_on_while_nobody_reads_the_answer_that_streams_back() {
    const LENGTH: usize = 64 * 1024 * 1024;
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = std::sync::Arc::new(std::sync::Mutex::new(Some(tell)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (stream, _) = listener.accept().await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        assert_eq!(reading.peek(&mut [0]).await.unwrap(), 1);
        tokio::spawn(async move {
            writing.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            // For ever: until nobody takes more.
            while writing.write_all(chunk.as_bytes()).await.is_ok() {}
        });
        let (mut buffer, mut read) = (vec![0; 64 * 1024], 0);
        while read < LENGTH {
            read += reading.read(&mut buffer).await.unwrap();
        }
        tell.lock().unwrap().take().unwrap().send(()).unwrap();
    });
    let front = Options::to(address).start();
    let mut peer = Peer::connect(front.address).await;
    peer.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
    peer.send(vec![b'u'; 1024]).await;
    assert_eq!(peer.head().await.status(), 200);
    peer.send(vec![b'u'; LENGTH - 1024]).await;
    in_time("the whole upload", told).await.unwrap();
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let upstream = Upstream::tls();
    let front = Options::tls(upstream.address(), upstream.ca_file()).start();
    let caller = http2_caller(front.address).await;
    let mut body = send(&caller, get("/sse?n=3")).await.into_body();
    for number in 0..3 {
        upstream.release_events(1);
        let event = in_time("an event", body.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert!(!event.is_empty(), "event {number}");
    }
    let rest = in_time("the end", body.collect()).await.unwrap().to_bytes();
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_body_that_was_cut_short_is_never_ended_well() {
    let whole_head = "HTTP/1.1 200 OK\r\n";
    for framing in ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let server = Server::start(move |_, mut peer| async move {
            peer.head().await;
            peer.send(format!("{whole_head}{framing}")).await;
        });
        let front = Options::to(server.address()).start();
        let mut peer = Peer::connect(front.address).await;
        peer.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (answer, _) = peer.rest().await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("half") && !answer.contains("0\r\n\r\n"), "{answer}");

        let caller = http2_caller(front.address).await;
        // RST_STREAM may overtake the head.
        let ended_well = async {
            let response = caller.clone().send_request(get("/")).await.ok()?;
            response.into_body().collect().await.ok()
        };
        assert!(in_time("the end of the stream", ended_well).await.is_none(), "{framing}");
    }
}

#[tokio::test]
async fn an_answer_that_lasts_until_its_connection_ends_is_whole() {
    let server = Server::start(move |_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.0 200 OK\r\n\r\nall of it").await;
    });
    let front = Options::to(server.address()).start();
    assert_eq!(Peer::connect(front.address).await.get("/", "localhost").await.text(), "all of it");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_arrives_at_once() {
    let server = Server::start(move |_, mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    let front = Options::to(server.address()).start();
    let mut peer = Peer::connect(front.address).await;
    peer.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nsome").await;
    let reply = peer.reply().await;
    assert_eq!((reply.status(), reply.text()), (413, "much".to_owned()));
}
