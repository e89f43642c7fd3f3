//! Bodies: one that is fed piece by piece, and the reading of one to its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::Shared;

/// An answer's body, as long as somebody feeds it.
#[derive(Debug)]
pub(super) struct Feed(mpsc::Receiver<io::Result<Frame<Bytes>>>);

/// Where an answer's body is fed.
pub(super) type Feeder = mpsc::Sender<io::Result<Frame<Bytes>>>;

impl Feed {
    /// A body and the end that feeds it; a second piece waits until the first was taken.
    pub(super) fn open() -> (Feeder, Self) {
        let (feeder, feed) = mpsc::channel(1);
        (feeder, Self(feed))
    }

    /// A body that is all there.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let (feeder, feed) = Self::open();
        let bytes = bytes.into();
        if !bytes.is_empty() {
            let _there_is_room = feeder.try_send(Ok(Frame::data(bytes)));
        }
        feed
    }
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.get_mut().0.poll_recv(cx)
    }
}

/// A request's body, read whole.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) length: u64,
    pub(super) sha256: String,
    pub(super) trailers: HeaderMap,
    /// The first bytes, for people.
    pub(super) start: Vec<u8>,
    pub(super) broken: bool,
}

/// How much of a body an echo repeats.
const SHOWN: usize = 64 * 1024;

/// Reads a body to its end, passing each piece on to `piece`, and remembers how it went.
pub(super) async fn read(
    shared: &Shared,
    number: usize,
    mut body: Incoming,
    feeder: Option<&Feeder>,
) -> Read {
    let mut sum = digest::Context::new(&digest::SHA256);
    let mut read = Read::default();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            read.broken = true;
            break;
        };
        if let Some(data) = frame.data_ref() {
            sum.update(data);
            read.length += data.len() as u64;
            let room = SHOWN.saturating_sub(read.start.len());
            read.start.extend_from_slice(&data[..data.len().min(room)]);
            shared.change(|memory| memory.log[number].body_length = read.length);
        }
        if let Some(trailers) = frame.trailers_ref() {
            read.trailers = trailers.clone();
        }
        if let Some(feeder) = feeder {
            let _left = feeder.send(Ok(frame)).await;
        }
    }
    read.sha256 = hex(sum.finish().as_ref());
    shared.change(|memory| {
        let seen = &mut memory.log[number];
        seen.body_sha256 = (!read.broken).then(|| read.sha256.clone());
        seen.trailers = super::routes::pairs(&read.trailers);
        seen.broken = read.broken;
    });
    read
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
