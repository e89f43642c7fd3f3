//! The promises of bearerd, by topic.

#![allow(clippy::print_stdout, reason = "a proof tells its figures")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

/// proxy.toml, environment and flags: what each key does, and what is said when something is wrong.
mod configuring;

/// What the tests talk to.
mod support;

/// The authorization server answers as Authgear was observed, byte for byte.
mod authgear_profile;
/// The strict authorization server rotates, and kills the family of a refresh token that comes twice.
mod strict_profile;
/// The other tools do what the tests believe of them.
mod tools;

/// What deploy/ offers for copying is read by the bearerd of the same commit.
mod deploying;

/// What README and manual name is there.
mod manual;

/// A grant is kept alive over real sockets and a real file, whatever the token endpoint does.
mod refreshing;

/// People sign in, in a browser or by a device, and everything that may come in between.
mod signing_in;

/// Requests over real sockets, with a fixed token: connections, protocols, retries, timeouts.
mod proxying;
/// Bodies and tunnels flow both ways, as they come, to their true end.
mod streaming;

/// What people and machines see of it: probes, metrics, status, and the command's words and exit codes.
mod operating;

/// `check --online`: each set-up that is broken is told by its cause.
mod checking;

/// The commands beside the running bearerd and without it: what they do, say, and exit with.
mod commanding;

/// The real program between a real server and a real upstream: load, outages, kills, reload, and what it never tells.
mod running;

/// Everything that is known to go wrong, and the tests that show what becomes of it.
mod failures;

/// Absences that hold: who may know whom, and where time, TOML and secrets are read.
mod layers;
