//! The record as JSON: versioned, strict on what a grant needs, indifferent to members it does not know.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Exported, GrantEnd, Intent, Record, Refusal, SavedToken};
use crate::clock::Moment;
use crate::secret::{AccessTokenText, DpopKey, Fingerprint, RefreshToken};

/// The last form that is known. A record of a later form is left alone: an older program must not shorten it.
pub(super) const VERSION: u64 = 2;

/// The form of what rests in a record's place when the record itself is in the keyring: later than that of a sealed one,
/// so that a program that knows no such mark leaves it alone.
pub(super) const MARK: u64 = 4;

/// The form that a record is written in: the first that holds all of it.
fn form_of(record: &Record) -> u64 {
    if record.dpop_key.is_some() { VERSION } else { 1 }
}

/// Why bytes are not a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Cut off, overwritten, or never a record; says where, and never what stands there.
    Damaged(String),
    /// Written by a newer program, in this form.
    Newer(u64),
    /// Sealed, and not to be opened here; says what to do.
    Sealed(String),
    /// The mark of a record that rests in this entry of the keyring.
    InKeyring(String),
}

/// Writes a record as JSON; the buffer is wiped when dropped.
pub(crate) fn encode(record: &Record) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it, so that the buffer does not move and leave secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(room_for(record)));
    serde_json::to_writer_pretty(&mut *bytes, &RecordForm::from(record))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a record from JSON.
pub(crate) fn decode(bytes: &[u8]) -> Result<Record, Unreadable> {
    let VersionForm { version, in_keyring } = serde_json::from_slice(bytes).map_err(damaged)?;
    match version {
        MARK => match in_keyring {
            Some(entry) => Err(Unreadable::InKeyring(entry)),
            None => Err(Unreadable::Newer(MARK)),
        },
        1..=VERSION => serde_json::from_slice::<RecordForm<'_>>(bytes).map_err(damaged)?.into_record(),
        later if later > VERSION => Err(Unreadable::Newer(later)),
        _ => Err(Unreadable::Damaged("its version is 0".to_owned())),
    }
}

/// The JSON library quotes what it found, and what it found may be a secret: only the place is told.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
pub(super) fn damaged(error: serde_json::Error) -> Unreadable {
    let (line, column) = (error.line(), error.column());
    Unreadable::Damaged(match error.classify() {
        serde_json::error::Category::Data => {
            format!("a member is missing or not of its type, found at line {line}, column {column}")
        }
        _ => format!("not whole JSON, found at line {line}, column {column}"),
    })
}

pub(super) fn room_for(record: &Record) -> usize {
    let secrets = record.refresh_token.as_ref().map_or(0, |token| token.expose().len())
        + record.access_token.as_ref().map_or(0, |token| token.text.expose().len())
        + record.dpop_key.as_ref().map_or(0, |key| key.expose().len());
    let plain = record.lineage.len()
        + record.issuer.len()
        + record.client_id.len()
        + record.token_endpoint.as_ref().map_or(0, String::len)
        + record.exported.as_ref().map_or(0, |exported| exported.id.len() + exported.to.len());
    // A character may need six bytes in JSON; everything else is short and of known number.
    8 * 1024 + 6 * (secrets + plain) + 128 * record.seeds.len()
}

#[derive(Deserialize)]
struct VersionForm {
    version: u64,
    in_keyring: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RecordForm<'a> {
    version: u64,
    lineage: Cow<'a, str>,
    generation: u64,
    issuer: Cow<'a, str>,
    client_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access_token: Option<SavedTokenForm<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_key: Option<Cow<'a, str>>,
    #[serde(default)]
    seeds: Cow<'a, [Fingerprint]>,
    #[serde(default)]
    quiet_redeems: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant_end: Option<GrantEndForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<IntentForm<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<RefusalForm<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exported: Option<ExportedForm<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_out: Option<SignedOutForm>,
}

impl<'a> From<&'a Record> for RecordForm<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            version: form_of(record),
            lineage: Cow::Borrowed(&record.lineage),
            generation: record.generation,
            issuer: Cow::Borrowed(&record.issuer),
            client_id: Cow::Borrowed(&record.client_id),
            token_endpoint: record.token_endpoint.as_deref().map(Cow::Borrowed),
            refresh_token: record.refresh_token.as_ref().map(|token| Cow::Borrowed(token.expose())),
            access_token: record.access_token.as_ref().map(SavedTokenForm::from),
            dpop_key: record.dpop_key.as_ref().map(|key| Cow::Borrowed(key.expose())),
            seeds: Cow::Borrowed(&record.seeds),
            quiet_redeems: record.quiet_redeems,
            grant_end: record.grant_end.map(GrantEndForm::from),
            intent: record.intent.as_ref().map(IntentForm::from),
            refused: record.refused.as_ref().map(RefusalForm::from),
            exported: record.exported.as_ref().map(ExportedForm::from),
            signed_out: record.signed_out.map(|at| SignedOutForm { at }),
        }
    }
}

impl RecordForm<'_> {
    pub(super) fn into_record(self) -> Result<Record, Unreadable> {
        if self.refresh_token.as_deref() == Some("") {
            return Err(Unreadable::Damaged("its refresh token is empty".to_owned()));
        }
        Ok(Record {
            lineage: self.lineage.into_owned(),
            generation: self.generation,
            issuer: self.issuer.into_owned(),
            client_id: self.client_id.into_owned(),
            token_endpoint: self.token_endpoint.map(Cow::into_owned),
            refresh_token: self.refresh_token.map(|text| RefreshToken::new(text.into_owned())),
            access_token: self.access_token.map(SavedToken::from),
            dpop_key: self.dpop_key.map(|text| DpopKey::new(text.into_owned())),
            seeds: self.seeds.into_owned(),
            quiet_redeems: self.quiet_redeems,
            grant_end: self.grant_end.map(GrantEnd::from),
            intent: self.intent.map(Intent::from),
            refused: self.refused.map(Refusal::from),
            exported: self.exported.map(Exported::from),
            signed_out: self.signed_out.map(|SignedOutForm { at }| at),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SavedTokenForm<'a> {
    text: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bound: bool,
    obtained: MomentForm,
    expires: MomentForm,
    boot_id: Cow<'a, str>,
}

impl<'a> From<&'a SavedToken> for SavedTokenForm<'a> {
    fn from(token: &'a SavedToken) -> Self {
        Self {
            text: Cow::Borrowed(token.text.expose()),
            bound: token.bound,
            obtained: token.obtained.into(),
            expires: token.expires.into(),
            boot_id: Cow::Borrowed(&token.boot_id),
        }
    }
}

impl From<SavedTokenForm<'_>> for SavedToken {
    fn from(form: SavedTokenForm<'_>) -> Self {
        Self {
            text: AccessTokenText::new(form.text.into_owned()),
            bound: form.bound,
            obtained: form.obtained.into(),
            expires: form.expires.into(),
            boot_id: form.boot_id.into_owned(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct MomentForm {
    #[serde(with = "seconds")]
    boot: Duration,
    #[serde(with = "seconds")]
    wall: Duration,
}

impl From<Moment> for MomentForm {
    fn from(Moment { boot, wall }: Moment) -> Self {
        Self { boot, wall }
    }
}

impl From<MomentForm> for Moment {
    fn from(MomentForm { boot, wall }: MomentForm) -> Self {
        Self { boot, wall }
    }
}

#[derive(Serialize, Deserialize)]
struct GrantEndForm {
    #[serde(with = "seconds")]
    told: Duration,
    #[serde(with = "seconds")]
    at: Duration,
}

impl From<GrantEnd> for GrantEndForm {
    fn from(GrantEnd { told, at }: GrantEnd) -> Self {
        Self { told, at }
    }
}

impl From<GrantEndForm> for GrantEnd {
    fn from(GrantEndForm { told, at }: GrantEndForm) -> Self {
        Self { told, at }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct IntentForm<'a> {
    presented: Cow<'a, Fingerprint>,
    holder: Cow<'a, str>,
    #[serde(with = "seconds")]
    started: Duration,
}

impl<'a> From<&'a Intent> for IntentForm<'a> {
    fn from(intent: &'a Intent) -> Self {
        Self {
            presented: Cow::Borrowed(&intent.presented),
            holder: Cow::Borrowed(&intent.holder),
            started: intent.started,
        }
    }
}

impl From<IntentForm<'_>> for Intent {
    fn from(form: IntentForm<'_>) -> Self {
        Self {
            presented: form.presented.into_owned(),
            holder: form.holder.into_owned(),
            started: form.started,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct RefusalForm<'a> {
    reason: Cow<'a, str>,
    presented: Cow<'a, Fingerprint>,
    #[serde(with = "seconds")]
    at: Duration,
}

impl<'a> From<&'a Refusal> for RefusalForm<'a> {
    fn from(refused: &'a Refusal) -> Self {
        Self {
            reason: Cow::Borrowed(&refused.reason),
            presented: Cow::Borrowed(&refused.presented),
            at: refused.at,
        }
    }
}

impl From<RefusalForm<'_>> for Refusal {
    fn from(form: RefusalForm<'_>) -> Self {
        Self { reason: form.reason.into_owned(), presented: form.presented.into_owned(), at: form.at }
    }
}

#[derive(Serialize, Deserialize)]
struct ExportedForm<'a> {
    id: Cow<'a, str>,
    to: Cow<'a, str>,
    #[serde(with = "seconds")]
    at: Duration,
}

impl<'a> From<&'a Exported> for ExportedForm<'a> {
    fn from(Exported { id, to, at }: &'a Exported) -> Self {
        Self { id: Cow::Borrowed(id), to: Cow::Borrowed(to), at: *at }
    }
}

impl From<ExportedForm<'_>> for Exported {
    fn from(ExportedForm { id, to, at }: ExportedForm<'_>) -> Self {
        Self { id: id.into_owned(), to: to.into_owned(), at }
    }
}

#[derive(Serialize, Deserialize)]
struct SignedOutForm {
    #[serde(with = "seconds")]
    at: Duration,
}

/// Times as text, `"1800000000.000000001"`: a JSON number that passes through a double loses the nanoseconds, and a
/// whole number of nanoseconds cannot be read by a person.
mod seconds {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}.{:09}", span.as_secs(), span.subsec_nanos()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(from)?;
        parse(&text).ok_or_else(|| D::Error::custom("not decimal seconds"))
    }

    fn parse(text: &str) -> Option<Duration> {
        let (whole, fraction) = text.split_once('.')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() != 9 {
            return None;
        }
        Some(Duration::new(whole.parse().ok()?, fraction.parse().ok()?))
    }
}

#[cfg(test)]
mod tests;
