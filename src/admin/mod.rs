//! The control plane's listeners: people on `[admin]`, machines on `[probes]`.

mod action;
mod answer;
mod events;
mod health;
mod overview;
mod page;
mod report;
mod requests;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

pub use self::action::{Actions, Reloaded};
pub use self::overview::{About, Grant, Heartbeat, Listening, Overview, Route, SignOut};
pub use self::requests::Requests;
pub use self::server::{Listener, Role, WORK, serve};
use crate::config::Config;
use crate::net::Listen;
use crate::proxy::guard::{self, Browser, Guard};
use crate::token::GrantName;

/// What `[admin]` and `[probes]` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// `admin.listen`; none for `"off"`.
    pub listen: Option<Listen>,
    /// Whether `admin.listen` was written: a default port that is taken is only a warning.
    pub listen_is_default: bool,
    /// `admin.requests`: how many of the last requests are kept.
    pub requests: usize,
    /// `probes.listen`; none when off.
    pub probes: Option<Listen>,
}

/// The configuration's file by its absolute path; none when environment and flags were enough.
#[must_use]
pub fn file(config: &Config) -> Option<PathBuf> {
    let file = config.file.as_ref()?;
    Some(std::path::absolute(file).unwrap_or_else(|_| file.clone()))
}

/// What stands before the admin listener: the status page may ask, and no other page may, whatever pages the proxy lets
/// in. The names are the proxy's and those of this machine, where the listener always is.
#[must_use]
pub fn guard(proxy: &guard::Params) -> Guard {
    let allowed_hosts = [guard::Params::default().allowed_hosts, proxy.allowed_hosts.clone()].concat();
    let params = guard::Params { allowed_hosts, allowed_origins: Vec::new(), browser: Browser::SameOrigin };
    Guard::new(&params, [])
}

/// The field in which every answer names the configuration that its bearerd runs: [`identity`].
pub const IDENTITY: &str = "bearerd-config";

/// Names a configuration, so that a command can tell whether a daemon runs the one that it has read: a digest of the
/// file's absolute path, whatever has been changed in it since; without a file, of the store and the grants' names.
#[must_use]
pub fn identity(config: &Config) -> String {
    let grants: Vec<&str> = config.grants.keys().map(GrantName::as_str).collect();
    let text = match file(config) {
        Some(file) => format!("{}", file.display()),
        None => format!("{}\n{grants:?}", config.store.place()),
    };
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A span as a person says it: in one unit, and below ten of it in the next one as well.
#[must_use]
pub fn in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let (whole, unit, rest, part) = match seconds {
        0..60 => (seconds, "s", 0, ""),
        60..3600 => (seconds / 60, "min", seconds % 60, "s"),
        3600..172_800 => (seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => (seconds / 86_400, "days", seconds / 3600 % 24, "h"),
    };
    if whole < 10 && rest > 0 { format!("{whole} {unit} {rest} {part}") } else { format!("{whole} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_as_exactly_as_it_matters() {
        for (seconds, told) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (158, "2 min 38 s"),
            (599, "9 min 59 s"),
            (600, "10 min"),
            (659, "10 min"),
            (3599, "59 min"),
            (7259, "2 h"),
            (7260, "2 h 1 min"),
            (36_000, "10 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
            (180_000, "2 days 2 h"),
            (1_209_599, "13 days"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), told, "{seconds}");
        }
    }
}
