//! What the system asks of the program: to end, or to read its configuration again.

use std::io;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: let requests end, then end.
    Terminate,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Signals as they come, from the moment of its making.
#[derive(Debug)]
#[cfg(unix)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Takes the signals over; from here on they do not end the process. Needs a runtime.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Terminate,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }
}

/// Ctrl-C, where there are no signals.
#[derive(Debug)]
#[cfg(not(unix))]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Nothing to take over.
    ///
    /// # Errors
    /// None.
    pub fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Terminate,
            Err(_no_console) => std::future::pending().await,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Signal as Number, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn hup_reloads_and_term_and_int_end() {
        let mut signals = Signals::listen().unwrap();
        for (number, meaning) in [
            (Number::HUP, Signal::Reload),
            (Number::TERM, Signal::Terminate),
            (Number::INT, Signal::Terminate),
        ] {
            kill_process(getpid(), number).unwrap();
            assert_eq!(signals.next().await, meaning);
        }
    }
}
