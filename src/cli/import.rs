//! `bearerd import`: puts an exported grant into the store, where a running bearerd finds it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::export::PART;
use super::grants::{Grant, hold, sync_folder, unusable_store, wait_for};
use super::{Common, Exit, Failure, note, run};
use crate::config::Flags;
use crate::grant::Dpop;
use crate::secret::Fingerprint;
use crate::store::{
    self,
    transfer::{self, Export},
};
use crate::token::GrantName;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which grant it becomes
    #[arg(long, value_name = "NAME", default_value = GrantName::DEFAULT)]
    grant: String,
    /// End the grant that rests there, if one does
    #[arg(long)]
    replace: bool,
    /// The export, which is removed once the grant rests in the store
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

pub(super) fn import(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    run::forbid_core_dumps();
    let grant = Grant::find(common, arguments.flags, &arguments.grant)?;
    let shown = arguments.file.display();
    let real = fs::canonicalize(&arguments.file).unwrap_or_else(|_| arguments.file.clone());
    if real.as_os_str().as_encoded_bytes().ends_with(PART.as_bytes()) {
        let why = format!(
            "{shown} is of an export that was not finished, so the grant may be in use where it came from: run \
             `bearerd export` there once more"
        );
        return Err(failed(why));
    }
    let taken =
        Taken::from(&arguments.file).map_err(|error| failed(format!("cannot read {shown}: {error}")))?;
    let export =
        transfer::decode(&taken.bytes).map_err(|why| failed(format!("cannot import {shown}: {why}")))?;
    let (identity, record) = (grant.params.identity(), &export.record);
    if !identity.owns(record) {
        let why = format!(
            "{shown} holds the grant of client `{}` at {}, and the configured one is `{}` at {}",
            record.client_id.escape_debug(),
            record.issuer.escape_debug(),
            identity.client_id,
            identity.issuer
        );
        return Err(Failure::new(Exit::Config, why));
    }
    if record.dpop_key.is_some() && grant.params.dpop == Dpop::Off {
        let why = format!(
            "{shown} holds a grant that is bound to a key, of which no use is made here: set `dpop = true`"
        );
        return Err(Failure::new(Exit::Config, why));
    }
    let seed = grant.seed("import")?;
    let told = wait_for(put(&grant, export, seed, arguments.replace))?;
    if !common.quiet {
        note(&told);
    }
    if let Err(error) = taken.remove() {
        note(&format!(
            "{shown} is used up and could not be removed ({error}): remove it, so that nobody imports it again"
        ));
    }
    Ok(Exit::Success)
}

async fn put(
    grant: &Grant,
    export: Export,
    seed: Option<Fingerprint>,
    replace: bool,
) -> Result<String, Failure> {
    let Grant { params, store } = grant;
    store.probe().await.map_err(|error| unusable_store(&error))?;
    let mut txn = grant.lock_past_damage().await?;
    let done = format!("imported: the refresh token of grant {} is in {}", params.name, store.place());
    if let Some(resting) = txn.record() {
        grant.owns(resting)?;
        if transfer::rests_already(resting, &export.record) {
            return Ok(format!("{done} already"));
        }
        if let Some(later) = transfer::later_export(resting, &export) {
            let why = format!(
                "it has been imported before, and the grant has gone on from {} since: a later export went to {}, and \
                 this one is used up",
                store.place(),
                later.to
            );
            return Err(failed(why));
        }
        if transfer::is_alive_beside(resting, &export.record) && !replace {
            let why = format!("{} holds a grant that is in use; --replace ends it", store.place());
            return Err(failed(why));
        }
    }
    transfer::settle(&mut txn, export.record, seed).await.map_err(|error| unusable_store(&error))?;
    Ok(done)
}

/// A file that nobody else imports meanwhile.
struct Taken {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
    _held: File,
}

impl Taken {
    fn from(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let file = File::open(&path)?;
        hold(&file, &path)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
        (&file).take(store::LARGEST).read_to_end(&mut bytes)?;
        Ok(Self { path, bytes, _held: file })
    }

    fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        sync_folder(&self.path)
    }
}

fn failed(why: String) -> Failure {
    Failure::new(Exit::Failure, why)
}
