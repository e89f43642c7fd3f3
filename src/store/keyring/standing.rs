//! How things stand: what is in the record's place and what is in the keyring's entry, held against each other. Pure.

use super::mark::{Mark, Placed, Stamp};
use crate::store::Record;

/// Where the record is, if there is one, and what is still to be done for it.
#[derive(Debug, PartialEq)]
pub(super) enum Standing {
    /// In its place, without a secret.
    InPlace {
        resting: Option<Record>,
        /// What is in the entry has been replaced by it, and is to be removed.
        has_left_over: bool,
    },
    /// In the entry.
    InEntry {
        resting: Record,
        /// Whether the mark says so: else a save was cut off, or somebody removed the mark.
        is_marked: bool,
    },
}

impl Standing {
    pub(super) fn resting(self) -> Option<Record> {
        match self {
            Self::InPlace { resting, .. } => resting,
            Self::InEntry { resting, .. } => Some(resting),
        }
    }
}

/// Why no record is used: whichever was taken, its refresh token could be one that is used up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Discord {
    /// The mark is of another entry.
    Moved(String),
    /// A record rests in the place itself.
    InFile,
    /// There is a mark, and no entry.
    NoEntry,
    /// The entry is not what the mark, or a record in its place, speaks of.
    OtherEntry,
}

/// `entry` is the name of ours, and `kept` what is in it.
///
/// | in the place | in the entry | the record |
/// |---|---|---|
/// | nothing | nothing | none |
/// | nothing | a record | that in the entry: who removes a mark removes no grant |
/// | a record with a secret | not asked | refused |
/// | a record without | nothing, or an earlier one of its line | that in the place |
/// | a mark of what is coming | nothing, or what was there before | what was before: nothing was presented yet |
/// | a mark of what is coming | that | that in the entry: the save is finished |
/// | a mark of what rests | that, or a later one of its line | that in the entry |
/// | a mark of what rests | nothing, or an earlier one | refused |
/// | anything | another | refused |
pub(super) fn decide(placed: Option<Placed>, entry: &str, kept: Option<Record>) -> Result<Standing, Discord> {
    let stamp = kept.as_ref().map(Stamp::of);
    let is_earlier = |of: &Record| stamp.as_ref().is_some_and(|stamp| is_before(stamp, of));
    let in_entry = |resting, is_marked| Ok(Standing::InEntry { resting, is_marked });
    let in_place = |resting: Option<Record>| match (&resting, &stamp) {
        (_, None) => Ok(Standing::InPlace { resting, has_left_over: false }),
        (Some(record), _) if is_earlier(record) => Ok(Standing::InPlace { resting, has_left_over: true }),
        _ => Err(Discord::OtherEntry),
    };
    let mark = match placed {
        None => return kept.map_or_else(|| in_place(None), |kept| in_entry(kept, false)),
        Some(Placed::Sealed) => return Err(Discord::InFile),
        Some(Placed::Record(record)) if record.holds_a_secret() => return Err(Discord::InFile),
        Some(Placed::Record(record)) => return in_place(Some(*record)),
        Some(Placed::Mark(mark)) => mark,
    };
    let Mark { entry: named, rests, coming, intent, before } = *mark;
    let has = |one: &Option<Stamp>| {
        stamp.as_ref().zip(one.as_ref()).is_some_and(|(stamp, one)| stamp.is_or_follows(one))
    };
    match kept {
        _ if named != entry => Err(Discord::Moved(named)),
        // The intent was noted for this very record; a later one came after it.
        Some(kept) if stamp == rests => in_entry(Record { intent, ..kept }, true),
        Some(kept) if has(&rests) => in_entry(kept, true),
        Some(kept) if has(&coming) => in_entry(kept, false),
        _ if rests.is_none() => in_place(before),
        None => Err(Discord::NoEntry),
        Some(_) => Err(Discord::OtherEntry),
    }
}

fn is_before(stamp: &Stamp, of: &Record) -> bool {
    let of = Stamp::of(of);
    of.is_or_follows(stamp) && of != *stamp
}

impl Discord {
    /// What is wrong with the place at `path`, and what to do.
    pub(super) fn why(&self, path: &str, entry: &str) -> String {
        match self {
            Self::Moved(named) => format!(
                "it says that the grant rests in the keyring, as {}, and is not where it was: move it back, run \
                 `bearerd export` there and `bearerd import` here",
                named.escape_debug()
            ),
            Self::InFile => {
                "a record is there, from when `[store] kind` was \"file\": run `bearerd export` under that \
                             kind and `bearerd import` under this one"
                    .to_owned()
            }
            Self::NoEntry => format!(
                "it says that the grant rests in the keyring, as {entry}, and no such entry is there: the keyring is \
                 locked, or is another one. Unlock that one; if the entry is gone for good, remove {path} and give a new \
                 seed"
            ),
            Self::OtherEntry => format!(
                "it does not speak of what is in the keyring as {entry}: that is older, or of another keyring. Unlock \
                 the right one; else remove the one of the two that is not the grant's"
            ),
        }
    }
}
