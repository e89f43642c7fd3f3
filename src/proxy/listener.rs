//! Where callers come in: sockets bound once, and an accept loop that no error ends.

use std::io;
use std::net::TcpListener;
#[cfg(unix)]
use std::os::unix::net::UnixListener;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::net::Listen;

/// How long to wait when the system has no descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How many callers are let in at the end at most: what Linux queues (net.core.somaxconn).
const QUEUE: usize = 4096;

/// How many free ports are tried until one is free on both loopback addresses.
const TRIES: usize = 20;

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, and its file where it is ours.
    #[cfg(unix)]
    Unix(UnixListener, Option<SocketFile>),
}

/// A connection that was accepted.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// Unix.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

/// Binds one entry of `listen`; `localhost` is 127.0.0.1 and, where there is one, ::1 on the same port. What systemd
/// hands over is bound already: see `inherited`.
///
/// # Errors
/// What the system said, with the address.
pub fn bind(listen: &Listen) -> io::Result<Vec<Listener>> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}"));
    match listen {
        Listen::Tcp { host, port } if host == "localhost" => bind_localhost(*port).map_err(told),
        Listen::Tcp { host, port } => Ok(vec![bind_tcp(host, *port).map_err(told)?]),
        #[cfg(unix)]
        Listen::Unix(path) => Ok(vec![bind_unix(path).map_err(told)?]),
        _ => Err(told(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kind of listener cannot be bound here",
        ))),
    }
}

fn bind_tcp(host: &str, port: u16) -> io::Result<Listener> {
    let listener = TcpListener::bind((host, port))?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(listener))
}

fn bind_localhost(port: u16) -> io::Result<Vec<Listener>> {
    for _ in 0..TRIES {
        let four = TcpListener::bind(("127.0.0.1", port))?;
        four.set_nonblocking(true)?;
        let port_of_both = four.local_addr()?.port();
        match bind_tcp("::1", port_of_both) {
            Ok(six) => return Ok(vec![Listener::Tcp(four), six]),
            // Port 0 was free on one address and taken on the other: another try.
            Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // No IPv6 on this machine.
            Err(_) => return Ok(vec![Listener::Tcp(four)]),
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free on both 127.0.0.1 and ::1"))
}

/// Whether a socket file is in the way that nobody answers on: it is left from a killed process, and is to be replaced.
///
/// # Errors
/// When what is there has to stay.
#[cfg(unix)]
pub fn is_left_over(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::FileTypeExt as _;
    let taken = |why| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return taken("a file is there that is no socket"),
        Err(_) => return Ok(false),
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => taken("another process answers there"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        // Not to be reached by us, or too busy to answer: somebody may well be there.
        Err(error) => Err(error),
    }
}

/// Mode 0600 (proxy.md §6).
#[cfg(unix)]
fn bind_unix(path: &Path) -> io::Result<Listener> {
    use std::os::unix::fs::PermissionsExt as _;
    if is_left_over(path)? {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Unix(listener, Some(SocketFile(path.to_owned()))))
}

impl Listener {
    /// What was bound, as in `127.0.0.1:8080` or `unix:/run/proxy.sock`.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|error| error.to_string(), |at| at.to_string())
            }
            #[cfg(unix)]
            Self::Unix(listener, _) => {
                let at = listener.local_addr().ok();
                let path = at.as_ref().and_then(|at| at.as_pathname()).unwrap_or(Path::new("(no file)"));
                format!("unix:{}", path.display())
            }
        }
    }

    /// Whether only this machine can reach it, as it is bound.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener.local_addr().is_ok_and(|at| at.ip().to_canonical().is_loopback()),
            #[cfg(unix)]
            Self::Unix(..) => true,
        }
    }

    /// Accepts until `closing` is true, and hands each connection to `take`. Who waits in the system's queue at that
    /// moment is let in still: it was told that somebody is here. On a runtime.
    pub async fn accept_all(self, mut closing: watch::Receiver<bool>, mut take: impl FnMut(Socket)) {
        let Ok(door) = Door::open(self) else { return };
        let mut closed = std::pin::pin!(async { drop(closing.wait_for(|closing| *closing).await) });
        loop {
            tokio::select! {
                accepted = door.accept() => match accepted {
                    Ok(socket) => take(socket),
                    Err(error) => pause(&error).await,
                },
                () = closed.as_mut() => break,
            }
        }
        // The runtime hears of the queue when it looks at its sockets, which it does between two turns of a task.
        tokio::task::yield_now().await;
        for _ in 0..QUEUE {
            tokio::select! {
                biased;
                Ok(socket) = door.accept() => take(socket),
                () = std::future::ready(()) => return,
            }
        }
    }
}

/// A listener on a runtime.
enum Door {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, #[expect(dead_code, reason = "held, not read")] Option<SocketFile>),
}

impl Door {
    fn open(listener: Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
            #[cfg(unix)]
            Listener::Unix(listener, path) => Self::Unix(tokio::net::UnixListener::from_std(listener)?, path),
        })
    }

    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and waited for: Nagle's algorithm would hold them back.
                let _ = stream.set_nodelay(true);
                stream.into_std().map(Socket::Tcp)
            }
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.accept().await?.0.into_std().map(Socket::Unix),
        }
    }
}

/// A connection that broke before it was accepted is no reason to wait; a full table of descriptors is.
async fn pause(error: &io::Error) {
    let broken =
        [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::Interrupted];
    if !broken.contains(&error.kind()) {
        tracing::warn!(event = "accept_failed", %error, "A connection could not be accepted: {error}");
        tokio::time::sleep(EXHAUSTED).await;
    }
}

/// The file of a Unix socket that we bound; dropping it removes the file.
#[cfg(unix)]
#[derive(Debug)]
pub struct SocketFile(PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_file_that_nobody_holds_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("left.sock");
        drop(UnixListener::bind(&left).unwrap());
        drop(bind_unix(&left).unwrap());

        // Refuses us for another reason: it is of another kind.
        let other = folder.path().join("other.sock");
        let _held = std::os::unix::net::UnixDatagram::bind(&other).unwrap();
        let error = bind_unix(&other).unwrap_err();
        assert!(error.kind() != io::ErrorKind::ConnectionRefused && other.exists(), "{error}");

        let taken = folder.path().join("taken.sock");
        let _answers = UnixListener::bind(&taken).unwrap();
        assert_eq!(bind_unix(&taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(taken.exists());

        let file = folder.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert_eq!(bind_unix(&file).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    }
}
