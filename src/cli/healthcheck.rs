//! `bearerd healthcheck`: a container's own question to the program beside it.

use super::{Common, Exit, Failure, ask, say};
use crate::config::Flags;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Healthy only with a usable token for every route
    #[arg(long)]
    ready: bool,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

/// Exit 0 or 1 and nothing else: a container's runtime gives other codes other meanings.
pub(super) fn healthcheck(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    healthy(common, arguments).map_err(|failure| Failure { exit: Exit::Failure, ..failure })
}

fn healthy(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    let config = common.load_running(arguments.flags)?;
    let listen = config.admin.probes.as_ref().or(config.admin.listen.as_ref());
    let path = if arguments.ready { "/readyz" } else { "/livez" };
    let answer = ask::get(listen, &config.proxy.guard, path)?;
    if answer.status != 200 {
        return Err(Failure::new(Exit::Failure, format!("error: {path}: {}", answer.body.trim_end())));
    }
    if !common.quiet {
        say(&answer.body);
    }
    Ok(Exit::Success)
}
