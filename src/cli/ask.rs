//! One request to the bearerd that runs, in as much HTTP/1.1 as that takes.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::{Exit, Failure};
use crate::admin;
use crate::clock::Stopwatch;
use crate::net::Listen;

/// How long an answer may take in all; the other side is on this machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long what is done may take: the other side gives up first, and says so.
const WORK: Duration = admin::WORK.saturating_add(PATIENCE);

/// The longest answer: a status with hundreds of grants is well below.
const LONGEST: u64 = 8 * 1024 * 1024;

/// What it said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Which configuration who answers runs ([`admin::identity`]); none when it is no bearerd.
    pub(super) identity: Option<String>,
    pub(super) body: String,
}

/// Asks for `path`.
pub(super) fn get(listen: Option<&Listen>, path: &str) -> Result<Answer, Failure> {
    ask(listen, &format!("GET {path} HTTP/1.1\r\n"), PATIENCE)
}

/// Asks for something to be done. No page of another origin can send this field without being asked first, and refused.
pub(super) fn act(listen: Option<&Listen>, path: &str) -> Result<Answer, Failure> {
    let opening = format!("POST {path} HTTP/1.1\r\nBearerd-Action: 1\r\nContent-Length: 0\r\n");
    ask(listen, &opening, WORK)
}

fn ask(listen: Option<&Listen>, opening: &str, patience: Duration) -> Result<Answer, Failure> {
    let unreachable = |why: String| Failure::new(Exit::Unreachable, why);
    let Some(listen) = listen else {
        let why = "the configuration has no listener for this: set admin.listen (or probes.listen)";
        return Err(unreachable(why.to_owned()));
    };
    exchange(listen, opening, patience).map_err(|error| {
        if error.kind() == io::ErrorKind::TimedOut {
            let may = "what was asked of it may be under way still; `bearerd status` says more";
            return unreachable(format!("what listens at {listen} did not answer in time ({error}): {may}"));
        }
        let start = "is it running (`bearerd run`) with this configuration?";
        unreachable(format!("no bearerd answers at {listen}: {error}; {start}"))
    })
}

fn exchange(listen: &Listen, opening: &str, patience: Duration) -> io::Result<Answer> {
    // A name that the admin listener always goes by, wherever it is.
    let request = format!("{opening}Host: localhost\r\nConnection: close\r\n\r\n");
    let bytes = match listen {
        Listen::Tcp { port: 0, .. } => {
            return Err(io::Error::other("port 0 is another one at each start, so it cannot be known here"));
        }
        Listen::Tcp { host, port } => {
            let stream = connect(dialled(host), *port)?;
            talk(stream, &request, patience, TcpStream::set_read_timeout)?
        }
        #[cfg(unix)]
        Listen::Unix(path) => {
            use std::os::unix::net::UnixStream;
            talk(UnixStream::connect(path)?, &request, patience, UnixStream::set_read_timeout)?
        }
        #[cfg(not(unix))]
        Listen::Unix(_) => return Err(io::Error::other("this system has no Unix sockets")),
        Listen::Inherited(_) => {
            return Err(io::Error::other("a socket that systemd hands over cannot be found from here"));
        }
    };
    read_answer(&bytes)
}

/// Whether it is certain that nobody listens there.
pub(super) fn is_nobodys(listen: &Listen) -> bool {
    let refusal = match listen {
        Listen::Tcp { host, port } if *port != 0 => connect(dialled(host), *port).err(),
        #[cfg(unix)]
        Listen::Unix(path) => std::os::unix::net::UnixStream::connect(path).err(),
        _ => None,
    };
    let certain = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
    refusal.is_some_and(|error| certain.contains(&error.kind()))
}

/// Where a listener on every address is reached from this machine.
fn dialled(host: &str) -> &str {
    match host {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        other => other,
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends the request and reads to the end of the answer, which the other side marks by closing.
fn talk<S: Read + Write>(
    mut stream: S,
    request: &str,
    patience: Duration,
    set_timeout: impl Fn(&S, Option<Duration>) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    let too_late = || {
        let why = format!("no whole answer within {} s", patience.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    };
    let watch = Stopwatch::start();
    let (mut answer, mut chunk) = (Vec::new(), [0; 8192]);
    set_timeout(&stream, Some(patience))?;
    stream.write_all(request.as_bytes())?;
    loop {
        let left = patience.saturating_sub(watch.elapsed());
        if left.is_zero() {
            return too_late();
        }
        set_timeout(&stream, Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return too_late();
            }
            Err(error) => return Err(error),
        }
        if answer.len() as u64 > LONGEST {
            return Err(io::Error::other("its answer does not end"));
        }
    }
}

fn read_answer(bytes: &[u8]) -> io::Result<Answer> {
    let not_http = || io::Error::new(io::ErrorKind::InvalidData, "what answers there is not a bearerd");
    let text = std::str::from_utf8(bytes).map_err(|_| not_http())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(not_http)?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).ok_or_else(not_http)?;
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut identities = fields.filter(|(name, _)| name.eq_ignore_ascii_case(admin::IDENTITY));
    let identity = identities.next().map(|(_, value)| value.trim().to_owned());
    Ok(Answer { status: status.parse().map_err(|_| not_http())?, identity, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_may_take_longer_than_what_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = Listen::Tcp { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let slow = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let _read = stream.read(&mut [0; 1024]);
                std::thread::sleep(Duration::from_millis(300));
                // Who has lost patience is gone.
                let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\ndone");
            }
        });
        let asked = |patience| ask(Some(&at), "GET / HTTP/1.1\r\n", patience);
        let Err(failure) = asked(Duration::from_millis(1)) else { panic!("it was waited for") };
        assert!(failure.says.contains("no whole answer within"), "{}", failure.says);
        assert_eq!(asked(WORK).ok().map(|answer| answer.body), Some("done".to_owned()));
        assert!(WORK > admin::WORK && PATIENCE < admin::WORK);
        slow.join().unwrap();
    }

    #[test]
    fn what_is_not_http_is_an_error_and_no_panic() {
        for bytes in [
            &b""[..],
            b"HTTP/1.1 20",
            b"HTTP/1.1 2\xff0 OK\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
        ] {
            assert!(read_answer(bytes).is_err(), "{bytes:?}");
        }
        let answer =
            read_answer(b"HTTP/1.1 503 Service Unavailable\r\nBearerd-Config: 7f\r\n\r\nno").unwrap();
        assert_eq!(answer, Answer { status: 503, identity: Some("7f".to_owned()), body: "no".to_owned() });
    }
}
