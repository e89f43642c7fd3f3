//! `bearerd logout`: has the server revoke the refresh token, erases it, and tells the bearerd that runs.

use super::daemon::{self, plain, text};
use super::grants::{Grant, load_tls, named, wait_for};
use super::{Common, Exit, Failure, note, run};
use crate::clock::Clock;
use crate::config::{Config, Flags};
use crate::grant::endpoint::HttpEndpoint;
use crate::grant::error::{Class, RefreshError};
use crate::grant::sign_out::{SignedOut, Unrevoked, sign_out};
use crate::store;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which grant, where there are several
    #[arg(value_name = "GRANT")]
    grant: Option<String>,
    /// Erase it here also when the server cannot be told
    #[arg(long)]
    force: bool,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

pub(super) fn logout(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    run::forbid_core_dumps();
    let Arguments { grant, force, flags } = arguments;
    let config = common.load_running(flags.clone())?;
    let name = named(&config, grant.as_deref())?.name.to_string();
    let sentence = if config.store == store::Params::Memory {
        // What rests in its memory is for the running one to erase.
        let query = if force { "?force" } else { "" };
        let told = daemon::act(&config, &format!("/api/v1/grants/{name}/sign_out{query}"))?;
        plain(text(&told, "sentence"))
    } else {
        let config = common.load(flags)?.config;
        let unrevoked = if force { Unrevoked::AreErased } else { Unrevoked::Stay };
        let grant = Grant::of(&config, Some(&name))?;
        daemon::shares(&config, &name, &grant.store.place())?;
        wait_for(out_of(grant, &config, unrevoked))?.sentence
    };
    // Who runs need not wait until it looks by itself; where nobody runs there is nobody to tell.
    let told = daemon::look(&config, &name);
    if !common.quiet {
        note(&sentence);
    }
    if let Err(failure) = told {
        note(&format!("A bearerd that runs has not been told: {}", failure.says));
    }
    Ok(Exit::Success)
}

async fn out_of(
    Grant { params, store }: Grant,
    config: &Config,
    unrevoked: Unrevoked,
) -> Result<SignedOut, Failure> {
    let tls = load_tls(config)?;
    let endpoint = HttpEndpoint::new(params.clone(), tls, Clock::System);
    let ended = sign_out(&params, &endpoint, store.as_ref(), &Clock::System, unrevoked).await;
    ended.map_err(|error| Failure::new(exit(&error), format!("{} ({})", error.sentence, error.code)))
}

fn exit(error: &RefreshError) -> Exit {
    match error.class {
        Class::NotSent | Class::Busy { .. } | Class::Unanswered | Class::Blocked => Exit::Unreachable,
        Class::Misconfigured | Class::Store | Class::Refused => Exit::Config,
        Class::Unusable => Exit::Failure,
    }
}
