//! `bearerd import`: puts an exported grant into the store, where a running bearerd finds it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::export::PART;
use super::grants::{Grant, unusable_store, wait_for};
use super::{Common, Exit, Failure, note, run};
use crate::config::Flags;
use crate::grant::Flow;
use crate::secret::{Fingerprint, RefreshToken};
use crate::store::{Record, transfer};
use crate::token::GrantName;

/// No export comes near.
const LARGEST: u64 = 2 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which grant it becomes
    #[arg(long, value_name = "NAME", default_value = GrantName::DEFAULT)]
    grant: String,
    /// End the grant that rests there, if one does
    #[arg(long)]
    replace: bool,
    /// The export, which is removed once the grant rests in the store; `-` is standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

pub(super) fn import(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    run::forbid_core_dumps();
    let grant = Grant::find(common, arguments.flags, &arguments.grant)?;
    let file = Some(Path::new(&arguments.file)).filter(|file| *file != Path::new("-"));
    let shown = file.map_or("standard input".to_owned(), |file| file.display().to_string());
    if shown.ends_with(PART) {
        let why = format!(
            "{shown} is of an export that was not finished, so the grant may be in use where it came from: run \
             `bearerd export` there once more"
        );
        return Err(failed(why));
    }
    let bytes = read(file).map_err(|error| failed(format!("cannot read {shown}: {error}")))?;
    let record = transfer::decode(&bytes).map_err(|why| failed(format!("cannot import {shown}: {why}")))?;
    let identity = grant.params.identity();
    if !identity.owns(&record) {
        let why = format!(
            "{shown} holds the grant of client `{}` at {}, and the configured one is `{}` at {}",
            record.client_id.escape_debug(),
            record.issuer.escape_debug(),
            identity.client_id,
            identity.issuer
        );
        return Err(Failure::new(Exit::Config, why));
    }
    let seed = seed(&grant)?;
    let told = wait_for(put(&grant, record, seed, arguments.replace))?;
    if !common.quiet {
        note(&told);
    }
    if let Some(Err(error)) = file.map(fs::remove_file) {
        note(&format!(
            "{shown} is used up and could not be removed ({error}): remove it, so that nobody imports it again"
        ));
    }
    Ok(Exit::Success)
}

async fn put(
    grant: &Grant,
    record: Record,
    seed: Option<Fingerprint>,
    replace: bool,
) -> Result<String, Failure> {
    let Grant { params, store } = grant;
    store.probe().await.map_err(|error| unusable_store(&error))?;
    let mut txn = grant.lock().await?;
    let done = format!("imported: the refresh token of grant {} is in {}", params.name, store.place());
    if let Some(resting) = txn.record() {
        if !params.identity().owns(resting) {
            let why = format!(
                "{} holds the grant of another client, `{}` at {}: name another `[store] path`, or move that record away",
                store.place(),
                resting.client_id.escape_debug(),
                resting.issuer.escape_debug()
            );
            return Err(Failure::new(Exit::Config, why));
        }
        if transfer::rests_already(resting, &record) {
            return Ok(format!("{done} already"));
        }
        if transfer::is_alive_beside(resting, &record) && !replace {
            let why = format!("{} holds a grant that is in use; --replace ends it", store.place());
            return Err(failed(why));
        }
    }
    transfer::settle(&mut txn, record, seed).await.map_err(|error| unusable_store(&error))?;
    Ok(done)
}

/// The configured seed, to be noted as met: a running bearerd would take one that it does not know for a newer sign-in,
/// and give up what was imported for it.
fn seed(grant: &Grant) -> Result<Option<Fingerprint>, Failure> {
    let Flow::RefreshToken { seed: Some(reference) } = &grant.params.flow else { return Ok(None) };
    let seed = reference.read_refresh_token().map(|seed| RefreshToken::fingerprint(&seed));
    seed.map(Some).map_err(|why| {
        let why = format!(
            "the configured seed has to be read, so that it does not count as newer than the import: {why}; put it there, \
             or take `refresh_token` out of the configuration"
        );
        Failure::new(Exit::Config, why)
    })
}

fn read(file: Option<&Path>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
    match file {
        Some(file) => File::open(file)?.take(LARGEST).read_to_end(&mut bytes)?,
        None => io::stdin().lock().take(LARGEST).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

fn failed(why: String) -> Failure {
    Failure::new(Exit::Failure, why)
}
