//! HTTP/2 by the frame: a server that says what no library would (RFC 9113 §4.1).

use crate::support::raw::Peer;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Whether the caller's side of the stream ends with it.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A server's side of a connection.
pub(crate) struct Frames {
    peer: Peer,
}

impl Frames {
    /// Reads the preface and sends SETTINGS, with a limit of streams if there is one.
    pub(crate) async fn accept(mut peer: Peer, most_streams: Option<u32>) -> Self {
        assert_eq!(peer.take(24).await, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut settings = Vec::new();
        if let Some(most) = most_streams {
            settings.extend([0, 3]);
            settings.extend(most.to_be_bytes());
        }
        let mut frames = Self { peer };
        frames.send(SETTINGS, 0, 0, &settings).await;
        frames
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.peer.send(bytes).await;
    }

    /// The next frame that is about a stream; SETTINGS and PING are answered.
    pub(crate) async fn next(&mut self) -> Frame {
        loop {
            let head = self.peer.take(9).await;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let payload = self.peer.take(length).await;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match head[3] {
                SETTINGS | PING if head[4] & ACK == 0 => {
                    let echoed = if head[3] == PING { payload } else { Vec::new() };
                    self.send(head[3], ACK, 0, &echoed).await;
                }
                kind @ (DATA | HEADERS | RST_STREAM) => {
                    return Frame { kind, flags: head[4], stream, payload };
                }
                _ => {}
            }
        }
    }

    /// The stream of the next request, once its head is there.
    pub(crate) async fn request(&mut self) -> u32 {
        loop {
            let frame = self.next().await;
            if frame.kind == HEADERS {
                return frame.stream;
            }
        }
    }

    /// 200 and a body.
    pub(crate) async fn answer(&mut self, stream: u32, body: &str) {
        self.send(HEADERS, END_HEADERS, stream, &[0x88]).await; // `:status 200` of the static table
        self.send(DATA, END_STREAM, stream, body.as_bytes()).await;
    }

    /// 200, and a body that does not end.
    pub(crate) async fn begin(&mut self, stream: u32, body: &str) {
        self.send(HEADERS, END_HEADERS, stream, &[0x88]).await;
        self.send(DATA, 0, stream, body.as_bytes()).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32, reason: u32) {
        self.send(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }

    /// Takes no stream above `last` any more.
    pub(crate) async fn go_away(&mut self, last: u32) {
        let payload = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }
}
