//! What is logged, and what is not at any verbosity.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::Verbosity;

/// Dependencies that would write header values or bytes of a body, and the most that each may say, `-vvv` included.
///
/// Read in the sources of the versions in Cargo.lock. hyper and hyper-util are built without their `tracing` feature and
/// say nothing; the clamp holds for a build in which another crate turns it on (`hyper::proto::h1::role` then prints a
/// Content-Length that it refuses). rustls is built without its `logging`; with it, TRACE prints whole handshake
/// messages, tickets of resumption among them.
///
/// h2 leaves fields and payload out of the frames that it prints, but not the debug data of a GOAWAY, which a server may
/// fill with what it was sent: `codec` and `proto::connection` print the frame, and most of `proto::streams` the state
/// of a stream, in which that data stays. `frame::headers` prints a TE that it refuses, and `server` a path, with its
/// query.
const CLAMPED: &[(&str, LevelFilter)] = &[
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("h2::codec", LevelFilter::INFO),
    ("h2::frame::headers", LevelFilter::INFO),
    ("h2::proto::connection", LevelFilter::INFO),
    ("h2::proto::streams", LevelFilter::INFO),
    ("h2::server", LevelFilter::INFO),
    ("rustls", LevelFilter::DEBUG),
];

/// What is logged. Dependencies have nothing to say to an operator below a warning, unless all is wanted.
pub(super) fn filter(level: tracing::Level, verbosity: Verbosity) -> Targets {
    let configured = LevelFilter::from_level(level);
    let (ours, others) = match verbosity {
        Verbosity { quiet: true, .. } => {
            (LevelFilter::WARN.min(configured), LevelFilter::WARN.min(configured))
        }
        Verbosity { verbose: 0, .. } => (configured, LevelFilter::WARN.min(configured)),
        Verbosity { verbose: 1, .. } => (LevelFilter::DEBUG.max(configured), LevelFilter::WARN),
        Verbosity { verbose: 2, .. } => (LevelFilter::TRACE, LevelFilter::WARN),
        Verbosity { .. } => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    let clamped = CLAMPED.iter().map(|(target, most)| (*target, others.min(*most)));
    Targets::new().with_default(others).with_targets(clamped).with_target("bearerd", ours)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tracing::Level;
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

    use super::*;
    use crate::telemetry::json_lines;
    use crate::telemetry::tests::Kept;

    const EVERYTHING: Verbosity = Verbosity { quiet: false, verbose: 3 };
    const SECRET: &str = "c4n4ry";

    #[test]
    fn verbosity_raises_ours_first_and_everything_last() {
        let shows = |verbose, target: &str, level| {
            filter(Level::INFO, Verbosity { quiet: false, verbose }).would_enable(target, &level)
        };
        assert!(shows(0, "bearerd::grant", Level::INFO) && !shows(0, "bearerd::grant", Level::DEBUG));
        assert!(shows(1, "bearerd", Level::DEBUG) && !shows(1, "bearerd", Level::TRACE));
        assert!(shows(2, "bearerd", Level::TRACE) && !shows(2, "mio::poll", Level::INFO));
        assert!(shows(3, "mio::poll", Level::TRACE));
        let quiet = filter(Level::TRACE, Verbosity { quiet: true, verbose: 0 });
        assert!(quiet.would_enable("bearerd", &Level::WARN) && !quiet.would_enable("bearerd", &Level::INFO));
    }

    #[test]
    fn what_could_show_a_header_stays_silent_at_the_highest_verbosity() {
        let all = filter(Level::TRACE, EVERYTHING);
        for target in ["h2::frame::headers", "h2::server", "hyper::proto::h1::role", "hyper_util::client"] {
            assert!(!all.would_enable(target, &Level::DEBUG), "{target}");
        }
        assert!(!all.would_enable("rustls::client::hs", &Level::TRACE));
        assert!(all.would_enable("h2::proto::settings", &Level::TRACE));
    }

    /// What is logged under `filter` while `scene` plays.
    async fn logged(filter: Targets, scene: impl Future<Output = ()>) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = json_lines(move || writer.clone()).with_filter(filter);
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        scene.await;
        kept.text()
    }

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// The server refuses a request and sends back what came with it, as debug data (RFC 9113 §6.8).
    async fn going_away(mut server: DuplexStream, client: DuplexStream) {
        let (mut requests, connection) = h2::client::handshake(client).await.unwrap();
        let connection = tokio::spawn(connection);
        let (answer, _body) = requests.send_request(Request::new(()), true).unwrap();
        let debug = [&[0, 0, 0, 0, 0, 0, 0, 2][..], SECRET.as_bytes()].concat();
        server.write_all(&[frame(4, 0, 0, &[]), frame(7, 0, 0, &debug)].concat()).await.unwrap();
        let refused = answer.await.unwrap_err();
        assert!(refused.is_go_away() && refused.is_remote(), "{refused}");
        drop(requests);
        assert!(connection.await.unwrap().is_err());
    }

    /// A caller sends a path that is none, with a token in its query.
    async fn malformed_path(server: DuplexStream, mut client: DuplexStream) {
        let path = format!("/ ?access_token={SECRET}");
        let head = [&[0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()][..], path.as_bytes()].concat();
        let sent = [frame(4, 0, 0, &[]), frame(1, 5, 1, &head)].concat();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut connection = h2::server::handshake(server).await.unwrap();
        assert!(connection.accept().await.is_none_or(|request| request.is_err()), "no request comes of it");
        drop(connection);
        let mut answered = Vec::new();
        client.read_to_end(&mut answered).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_peer_of_http_2_sends_back_is_not_logged_at_the_highest_verbosity() {
        let unclamped = || Targets::new().with_default(LevelFilter::TRACE);
        let clamped = || filter(Level::TRACE, EVERYTHING);
        let pipe = || tokio::io::duplex(64 * 1024);

        let (one, other) = pipe();
        let control = logged(unclamped(), going_away(one, other)).await;
        assert!(control.contains(SECRET), "the control finds it where nothing is clamped");
        let (one, other) = pipe();
        let log = logged(clamped(), going_away(one, other)).await;
        assert!(!log.contains(SECRET) && log.contains("\"target\":\"h2::"), "{log}");

        let (one, other) = pipe();
        let control = logged(unclamped(), malformed_path(one, other)).await;
        assert!(control.contains(SECRET), "the control finds it where nothing is clamped: {control}");
        let (one, other) = pipe();
        let log = logged(clamped(), malformed_path(one, other)).await;
        assert!(!log.contains(SECRET), "{log}");
    }
}
