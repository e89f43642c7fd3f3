//! What is sent again, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::stage::{InFront, strict};
use crate::support::raw::{Peer, Server};

/// bearerd in front of an upstream that answers the first request of a connection and treats the second as `second`
/// says; returns the statuses of two requests on one connection, and how many requests the upstream has read.
async fn after_a_silent_close(method: &'static str, second: &'static str) -> (u16, u16, usize) {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let upstream = Server::start(move |connection, mut peer| {
        let counted = Arc::clone(&counted);
        async move {
            for request in 0.. {
                let Some(_head) = peer.try_head().await else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                if connection == 0 && request == 1 {
                    peer.send(second).await;
                    return;
                }
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    });
    let server = strict(60).start();
    let in_front = InFront::of(&format!("http://{}", upstream.address()), &server).await;
    let mut peer = Peer::connect(in_front.proxy).await;
    let ask = format!("{method} /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    let (one, two) = (Box::pin(peer.ask(&ask)).await.status(), Box::pin(peer.ask(&ask)).await.status());
    (one, two, read.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_get_that_met_a_dying_connection_is_sent_again_once() {
    assert_eq!(after_a_silent_close("GET", "").await, (200, 200, 3));
}

#[tokio::test]
async fn a_post_never_is() {
    assert_eq!(after_a_silent_close("POST", "").await, (200, 502, 2));
}

#[tokio::test]
async fn nothing_is_sent_again_once_a_byte_of_the_answer_has_come() {
    assert_eq!(after_a_silent_close("GET", "HTTP/1.1 200 O").await, (200, 502, 2));
}
