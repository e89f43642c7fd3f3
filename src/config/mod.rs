//! What the operator asked for: proxy.toml, environment and flags, resolved into the program that will run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::net::Listen;
use crate::token::GrantName;
use crate::{admin, grant, proxy, store, telemetry, tls};

/// The whole program, resolved and checked. Plain data: every module's `Params`, filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from; none when environment and flags were enough.
    pub file: Option<PathBuf>,
    /// `listen`.
    pub listen: Vec<Listen>,
    /// `workers`, at least 1.
    pub workers: usize,
    /// Routes, guard, limits.
    pub proxy: proxy::Params,
    /// The grants, by name; at least those that routes use.
    pub grants: BTreeMap<GrantName, grant::Params>,
    /// `[store]`.
    pub store: store::Params,
    /// `[tls]`.
    pub tls: tls::Params,
    /// `[admin]` and `[probes]`.
    pub admin: admin::Params,
    /// `[log]`.
    pub log: telemetry::Params,
    /// `drain_delay`.
    pub drain_delay: Duration,
    /// `shutdown_grace`.
    pub shutdown_grace: Duration,
}
