//! The desktop's keyring: the Secret Service on Linux, the Keychain on macOS. Built in with the feature `keyring` alone.

use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

/// How long the keyring may take to tell a secret; a person may have to unlock it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether this bearerd knows the keyring.
pub const IS_BUILT_IN: bool = cfg!(feature = "keyring");

/// An entry of the keyring. Both words are attributes there, `service` and `username`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is for.
    pub service: String,
    /// Which of these.
    pub name: String,
}

impl Entry {
    /// The entry that `service/name` stands for.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (service, name) = text.split_once('/')?;
        let is_named = !service.is_empty() && !name.is_empty() && !text.contains(char::is_control);
        is_named.then(|| Self { service: service.to_owned(), name: name.to_owned() })
    }

    /// What it holds; nothing when it is not there. Blocking, for a while at most.
    ///
    /// # Errors
    /// A sentence that names the entry.
    pub fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        let (tell, told) = mpsc::channel();
        let entry = self.clone();
        // Nobody listens when it took too long: what waits for a person ends with the process.
        std::thread::spawn(move || drop(tell.send(platform::read(&entry))));
        let read = told.recv_timeout(PATIENCE);
        let late = || format!("did not answer within {} s; is it locked?", PATIENCE.as_secs());
        read.unwrap_or_else(|_| Err(late()))
            .map_err(|why| format!("{self} cannot be read: the keyring {why}"))
    }

    /// Replaces what it holds. Blocking, for as long as the keyring takes: a write that is given up could still be done,
    /// after a later one.
    ///
    /// # Errors
    /// A sentence that names the entry.
    pub fn write(&self, bytes: &[u8]) -> Result<(), String> {
        platform::write(self, bytes).map_err(|why| format!("{self} cannot be written: the keyring {why}"))
    }

    /// Removes it, if it is there. Blocking.
    ///
    /// # Errors
    /// A sentence that names the entry.
    pub fn remove(&self) -> Result<(), String> {
        platform::remove(self).map_err(|why| format!("{self} cannot be removed: the keyring {why}"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the keyring's entry {}/{}", self.service, self.name)
    }
}

#[cfg(feature = "keyring")]
mod platform {
    use zeroize::Zeroizing;

    use super::Entry;

    pub(super) fn read(entry: &Entry) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        match open(entry)?.get_secret() {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(keyring::Error::NoEntry) => Ok(None),
            Err(error) => Err(told(error)),
        }
    }

    pub(super) fn write(entry: &Entry, bytes: &[u8]) -> Result<(), String> {
        open(entry)?.set_secret(bytes).map_err(told)
    }

    pub(super) fn remove(entry: &Entry) -> Result<(), String> {
        match open(entry)?.delete_credential() {
            Ok(()) | Err(keyring::Error::NoEntry) => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    fn open(Entry { service, name }: &Entry) -> Result<keyring::Entry, String> {
        keyring::Entry::new(service, name).map_err(|error| match keyring::Entry::store_status() {
            Err(cause) => format!("is not there: {cause}"),
            Ok(()) => told(error),
        })
    }

    /// Without the bytes that some of these carry.
    fn told(error: keyring::Error) -> String {
        use keyring::Error::{Ambiguous, BadDataFormat, BadEncoding};
        match error {
            Ambiguous(_) => "has several of them: remove all but one".to_owned(),
            BadDataFormat(..) | BadEncoding(_) => "holds it in a form of another program's".to_owned(),
            other => format!("says: {other}"),
        }
    }
}

#[cfg(not(feature = "keyring"))]
mod platform {
    use zeroize::Zeroizing;

    use super::Entry;

    const ABSENT: &str = "is not built in: build bearerd with `--features keyring`";

    pub(super) fn read(_: &Entry) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        Err(ABSENT.to_owned())
    }

    pub(super) fn write(_: &Entry, _: &[u8]) -> Result<(), String> {
        Err(ABSENT.to_owned())
    }

    pub(super) fn remove(_: &Entry) -> Result<(), String> {
        Err(ABSENT.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_service_and_a_name() {
        let entry = Entry::parse("bearerd/client secret/2").unwrap();
        assert_eq!((entry.service.as_str(), entry.name.as_str()), ("bearerd", "client secret/2"));
        for text in ["", "bearerd", "/name", "bearerd/", "/", "a/b\u{1b}"] {
            assert_eq!(Entry::parse(text), None, "{text:?}");
        }
    }

    #[test]
    #[cfg_attr(feature = "keyring", ignore = "asks this machine's keyring")]
    fn a_program_without_the_keyring_says_how_to_get_one_with_it() {
        let entry = Entry::parse("bearerd/name").unwrap();
        let told = [entry.read().unwrap_err(), entry.write(b"x").unwrap_err(), entry.remove().unwrap_err()];
        assert!(
            told.iter().all(|told| told.contains("bearerd/name") && told.contains("--features keyring")),
            "{told:?}"
        );
    }
}
