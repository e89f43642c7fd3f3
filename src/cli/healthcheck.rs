//! `bearerd healthcheck`: a container's own question to the program beside it.

use super::daemon::plain;
use super::{Common, Exit, Failure, ask, say};
use crate::admin;
use crate::config::{Config, Flags};
use crate::net::Listen;

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
    let listeners = common.load_listeners(arguments.flags)?;
    let path = if arguments.ready { "/readyz" } else { "/livez" };
    let (status, body) = match ask_health(&listeners.config, path) {
        Ok(answer) => answer,
        Err(failure) => return Err(listeners.in_vain(failure)),
    };
    if status != 200 {
        return Err(Failure::new(Exit::Failure, format!("error: {path}: {}", body.trim_end())));
    }
    if !common.quiet {
        say(&body)?;
    }
    Ok(Exit::Success)
}

/// What the running bearerd answers there: a status and a text, which steers no terminal.
pub(super) fn ask_health(config: &Config, path: &str) -> Result<(u16, String), Failure> {
    let unknown = |listen: &&Listen| matches!(listen, Listen::Tcp { port: 0, .. });
    let probes = config.admin.probes.as_ref().filter(|listen| !unknown(listen));
    let answer = ask::get(probes.or(config.admin.listen.as_ref()), path)?;
    if answer.identity.as_deref() != Some(admin::identity(config).as_str()) {
        let why = "another bearerd answers there, or something else: it runs another configuration";
        return Err(Failure::new(Exit::Unreachable, why));
    }
    let lines: Vec<String> = answer.body.lines().map(plain).collect();
    Ok((answer.status, lines.join("\n")))
}
