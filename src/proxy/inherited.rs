//! Sockets that systemd hands over at the start (sd_listen_fds(3)), found by the names that `.socket` units give them.

use std::fmt;
use std::io;

use listenfd::ListenFd;

use super::listener::Listener;

/// What was handed over and is not taken yet.
pub struct Inherited {
    sockets: ListenFd,
    names: Vec<String>,
}

impl Inherited {
    /// Nothing was handed over.
    #[must_use]
    pub fn none() -> Self {
        Self { sockets: ListenFd::empty(), names: Vec::new() }
    }

    /// What this process was given; `names` is LISTEN_FDNAMES, one name a socket. It takes LISTEN_FDS out of the
    /// environment, so it finds them once.
    #[must_use]
    pub fn of_this_process(names: &str) -> Self {
        let sockets = ListenFd::from_env();
        let names = names.split(':').take(sockets.len()).map(str::to_owned).collect();
        Self { sockets, names }
    }

    /// Every socket of that name: one unit may listen on several addresses.
    ///
    /// # Errors
    /// A sentence, when there is none, or when one of them is no stream socket.
    pub fn take(&mut self, name: &str) -> Result<Vec<Listener>, String> {
        let mut taken = Vec::new();
        for (index, _) in self.names.iter().enumerate().filter(|(_, given)| *given == name) {
            taken.extend(
                one(&mut self.sockets, index).map_err(|error| format!("cannot use fd:{name}: {error}"))?,
            );
        }
        if taken.is_empty() { Err(self.none_called(name)) } else { Ok(taken) }
    }

    fn none_called(&self, name: &str) -> String {
        let given = match self.names.as_slice() {
            [] => "none at all: was it started by its .socket unit?".to_owned(),
            names => format!("{}: set FileDescriptorName={name} in the .socket unit", names.join(", ")),
        };
        format!(
            "systemd handed over no socket called {name} for fd:{name}, or it is taken already; it handed over {given}"
        )
    }
}

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inherited").field(&self.names).finish()
    }
}

/// The socket at `index`, if it is not taken yet. systemd's own file of a Unix socket stays when we end.
fn one(sockets: &mut ListenFd, index: usize) -> io::Result<Option<Listener>> {
    #[cfg(unix)]
    if let Ok(Some(unix)) = sockets.take_unix_listener(index) {
        unix.set_nonblocking(true)?;
        return Ok(Some(Listener::Unix(unix, None)));
    }
    let Some(tcp) = sockets.take_tcp_listener(index)? else { return Ok(None) };
    tcp.set_nonblocking(true)?;
    Ok(Some(Listener::Tcp(tcp)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_not_handed_over_is_missed_by_its_name_and_with_a_cure() {
        let said = Inherited::none().take("web").unwrap_err();
        assert!(said.contains("fd:web") && said.contains(".socket unit"), "{said}");
        let mut other = Inherited { sockets: ListenFd::empty(), names: vec!["proxy".to_owned()] };
        let said = other.take("web").unwrap_err();
        assert!(said.contains("handed over proxy: set FileDescriptorName=web"), "{said}");
    }
}
