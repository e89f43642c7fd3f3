//! What the upstream serves.
//!
//! | path | answer |
//! |---|---|
//! | `/echo`, and any other | JSON of what arrived |
//! | `/status/NNN` | that status |
//! | `/sse?n=N` | N server-sent events, each when the test releases it |
//! | `/bytes/N` | N bytes in pieces, with their length |
//! | `/upload` | JSON with the body's length and SHA-256, once it has ended |
//! | `/echo-stream` | the body as it arrives |
//! | `/ignore` | 200 at once; the body is not read |
//! | `/trailers` | a body and the trailers `x-end` and those of the request |
//! | `/slow` | nothing until the test releases it |
//! | `/stall/N` | N bytes, and N more when the test releases them |
//! | `/break/N` | N bytes of 2 N, then the connection breaks |
//! | `/ws` | a WebSocket that echoes |

use std::io;
use std::sync::Arc;

use bearerd::clock::Clock;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::watch;

use super::body::{Feed, Feeder, read};
use super::seen::{Seen, Verdict};
use super::{Shared, websocket};
use crate::support::http::Head;

/// The size of the pieces in which bytes go out.
const PIECE: usize = 16 * 1024;

/// Answers one request; `head` is what it looked like on the wire.
pub(super) async fn answer(
    shared: Arc<Shared>,
    connection: usize,
    head: Option<Head>,
    request: Request<Incoming>,
) -> Result<Response<Feed>, io::Error> {
    let number = remember(&shared, connection, head, &request);
    let told = shared.memory().proofs.headers();
    let mut answer = served(shared, number, request).await?;
    for (name, value) in told {
        answer
            .headers_mut()
            .insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
    Ok(answer)
}

async fn served(
    shared: Arc<Shared>,
    number: usize,
    request: Request<Incoming>,
) -> Result<Response<Feed>, io::Error> {
    let released = shared.released.subscribe();
    if let Some(refusal) = refuse(&shared, number) {
        read(&shared, number, request.into_body(), None).await;
        return Ok(refusal);
    }
    let path = request.uri().path().to_owned();
    let (route, rest) =
        path.trim_start_matches('/').split_once('/').unwrap_or((&path[1.min(path.len())..], ""));
    let count: usize = rest.parse().unwrap_or(0);
    Ok(match route {
        "status" => status(&shared, number, request, rest).await,
        "sse" => events(&shared, &request),
        "bytes" => bytes(shared, count),
        "upload" => upload(&shared, number, request).await,
        "echo-stream" => echo_stream(shared, number, request),
        "ignore" => Response::new(Feed::whole("ignored\n")),
        "trailers" => trailers(&shared, number, request).await,
        "slow" => slow(&shared, number, request, released).await,
        "stall" => stall(shared, count, released),
        "break" => break_off(shared, count),
        "ws" => websocket::upgrade(request),
        _ => echo(&shared, number, request).await,
    })
}

fn remember(shared: &Shared, connection: usize, head: Option<Head>, request: &Request<Incoming>) -> usize {
    let written = head.as_ref().map(|head| (head.target().to_owned(), head.headers.clone()));
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let (target, headers) = written.unwrap_or_else(|| (path, pairs(request.headers())));
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let authority = request.uri().authority().map(ToString::to_string).or(host);
    let mut seen = Seen {
        number: 0,
        connection,
        received: Clock::System.now(),
        version: request.version(),
        method: request.method().to_string(),
        target,
        authority,
        headers,
        head: head.map(|head| head.bytes),
        verdict: Verdict::Good,
        body_length: 0,
        body_sha256: None,
        trailers: Vec::new(),
        broken: false,
    };
    shared.change(|memory| {
        if let Some(check) = &shared.check {
            let shown = memory.certificates.iter().find(|(number, _)| *number == connection);
            let shown = shown.and_then(|(_, shown)| shown.clone());
            seen.verdict = check.verdict(&seen, shared.scheme, shown.as_deref(), &mut memory.proofs);
        }
        seen.number = memory.log.len();
        memory.tally.count(seen.verdict);
        memory.log.push(seen);
        memory.log.len() - 1
    })
}

/// The 401 that a request gets for its token, or because the test wants it.
fn refuse(shared: &Shared, number: usize) -> Option<Response<Feed>> {
    let (verdict, dislike) =
        shared.change(|memory| (memory.log[number].verdict, memory.dislikes.pop_front()));
    let challenge = match (dislike, verdict) {
        (Some(challenge), _) => challenge,
        (None, Verdict::Good) => return None,
        (None, Verdict::Missing) => Some("Bearer".to_owned()),
        (None, Verdict::Several) => Some("Bearer error=\"invalid_request\"".to_owned()),
        (None, Verdict::Bad(_)) => Some("Bearer error=\"invalid_token\"".to_owned()),
        (None, Verdict::Unproven(refused)) => {
            let description = refused.why();
            Some(format!(
                "DPoP algs=\"ES256\", error=\"{}\", error_description=\"{description}\"",
                refused.error()
            ))
        }
    };
    let mut refusal = reply(StatusCode::UNAUTHORIZED, "text/plain", "the upstream wants a good token\n");
    if let Some(challenge) = challenge {
        refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_str(&challenge).unwrap());
    }
    Some(refusal)
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Feed> {
    let body = body.into();
    let mut reply = Response::new(Feed::whole(Bytes::new()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if !matches!(status.as_u16(), 204 | 304) {
        reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        *reply.body_mut() = Feed::whole(body);
    }
    reply
}

/// Names and values, in the order in which the map has them.
pub(super) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let latin = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.to_string(), latin(value))).collect()
}

async fn echo(shared: &Shared, number: usize, request: Request<Incoming>) -> Response<Feed> {
    let read = read(shared, number, request.into_body(), None).await;
    let seen = shared.memory().log[number].clone();
    let body = json!({
        "version": format!("{:?}", seen.version),
        "method": seen.method,
        "target": seen.target,
        "authority": seen.authority,
        "headers": seen.headers,
        "body": String::from_utf8_lossy(&read.start),
        "length": read.length,
        "sha256": read.sha256,
        "trailers": seen.trailers,
    });
    reply(StatusCode::OK, "application/json", format!("{body:#}\n"))
}

async fn status(shared: &Shared, number: usize, request: Request<Incoming>, code: &str) -> Response<Feed> {
    read(shared, number, request.into_body(), None).await;
    let status = code.parse().unwrap_or(StatusCode::NOT_FOUND);
    reply(status, "text/plain", format!("{status}\n"))
}

async fn upload(shared: &Shared, number: usize, request: Request<Incoming>) -> Response<Feed> {
    let read = read(shared, number, request.into_body(), None).await;
    let body = json!({ "length": read.length, "sha256": read.sha256 });
    reply(StatusCode::OK, "application/json", format!("{body}\n"))
}

fn echo_stream(shared: Arc<Shared>, number: usize, request: Request<Incoming>) -> Response<Feed> {
    let (feeder, feed) = Feed::open();
    tokio::spawn(async move {
        let read = read(&shared, number, request.into_body(), Some(&feeder)).await;
        if read.broken {
            let _left = feeder.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
        }
    });
    Response::new(feed)
}

async fn trailers(shared: &Shared, number: usize, request: Request<Incoming>) -> Response<Feed> {
    let read = read(shared, number, request.into_body(), None).await;
    let (feeder, feed) = Feed::open();
    tokio::spawn(async move {
        let mut trailers = read.trailers;
        trailers.insert("x-end", HeaderValue::from_static("reached"));
        let _left = feeder.send(Ok(Frame::data(Bytes::from_static(b"before the trailers\n")))).await;
        let _left = feeder.send(Ok(Frame::trailers(trailers))).await;
    });
    let mut response = Response::new(feed);
    // hyper writes only the HTTP/1.1 trailers that were announced.
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-end, x-checksum"));
    response
}

fn events(shared: &Arc<Shared>, request: &Request<Incoming>) -> Response<Feed> {
    let query = request.uri().query().unwrap_or_default();
    let count = query.strip_prefix("n=").and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
    let (feeder, feed) = Feed::open();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        for number in 0..count {
            let released = tokio::select! {
                released = shared.events.acquire() => released,
                () = feeder.closed() => return,
            };
            released.unwrap().forget();
            let event = Bytes::from(format!("id: {number}\ndata: event {number}\n\n"));
            if feeder.send(Ok(Frame::data(event))).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(feed);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

async fn slow(
    shared: &Shared,
    number: usize,
    request: Request<Incoming>,
    mut released: watch::Receiver<u64>,
) -> Response<Feed> {
    read(shared, number, request.into_body(), None).await;
    let _gone = released.changed().await;
    reply(StatusCode::OK, "text/plain", "at last\n")
}

fn bytes(shared: Arc<Shared>, count: usize) -> Response<Feed> {
    let (feeder, feed) = Feed::open();
    tokio::spawn(async move { pour(&shared, &feeder, 0, count).await });
    sized(feed, count)
}

fn stall(shared: Arc<Shared>, count: usize, mut released: watch::Receiver<u64>) -> Response<Feed> {
    let (feeder, feed) = Feed::open();
    tokio::spawn(async move {
        pour(&shared, &feeder, 0, count).await;
        let _gone = released.changed().await;
        pour(&shared, &feeder, count, 2 * count).await;
    });
    sized(feed, 2 * count)
}

fn break_off(shared: Arc<Shared>, count: usize) -> Response<Feed> {
    let (feeder, feed) = Feed::open();
    tokio::spawn(async move {
        pour(&shared, &feeder, 0, count).await;
        let _left = feeder.send(Err(io::ErrorKind::ConnectionAborted.into())).await;
    });
    sized(feed, 2 * count)
}

fn sized(feed: Feed, length: usize) -> Response<Feed> {
    let mut response = Response::new(feed);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

async fn pour(shared: &Shared, feeder: &Feeder, from: usize, to: usize) {
    for start in (from..to).step_by(PIECE) {
        let piece: Bytes = (start..to.min(start + PIECE)).map(pattern).collect();
        let length = piece.len();
        if feeder.send(Ok(Frame::data(piece))).await.is_err() {
            return;
        }
        shared.memory().poured += length;
    }
}

/// The byte at this place of `/bytes/N`: no two neighbouring pieces are alike.
pub(crate) fn pattern(at: usize) -> u8 {
    ((at ^ (at >> 8) ^ (at >> 16)) & 0xff) as u8
}
