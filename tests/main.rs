//! The promises of bearerd, by topic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

/// proxy.toml, environment and flags: what each key does, and what is said when something is wrong.
mod configuring;
