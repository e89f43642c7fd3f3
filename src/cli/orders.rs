//! `bearerd reload` and `bearerd stop`: what the running bearerd is told to do.

use std::time::Duration;

use super::daemon::{self, plain, text};
use super::{Common, Exit, Failure, note};
use crate::clock::Stopwatch;
use crate::config::{Config, Flags};

/// How often it is looked whether it has ended.
const PAUSE: Duration = Duration::from_millis(100);

/// For what ends after the requests: saves, threads, sockets.
const SLACK: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

/// What the new configuration is worth is for the running one to say: it has an environment of its own.
pub(super) fn reload(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    let listeners = common.load_listeners(arguments.flags)?;
    let answer = match daemon::act(&listeners.config, "/api/v1/reload") {
        Ok(answer) => answer,
        Err(failure) => return Err(listeners.in_vain(failure)),
    };
    if !common.quiet {
        note(&plain(text(&answer, "sentence")));
    }
    Ok(Exit::Success)
}

pub(super) fn stop(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    let listeners = common.load_listeners(arguments.flags)?;
    let before = match daemon::report(&listeners.config) {
        Ok(report) => report.json,
        Err(failure) => return Err(listeners.in_vain(failure)),
    };
    let config = listeners.config;
    let process = before.get("process").and_then(serde_json::Value::as_u64).filter(|id| is_ours(*id));
    daemon::act(&config, "/api/v1/stop")?;
    let (watch, bound) = (Stopwatch::start(), bound(&config));
    while daemon::report(&config).is_ok() || process.is_some_and(is_ours) {
        if watch.elapsed() >= bound {
            let why = format!(
                "bearerd has not ended within {} s: requests may still be under way, or a save; `bearerd status` says more",
                bound.as_secs()
            );
            return Err(Failure::new(Exit::Failure, why));
        }
        std::thread::sleep(PAUSE);
    }
    if !common.quiet {
        note("stopped");
    }
    Ok(Exit::Success)
}

/// The most that the end takes: requests, then a refresh that is under way.
fn bound(config: &Config) -> Duration {
    let refresh = config.grants.values().map(|params| params.timeout).max().unwrap_or_default();
    config.drain_delay + config.shutdown_grace + refresh + SLACK
}

/// Whether a process of this number runs here under our own name: in another container's it would be somebody else's.
#[cfg(target_os = "linux")]
fn is_ours(process: u64) -> bool {
    let name = |process: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name stands in parentheses, and after it the state; one that has ended and was not heard of is Z (proc(5)).
        let (head, rest) = stat.rsplit_once(") ")?;
        let is_alive = !rest.starts_with(['Z', 'X']);
        Some(head.split_once('(')?.1.to_owned()).filter(|_| is_alive)
    };
    name(&process.to_string()).is_some_and(|theirs| name("self").is_some_and(|ours| ours == theirs))
}

#[cfg(not(target_os = "linux"))]
fn is_ours(_process: u64) -> bool {
    false
}
