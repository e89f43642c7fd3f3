//! The record in the desktop's keyring: one entry a grant. In the record's place on the disk rests a mark that says so,
//! with the lock beside it, and no secret.
//!
//! A keyring that is locked, or is another one, looks as if nothing rested there, and then the seed would be presented a
//! second time. The mark tells: no record is taken where the two do not agree ([`standing`]). To a bearerd that keeps
//! records in files the mark says where the record is, so that neither begins anew when the kind is changed.
//!
//! | step | killed right after it |
//! |---|---|
//! | a first record: the mark says that it is coming | nothing has come: what rested before counts, and nothing was presented |
//! | it is written into the entry, and read back | it has come: the next holder finishes the mark |
//! | the mark says that it rests | it is saved |
//! | a refresh: what rests is written into the entry once more | nothing has happened |
//! | the mark notes the intent | the next holder finds the note |
//! | the token is redeemed | the window, as with a file |
//! | the successor is written into the entry, and read back | it is saved, and later than the mark's: the note is of no account |
//! | the mark says that it rests | it is saved |
//! | an export: in the mark's place rests what is left, which holds no secret | the grant has left; the entry is earlier, and of no account |
//! | the entry is removed | it has left |
//!
//! The successor goes into the entry first, so that nothing comes between an answer and its save. A record of another
//! line, which was not presented yet, is announced by the mark before.
//!
//! How durable a write is, is the keyring's to say, and no room can be set aside in it. What rests is therefore written
//! once more before each redeem, so that a keyring that cannot be written any more says so while nothing is lost by it,
//! and what was written is read back. There is no limit to a record's size here; what is too large for a keyring it
//! refuses, and the one before rests on.

mod changes;
mod mark;
mod standing;
#[cfg(test)]
pub(super) mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use self::changes::Changes;
use self::mark::Placed;
use self::standing::{Discord, Standing, decide};
use super::file::{self, Bare, Disk, Place};
use super::held::{HeldTxn, blocking};
use super::record::{self, Unreadable};
use super::{Pending, Record, StandIn, Store, StoreError, Txn};
use crate::secret::Entry;
use crate::token::GrantName;

/// The `service` of every entry.
const SERVICE: &str = "bearerd";

/// How often what is read without the lock is read anew because it changed meanwhile.
const LOOKS: u32 = 3;

/// One entry of a keyring. Each of these may block, for a while at most.
pub(super) trait Slot: Send + Sync {
    /// The entry, for people.
    fn name(&self) -> String;

    /// What it holds, if it is there.
    fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, String>;

    /// Replaces what it holds. One that is given up may be done later; the lock is kept until then, so that the next
    /// holder comes after it.
    fn write(&self, bytes: Zeroizing<Vec<u8>>, lock: Arc<Bare>) -> Result<(), String>;

    /// Removes it, if it is there.
    fn remove(&self, lock: Arc<Bare>) -> Result<(), String>;
}

impl Slot for Entry {
    fn name(&self) -> String {
        format!("{}/{}", self.service, self.name)
    }

    fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        Self::read(self)
    }

    fn write(&self, bytes: Zeroizing<Vec<u8>>, lock: Arc<Bare>) -> Result<(), String> {
        Self::write(self, bytes, lock)
    }

    fn remove(&self, lock: Arc<Bare>) -> Result<(), String> {
        Self::remove(self, lock)
    }
}

/// `kind = "keyring"`, for one grant.
pub(super) struct KeyringStore {
    place: Arc<Place>,
    disk: Disk,
    entry: Arc<dyn Slot>,
    /// What the trial at the start writes.
    trial: Arc<dyn Slot>,
    /// What was found last without the lock, and what was in the place then.
    seen: Arc<Mutex<Option<Seen>>>,
}

struct Seen {
    placed: Option<Zeroizing<Vec<u8>>>,
    resting: Option<Record>,
}

impl KeyringStore {
    /// The entry is named after the file that the record would be in: whoever has the lock beside that is its one holder.
    pub(super) fn new(path: &Path, grant: &GrantName, allow_network_fs: bool) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut place = Place::of(&path, grant)?;
        place.allow_network_fs = allow_network_fs;
        let entry =
            |ending| Entry { service: SERVICE.to_owned(), name: format!("{}{ending}", place.asked()) };
        let (entry, trial) = (Arc::new(entry("")), Arc::new(entry(".probe")));
        Ok(Self { place: Arc::new(place), disk: Disk::default(), entry, trial, seen: Arc::default() })
    }

    /// Looks at the place and at the entry, and changes neither.
    fn look(path: &Path, placed: Option<&[u8]>, entry: &dyn Slot) -> Result<Standing, Trouble> {
        let refused =
            |discord: Discord| file::refused(path, discord.why(&path.display().to_string(), &entry.name()));
        let placed = match placed.map(Placed::decode).transpose() {
            Ok(placed) => placed,
            Err(Unreadable::Damaged(why)) => {
                return Err(Trouble::Damaged { why, kept: kept(entry)?.map(Box::new) });
            }
            Err(unreadable) => return Err(file::why_unread(path, unreadable).into()),
        };
        decide(placed, &entry.name(), kept(entry)?).map_err(|discord| refused(discord).into())
    }

    fn peek_blocking(
        place: &Place,
        entry: &dyn Slot,
        seen: &Mutex<Option<Seen>>,
    ) -> Result<Option<Record>, StoreError> {
        let (path, mut placed) = file::peek(place)?;
        let mut looks = 1;
        loop {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            // The mark follows each change of the entry, and comes before the first: while it is as it was, or is not, the
            // keyring need not be asked, nor a person to unlock it.
            if let Some(seen) = seen.as_ref().filter(|seen| seen.placed == placed) {
                return Ok(seen.resting.clone());
            }
            let looked = Self::look(&path, placed.as_ref().map(|bytes| &***bytes), entry);
            let (_, now) = file::peek(place)?;
            if now != placed && looks < LOOKS {
                (placed, looks) = (now, looks + 1);
                continue;
            }
            let resting = looked.map_err(|trouble| trouble.into_error(&path))?.resting();
            *seen = Some(Seen { placed, resting: resting.clone() });
            return Ok(resting);
        }
    }
}

impl Store for KeyringStore {
    fn begin_or(
        &self,
        patience: Duration,
        stand_in: StandIn,
    ) -> Pending<'_, Result<Box<dyn Txn>, StoreError>> {
        Box::pin(async move {
            let bare = Bare::take(&self.place, self.disk.clone(), patience).await?;
            let entry = Arc::clone(&self.entry);
            blocking(move || Changes::begin(bare, entry, stand_in)).await.map(HeldTxn::boxed)
        })
    }

    fn peek(&self) -> Pending<'_, Result<Option<Record>, StoreError>> {
        let (place, entry, seen) = (Arc::clone(&self.place), Arc::clone(&self.entry), Arc::clone(&self.seen));
        Box::pin(blocking(move || Self::peek_blocking(&place, &*entry, &seen)))
    }

    /// Replaces what is in the place by itself, looks whether that and the entry agree, and writes an entry beside it. While
    /// another process holds the lock, none of it need be tried: its holder lives, and saves in this very place.
    fn probe(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let bare = match Bare::take(&self.place, self.disk.clone(), file::PROBE_PATIENCE).await {
                Ok(bare) => Arc::new(bare),
                Err(StoreError::Locked { .. }) => return self.peek().await.map(drop),
                Err(error) => return Err(file::with_cure(error, &self.place)),
            };
            let (place, entry, trial) =
                (Arc::clone(&self.place), Arc::clone(&self.entry), Arc::clone(&self.trial));
            blocking(move || {
                let placed = bare.read()?;
                bare.try_out(&place, placed.as_deref())?;
                match Self::look(bare.path(), placed.as_ref().map(|bytes| &***bytes), &*entry) {
                    // Damage is for whoever begins: it is set aside then.
                    Ok(_) | Err(Trouble::Damaged { .. }) => {}
                    Err(Trouble::Other(error)) => return Err(error),
                }
                changes::write(&*trial, Zeroizing::new(b"probe".to_vec()), &bare)?;
                trial.remove(bare).map_err(|why| StoreError::Keyring { why })
            })
            .await
        })
    }

    /// The keyring is asked for what it holds, and not tried: that would be a person's to allow.
    fn inspect(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let place = Arc::clone(&self.place);
            let tried = move || file::inspect_folder(&place).map_err(|error| file::with_cure(error, &place));
            blocking(tried).await?;
            self.peek().await.map(drop)
        })
    }

    fn place(&self) -> String {
        format!("the keyring, as {}", self.entry.name())
    }
}

/// Why there is no telling what rests.
enum Trouble {
    /// What is in the place is damaged; this is in the entry.
    Damaged {
        why: String,
        kept: Option<Box<Record>>,
    },
    Other(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Other(error)
    }
}

impl Trouble {
    fn into_error(self, path: &Path) -> StoreError {
        match self {
            Self::Damaged { why, .. } => corrupt(path.display().to_string(), why, None),
            Self::Other(error) => error,
        }
    }
}

fn corrupt(place: String, why: String, aside: Option<PathBuf>) -> StoreError {
    StoreError::Corrupt { place, why, aside }
}

/// The record in the entry. What is none is not set aside: whoever has put it there sees it in the keyring.
fn kept(entry: &dyn Slot) -> Result<Option<Record>, StoreError> {
    let place = || format!("the keyring's entry {}", entry.name());
    let Some(bytes) = entry.read().map_err(|why| StoreError::Keyring { why })? else { return Ok(None) };
    record::decode(&bytes).map(Some).map_err(|unreadable| match unreadable {
        Unreadable::Damaged(why) => corrupt(place(), why, None),
        Unreadable::Newer(version) => StoreError::Refused {
            place: place(),
            why: format!("it is of form {version}, written by a newer bearerd; run that one"),
        },
        Unreadable::Sealed(_) | Unreadable::InKeyring(_) => {
            corrupt(place(), "it is of a form that rests in files".to_owned(), None)
        }
    })
}
