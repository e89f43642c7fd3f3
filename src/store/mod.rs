//! Where a refresh token rests: one record, one lock and one intent per grant.

pub mod erase;
mod file;
mod held;
mod keyring;
pub mod memory;
pub(crate) mod record;
#[cfg(test)]
mod sample;
mod seal;
#[cfg(test)]
mod tests;
pub mod transfer;

#[cfg(debug_assertions)]
pub use self::file::{Step, Watch};

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::file::{is_at, sync_folder};

/// No record is larger, however it is written.
pub const LARGEST: u64 = file::LARGEST;
use crate::clock::Moment;
use crate::secret::{AccessTokenText, DpopKey, Fingerprint, RefreshToken, Secret};
use crate::token::GrantName;

/// What a store's methods return: boxed, because the kind of store is chosen by the configuration.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How many fingerprints of seeds a record remembers (R44).
pub const SEEDS_REMEMBERED: usize = 32;

/// How many redeems in a row without a new refresh token make a lineage count as one that does not rotate (R78): from
/// then on a redeem may go ahead without a durable intent.
pub const QUIET_REDEEMS: u32 = 3;

/// What `[store]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Params {
    /// `kind = "file"`: the default grant's record is `path`; NAME's rests beside it as `state.NAME.json`.
    File {
        /// Path of the default grant's record.
        path: PathBuf,
        /// Whether it may lie on a file system of another machine's.
        allow_network_fs: bool,
        /// `encryption_key`: the first one seals records, each of them opens. Without any, records rest as they are.
        encryption_keys: Vec<Secret>,
    },
    /// `kind = "keyring"`: an entry of the desktop's keyring for each grant.
    Keyring {
        /// Where the default grant's record would be as a file: there rests a mark, and the lock beside it.
        path: PathBuf,
        /// As with a file, for the lock's sake.
        allow_network_fs: bool,
    },
    /// `kind = "memory"`: nothing survives a restart.
    Memory,
}

impl Params {
    /// Names the place for people.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Keyring { path, .. } => format!("the keyring, for {}", path.display()),
            Self::Memory => "memory".to_owned(),
        }
    }
}

/// Opens the store of one grant; touches nothing yet. Each call with [`Params::Memory`] is a store of its own.
///
/// # Errors
/// When the path names no file, or the grant's name cannot be part of a file's name.
pub fn open(params: &Params, grant: &GrantName) -> Result<Arc<dyn Store>, StoreError> {
    match params {
        Params::File { path, allow_network_fs, encryption_keys } => {
            Ok(Arc::new(file::FileStore::new(path, grant, *allow_network_fs, encryption_keys)?))
        }
        Params::Keyring { path, allow_network_fs } => {
            Ok(Arc::new(keyring::KeyringStore::new(path, grant, *allow_network_fs)?))
        }
        Params::Memory => Ok(Arc::new(memory::MemoryStore::default())),
    }
}

/// Opens the file store of the default grant, and has each step on the disk told before it is done: the seam at which a
/// test's child process dies. Debug builds only.
///
/// # Errors
/// When the path names no file.
#[cfg(debug_assertions)]
pub fn open_watched(path: &std::path::Path, watch: Watch) -> Result<Arc<dyn Store>, StoreError> {
    let store = file::FileStore::new(path, &GrantName::new(GrantName::DEFAULT), false, &[])?;
    Ok(Arc::new(store.watched(watch)))
}

/// What `intend` says when nothing rests in the store yet.
const NO_RECORD: &str = "it holds no record to note an intent in; a first one must be committed before";

/// What rests in the place of a record that was damaged, if anything is to; may block.
pub type StandIn = Box<dyn FnOnce() -> Option<Record> + Send>;

/// One grant's resting place. A file and a Kubernetes Secret can both keep this shape.
pub trait Store: Send + Sync {
    /// Takes the grant's lock, waiting up to `patience` for another process to give it up, and reads the record.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when the lock was not to be had in time, and whatever reading the record met.
    fn begin(&self, patience: Duration) -> Pending<'_, Result<Box<dyn Txn>, StoreError>> {
        self.begin_or(patience, Box::new(|| None))
    }

    /// As [`Store::begin`], for whoever goes on with the configured seed where nothing rests: of a damaged record's place
    /// nobody finds it empty. What `stand_in` gives takes it in one step, and the next to begin finds that; where nothing can
    /// be damaged it is not asked for.
    ///
    /// # Errors
    /// As [`Store::begin`], of a damaged record all the same. One whose place could not be taken stays where it is.
    fn begin_or(
        &self,
        patience: Duration,
        stand_in: StandIn,
    ) -> Pending<'_, Result<Box<dyn Txn>, StoreError>>;

    /// Reads the record without the lock: the last one that was committed whole.
    ///
    /// # Errors
    /// When the record cannot be read or understood.
    fn peek(&self) -> Pending<'_, Result<Option<Record>, StoreError>>;

    /// Finds out whether a record can be written here, by writing, and renames over the record's own path (R43).
    ///
    /// # Errors
    /// When the store cannot be written; the program then does not start (exit 78).
    fn probe(&self) -> Pending<'_, Result<(), StoreError>>;

    /// Finds out the same as far as that can be done beside a program that keeps its record here, by another user perhaps:
    /// the record and its lock are left alone.
    ///
    /// # Errors
    /// As [`Store::probe`], and when what rests cannot be read.
    fn inspect(&self) -> Pending<'_, Result<(), StoreError>> {
        self.probe()
    }

    /// Names the place for people, as in `file /var/lib/bearerd/state.json`.
    fn place(&self) -> String;
}

/// The grant's lock, held; the record under it. Dropping it gives up the lock and leaves an intent standing.
pub trait Txn: Send {
    /// The record as it rests, with an intent that an earlier holder left unfinished.
    fn record(&self) -> Option<&Record>;

    /// Makes the intent durable, together with the space that the record's successor will need.
    ///
    /// # Errors
    /// When either is not durable: the refresh token then must not be presented.
    fn intend(&mut self, intent: Intent) -> Pending<'_, Result<(), StoreError>>;

    /// Replaces the record; durable once `Ok`. May be called again, with a later record or after an error.
    ///
    /// # Errors
    /// When the record is not known to be durable; the earlier one still rests whole.
    fn commit(&mut self, record: Record) -> Pending<'_, Result<(), StoreError>>;

    /// Takes an intent of ours back, because nothing was presented, and gives up the lock.
    ///
    /// # Errors
    /// When the intent could not be taken back; it then stands, which costs a warning at the next start.
    fn abandon(self: Box<Self>) -> Pending<'static, Result<(), StoreError>>;
}

/// Everything that is kept of a grant: one object, one write (R38).
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Names the line of refresh tokens that began with one seed or one sign-in.
    pub lineage: String,
    /// Counts up with every change of the record within a lineage; tells a newer record from an older.
    pub generation: u64,
    /// The issuer, or the token endpoint where no issuer is configured: the token is presented nowhere else (R45).
    pub issuer: String,
    /// The client that the token was issued to (R45).
    pub client_id: String,
    /// Host and port of the token endpoint that gave the tokens, as [`crate::net::authority`] writes them: metadata alone
    /// lead them nowhere else (R73). None until it has given some, or where an older version has written the record.
    pub token_endpoint: Option<String>,
    /// The refresh token; none for grants that have none.
    pub refresh_token: Option<RefreshToken>,
    /// The last access token, if it was good when saved.
    pub access_token: Option<SavedToken>,
    /// The key that the tokens are bound to (RFC 9449), if any is: who loses it has lost them (R74).
    pub dpop_key: Option<DpopKey>,
    /// Fingerprints of the seeds that this record has met, the latest last (R44).
    pub seeds: Vec<Fingerprint>,
    /// How many redeems in a row brought no new refresh token.
    pub quiet_redeems: u32,
    /// When the server says that the grant ends (R37).
    pub grant_end: Option<GrantEnd>,
    /// A refresh token that was presented, or was about to be, and the answer has not been saved (R40).
    pub intent: Option<Intent>,
    /// The authorization server refused the grant (R52).
    pub refused: Option<Refusal>,
    /// The tokens have left for another store.
    pub exported: Option<Exported>,
    /// When a person ended the grant, by the wall clock, since the Unix epoch.
    pub signed_out: Option<Duration>,
}

impl Record {
    /// Notes seeds as met, the latest last; only the last ones are remembered (R44).
    pub fn meet(&mut self, seeds: impl IntoIterator<Item = Fingerprint>) {
        for met in seeds {
            self.seeds.retain(|known| *known != met);
            self.seeds.push(met);
        }
        self.seeds.drain(..self.seeds.len().saturating_sub(SEEDS_REMEMBERED));
    }
}

impl Record {
    /// Whether the refresh token that rests is the one that the server has refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let rests = self.refresh_token.as_ref().map(RefreshToken::fingerprint);
        self.refused.as_ref().is_some_and(|refusal| Some(&refusal.presented) == rests.as_ref())
    }

    /// The next record, without anything that could be presented or used: its seeds stay met (R44).
    pub(crate) fn emptied(self) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            refresh_token: None,
            access_token: None,
            dpop_key: None,
            token_endpoint: None,
            quiet_redeems: 0,
            intent: None,
            refused: None,
            ..self
        }
    }

    /// Whether anything in it is to be kept from others.
    #[must_use]
    pub fn holds_a_secret(&self) -> bool {
        self.refresh_token.is_some() || self.access_token.is_some() || self.dpop_key.is_some()
    }
}

/// An access token at rest, with what is needed to tell whether it is still good (DESIGN §4).
#[derive(Clone, Debug, PartialEq)]
pub struct SavedToken {
    /// The token's text.
    pub text: AccessTokenText,
    /// Whether it is bound to the record's key.
    pub bound: bool,
    /// Before the request was sent.
    pub obtained: Moment,
    /// From when on it counts as expired.
    pub expires: Moment,
    /// Which boot the boot times belong to.
    pub boot_id: String,
}

/// When a grant ends, by the wall clock since the Unix epoch: it is told in days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantEnd {
    /// When a server first told this end.
    pub told: Duration,
    /// The end.
    pub at: Duration,
}

/// "This refresh token is about to be presented", written before it touches the wire (R40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Whose fingerprint: the refresh token's.
    pub presented: Fingerprint,
    /// Process that holds the lock, for people.
    pub holder: String,
    /// When, by the wall clock, since the Unix epoch; for people.
    pub started: Duration,
}

/// Why and when the authorization server refused the grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `rejected` or `lost_rotation`.
    pub reason: String,
    /// The refresh token it refused.
    pub presented: Fingerprint,
    /// When, by the wall clock, since the Unix epoch.
    pub at: Duration,
}

/// Where a record's tokens have gone, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Which export they went with.
    pub id: String,
    /// The file, for people.
    pub to: String,
    /// When, by the wall clock, since the Unix epoch.
    pub at: Duration,
}

/// Why a store could not do what was asked; the text says where and what to do.
#[derive(Debug)]
pub enum StoreError {
    /// Another process holds the lock.
    Locked {
        /// The lock's place.
        place: String,
    },
    /// The record is there and cannot be understood; it has been set aside, not overwritten.
    Corrupt {
        /// The record's place.
        place: String,
        /// What is wrong with it.
        why: String,
        /// Where it was set aside, if that was possible.
        aside: Option<PathBuf>,
    },
    /// Reading or writing failed.
    Io {
        /// What was being done, as in `write /var/lib/bearerd/state.json`.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The keyring did not do what it was asked.
    Keyring {
        /// A sentence: which entry, what was asked, and what to do.
        why: String,
    },
    /// The place must not be used: links, owners, modes; says why.
    Refused {
        /// The record's place.
        place: String,
        /// Why, and what to do.
        why: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { place } => write!(f, "another process holds the lock of {place}"),
            Self::Corrupt { place, why, aside: Some(aside) } => {
                write!(
                    f,
                    "{place} is not a record of bearerd's ({why}); it was set aside as {}",
                    aside.display()
                )
            }
            Self::Corrupt { place, why, aside: None } => {
                write!(f, "{place} is not a record of bearerd's ({why}), and was left where it is")
            }
            Self::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
            Self::Keyring { why } => f.write_str(why),
            Self::Refused { place, why } => write!(f, "{place} cannot be the store: {why}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
