//! A WebSocket that echoes (RFC 6455), by hand, so that the test's own client is not its judge.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::body::Feed;

/// What the accept key is derived with (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Answers the handshake and echoes from then on.
pub(super) fn upgrade(mut request: Request<Incoming>) -> Response<Feed> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).map(accept_key);
    let asked = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let mut response = Response::new(Feed::whole(""));
    let Some(key) = key.filter(|_| asked) else {
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            let _ended = echo(TokioIo::new(upgraded)).await;
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&key).unwrap());
    response
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub(crate) fn accept_key(key: &str) -> String {
    let joined = format!("{key}{GUID}");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes()))
}

/// A frame: its opcode and its payload, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// Close, ping and pong (RFC 6455 §11.8).
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> std::io::Result<()> {
    loop {
        let frame = read_frame(&mut stream).await?;
        let opcode = if frame.opcode == PING { PONG } else { frame.opcode };
        stream.write_all(&encode(&Frame { opcode, payload: frame.payload }, None)).await?;
        stream.flush().await?;
        if opcode == CLOSE {
            return stream.shutdown().await;
        }
    }
}

/// Reads one frame, masked or not.
pub(crate) async fn read_frame<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Frame> {
    let mut start = [0; 2];
    stream.read_exact(&mut start).await?;
    let length = match start[1] & 0x7f {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    let mut mask = [0; 4];
    if start[1] & 0x80 != 0 {
        stream.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await?;
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
    Ok(Frame { opcode: start[0] & 0xf, payload })
}

/// A final frame as it goes out; a client's has a mask.
pub(crate) fn encode(frame: &Frame, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![0x80 | frame.opcode];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match frame.payload.len() {
        short @ ..126 => bytes.push(masked | short as u8),
        middle @ ..0x1_0000 => {
            bytes.push(masked | 126);
            bytes.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(masked | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask.unwrap_or_default()[..if mask.is_some() { 4 } else { 0 }]);
    let mask = mask.unwrap_or_default();
    bytes.extend(frame.payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}
