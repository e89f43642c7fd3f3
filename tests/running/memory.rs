//! What streams through is not kept: memory does not grow with a body.

use std::path::Path;

use super::stage::{InFront, strict};
use crate::support::raw::{Peer, Server};
use crate::support::wanted;

const MIB: usize = 1 << 20;

/// How much the process may grow by.
const GROWTH: usize = 16 * MIB;

/// A MiB in which no part looks like its neighbour, so that one that is left out or comes twice shows.
fn piece() -> Vec<u8> {
    (0..MIB).map(|at: usize| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// The most memory that a process has had so far, in bytes.
fn peak(process: u32) -> usize {
    let status =
        std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// An upstream that answers `GET /N` with N MiB, and `PUT /N` when it has read as many.
fn upstream() -> Server {
    Server::start(|_, mut peer| async move {
        let piece = piece();
        while let Some(head) = peer.try_head().await {
            let mib: usize = head.path()[1..].parse().unwrap();
            if head.method() == "PUT" {
                for _ in 0..mib {
                    assert!(peer.take(MIB).await == piece, "what was sent has come");
                }
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            } else {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", mib * MIB)).await;
                for _ in 0..mib {
                    peer.send(&piece).await;
                }
            }
        }
    })
}

/// This many MiB down and up again, whole.
async fn round(peer: &mut Peer, mib: usize) {
    let piece = piece();
    peer.send(format!("GET /{mib} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    assert_eq!(peer.head().await.status(), 200);
    for _ in 0..mib {
        assert!(peer.take(MIB).await == piece, "what was answered has come");
    }
    let length = mib * MIB;
    peer.send(format!("PUT /{mib} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")).await;
    for _ in 0..mib {
        peer.send(&piece).await;
    }
    assert_eq!(peer.reply().await.status(), 200);
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "memory is read from /proc")]
async fn a_long_body_either_way_leaves_it_as_small_as_it_was() {
    let mib = usize::try_from(wanted("BEARERD_STREAM_MIB", 128)).unwrap();
    let (server, upstream) = (strict(3600).start(), upstream());
    let in_front = InFront::of(&format!("http://{}", upstream.address()), &server).await;
    let mut peer = Peer::connect(in_front.proxy).await;
    // What every process grows by once, for its first bodies.
    round(&mut peer, 4).await;
    let before = peak(in_front.bearerd.id());
    round(&mut peer, mib).await;
    let growth = peak(in_front.bearerd.id()) - before;
    println!("{mib} MiB down and up: {before} bytes before, {growth} more at the most");
    assert!(growth < GROWTH, "{growth} bytes more");
}
