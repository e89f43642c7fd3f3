//! What the promises are tested against: both parties that bearerd talks to, the faults between them, and bearerd itself.
//!
//! Every server runs on a thread and a runtime of its own, on 127.0.0.1 and a port that the system picks, and ends when
//! its handle is dropped. A test that blocks, or one with paused time, does not stall them.
//!
//! | where | what |
//! |---|---|
//! | [`authorization_server`] | issues and rotates tokens, detects reuse, fails on cue, and remembers every request |
//! | [`upstream`] | checks every token, remembers every request, and streams both ways |
//! | [`fault_proxy`] | a TCP link that delays, cuts, resets or swallows |
//! | [`raw`] | a client and a server that say exactly the bytes a test gives them |
//! | [`browser`] | goes from a printed URL to the loopback redirect, and spoils what it brings there |
//! | [`process`] | the real `bearerd`, its log lines, its signals and its exit code |
//! | [`canaries`] | the search for secrets in what it has printed |
//! | [`grants`] | a grant for tests that drive the refresher themselves |
//! | [`certificates`] | a certificate authority in a temporary folder |
//! | [`keys`] | keys that sign, and tell what they have signed |
//! | [`proofs`] | what a server asks of a proof of possession |

pub(crate) mod authorization_server;
pub(crate) mod background;
#[cfg(test)] // whoever plays has one
pub(crate) mod browser;
#[cfg(test)] // the playground has no secret to keep
pub(crate) mod canaries;
pub(crate) mod certificates;
pub(crate) mod fault_proxy;
pub(crate) mod grants;
pub(crate) mod http;
pub(crate) mod jwt;
pub(crate) mod keys;
#[cfg(test)] // only tests know where the binary is
pub(crate) mod process;
pub(crate) mod proofs;
pub(crate) mod random;
pub(crate) mod raw;
pub(crate) mod upstream;

use std::time::Duration;

/// How long a test waits for something that is bound to happen. Generous: only a broken promise ever takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `done`, at most [`PATIENCE`]; `what` says what was missing.
///
/// # Panics
/// When it does not come.
pub(crate) async fn in_time<T>(what: &str, done: impl Future<Output = T>) -> T {
    in_time_or(|| what.to_owned(), done).await
}

/// The same; `what` is asked once it is clear that something is missing, and can tell what there was instead.
///
/// # Panics
/// When it does not come.
pub(crate) async fn in_time_or<T>(what: impl FnOnce() -> String, done: impl Future<Output = T>) -> T {
    match tokio::time::timeout_at(bearerd::clock::in_(PATIENCE), done).await {
        Ok(value) => value,
        Err(_elapsed) => panic!("not within {PATIENCE:?}: {}", what()),
    }
}

/// How much of a long proof is wanted: what the environment variable `name` says, or else `short`, which is enough for
/// each change. `.ci/full` asks for all of it.
///
/// # Panics
/// When the variable holds no number, or `.ci/full` does not know of it.
#[cfg(test)] // the playground has no proofs
pub(crate) fn wanted(name: &str, short: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the full form of a long proof is asked for by the environment"
    )]
    let asked = std::env::var(name);
    asked.map_or(short, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
