//! One grant of the configuration and its store, for the commands that move a record.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Common, Exit, Failure, note};
use crate::config::{Config, Flags};
use crate::grant::{Params, lock};
use crate::secret::{Fingerprint, RefreshToken};
use crate::store::{self, Record, Store, StoreError, Txn};
use crate::tls::Tls;
use crate::token::GrantName;

/// A grant, and where it rests.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) params: Params,
    pub(super) store: Arc<dyn Store>,
}

impl Grant {
    /// The grant of this name, with a store that outlives this command, and a refresh token to move.
    pub(super) fn find(common: &Common, flags: Flags, name: &str) -> Result<Self, Failure> {
        let grant = Self::of(&common.load_running(flags)?, Some(name))?;
        if !grant.params.needs_refresh_token() {
            let why = format!("grant `{name}` has no refresh token to move: its `flow` needs none");
            return Err(Failure::new(Exit::Config, why));
        }
        Ok(grant)
    }

    /// The grant of this name, or the one that there is, with a store that outlives this command.
    pub(super) fn of(config: &Config, name: Option<&str>) -> Result<Self, Failure> {
        let params = named(config, name)?.clone();
        if config.store == store::Params::Memory {
            let why = "the store is in the memory of the bearerd that runs, where no command reaches it; give it a file \
                       with `[store] path`";
            return Err(Failure::new(Exit::Config, why));
        }
        let store = store::open(&config.store, &params.name).map_err(|error| unusable_store(&error))?;
        Ok(Self { params, store })
    }

    /// Whether a record that rests in the store is this grant's.
    pub(super) fn owns(&self, resting: &Record) -> Result<(), Failure> {
        if self.params.identity().owns(resting) {
            return Ok(());
        }
        let why = format!(
            "{} holds the grant of another client, `{}` at {}: name another `[store] path`, or move that record away",
            self.store.place(),
            resting.client_id.escape_debug(),
            resting.issuer.escape_debug()
        );
        Err(Failure::new(Exit::Config, why))
    }

    /// The configured seed, to be noted as met: a running bearerd would take one that it does not know for a newer
    /// sign-in, and give up what was stored instead; `what` that is.
    pub(super) fn seed(&self, what: &str) -> Result<Option<Fingerprint>, Failure> {
        let seed = self.params.read_seed().transpose();
        seed.map(|seed| seed.map(|seed| seed.fingerprint())).map_err(|why| {
            let why = format!(
                "the configured seed has to be read, so that it does not count as newer than the {what}: {why}; put it there, \
                 or take `refresh_token` out of the configuration"
            );
            Failure::new(Exit::Config, why)
        })
    }

    /// The store's lock, which a running bearerd may have for as long as a refresh takes.
    pub(super) async fn lock(&self) -> Result<Box<dyn Txn>, Failure> {
        self.take().await.map_err(|(error, seed)| self.without_lock(&error, seed))
    }

    /// As `lock`, for who brings another record: one that is damaged is set aside, and told of.
    pub(super) async fn lock_past_damage(&self) -> Result<Box<dyn Txn>, Failure> {
        match self.take().await {
            Err((damage @ StoreError::Corrupt { aside: Some(_), .. }, _)) => {
                note(&format!("The record was damaged: {damage}."));
                self.lock().await
            }
            taken => taken.map_err(|(error, seed)| self.without_lock(&error, seed)),
        }
    }

    async fn take(&self) -> Result<Box<dyn Txn>, (StoreError, Option<Result<RefreshToken, String>>)> {
        // An `exec` seed may take its time, and a signal is to be heard meanwhile.
        let seed = lock::read_seed(&self.params).await;
        let taken = lock::take(&self.params, self.store.as_ref(), seed.as_ref()).await;
        taken.map_err(|error| (error, seed))
    }

    fn without_lock(&self, error: &StoreError, seed: Option<Result<RefreshToken, String>>) -> Failure {
        match (error, seed) {
            (StoreError::Corrupt { aside: None, .. }, Some(Err(unread))) => {
                let why = format!(
                    "{error}; the configured seed cannot be read either ({unread}), and has to be known before another \
                     record takes this one's place: start bearerd or run this where the seed is, or take `refresh_token` out of \
                     the configuration"
                );
                Failure::new(Exit::Config, why)
            }
            _ => unusable_store(error),
        }
    }
}

/// The grant of this name; of none, the default one, or the one that there is.
pub(super) fn named<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Params, Failure> {
    let only = || config.grants.values().next().filter(|_| config.grants.len() == 1);
    let asked = config.grants.get(&GrantName::new(name.unwrap_or(GrantName::DEFAULT)));
    asked.or_else(|| only().filter(|_| name.is_none())).ok_or_else(|| {
        let known: Vec<String> = config.grants.keys().map(|name| format!("`{name}`")).collect();
        let known = known.join(", ");
        let why = match name {
            Some(name) => format!("there is no grant `{}`; there is {known}", name.escape_debug()),
            None => format!("which grant? There is {known}"),
        };
        Failure::new(Exit::Config, why)
    })
}

/// Keeps others from a file as long as it is open; one that is no longer at its path is of no use to hold.
pub(super) fn hold(file: &File, path: &Path) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::other("another bearerd is moving a grant with it"));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    if store::is_at(file, path)? { Ok(()) } else { Err(io::Error::other("another one took its place")) }
}

/// Makes durable what a file is called, or that it is gone.
pub(super) fn sync_folder(of: &Path) -> io::Result<()> {
    store::sync_folder(&File::open(of.parent().unwrap_or(Path::new("/")))?)
}

/// What `[tls]` says, for commands that speak to servers themselves.
pub(super) fn load_tls(config: &Config) -> Result<Tls, Failure> {
    Tls::load(&config.tls).map_err(|error| Failure::new(Exit::Config, format!("[tls]: {error}")))
}

/// Why nothing could be moved.
pub(super) fn unusable_store(error: &StoreError) -> Failure {
    match error {
        StoreError::Locked { .. } => Failure::new(Exit::Failure, format!("{error}; try again")),
        _ => Failure::new(Exit::Config, error.to_string()),
    }
}

/// Does what has to wait for a store.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    let done = runtime.block_on(work);
    // What was given up may still be waited for on a thread of its own: a name that is looked up, a program that is run.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_held_by_one_and_only_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grant.json");
        fs::write(&path, "one").unwrap();
        let (first, second) = (File::open(&path).unwrap(), File::open(&path).unwrap());
        hold(&first, &path).unwrap();
        assert!(hold(&second, &path).unwrap_err().to_string().contains("another bearerd"));
        drop(first);
        fs::write(folder.path().join("other"), "two").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(hold(&second, &path).unwrap_err().to_string().contains("took its place"));
        fs::remove_file(&path).unwrap();
        assert_eq!(hold(&second, &path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
