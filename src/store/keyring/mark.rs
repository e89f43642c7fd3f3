//! The mark: what rests in a record's place when the record itself is in the keyring. It holds no secret.

use std::borrow::Cow;
use std::io;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::store::record::{self, IntentForm, MARK, RecordForm, Unreadable};
use crate::store::{Intent, Record, seal};

/// What a mark says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    /// Which entry of the keyring it speaks of.
    pub(super) entry: String,
    /// What is known to have rested there: it, or a later one of its line, rests there still.
    pub(super) rests: Option<Stamp>,
    /// What is about to be put there, if it is no later one of that line.
    pub(super) coming: Option<Stamp>,
    /// The intent that is noted for what rests.
    pub(super) intent: Option<Intent>,
    /// What rested in the mark's place before, and counts for as long as nothing has come.
    pub(super) before: Option<Record>,
}

/// Which record of which line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    lineage: String,
    generation: u64,
}

impl Stamp {
    pub(super) fn of(record: &Record) -> Self {
        Self { lineage: record.lineage.clone(), generation: record.generation }
    }

    /// Whether this is that record, or a later one of its line.
    pub(super) fn is_or_follows(&self, other: &Self) -> bool {
        self.lineage == other.lineage && self.generation >= other.generation
    }
}

/// What may rest in a record's place here.
#[derive(Debug)]
pub(super) enum Placed {
    Mark(Box<Mark>),
    Record(Box<Record>),
    /// A sealed record of a file's store, which holds a secret.
    Sealed,
}

#[derive(Serialize, Deserialize)]
struct MarkForm<'a> {
    version: u64,
    in_keyring: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rests: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coming: Option<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<IntentForm<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<RecordForm<'a>>,
}

impl Mark {
    pub(super) fn encode(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let form = MarkForm {
            version: MARK,
            in_keyring: self.entry.as_str().into(),
            rests: self.rests.clone(),
            coming: self.coming.clone(),
            intent: self.intent.as_ref().map(IntentForm::from),
            before: self.before.as_ref().map(RecordForm::from),
        };
        let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(&form)?);
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Placed {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        match record::decode(bytes) {
            Ok(record) => Ok(Self::Record(Box::new(record))),
            Err(Unreadable::InKeyring(_)) => {
                let form: MarkForm<'_> = serde_json::from_slice(bytes).map_err(record::damaged)?;
                let before = form.before.map(RecordForm::into_record).transpose()?;
                Ok(Self::Mark(Box::new(Mark {
                    entry: form.in_keyring.into_owned(),
                    rests: form.rests,
                    coming: form.coming,
                    intent: form.intent.map(Intent::from),
                    before,
                })))
            }
            Err(_) if seal::is_sealed(bytes) => Ok(Self::Sealed),
            Err(unreadable) => Err(unreadable),
        }
    }
}
