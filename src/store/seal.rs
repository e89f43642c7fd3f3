//! A record at rest under a key: AES-256-GCM, in an envelope of JSON that says which key opens it.
//!
//! The envelope binds the record to its form and to its grant: they are authenticated with it, so that no file can be
//! passed off as another grant's.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Record;
use super::record::{self, Unreadable};
use crate::secret::Secret;
use crate::token::GrantName;

/// The form of an envelope: later than that of the record in it, so that a program that knows no envelope leaves it
/// alone.
const VERSION: u64 = record::VERSION + 1;

const ALGORITHM: &str = "AES-256-GCM";

/// What the key's name is made of: the key tells its name, and the name tells nothing of the key.
const NAMING: &[u8] = b"bearerd store key";

/// How long a key of [`AES_256_GCM`] is, in bytes.
const KEY: usize = 32;

/// The keys of one grant's store, by reference.
#[derive(Debug)]
pub(super) struct Seal {
    grant: GrantName,
    references: Vec<Secret>,
    read: Mutex<Option<Arc<Keys>>>,
}

impl Seal {
    /// The first of the references seals, all of them open; without any, records rest as they are.
    pub(super) fn new(grant: &GrantName, references: &[Secret]) -> Self {
        Self { grant: grant.clone(), references: references.to_owned(), read: Mutex::default() }
    }

    /// Whether records are sealed.
    pub(super) fn is_on(&self) -> bool {
        !self.references.is_empty()
    }

    /// The keys, read when they are first needed, which is the trial at start, and then kept: what rests under a key
    /// must open as long as the program runs. Blocking.
    pub(super) fn keys(&self) -> Result<Arc<Keys>, String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = &*read {
            return Ok(Arc::clone(keys));
        }
        let keys = self.references.iter().map(Key::read).collect::<Result<Vec<_>, _>>()?;
        let keys = Arc::new(Keys { grant: self.grant.as_str().to_owned(), keys });
        *read = Some(Arc::clone(&keys));
        Ok(keys)
    }
}

/// What seals and opens the records of one grant. Their memory is wiped by aws-lc when they are dropped.
pub(super) struct Keys {
    grant: String,
    keys: Vec<Key>,
}

/// A key, and its name.
struct Key {
    name: String,
    aead: RandomizedNonceKey,
}

impl Key {
    fn read(reference: &Secret) -> Result<Self, String> {
        let unusable = |why: String| {
            format!(
                "its `encryption_key` cannot be used: {why}; it is 32 random bytes in base64, as \
                 `openssl rand -base64 32` makes them"
            )
        };
        let text = reference.read().map_err(unusable)?;
        let bytes = bytes(text.expose()).map_err(unusable)?;
        let aead = RandomizedNonceKey::new(&AES_256_GCM, &*bytes);
        let aead = aead.map_err(|_| unusable("the cipher refuses it".to_owned()))?;
        let named = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*bytes), NAMING);
        let name = named.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { name, aead })
    }
}

/// Either alphabet of base64 (RFC 4648 §4 and §5), padded or not. What is wrong is told without what stands there.
fn bytes(text: &str) -> Result<Zeroizing<[u8; KEY]>, String> {
    let bare = text.trim_end_matches('=');
    let mut room = Zeroizing::new([0; 64]);
    if bare.len() > room.len() {
        return Err(format!("it has {} characters, not 43 or 44", text.len()));
    }
    let read = STANDARD_NO_PAD
        .decode_slice(bare, &mut *room)
        .or_else(|_| URL_SAFE_NO_PAD.decode_slice(bare, &mut *room))
        .map_err(|_| "it is not base64".to_owned())?;
    match room.get(..read).map(<[u8; KEY]>::try_from) {
        Some(Ok(key)) => Ok(Zeroizing::new(key)),
        _ => Err(format!("it has {read} bytes, not {KEY}")),
    }
}

/// A sealed record.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    version: u64,
    sealed: Cow<'a, str>,
    key: Cow<'a, str>,
    grant: Cow<'a, str>,
    nonce: Cow<'a, str>,
    text: Cow<'a, str>,
}

impl Envelope<'_> {
    /// What is authenticated beside the record. No part of it holds a line end.
    fn bound(&self) -> Aad<String> {
        let Self { version, sealed, key, grant, .. } = self;
        Aad::from(format!("bearerd record\n{version}\n{sealed}\n{key}\n{grant}"))
    }
}

/// What tells an envelope from a record.
#[derive(Deserialize)]
struct Head {
    version: u64,
    sealed: Option<serde::de::IgnoredAny>,
}

/// Whether what rests is sealed.
pub(super) fn is_sealed(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Head>(bytes).is_ok_and(|head| head.sealed.is_some())
}

impl Keys {
    /// The record's bytes at rest; the buffer is wiped when dropped.
    pub(super) fn encode(&self, record: &Record) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut bytes = record::encode(record)?;
        let Some(key) = self.sealing(record) else { return Ok(bytes) };
        let mut envelope = Envelope {
            version: VERSION,
            sealed: ALGORITHM.into(),
            key: key.name.as_str().into(),
            grant: self.grant.as_str().into(),
            nonce: "".into(),
            text: "".into(),
        };
        let nonce = key.aead.seal_in_place_append_tag(envelope.bound(), &mut *bytes);
        let nonce = nonce.map_err(|_| io::Error::other("the cipher refuses the record"))?;
        envelope.nonce = STANDARD.encode(nonce.as_ref()).into();
        envelope.text = STANDARD.encode(&*bytes).into();
        let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(&envelope)?);
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// What seals this record, if anything does: what an export has left holds no secret, and is to be known for what it is
    /// without a key.
    fn sealing(&self, record: &Record) -> Option<&Key> {
        self.keys.first().filter(|_| record.holds_a_secret() || record.exported.is_none())
    }

    /// Whether what rests is sealed otherwise than it would be if it were written now.
    pub(super) fn is_outdated(&self, bytes: &[u8], record: &Record) -> bool {
        let envelope = serde_json::from_slice::<Envelope<'_>>(bytes).ok();
        let by = envelope.as_ref().map(|envelope| &*envelope.key);
        by != self.sealing(record).map(|key| key.name.as_str())
    }

    /// Reads what rests, sealed or not: a record from before there was a key is taken up, and sealed by the trial at the
    /// start.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Record, Unreadable> {
        match serde_json::from_slice::<Head>(bytes) {
            Ok(Head { sealed: Some(_), version }) if version > VERSION => Err(Unreadable::Newer(version)),
            Ok(Head { sealed: Some(_), .. }) => {
                self.open(&serde_json::from_slice(bytes).map_err(record::damaged)?)
            }
            _ => record::decode(bytes),
        }
    }

    fn open(&self, envelope: &Envelope<'_>) -> Result<Record, Unreadable> {
        let damaged = |why: &str| Unreadable::Damaged(why.to_owned());
        if envelope.version != VERSION || envelope.sealed != ALGORITHM {
            return Err(damaged("it is sealed in no known way"));
        }
        let Some(key) = self.keys.iter().find(|key| key.name == envelope.key) else {
            return Err(Unreadable::Sealed(self.no_key(&envelope.key)));
        };
        if envelope.grant != self.grant {
            return Err(Unreadable::Sealed(format!(
                "it is the sealed record of the grant {:?}, and does not open as that of {:?}; put each where it \
                 belongs",
                envelope.grant, self.grant
            )));
        }
        let nonce = STANDARD.decode(&*envelope.nonce).ok();
        let nonce = nonce.and_then(|nonce| <[u8; NONCE_LEN]>::try_from(nonce).ok());
        let text = STANDARD.decode(&*envelope.text).ok().map(Zeroizing::new);
        let (Some(nonce), Some(mut text)) = (nonce, text) else {
            return Err(damaged("what is sealed is not whole"));
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = key.aead.open_in_place(nonce, envelope.bound(), &mut text);
        record::decode(opened.map_err(|_| damaged("it was changed after it had been sealed"))?)
    }

    fn no_key(&self, name: &str) -> String {
        let name = name.escape_debug();
        match self.keys.as_slice() {
            [] => format!(
                "it is sealed with key {name}, and `[store] encryption_key` names none; name the key that it was sealed \
                 with. It is left as it is"
            ),
            keys => {
                let ours: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
                format!(
                    "it is sealed with key {name}, and `[store] encryption_key` names {}; name that key as well, in \
                     a list whose first one seals from now on. It is left as it is",
                    ours.join(" and ")
                )
            }
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.name)).finish()
    }
}

#[cfg(test)]
pub(super) mod tests;
