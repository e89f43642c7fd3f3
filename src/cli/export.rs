//! `bearerd export`: takes a grant out of the store, for another bearerd to go on with.
//!
//! | step | killed right after it |
//! |---|---|
//! | FILE.part is written, durably | the grant rests in the store and is presented from there; once more writes FILE.part anew |
//! | the record in the store is retired, durably | the grant is in FILE.part alone; once more gives it its name |
//! | FILE.part becomes FILE | all is done; once more says so |
//!
//! What is called FILE is therefore never presented by anybody else. Each export has a name of its own, which stands in
//! what is written and in what is left: a FILE.part of a try that came to nothing is never given its name later.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::grants::{Grant, hold, sync_folder, unusable_store, wait_for};
use super::{Common, Exit, Failure, note, run};
use crate::clock::Clock;
use crate::config::Flags;
use crate::grant::error::{Class, RefreshError};
use crate::grant::lineage::{self, Line};
use crate::store::transfer::{self, Export};
use crate::store::{Exported, Record, Txn};
use crate::token::GrantName;

/// What the name of a file ends in until its export is done.
pub(super) const PART: &str = ".part";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which grant
    #[arg(long, value_name = "NAME", default_value = GrantName::DEFAULT)]
    grant: String,
    /// Where to; must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

pub(super) fn export(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    run::forbid_core_dumps();
    let grant = Grant::find(common, arguments.flags, &arguments.grant)?;
    let file = &arguments.output;
    let file = std::path::absolute(file).map_err(|error| failed("find", file, &error))?;
    is_a_name_for(&file)?;
    let told = wait_for(to_file(&grant, &file))?;
    if !common.quiet {
        note(&told);
    }
    Ok(Exit::Success)
}

/// What has such a name is cleared away by whoever works with a store, or waits for its end.
fn is_a_name_for(file: &Path) -> Result<(), Failure> {
    const WORKING: [&str; 5] = [PART, ".lock", ".new", ".probe", ".spare"];
    match WORKING.iter().find(|ending| file.as_os_str().as_encoded_bytes().ends_with(ending.as_bytes())) {
        Some(ending) => {
            let why = format!("{} cannot be an export: name it without {ending}", file.display());
            Err(Failure::new(Exit::Failure, why))
        }
        None => Ok(()),
    }
}

async fn to_file(grant: &Grant, file: &Path) -> Result<String, Failure> {
    let part = PathBuf::from(format!("{}{PART}", file.display()));
    let mut txn = grant.lock().await?;
    if let Some(retired) = txn.record().cloned() {
        let is_its = |path: &Path| read(path).is_some_and(|export| transfer::is_left_by(&retired, &export));
        let (is_named, is_left) = (is_its(file), is_its(&part));
        if is_named || is_left {
            // The try before may have ended before its last word was durable.
            transfer::confirm(&mut txn).await.map_err(|error| unusable_store(&error))?;
        }
        match (is_named, is_left) {
            (true, true) => remove(&part)?,
            (false, true) => name(&part, file)?,
            _ => {}
        }
        if is_named || is_left {
            return Ok(done(grant, file));
        }
    }
    let record = living(grant, txn.as_ref(), &part)?;
    if fs::symlink_metadata(file).is_ok() {
        let why = format!("{} is there already, and is not overwritten", file.display());
        return Err(Failure::new(Exit::Failure, why));
    }
    clear(&part, &record)?;
    let export = Export::of(record);
    // Held to the end, so that another grant's export to the same FILE keeps away.
    let held = write(&part, &export, grant).map_err(|error| failed("write", &part, &error))?;
    let to = file.display().to_string();
    let left = Exported { id: export.id.clone(), to, at: Clock::System.now().wall };
    transfer::retire(&mut txn, left).await.map_err(|error| {
        let why = format!(
            "{error}. Keep {} and run the same command again: the grant may be there alone",
            part.display()
        );
        Failure::new(Exit::Config, why)
    })?;
    name(&part, file)?;
    drop(held);
    Ok(done(grant, file))
}

/// The record, if it is this client's and has a refresh token to move.
fn living(grant: &Grant, txn: &dyn Txn, part: &Path) -> Result<Record, Failure> {
    match lineage::decide(txn.record().cloned(), &grant.params.identity(), None, true) {
        Ok(Line::Rests(record) | Line::Begins(record)) => Ok(record),
        Err(RefreshError { class: Class::Refused, sentence, .. }) => {
            let mut why = format!("nothing to export: {sentence}");
            if txn.record().is_some_and(|record| is_of_an_earlier_try(part, record)) {
                let stale =
                    format!(" {} is stale, of a try that came to nothing: remove it.", part.display());
                why.push_str(&stale);
            }
            Err(Failure::new(Exit::SignInRequired, why))
        }
        Err(error) => Err(Failure::new(Exit::Config, error.sentence)),
    }
}

fn done(grant: &Grant, file: &Path) -> String {
    let Grant { params, store } = grant;
    format!(
        "exported: the refresh token of grant {} is in {} and no longer in {}; `bearerd import` puts it into another \
         store. Move the file and keep no copy: one that is imported as well is a second holder",
        params.name,
        file.display(),
        store.place()
    )
}

/// What an earlier try for the same grant has left is of no use any more; anything else may be all there is.
fn clear(part: &Path, record: &Record) -> Result<(), Failure> {
    let found = match fs::symlink_metadata(part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|error| failed("look at", part, &error))?,
    };
    // First held, then looked into: another export of that name may be writing it.
    let held = found.is_file().then(|| File::open(part).and_then(|left| hold(&left, part).map(|()| left)));
    let _held = held.transpose().map_err(|error| failed("remove", part, &error))?;
    if !is_of_an_earlier_try(part, record) {
        let why = format!(
            "{} is not of an earlier try for this grant: import what it holds, or move it away",
            part.display()
        );
        return Err(Failure::new(Exit::Failure, why));
    }
    remove(part)
}

/// Whether it holds the grant at an earlier time, or was cut off before anything depended on it.
fn is_of_an_earlier_try(part: &Path, record: &Record) -> bool {
    match contents(part) {
        Some(bytes) => match transfer::decode(&bytes) {
            Ok(Export { record: left, .. }) => {
                // Retiring counts up; what has the retired record's own number was exported elsewhere since.
                let is_earlier = left.generation < record.generation;
                left.lineage == record.lineage
                    && (is_earlier || left.generation == record.generation && record.exported.is_none())
            }
            Err(_) => transfer::is_cut_off(&bytes),
        },
        None => false,
    }
}

/// The export in a file, if it is a whole one.
fn read(path: &Path) -> Option<Export> {
    transfer::decode(&contents(path)?).ok()
}

/// Of a regular file; no pipe is waited for.
fn contents(path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    fs::read(path).ok().map(Zeroizing::new)
}

/// Durable once `Ok`, the file and its name; held as long as it is open.
fn write(part: &Path, export: &Export, grant: &Grant) -> io::Result<File> {
    let bytes = transfer::encode(export, &grant.store.place())?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
    hold(&file, part)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    sync_folder(part)?;
    Ok(file)
}

/// Gives FILE.part its name, which nobody else may have taken meanwhile.
fn name(part: &Path, file: &Path) -> Result<(), Failure> {
    rename_unless_taken(part, file).and_then(|()| sync_folder(file)).map_err(|error| {
        let why = format!(
            "the grant is exported to {}, and could not be named {}: {error}. Make way and run the same command again",
            part.display(),
            file.display()
        );
        Failure::new(Exit::Failure, why)
    })
}

/// In one step where that can be had: two names at any time would be two exports.
fn rename_unless_taken(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not on this file system, or not in this kernel.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return renamed.map_err(io::Error::from),
        }
    }
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

fn remove(part: &Path) -> Result<(), Failure> {
    fs::remove_file(part).and_then(|()| sync_folder(part)).map_err(|error| failed("remove", part, &error))
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot {doing} {}: {error}", path.display()))
}
