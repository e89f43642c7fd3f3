//! bearerd makes OAuth somebody else's problem: it keeps a refresh token alive and authorizes every request it forwards.
//!
//! **`grant/` keeps tokens, `proxy/` spends them, `token.rs` is all they know of each other.** Folders and files carry
//! the section names of proxy.toml, so that the operator's map and the programmer's map are one.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod grant;
pub mod metrics;
pub mod net;
pub mod proxy;
pub mod secret;
pub mod signal;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod token;
