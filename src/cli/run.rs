//! `bearerd run`: carries requests until told to stop.

use super::{Common, Exit, Failure};
use crate::config::{Flags, Loaded};
use crate::telemetry;

pub(super) fn run(common: &Common, flags: Flags) -> Result<Exit, Failure> {
    forbid_core_dumps();
    let loaded = common.load(flags)?;
    telemetry::init(loaded.config.log, common.colour(), common.verbosity())
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start logging: {error}")))?;
    for warning in loaded.render_warnings(false).lines().filter(|line| line.starts_with("warning")) {
        tracing::warn!(event = "config_warning", "{warning}");
    }
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(event = "started", version, "{}", loaded.summary());
    serve(loaded)
}

/// Tokens are in memory: no core file, and no other process of this user may look in.
fn forbid_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _kernel_refuses = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Hands over to the program itself.
fn serve(_loaded: Loaded) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Failure, "this build carries no requests yet"))
}
