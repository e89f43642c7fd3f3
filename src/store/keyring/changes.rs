//! The lock, held, and every change under it, in the order that [`super`] tells.

use std::io;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::mark::{Mark, Stamp};
use super::standing::Standing;
use super::{KeyringStore, Slot, Trouble, corrupt};
use crate::store::file::Bare;
use crate::store::held::{Displaced, Held};
use crate::store::{Intent, NO_RECORD, Record, StandIn, StoreError, record};

/// What one transaction holds.
pub(super) struct Changes {
    bare: Arc<Bare>,
    entry: Arc<dyn Slot>,
    /// The record as it rests, as far as is known.
    resting: Option<Record>,
    /// The record in the entry, as the mark knows it; none while what rests is in the place.
    kept: Option<Stamp>,
    /// Whether something may be in the entry.
    may_be_kept: bool,
    /// Set from when an intent of ours may stand until a commit or its taking back.
    ours: Option<Displaced>,
}

impl Changes {
    /// Looks how things stand, and finishes what a killed holder had begun.
    pub(super) fn begin(bare: Bare, entry: Arc<dyn Slot>, stand_in: StandIn) -> Result<Self, StoreError> {
        let placed = bare.read()?;
        let looked = KeyringStore::look(bare.path(), placed.as_ref().map(|bytes| &***bytes), &*entry);
        // Where it is another kind's, or nobody can tell, what is left may be that one's, and the only copy there is.
        if !matches!(looked, Err(Trouble::Other(_))) {
            bare.clear();
        }
        let mut it =
            Self { bare: Arc::new(bare), entry, resting: None, kept: None, may_be_kept: true, ours: None };
        match looked {
            Ok(Standing::InPlace { resting, has_left_over }) => {
                (it.resting, it.may_be_kept) = (resting, has_left_over);
                if has_left_over {
                    // Told, and tried again with what is committed next.
                    let _ = it.remove();
                }
                Ok(it)
            }
            Ok(Standing::InEntry { resting, is_marked }) => {
                (it.kept, it.resting) = (Some(Stamp::of(&resting)), Some(resting));
                if !is_marked {
                    it.mark(None, it.intent())?;
                }
                Ok(it)
            }
            Err(Trouble::Damaged { why, kept: Some(record) }) => {
                it.kept = Some(Stamp::of(&record));
                it.resting = Some(*record);
                let mark = it.encoded(None, it.intent())?;
                it.bare.set_aside(Some(&mark))?;
                let path = it.bare.path().display();
                tracing::warn!(event = "store_mark_damaged", %path, why, "the mark was made anew");
                Ok(it)
            }
            Err(Trouble::Damaged { why, kept: None }) => {
                let stand_in = stand_in().map(|record| record::encode(&record)).transpose();
                let stand_in = stand_in.map_err(|error| it.failed(error))?;
                let aside = it.bare.set_aside(stand_in.as_ref().map(|bytes| &***bytes))?;
                Err(corrupt(it.bare.path().display().to_string(), why, aside))
            }
            Err(Trouble::Other(error)) => Err(error),
        }
    }

    fn intent(&self) -> Option<Intent> {
        self.resting.as_ref().and_then(|record| record.intent.clone())
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Io { doing: format!("write {}", self.bare.path().display()), source }
    }

    /// What rests in the place, and is to be gone back to where nothing comes.
    fn before(&self) -> Option<Record> {
        self.resting.clone().filter(|_| self.kept.is_none())
    }

    fn encoded(
        &self,
        coming: Option<Stamp>,
        intent: Option<Intent>,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let before = self.before();
        let mark = Mark { entry: self.entry.name(), rests: self.kept.clone(), coming, intent, before };
        mark.encode().map_err(|error| self.failed(error))
    }

    /// Puts a mark in the place; durable once `Ok`.
    fn mark(&self, coming: Option<Stamp>, intent: Option<Intent>) -> Result<(), StoreError> {
        self.bare.replace(&self.encoded(coming, intent)?)
    }

    fn write(&self, record: &Record) -> Result<(), StoreError> {
        write(&*self.entry, record::encode(record).map_err(|error| self.failed(error))?, &self.bare)
    }

    /// The entry is of no account any more; one that stays is removed by the next holder.
    fn remove(&mut self) -> Result<(), StoreError> {
        self.entry.remove(Arc::clone(&self.bare)).map_err(|why| {
            tracing::warn!(event = "store_entry_left", "{why}; it holds a record that has left");
            let (name, path) = (self.entry.name(), self.bare.path().display());
            StoreError::Keyring {
                why: format!(
                    "{why}; it still holds what has left {path}: unlock the keyring and run this again, or remove the entry \
                     {name} there"
                ),
            }
        })?;
        self.may_be_kept = false;
        Ok(())
    }

    /// In the place itself, as a file: it holds no secret, so that it is found whatever the kind is then.
    fn rest_in_place(&mut self, record: Record) -> Result<(), StoreError> {
        let bytes = record::encode(&record).map_err(|error| self.failed(error))?;
        self.bare.replace(&bytes)?;
        (self.resting, self.kept) = (Some(record), None);
        Ok(())
    }

    fn rest_in_entry(&mut self, record: Record) -> Result<(), StoreError> {
        let stamp = Stamp::of(&record);
        let is_next = self.kept.as_ref().is_some_and(|kept| stamp.is_or_follows(kept));
        if !is_next {
            self.mark(Some(stamp.clone()), self.intent())?;
        }
        self.may_be_kept = true;
        self.write(&record)?;
        let intent = record.intent.clone();
        (self.resting, self.kept) = (Some(record), Some(stamp));
        match self.mark(None, intent) {
            // The earlier mark speaks for it as well, so it is saved.
            Err(error) if is_next => {
                tracing::warn!(event = "store_mark_failed", %error, "the record is saved, and the mark was not renewed");
                Ok(())
            }
            marked => marked,
        }
    }

    /// Whether a record may rest in the place: the entry's, if there is one, must be known to be earlier.
    fn may_rest_in_place(&self, record: &Record) -> bool {
        let follows = |kept: &Stamp| Stamp::of(record).is_or_follows(kept);
        !record.holds_a_secret() && self.kept.as_ref().is_none_or(follows)
    }
}

impl Held for Changes {
    fn resting(&self) -> Option<&Record> {
        self.resting.as_ref()
    }

    fn intend(&mut self, intent: Intent) -> Result<(), StoreError> {
        let Some(resting) = &self.resting else {
            return Err(StoreError::Refused {
                place: self.bare.path().display().to_string(),
                why: NO_RECORD.to_owned(),
            });
        };
        let (before, noted) =
            (resting.intent.clone(), Record { intent: Some(intent.clone()), ..resting.clone() });
        if self.kept.is_some() {
            self.write(resting)?;
            self.ours.get_or_insert(Displaced(before));
            self.mark(None, Some(intent))?;
            self.resting = Some(noted);
            return Ok(());
        }
        self.ours.get_or_insert(Displaced(before));
        self.rest_in_place(noted)
    }

    fn commit(&mut self, record: Record) -> Result<(), StoreError> {
        match self.may_rest_in_place(&record) {
            true => {
                self.rest_in_place(record)?;
                self.ours = None;
                // Whoever signs out or exports is not to believe that the token is gone while the entry holds it.
                if self.may_be_kept {
                    self.remove()?;
                }
            }
            false => self.rest_in_entry(record)?,
        }
        self.ours = None;
        Ok(())
    }

    fn abandon(&mut self) -> Result<(), StoreError> {
        let (Some(Displaced(before)), Some(resting)) = (&self.ours, self.resting.clone()) else {
            return Ok(());
        };
        let record = Record { intent: before.clone(), ..resting };
        match self.kept {
            Some(_) => self.mark(None, record.intent)?,
            None => self.rest_in_place(record)?,
        }
        self.ours = None;
        Ok(())
    }
}

/// Writes an entry and reads it back: what a keyring says it has kept is not always there.
pub(super) fn write(entry: &dyn Slot, bytes: Zeroizing<Vec<u8>>, lock: &Arc<Bare>) -> Result<(), StoreError> {
    let keyring = |why| StoreError::Keyring { why };
    entry.write(bytes.clone(), Arc::clone(lock)).map_err(keyring)?;
    match entry.read().map_err(keyring)? {
        Some(kept) if kept == bytes => Ok(()),
        _ => Err(keyring(format!(
            "the keyring's entry {} was written, and does not hold what was",
            entry.name()
        ))),
    }
}
