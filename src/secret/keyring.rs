//! The desktop's keyring: the Secret Service on Linux, the Keychain on macOS. Built in with the feature `keyring` alone.

use std::fmt;
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock::Stopwatch;

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
        let entry = self.clone();
        self.ask("read", move || platform::read(&entry))
    }

    /// Replaces what it holds. Blocking, for a while at most; one that took longer may still be done after that, and keeps
    /// `until_done` as long, so that whoever waits for that comes after it.
    ///
    /// # Errors
    /// A sentence that names the entry.
    pub fn write(&self, bytes: Zeroizing<Vec<u8>>, until_done: impl Send + 'static) -> Result<(), String> {
        let entry = self.clone();
        self.ask("written", move || {
            let _kept = until_done;
            platform::write(&entry, &bytes)
        })
    }

    /// Removes it, if it is there; as [`Entry::write`] otherwise.
    ///
    /// # Errors
    /// A sentence that names the entry.
    pub fn remove(&self, until_done: impl Send + 'static) -> Result<(), String> {
        let entry = self.clone();
        self.ask("removed", move || {
            let _kept = until_done;
            platform::remove(&entry)
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        done: &str,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let late = || format!("did not answer within {} s; if it is locked, unlock it", PATIENCE.as_secs());
        let asked = TURN.ask(PATIENCE, work);
        asked
            .unwrap_or_else(|| Err(late()))
            .map_err(|why| format!("{self} cannot be {done}: the keyring {why}"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the keyring's entry {}/{}", self.service, self.name)
    }
}

/// Who asks the keyring.
static TURN: Turn = Turn { since: Mutex::new(None), free: Condvar::new() };

/// One question at a time, also when nobody waits for its answer any more: what waits for a person ends with the process,
/// and must not become more with every asker.
struct Turn {
    since: Mutex<Option<Stopwatch>>,
    free: Condvar,
}

impl Turn {
    /// What `work` gives, if that is had within `patience`; an earlier question's time counts.
    fn ask<T: Send + 'static>(
        &'static self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = &*since {
            let left = patience.saturating_sub(earlier.elapsed());
            let waited = self.free.wait_timeout_while(since, left, |since| since.is_some());
            since = waited.unwrap_or_else(PoisonError::into_inner).0;
            if since.is_some() {
                return None;
            }
        }
        *since = Some(Stopwatch::start());
        drop(since);
        let over = Over(self);
        let (tell, told) = mpsc::channel();
        let asked = std::thread::Builder::new().spawn(move || {
            let _over = over;
            // Nobody listens when it took too long.
            drop(tell.send(work()));
        });
        asked.ok().and_then(|_thread| told.recv_timeout(patience).ok())
    }
}

/// Gives the turn to the next when dropped.
struct Over(&'static Turn);

impl Drop for Over {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.free.notify_one();
    }
}

#[cfg(feature = "keyring")]
mod platform {
    #[cfg(target_os = "macos")]
    use apple_native_keyring_store::keychain::Store;
    use keyring_core::Error;
    use keyring_core::api::CredentialStoreApi as _;
    #[cfg(not(target_os = "macos"))]
    use zbus_secret_service_keyring_store::Store;
    use zeroize::Zeroizing;

    use super::Entry;

    pub(super) fn read(entry: &Entry) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        match open(entry)?.get_secret() {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(told(error)),
        }
    }

    pub(super) fn write(entry: &Entry, bytes: &[u8]) -> Result<(), String> {
        open(entry)?.set_secret(bytes).map_err(told)
    }

    pub(super) fn remove(entry: &Entry) -> Result<(), String> {
        match open(entry)?.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    /// By a session of its own: an earlier one ends when the keyring's program is started anew.
    fn open(Entry { service, name }: &Entry) -> Result<keyring_core::Entry, String> {
        let store = Store::new().map_err(|error| format!("is not there: {}", told(error)))?;
        store.build(service, name, None).map_err(told)
    }

    /// Without the bytes that some of these carry.
    fn told(error: Error) -> String {
        match error {
            Error::Ambiguous(_) => "has several of them: remove all but one".to_owned(),
            Error::BadDataFormat(..) | Error::BadEncoding(_) => {
                "holds it in a form of another program's".to_owned()
            }
            Error::NoStorageAccess(cause) => format!("is locked ({cause}): unlock it"),
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
    fn while_one_question_waits_for_a_person_no_other_is_put() {
        static TURN: Turn = Turn { since: Mutex::new(None), free: Condvar::new() };
        let (unlock, locked) = mpsc::channel::<()>();
        let soon = Duration::from_millis(20);
        assert_eq!(TURN.ask(soon, move || locked.recv()), None, "it is locked");
        for _ in 0..3 {
            assert_eq!(TURN.ask(soon, || panic!("a second thread that waits")), None::<()>);
        }
        unlock.send(()).unwrap();
        assert_eq!(TURN.ask(Duration::from_secs(60), || 7), Some(7), "as soon as it is unlocked");
        assert_eq!(TURN.ask(Duration::from_secs(60), || 8), Some(8));
    }

    #[test]
    #[cfg_attr(feature = "keyring", ignore = "asks this machine's keyring")]
    fn a_program_without_the_keyring_says_how_to_get_one_with_it() {
        let entry = Entry::parse("bearerd/name").unwrap();
        let told = [
            entry.read().unwrap_err(),
            entry.write(Zeroizing::new(b"x".to_vec()), ()).unwrap_err(),
            entry.remove(()).unwrap_err(),
        ];
        let says = |told: &String| told.contains("bearerd/name") && told.contains("--features keyring");
        assert!(told.iter().all(says), "{told:?}");
    }
}
