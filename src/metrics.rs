//! The counters: each worker writes its own shard, and a scrape merges them.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::proxy::error::Code;

/// One worker's counters: one writer, any reader.
#[derive(Debug, Default)]
pub struct Shard {}

impl Shard {
    /// The series of a route, by its label (the configured path, with the host before it if there is one); made when
    /// routes are built, never on a request.
    #[must_use]
    pub fn route(self: &Arc<Self>, _label: &str) -> Arc<RouteSeries> {
        Arc::new(RouteSeries {})
    }

    /// A downstream connection began.
    pub fn connection_opened(&self) {}

    /// A downstream connection ended.
    pub fn connection_closed(&self) {}

    /// The proxy gave an answer of its own.
    pub fn rejected(&self, _code: Code) {}

    /// A request began to be carried.
    pub fn request_started(&self) {}

    /// Its response, or its connection, ended.
    pub fn request_ended(&self) {}
}

/// One route's series in one worker's shard.
#[derive(Debug, Default)]
pub struct RouteSeries {}

impl RouteSeries {
    /// A request got its response head after `took`; `error` when the proxy itself answered.
    pub fn answered(&self, _method: &Method, _status: StatusCode, _took: Duration, _error: Option<Code>) {}

    /// The upstream answered 401 and the token was doubted.
    pub fn doubted(&self) {}
}
