//! One scrape: the shards merged, the grants as their boards show them, in OpenMetrics text.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::registry::Registry;

use super::process::{self, Process};
use super::table::{METRICS, Metric};
use super::{BUCKETS, Counter, Durations, METHODS, Retried, RouteSeries, STATUSES, Shard};
use crate::clock::Moment;
use crate::grant::status::{State, Status, Totals};
use crate::proxy::error::Code;

/// What a scrape is answered as; the only format with `# EOF`, by which a torn answer is told from a whole one.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every grant by name, as its board shows it now.
pub type Grants = Vec<(String, Arc<Status>)>;

type Labels = Vec<(&'static str, String)>;

/// Encodes all metrics.
#[must_use]
pub fn scrape(shards: &[Arc<Shard>], grants: Grants, started: Moment) -> String {
    let mut registry = Registry::default();
    let mut series: Vec<Arc<RouteSeries>> = shards.iter().flat_map(|shard| shard.series()).collect();
    series.sort_by(|one, other| one.label.cmp(&other.label));
    let view = View { shards: shards.to_vec(), series, grants, started, process: process::look() };
    registry.register_collector(Box::new(view));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct View {
    shards: Vec<Arc<Shard>>,
    /// Of all workers, by label.
    series: Vec<Arc<RouteSeries>>,
    grants: Grants,
    started: Moment,
    process: Process,
}

impl Collector for View {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        METRICS.iter().filter(|metric| !metric.linux || cfg!(target_os = "linux")).try_for_each(|metric| {
            let into = encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?;
            self.family(metric, into)
        })
    }
}

impl View {
    fn family(&self, metric: &Metric, mut into: MetricEncoder<'_>) -> Result<(), Error> {
        match metric.name {
            "bearerd_build_info" => {
                gauge(&mut into, vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)
            }
            "bearerd_requests_rejected" => Code::ALL.into_iter().try_for_each(|code| {
                let of = |shard: &Arc<Shard>| shard.rejected.get(code as usize).map_or(0, Counter::read);
                counter(&mut into, vec![("reason", code.word().to_owned())], self.shards.iter().map(of).sum())
            }),
            "bearerd_requests_in_flight" => {
                plain(&mut into, self.difference(|shard| [&shard.started, &shard.ended]))
            }
            "bearerd_connections" => {
                plain(&mut into, self.difference(|shard| [&shard.opened, &shard.closed]))
            }
            "bearerd_connections_rejected" => {
                let rejected = self.shards.iter().map(|shard| shard.turned_away.read()).sum();
                counter(&mut into, Vec::new(), rejected)
            }
            "bearerd_upstream_401" => self.doubts(&mut into),
            "bearerd_retries_after_401" => self.retries(&mut into),
            "http_server_request_duration_seconds" => self.durations(&mut into),
            "process_start_time_seconds" => plain(&mut into, self.started.unix_seconds()),
            "process_resident_memory_bytes" => {
                plain_if(&mut into, self.process.resident_bytes.map(|of| of as f64))
            }
            "process_open_fds" => plain_if(&mut into, self.process.open_fds.map(|of| of as f64)),
            "process_cpu_seconds" => match self.process.cpu_seconds {
                Some(seconds) => into.encode_counter::<NoLabelSet, _, u64>(&seconds, None),
                None => Ok(()),
            },
            name => {
                self.grants.iter().try_for_each(|(grant, status)| of_grant(name, grant, status, &mut into))
            }
        }
    }

    /// What began and has not ended. The end is read first: it can then never be ahead.
    fn difference(&self, of: impl Fn(&Shard) -> [&Counter; 2]) -> f64 {
        let of = |shard: &Arc<Shard>| {
            let [began, ended] = of(shard);
            let ended = ended.read();
            began.read().saturating_sub(ended)
        };
        self.shards.iter().map(of).sum::<u64>() as f64
    }

    fn doubts(&self, into: &mut MetricEncoder<'_>) -> Result<(), Error> {
        self.by_route().try_for_each(|(route, same)| {
            let labels = vec![("route", route.to_owned())];
            counter(into, labels, same.iter().map(|series| series.doubted.read()).sum())
        })
    }

    fn retries(&self, into: &mut MetricEncoder<'_>) -> Result<(), Error> {
        self.by_route().try_for_each(|(route, same)| {
            Retried::ALL.into_iter().try_for_each(|outcome| {
                let of =
                    |series: &Arc<RouteSeries>| series.retried.get(outcome as usize).map_or(0, Counter::read);
                let labels = vec![("route", route.to_owned()), ("outcome", outcome.word().to_owned())];
                counter(into, labels, same.iter().map(of).sum())
            })
        })
    }

    /// Each route's label, and its series in every shard.
    fn by_route(&self) -> impl Iterator<Item = (&str, &[Arc<RouteSeries>])> {
        let routes = self.series.chunk_by(|one, other| one.label == other.label);
        routes.filter_map(|same| Some((same.first()?.label.as_str(), same)))
    }

    fn durations(&self, into: &mut MetricEncoder<'_>) -> Result<(), Error> {
        let mut merged: BTreeMap<(&str, usize, usize), (Vec<u64>, f64)> = BTreeMap::new();
        for (series, method, cell, durations) in self.series.iter().flat_map(|series| filled(series)) {
            let (counts, sum) = merged
                .entry((&series.label, method, cell))
                .or_insert_with(|| (vec![0; BUCKETS.len() + 1], 0.0));
            for (count, more) in counts.iter_mut().zip(&durations.counts) {
                *count += more.read();
            }
            *sum += durations.microseconds.read() as f64 / 1e6;
        }
        merged.into_iter().try_for_each(|((route, method, cell), (counts, sum))| {
            histogram(into, answer_labels(route, method, cell), &BUCKETS, &counts, sum)
        })
    }
}

/// The cells in which something was counted.
fn filled(series: &RouteSeries) -> impl Iterator<Item = (&RouteSeries, usize, usize, &Durations)> {
    let methods = series.answers.iter().enumerate();
    let methods = methods.filter_map(|(method, answers)| Some((method, answers.get()?)));
    methods.flat_map(move |(method, answers)| {
        let cells = answers.iter().enumerate();
        cells.filter_map(move |(cell, durations)| Some((series, method, cell, &**durations.get()?)))
    })
}

/// OpenTelemetry's attributes: `error_type` is the proxy's code, or an upstream's status of 500 and above.
fn answer_labels(route: &str, method: usize, cell: usize) -> Labels {
    let code = cell.checked_sub(STATUSES).and_then(|place| Code::ALL.get(place));
    let status = code.map_or(cell + 100, |code| usize::from(code.status().as_u16()));
    let mut labels = vec![
        ("http_request_method", METHODS.get(method).copied().unwrap_or("_OTHER").to_owned()),
        ("http_response_status_code", status.to_string()),
        ("http_route", route.to_owned()),
    ];
    match code {
        Some(code) => labels.push(("error_type", code.word().to_owned())),
        None if status >= 500 => labels.push(("error_type", status.to_string())),
        None => {}
    }
    labels
}

fn of_grant(name: &str, grant: &str, status: &Status, into: &mut MetricEncoder<'_>) -> Result<(), Error> {
    let labels = || vec![("grant", grant.to_owned())];
    let with =
        |label: &'static str, value: &str| vec![("grant", grant.to_owned()), (label, value.to_owned())];
    let Totals { attempts, rotations, lost_rotations, clock_jumps, store_writes, durations, duration_sum } =
        &status.totals;
    let mut at = |moment: Option<Moment>| match moment {
        Some(moment) => gauge(into, labels(), moment.unix_seconds()),
        None => Ok(()),
    };
    match name {
        "bearerd_access_token_expiry_timestamp_seconds" => at(status.expires),
        "bearerd_access_token_issued_timestamp_seconds" => at(status.obtained),
        "bearerd_grant_end_timestamp_seconds" => match status.grant_end {
            Some(end) => gauge(into, labels(), end.at.as_secs_f64()),
            None => Ok(()),
        },
        "bearerd_next_refresh_timestamp_seconds" => at(status.next_attempt),
        "bearerd_refresh_last_success_timestamp_seconds" => at(status.last_success),
        "bearerd_grant_state" => State::ALL.into_iter().try_for_each(|state| {
            gauge(into, with("state", state.word()), if state == status.state { 1.0 } else { 0.0 })
        }),
        "bearerd_refresh_attempts" => attempts.iter().try_for_each(|((reason, outcome), count)| {
            let mut labels = with("reason", reason);
            labels.push(("outcome", (*outcome).to_owned()));
            counter(into, labels, *count)
        }),
        "bearerd_refresh_duration_seconds" => {
            histogram(into, labels(), &Totals::BUCKETS, durations, *duration_sum)
        }
        "bearerd_refresh_consecutive_failures" => {
            gauge(into, labels(), f64::from(status.consecutive_failures))
        }
        "bearerd_reauth_suspected" => gauge(into, labels(), if status.reauth_suspected { 1.0 } else { 0.0 }),
        "bearerd_refresh_token_rotations" => counter(into, labels(), *rotations),
        "bearerd_refresh_token_lost_rotations" => counter(into, labels(), *lost_rotations),
        "bearerd_clock_jumps" => counter(into, labels(), *clock_jumps),
        "bearerd_store_writes" => ["success", "error"].into_iter().try_for_each(|outcome| {
            counter(into, with("outcome", outcome), store_writes.get(outcome).copied().unwrap_or(0))
        }),
        "bearerd_store_unsaved_rotation" => {
            gauge(into, labels(), if status.unsaved_rotation { 1.0 } else { 0.0 })
        }
        _other => Ok(()),
    }
}

fn gauge(into: &mut MetricEncoder<'_>, labels: Labels, value: f64) -> Result<(), Error> {
    into.encode_family(&labels)?.encode_gauge(&value)
}

fn counter(into: &mut MetricEncoder<'_>, labels: Labels, value: u64) -> Result<(), Error> {
    into.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn plain(into: &mut MetricEncoder<'_>, value: f64) -> Result<(), Error> {
    into.encode_gauge(&value)
}

fn plain_if(into: &mut MetricEncoder<'_>, value: Option<f64>) -> Result<(), Error> {
    value.map_or(Ok(()), |value| into.encode_gauge(&value))
}

/// `counts` has one more than `bounds`: those above the last. The encoder adds up and prints the last bound as `+Inf`.
fn histogram(
    into: &mut MetricEncoder<'_>,
    labels: Labels,
    bounds: &[f64],
    counts: &[u64],
    sum: f64,
) -> Result<(), Error> {
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
    into.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
}
