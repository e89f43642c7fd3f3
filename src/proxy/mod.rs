//! Carries requests: downstream -> upstream, with the grant's access token on them.

pub mod carrying;
pub mod error;
pub mod guard;
pub mod headers;
pub mod route;
pub mod upstream;

use std::time::Duration;

/// What the data plane is told by the configuration; a reload sends workers a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// The routes, in the order of the file.
    pub routes: Vec<route::Params>,
    /// `[guard]`.
    pub guard: guard::Params,
    /// `[limits]`.
    pub limits: Limits,
    /// `via`.
    pub via: bool,
}

/// What `[limits]` says; `None` for a duration means no limit (`"0s"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `token_wait`.
    pub token_wait: Duration,
    /// `connect_timeout`.
    pub connect_timeout: Duration,
    /// `tls_timeout`.
    pub tls_timeout: Duration,
    /// `first_byte_timeout`.
    pub first_byte_timeout: Duration,
    /// `header_timeout`.
    pub header_timeout: Duration,
    /// `idle_timeout`.
    pub idle_timeout: Duration,
    /// `body_timeout`.
    pub body_timeout: Option<Duration>,
    /// `stream_idle_timeout`.
    pub stream_idle_timeout: Option<Duration>,
    /// `header_size`, bytes.
    pub header_size: usize,
    /// `connections`: over all workers.
    pub connections: usize,
    /// `requests`: in flight over all workers.
    pub requests: usize,
    /// `upstream_idle`.
    pub upstream_idle: Duration,
    /// `upstream_age`; jittered by a tenth.
    pub upstream_age: Duration,
}

impl Default for Limits {
    /// The defaults of DESIGN §2; `proxy.toml` is held against them by a test.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            token_wait: seconds(10),
            connect_timeout: seconds(5),
            tls_timeout: seconds(5),
            first_byte_timeout: seconds(10),
            header_timeout: seconds(10),
            idle_timeout: seconds(75),
            body_timeout: Some(seconds(60)),
            stream_idle_timeout: Some(seconds(300)),
            header_size: 64 * 1024,
            connections: 10_000,
            requests: 4096,
            upstream_idle: seconds(55),
            upstream_age: seconds(600),
        }
    }
}
