//! `bearerd export`: takes a grant out of the store, for another bearerd to go on with.
//!
//! | step | killed right after it |
//! |---|---|
//! | FILE.part is written, durably | the grant rests in the store and is presented from there; once more writes it anew |
//! | the record in the store is retired, durably | the grant is in FILE.part; once more gives it its name |
//! | FILE.part becomes FILE | all is done; once more says so |
//!
//! What is called FILE is therefore never presented by anybody else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::grants::{Grant, unusable_store, wait_for};
use super::{Common, Exit, Failure, note, run};
use crate::clock::Clock;
use crate::config::Flags;
use crate::grant::error::{Class, RefreshError};
use crate::grant::lineage::{self, Line};
use crate::store::{Record, Txn, transfer};
use crate::token::GrantName;

/// What the name of a file ends in until its export is done.
pub(super) const PART: &str = ".part";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which grant
    #[arg(long, value_name = "NAME", default_value = GrantName::DEFAULT)]
    grant: String,
    /// Where to; must not be there yet. Left out: to standard output, if that is no terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

pub(super) fn export(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    run::forbid_core_dumps();
    if arguments.output.is_none() && io::stdout().is_terminal() {
        let why = "a refresh token is not shown on a terminal: name a file with --output, or give the output to a \
                   program";
        return Err(Failure::new(Exit::Usage, why));
    }
    let grant = Grant::find(common, arguments.flags, &arguments.grant)?;
    let told = match &arguments.output {
        Some(file) => {
            let file = std::path::absolute(file).map_err(|error| failed("find", file, &error))?;
            wait_for(to_file(&grant, &file))?
        }
        None => wait_for(to_stdout(&grant))?,
    };
    if !common.quiet {
        note(&told);
    }
    Ok(Exit::Success)
}

async fn to_file(grant: &Grant, file: &Path) -> Result<String, Failure> {
    let part = PathBuf::from(format!("{}{PART}", file.display()));
    let mut txn = grant.lock().await?;
    if let Some(retired) = txn.record().filter(|record| record.exported.is_some()) {
        let is_its = |path: &Path| read(path).is_some_and(|record| transfer::is_left_by(retired, &record));
        if is_its(file) {
            return Ok(done(grant, &file.display().to_string()));
        }
        if is_its(&part) {
            name(&part, file)?;
            return Ok(done(grant, &file.display().to_string()));
        }
    }
    let record = living(grant, txn.as_ref())?;
    if fs::symlink_metadata(file).is_ok() {
        let why = format!("{} is there already, and is not overwritten", file.display());
        return Err(Failure::new(Exit::Failure, why));
    }
    clear(&part, &record)?;
    write(&part, &record, grant).map_err(|error| failed("write", &part, &error))?;
    retire(&mut txn, &file.display().to_string()).await?;
    name(&part, file)?;
    Ok(done(grant, &file.display().to_string()))
}

/// Whoever reads it has to keep it: a pipe keeps nothing.
async fn to_stdout(grant: &Grant) -> Result<String, Failure> {
    let mut txn = grant.lock().await?;
    let record = living(grant, txn.as_ref())?;
    let write = || -> io::Result<()> {
        // Not by way of std's buffer, which would keep a copy.
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        stdout.write_all(&transfer::encode(&record, &grant.store.place())?)?;
        match stdout.sync_all() {
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Err(error)
            }
            // What is no file keeps nothing.
            _ => Ok(()),
        }
    };
    write().map_err(|error| failed("write to", Path::new("standard output"), &error))?;
    retire(&mut txn, "standard output").await?;
    Ok(done(grant, "standard output"))
}

/// The record, if it is this client's and has a refresh token to move.
fn living(grant: &Grant, txn: &dyn Txn) -> Result<Record, Failure> {
    match lineage::decide(txn.record().cloned(), &grant.params.identity(), None, true) {
        Ok(Line::Rests(record) | Line::Begins(record)) => Ok(record),
        Err(RefreshError { class: Class::Refused, sentence, .. }) => {
            Err(Failure::new(Exit::SignInRequired, format!("nothing to export: {sentence}")))
        }
        Err(error) => Err(Failure::new(Exit::Config, error.sentence)),
    }
}

async fn retire(txn: &mut Box<dyn Txn>, to: &str) -> Result<(), Failure> {
    let now = Clock::System.now().wall;
    transfer::retire(txn, to, now).await.map_err(|error| unusable_store(&error))
}

fn done(grant: &Grant, to: &str) -> String {
    let Grant { params, store } = grant;
    format!(
        "exported: the refresh token of grant {} is in {to} and no longer in {}; `bearerd import` puts it into \
         another store",
        params.name,
        store.place()
    )
}

/// What an earlier try for the same grant has left is of no use any more; what another has left may be all there is.
fn clear(part: &Path, record: &Record) -> Result<(), Failure> {
    if fs::symlink_metadata(part).is_err() {
        return Ok(());
    }
    let is_ours = |left: &Record| left.lineage == record.lineage && left.generation <= record.generation;
    let is_torn = || {
        fs::read(part).is_ok_and(|bytes| bytes.iter().zip(transfer::OPENING).all(|(is, begins)| is == begins))
    };
    if !read(part).map_or_else(is_torn, |left| is_ours(&left)) {
        let why = format!("{} holds another export: import it, or move it away", part.display());
        return Err(Failure::new(Exit::Failure, why));
    }
    fs::remove_file(part).map_err(|error| failed("remove", part, &error))
}

/// The record of an export, if the file is a whole one.
fn read(path: &Path) -> Option<Record> {
    let bytes = zeroize::Zeroizing::new(fs::read(path).ok()?);
    transfer::decode(&bytes).ok()
}

/// Durable once `Ok`, the file and its name.
fn write(part: &Path, record: &Record, grant: &Grant) -> io::Result<()> {
    let bytes = transfer::encode(record, &grant.store.place())?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    sync_folder(part)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Gives FILE.part its name, which nobody else may have taken meanwhile.
fn name(part: &Path, file: &Path) -> Result<(), Failure> {
    let named = match fs::hard_link(part, file) {
        Ok(()) => fs::remove_file(part),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // The file systems of memory sticks know no second name.
        Err(_) => fs::rename(part, file),
    };
    named.and_then(|()| sync_folder(file)).map_err(|error| {
        let why =
            format!("the grant is exported to {}, and could not be named {}", part.display(), file.display());
        Failure::new(Exit::Failure, format!("{why}: {error}"))
    })
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot {doing} {}: {error}", path.display()))
}
