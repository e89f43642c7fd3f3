//! Addresses to listen on and servers to dial.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;

use crate::clock;

/// How long the next address waits for the one before it to connect (RFC 8305 §5 recommends 250 ms).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// One entry of `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; `localhost` stands for 127.0.0.1 and ::1. Port 0 takes any free port.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
    /// `fd:NAME`: a socket that systemd hands over.
    Inherited(String),
}

impl Listen {
    /// Whether only this machine can reach it. A socket that systemd hands over is looked at once it is there.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => is_loopback(host),
            Self::Unix(_) | Self::Inherited(_) => true,
        }
    }
}

/// Whether a host, without brackets, is this very machine: what is sent there crosses no network.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where the server of an `http` or `https` URL is: its host, in lower case and without brackets, and its port, the
/// scheme's own where it names none (RFC 9110 §4.2.3).
#[must_use]
pub fn place(url: &Uri) -> (String, u16) {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let usual = if url.scheme_str() == Some("https") { 443 } else { 80 };
    (host, url.port_u16().unwrap_or(usual))
}

/// The same as one word, `host:port`.
#[must_use]
pub fn authority(url: &Uri) -> String {
    let (host, port) = place(url);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(name) => write!(f, "fd:{name}"),
        }
    }
}

/// Connects to `host:port`, trying the addresses in the resolver's order, each a little after the one before (RFC
/// 8305); Nagle's algorithm off. No timeout of its own but `timeout` over all.
///
/// # Errors
/// The last address' error, `NotFound` when the name has none, `TimedOut` after `timeout`.
pub async fn dial(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let dialled = async { dial_any(tokio::net::lookup_host((host, port)).await?.collect()).await };
    match tokio::time::timeout_at(clock::in_(timeout), dialled).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

async fn dial_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut pending = addresses.into_iter();
    let mut running = tokio::task::JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        let more = pending.next();
        let exhausted = more.is_none();
        if let Some(address) = more {
            running.spawn(TcpStream::connect(address));
        }
        if running.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(done) = running.join_next() => match done.map_err(io::Error::other).and_then(|connected| connected) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if !exhausted => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that is taken and refuses, for as long as the socket is held.
    fn refusing() -> (tokio::net::TcpSocket, SocketAddr) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_hide_the_second() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let (_held, dead) = refusing();
        assert_eq!(dial_any(vec![dead, alive]).await.unwrap().peer_addr().unwrap(), alive);
    }

    #[tokio::test]
    async fn a_closed_port_is_an_error_that_says_so() {
        let (_held, dead) = refusing();
        let error = dial("127.0.0.1", dead.port(), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_server_is_where_its_url_says_however_it_is_spelt() {
        for (one, same, another) in [
            ("https://id.example/token", "https://ID.example:443/other", "https://id.example:8443/token"),
            ("http://[::1]/token", "http://[::1]:80/", "http://[::2]/token"),
            ("http://127.0.0.1:80/", "http://127.0.0.1/token", "https://127.0.0.1/token"),
        ] {
            let at = |url: &str| place(&url.parse().unwrap());
            assert_eq!(at(one), at(same), "{one}");
            assert_ne!(at(one), at(another), "{one}");
            assert_eq!(authority(&one.parse().unwrap()), authority(&same.parse().unwrap()), "{one}");
        }
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        let tcp = |host: &str| Listen::Tcp { host: host.to_owned(), port: 1 };
        assert!(tcp("localhost").is_local() && tcp("::1").is_local() && tcp("127.0.0.9").is_local());
        assert!(!tcp("0.0.0.0").is_local() && !tcp("::").is_local() && !tcp("example.com").is_local());
    }
}
