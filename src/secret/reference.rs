//! A secret by reference: where it is to be found, and how it is read when it is needed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::{ClientSecret, Entry, RefreshToken};
use crate::child;

/// More than any token or secret seen; a wrong path (a device, a log) ends here.
const LARGEST: u64 = 64 * 1024;

/// How long a command may take to tell its secret; a person may have to touch a key.
const COMMAND: Duration = Duration::from_secs(15);

/// From a command's end to the end of its output.
const SLACK: Duration = Duration::from_secs(1);

/// A secret by reference; the text behind it is read when it is needed and trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// `{ file = "…" }`, and `{ credential = "…" }` once resolved to a file below `$CREDENTIALS_DIRECTORY`.
    File(PathBuf),
    /// `{ env = "…" }`: read when the configuration was loaded.
    Env {
        /// The variable's name, for messages.
        name: String,
        /// Its value then.
        value: ClientSecret,
    },
    /// `{ exec = [..] }`: what a command writes to its standard output. No shell is between.
    Exec(Vec<String>),
    /// `{ keyring = "service/name" }`: an entry of the desktop's keyring.
    Keyring(Entry),
}

impl Secret {
    /// Reads the secret's text, trimmed. Blocking.
    ///
    /// # Errors
    /// A sentence that names the file or command when it cannot be read or run, or gives more than 64 KiB, something
    /// that is not UTF-8, or nothing.
    pub fn read(&self) -> Result<ClientSecret, String> {
        let (shown, read) = match self {
            // A bearerd that runs has it; a command may be given in a shell that does not.
            Self::Env { value, .. } if value.expose().is_empty() => {
                return Err("the environment variable that it is in is not set here".to_owned());
            }
            Self::Env { value, .. } => return Ok(value.clone()),
            Self::File(path) => {
                let shown = path.display().to_string();
                let read = read_file(path).map_err(|error| format!("cannot read {shown}: {error}"));
                (shown, read)
            }
            Self::Exec(words) => {
                // Its arguments may be nobody's business.
                let shown = format!("the command `{}`", words.first().map_or("", String::as_str));
                let read = run(words).map_err(|why| format!("{shown} {why}"));
                (shown, read)
            }
            Self::Keyring(entry) => {
                let missing = || format!("{entry} is not there; `secret-tool store` can put it there");
                let read = entry.read().and_then(|read| read.ok_or_else(missing));
                (entry.to_string(), read.map(|mut bytes| std::mem::take(&mut *bytes)))
            }
        };
        let bytes = zeroize::Zeroizing::new(read?);
        if bytes.len() as u64 > LARGEST {
            return Err(format!("{shown} gives more than 64 KiB, which no secret has"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{shown} gives no UTF-8 text"))?;
        match text.trim() {
            "" => Err(format!("{shown} is empty")),
            trimmed => Ok(ClientSecret::new(trimmed)),
        }
    }

    /// As [`Secret::read`], for a refresh token.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub fn read_refresh_token(&self) -> Result<RefreshToken, String> {
        self.read().map(|secret| RefreshToken::new(secret.expose()))
    }

    /// As [`Secret::read`], for a key that tokens are bound to.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub fn read_dpop_key(&self) -> Result<super::DpopKey, String> {
        self.read().map(|secret| super::DpopKey::new(secret.expose()))
    }

    /// Whether it can be read again and again to see whether it has changed: a command is run for an attempt alone, and a
    /// keyring may have to be unlocked by a person.
    #[must_use]
    pub fn can_be_watched(&self) -> bool {
        !matches!(self, Self::Exec(_) | Self::Keyring(_))
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = open_at_once(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file; a pipe whose other end nobody opens is not waited for.
fn open_at_once(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}

/// What a command writes to its standard output, if it ends well and in time.
fn run(words: &[String]) -> Result<Vec<u8>, String> {
    let (program, arguments) = words.split_first().ok_or("names no program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let output = child.stdout.take();
    // Read beside it: one that writes more than a pipe holds would never end.
    let (tell, told) = mpsc::channel();
    let begun = child::beside(move || {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let read = output.map(|output| output.take(LARGEST + 1).read_to_end(&mut bytes));
        // Nobody listens when it took too long.
        let _ = tell.send(read.transpose().map(|_| bytes));
    });
    let waited = begun.and_then(|()| child::ended(&mut child, COMMAND, || false));
    let status = match waited {
        Ok(Some(status)) => status,
        unended => {
            // Only what was started here is ended.
            child::end(child, child::GOING, |child| drop(child.kill()));
            return Err(match unended {
                Err(error) => format!("cannot be waited for: {error}"),
                Ok(_) => format!("did not end within {} s", COMMAND.as_secs()),
            });
        }
    };
    if !status.success() {
        return Err(format!("failed ({status})"));
    }
    // What it started itself may hold the pipe open for ever.
    let read = told.recv_timeout(SLACK).map_err(|_| "left its output open".to_owned())?;
    read.map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn exec(script: &str) -> Result<ClientSecret, String> {
        Secret::Exec(["sh", "-c", script].map(str::to_owned).to_vec()).read()
    }

    #[test]
    fn what_may_ask_a_person_is_not_read_only_to_see_whether_it_has_changed() {
        let entry = Entry { service: "bearerd".to_owned(), name: "billing".to_owned() };
        let asks = [Secret::Keyring(entry), Secret::Exec(vec!["pass".to_owned()])];
        assert!(asks.iter().all(|secret| !secret.can_be_watched()));
        assert!(Secret::File("/run/secret".into()).can_be_watched());
    }

    #[test]
    fn a_variable_that_is_not_set_here_is_no_secret() {
        let unset = Secret::Env { name: "SEED".to_owned(), value: ClientSecret::new("") };
        assert!(unset.read().unwrap_err().contains("is not set here"));
    }

    #[test]
    fn a_command_tells_a_secret_and_its_failures_tell_none() {
        assert_eq!(exec("echo '  hush '").unwrap(), ClientSecret::new("hush"));
        assert_eq!(exec("echo canary; exit 3").unwrap_err(), "the command `sh` failed (exit status: 3)");
        assert_eq!(exec("echo hush; sleep 30 &").unwrap_err(), "the command `sh` left its output open");
        assert_eq!(exec("true").unwrap_err(), "the command `sh` is empty");
        let much = exec("head -c 200000 /dev/zero").unwrap_err();
        assert!(much.contains("failed") || much.contains("64 KiB"), "{much}");
        let missing = Secret::Exec(vec!["/nowhere/to-be-found".to_owned()]).read().unwrap_err();
        assert!(missing.starts_with("the command `/nowhere/to-be-found` cannot be started"), "{missing}");
    }
}
