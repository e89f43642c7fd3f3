//! HTTP/2 upstreams: which protocol, how many connections, and which streams are sent again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bearerd::proxy::upstream::HttpVersion;
use http::Version;
use http_body_util::BodyExt as _;

use super::frames::{CANCEL, DATA, Frames, INTERNAL_ERROR, REFUSED_STREAM, RST_STREAM};
use super::front::{Front, Options, ask, get, http2_caller, post, send};
use crate::support::raw::{Peer, Server};
use crate::support::upstream::Upstream;
use crate::support::{certificates::Authority, in_time};

fn behind_tls(upstream: &Upstream) -> Front {
    Options::tls(upstream.address(), upstream.ca_file()).start()
}

fn versions(upstream: &Upstream) -> Vec<Version> {
    upstream.requests().iter().map(|seen| seen.version).collect()
}

/// An upstream that speaks frames, reached with `http = "2"`.
fn prior_knowledge(server: &Server) -> Options {
    prior_knowledge_of(server.address())
}

/// A plaintext upstream, reached with `http = "2"`.
pub(super) fn prior_knowledge_of(address: std::net::SocketAddr) -> Options {
    Options { http: HttpVersion::Two, ..Options::to(address) }
}

#[tokio::test]
async fn towards_tls_each_caller_gets_its_own_protocol() {
    let upstream = Upstream::tls();
    let front = behind_tls(&upstream);
    assert_eq!(Peer::connect(front.address).await.get("/echo", "localhost").await.status(), 200);
    assert_eq!(ask(&http2_caller(front.address).await, get("/echo")).await.0, 200);
    assert_eq!(versions(&upstream), [Version::HTTP_11, Version::HTTP_2]);
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(seen.authority.unwrap(), format!("localhost:{}", upstream.address().port()));
    assert!(!seen.headers.iter().any(|(name, _)| name == "host"), "P19");
}

#[tokio::test]
async fn plaintext_is_http1_unless_the_configuration_knows_better() {
    let upstream = Upstream::open();
    for (http, expected) in [(HttpVersion::Match, Version::HTTP_11), (HttpVersion::Two, Version::HTTP_2)] {
        let front = Options { http, ..Options::to(upstream.address()) }.start();
        assert_eq!(ask(&http2_caller(front.address).await, get("/echo")).await.0, 200);
        assert_eq!(*versions(&upstream).last().unwrap(), expected);
    }
}

/// A TLS server that speaks one protocol alone; it answers, and counts handshakes that failed.
async fn one_protocol(alpn: &'static [u8]) -> (std::net::SocketAddr, Authority, Arc<Mutex<usize>>) {
    let authority = Authority::new();
    let config = authority.server(&["localhost"], &[alpn]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refused = Arc::new(Mutex::new(0));
    let count = Arc::clone(&refused);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, count) =
                (tokio_rustls::TlsAcceptor::from(Arc::clone(&config)), Arc::clone(&count));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    *count.lock().unwrap() += 1;
                    return;
                };
                let service =
                    hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                        let said = format!("{:?} {}", request.version(), request.uri().path());
                        Ok::<_, std::convert::Infallible>(http::Response::new(said))
                    });
                let stream = hyper_util::rt::TokioIo::new(stream);
                let executor = hyper_util::rt::TokioExecutor::new();
                drop(if alpn == b"h2" {
                    hyper::server::conn::http2::Builder::new(executor).serve_connection(stream, service).await
                } else {
                    hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await
                });
            });
        }
    });
    (address, authority, refused)
}

#[tokio::test]
async fn an_upstream_without_http2_gets_http1_and_is_remembered() {
    let (address, authority, refused) = one_protocol(b"http/1.1").await;
    let front = Options::tls(address, authority.ca_file()).start();
    let caller = http2_caller(front.address).await;
    for _ in 0..3 {
        assert_eq!(ask(&caller, get("/x")).await, (200, "HTTP/1.1 /x".to_owned()));
    }
    assert_eq!(*refused.lock().unwrap(), 1);
}

#[tokio::test]
async fn an_upstream_without_http1_gets_http2_and_is_remembered() {
    let (address, authority, refused) = one_protocol(b"h2").await;
    let front = Options::tls(address, authority.ca_file()).start();
    let mut peer = Peer::connect(front.address).await;
    for _ in 0..3 {
        assert_eq!(peer.get("/x", "localhost").await.text(), "HTTP/2.0 /x");
    }
    assert_eq!(*refused.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_configured_protocol_is_not_another() {
    let (address, authority, _) = one_protocol(b"http/1.1").await;
    let front = Options { http: HttpVersion::Two, ..Options::tls(address, authority.ca_file()) }.start();
    let (status, problem) = ask(&http2_caller(front.address).await, get("/x")).await;
    assert!(status == 502 && problem.contains("does not speak HTTP/2"), "{problem}");
}

#[tokio::test]
async fn a_crowd_that_comes_at_once_shares_one_connection() {
    let server = Server::start(move |_, peer| async move {
        // Until the whole crowd waits.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut frames = Frames::accept(peer, None).await;
        loop {
            let stream = frames.request().await;
            frames.answer(stream, "ok").await;
        }
    });
    let front = prior_knowledge(&server).start();
    let caller = http2_caller(front.address).await;
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let caller = caller.clone();
        crowd.spawn(async move { ask(&caller, get("/echo")).await.0 });
    }
    while let Some(status) = crowd.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(server.connections(), 1, "P60");
}

#[tokio::test]
async fn a_full_connection_gets_a_neighbour() {
    const MOST: usize = 2;
    let open: Arc<Mutex<Vec<usize>>> = Arc::default();
    let counted = Arc::clone(&open);
    let server = Server::start(move |connection, peer| {
        let open = Arc::clone(&counted);
        async move {
            open.lock().unwrap().push(0);
            let mut frames = Frames::accept(peer, Some(u32::try_from(MOST).unwrap())).await;
            loop {
                let stream = frames.request().await;
                open.lock().unwrap()[connection] += 1;
                frames.begin(stream, "held").await;
            }
        }
    });
    let front = prior_knowledge(&server).start();
    let caller = http2_caller(front.address).await;
    let mut held = Vec::new();
    for _ in 0..3 * MOST {
        held.push(send(&caller, get("/")).await);
    }
    assert_eq!(*open.lock().unwrap(), [MOST, MOST, MOST], "P59");
}

/// How an upstream treats a stream that it does not answer.
#[derive(Clone, Copy)]
enum Treatment {
    Refuse,
    Break,
    /// GOAWAY below the stream.
    GoAway,
}

/// The status that a request gets when its upstream treats the first `bad` of all streams like this; how many it has
/// read whole, and over how many connections.
async fn after(
    bad: usize,
    treatment: Treatment,
    request: http::Request<super::front::Sent>,
) -> (u16, usize, usize) {
    let read = Arc::new(Mutex::new(0));
    let count = Arc::clone(&read);
    let server = Server::start(move |_, peer| {
        let count = Arc::clone(&count);
        async move {
            let mut frames = Frames::accept(peer, None).await;
            loop {
                let frame = frames.next().await;
                if !frame.ends() {
                    continue;
                }
                let number = {
                    let mut count = count.lock().unwrap();
                    *count += 1;
                    *count
                };
                match treatment {
                    _ if number > bad => frames.answer(frame.stream, "ok").await,
                    Treatment::Refuse => frames.reset(frame.stream, REFUSED_STREAM).await,
                    Treatment::Break => frames.reset(frame.stream, INTERNAL_ERROR).await,
                    Treatment::GoAway => frames.go_away(0).await,
                }
            }
        }
    });
    let front = prior_knowledge(&server).start();
    let status = ask(&http2_caller(front.address).await, request).await.0;
    let read = *read.lock().unwrap();
    (status, read, server.connections())
}

#[tokio::test]
async fn a_refused_stream_is_sent_once_more_with_its_body() {
    assert_eq!(after(1, Treatment::Refuse, get("/")).await, (200, 2, 1));
    assert_eq!(after(1, Treatment::Refuse, post("/", "body")).await, (200, 2, 1));
}

#[tokio::test]
async fn a_stream_that_is_refused_twice_is_an_error() {
    assert_eq!(after(2, Treatment::Refuse, get("/")).await, (502, 2, 1));
}

#[tokio::test]
async fn a_stream_above_the_last_that_a_server_looked_at_goes_to_a_new_connection() {
    assert_eq!(after(1, Treatment::GoAway, get("/")).await, (200, 2, 2));
    assert_eq!(after(1, Treatment::GoAway, post("/", "body")).await, (200, 2, 2));
}

#[tokio::test]
async fn a_stream_that_broke_is_never_sent_again() {
    assert_eq!(after(1, Treatment::Break, get("/")).await, (502, 1, 1));
}

#[tokio::test]
async fn a_connection_that_said_goodbye_while_it_rested_is_not_used_again() {
    let server = Server::start(move |_, peer| async move {
        let mut frames = Frames::accept(peer, None).await;
        let stream = frames.request().await;
        frames.answer(stream, "ok").await;
        frames.go_away(stream).await;
        frames.next().await;
    });
    let front = prior_knowledge(&server).start();
    let caller = http2_caller(front.address).await;
    for _ in 0..3 {
        assert_eq!(ask(&caller, post("/", "body")).await.0, 200);
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_stream_alone() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let server = Server::start(move |_, peer| {
        let tell = Arc::clone(&tell);
        async move {
            let mut frames = Frames::accept(peer, None).await;
            let first = frames.request().await;
            frames.begin(first, "held").await;
            loop {
                let frame = frames.next().await;
                if frame.kind == RST_STREAM {
                    assert_eq!((frame.stream, &frame.payload[..]), (first, &CANCEL.to_be_bytes()[..]));
                    break;
                }
                assert_eq!(frame.kind, DATA);
            }
            tell.lock().unwrap().take().unwrap().send(()).unwrap();
            let second = frames.request().await;
            frames.answer(second, "ok").await;
            frames.next().await;
        }
    });
    let front = prior_knowledge(&server).start();
    let caller = http2_caller(front.address).await;
    drop(send(&caller, get("/")).await);
    in_time("the stream's end upstream", told).await.unwrap();
    assert_eq!(ask(&caller, get("/")).await.0, 200);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let upstream = Upstream::tls();
    let front = behind_tls(&upstream);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let body = http_body_util::Full::new(bytes::Bytes::from_static(b"body"))
        .with_trailers(async { Some(Ok(trailers)) });
    let request = http::Request::post("http://localhost/trailers").header("te", "trailers");
    let caller = http2_caller(front.address).await;
    let response = send(&caller, request.body(body.boxed()).unwrap()).await;
    let collected = in_time("a body", response.into_body().collect()).await.unwrap();
    let back = collected.trailers().unwrap();
    assert!(back.contains_key("x-end") && back["x-sum"] == "7", "{back:?}");
    let seen = upstream.requests().pop().unwrap();
    assert!(seen.trailers.iter().any(|(name, value)| name == "x-sum" && value == "7"));
}

#[tokio::test]
async fn a_bodied_get_keeps_its_body() {
    let upstream = Upstream::tls();
    let front = behind_tls(&upstream);
    let mut peer = Peer::connect(front.address).await;
    let chunked = "GET /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(peer.ask(chunked).await.json()["length"], 3);
    let caller = http2_caller(front.address).await;
    let mut request = post("/upload", "abcd");
    *request.method_mut() = http::Method::GET;
    assert!(ask(&caller, request).await.1.contains("\"length\":4"));
}

#[tokio::test]
async fn a_server_that_stays_silent_is_given_up() {
    let server = Server::start(move |_, mut peer| async move {
        peer.rest().await;
    });
    let mut options = prior_knowledge(&server);
    options.limits.tls_timeout = Duration::from_millis(100);
    let front = options.start();
    let (status, problem) = ask(&http2_caller(front.address).await, get("/")).await;
    assert!(status == 502 && problem.contains("does not speak HTTP/2"), "{problem}");
}

#[tokio::test]
async fn a_server_that_failed_after_agreeing_on_http2_is_asked_in_http2_again() {
    let upstream = Upstream::tls();
    let front = behind_tls(&upstream);
    // Its first connection ends behind the handshake.
    upstream.hang_up_once();
    let caller = http2_caller(front.address).await;
    let (status, problem) = ask(&caller, get("/echo")).await;
    assert!(status == 502 && problem.contains("agreed on HTTP/2"), "{status} {problem}");
    assert_eq!(ask(&caller, get("/echo")).await.0, 200);
    assert_eq!(versions(&upstream), [Version::HTTP_2]);
}

#[tokio::test]
async fn an_old_connection_is_replaced_and_one_that_rests_is_closed() {
    let upstream = Upstream::open();
    let mut options = prior_knowledge_of(upstream.address());
    options.limits.upstream_age = Duration::from_millis(300);
    options.limits.upstream_idle = Duration::from_millis(300);
    let front = options.start();
    let mut peer = Peer::connect(front.address).await;
    let mut held = Peer::connect(front.address).await;
    held.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    upstream.wait_for("the request", |upstream| upstream.tally().requests == 1).await;
    let renewed = async {
        while upstream.connections().0 < 2 {
            assert_eq!(peer.get("/echo", "localhost").await.status(), 200);
        }
    };
    in_time("a second connection", renewed).await;
    upstream.release();
    assert_eq!(held.reply().await.status(), 200, "what was on the old one is answered");
    upstream.wait_for("no connection", |upstream| upstream.connections().1 == 0).await;
}
