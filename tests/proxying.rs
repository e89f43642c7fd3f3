//! The data plane alone, with a fixed token: connections, retries, protocols, and what both sides see of each other.

pub(crate) mod frames;
pub(crate) mod front;
mod http1;
mod http2;
mod refusals;
mod replays;
mod stalls;
mod timeouts;
mod traps;
