//! Every metric, with its type and its meaning: the documentation that the scrape is encoded from.

use prometheus_client::metrics::MetricType;

/// A metric family.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name as OpenMetrics declares it; the samples of a counter add `_total`.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricType,
    /// One sentence.
    pub help: &'static str,
    /// The labels that its samples have, beside a histogram's `le`.
    pub labels: &'static [&'static str],
    /// Only on Linux, where the system tells.
    pub linux: bool,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricType::Gauge, help, labels, linux: false }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricType::Counter, help, labels, linux: false }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricType::Histogram, help, labels, linux: false }
}

const fn on_linux(metric: Metric) -> Metric {
    Metric { linux: true, ..metric }
}

const NONE: &[&str] = &[];
const GRANT: &[&str] = &["grant"];

/// Every family, in the order of a scrape.
pub const METRICS: &[Metric] = &[
    gauge("bearerd_build_info", &["version"], "Always 1; the label tells the version"),
    gauge(
        "bearerd_grant_state",
        &["grant", "state"],
        "1 for the state that the grant is in, 0 for the others",
    ),
    gauge("bearerd_access_token_expiry_timestamp_seconds", GRANT, "When the access token counts as expired"),
    gauge("bearerd_access_token_issued_timestamp_seconds", GRANT, "When the access token was asked for"),
    gauge(
        "bearerd_grant_end_timestamp_seconds",
        GRANT,
        "When the grant ends by itself, where the server says so",
    ),
    gauge("bearerd_next_refresh_timestamp_seconds", GRANT, "When the next refresh is due"),
    counter(
        "bearerd_refresh_attempts",
        &["grant", "reason", "outcome"],
        "Attempts to refresh, by why and how they ended",
    ),
    histogram("bearerd_refresh_duration_seconds", GRANT, "How long attempts took"),
    gauge("bearerd_refresh_last_success_timestamp_seconds", GRANT, "When a refresh last succeeded"),
    gauge("bearerd_refresh_consecutive_failures", GRANT, "Failed attempts since the last success"),
    gauge(
        "bearerd_reauth_suspected",
        GRANT,
        "1 while the server has given no verdict for 15 minutes past the access token's end: the grant may be gone",
    ),
    counter("bearerd_refresh_token_rotations", GRANT, "New refresh tokens received"),
    counter("bearerd_refresh_token_lost_rotations", GRANT, "Rotations whose new refresh token never arrived"),
    counter("bearerd_clock_jumps", GRANT, "How often the clock was seen to have been set by more than 5 s"),
    counter("bearerd_store_writes", &["grant", "outcome"], "Writes to the store, by how they ended"),
    gauge("bearerd_store_unsaved_rotation", GRANT, "1 while a rotated refresh token lives in memory only"),
    counter("bearerd_requests_rejected", &["reason"], "Answers that the proxy gave itself, by code"),
    gauge("bearerd_requests_in_flight", NONE, "Requests being carried"),
    gauge("bearerd_connections", NONE, "Downstream connections"),
    counter("bearerd_connections_rejected", NONE, "Downstream connections closed at once, being too many"),
    counter("bearerd_upstream_401", &["route"], "Answers 401 of the upstream that put the token in doubt"),
    counter(
        "bearerd_retries_after_401",
        &["route", "outcome"],
        "What became of requests that were to be sent again after a 401",
    ),
    histogram(
        "http_server_request_duration_seconds",
        &["http_request_method", "http_response_status_code", "http_route", "error_type"],
        "From a request's head to its response's head",
    ),
    gauge("process_start_time_seconds", NONE, "When the process started"),
    on_linux(gauge("process_resident_memory_bytes", NONE, "Resident memory")),
    on_linux(counter("process_cpu_seconds", NONE, "CPU time used, user and system")),
    on_linux(gauge("process_open_fds", NONE, "Open file descriptors")),
];
