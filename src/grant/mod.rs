//! Keeps one grant alive: the control plane's half of the program.

pub mod client_auth;
pub mod endpoint;
pub mod error;
pub mod lineage;
#[cfg(test)]
mod properties;
pub mod refresher;
pub mod schedule;
pub mod status;
pub mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::endpoint::TokenEndpoint;
use self::lineage::Identity;
use self::refresher::{Command, Ending, Parts, Refresher};
use self::status::{Board, Status};
use crate::clock::Clock;
use crate::secret::{ClientSecret, RefreshToken};
use crate::store::Store;
use crate::token::{self, GrantName, Reader};

/// A grant that is being kept alive.
pub struct Handle {
    /// Where routes read the access token; may be cloned.
    pub reader: Reader,
    /// Where operators look.
    pub board: Board,
    commands: mpsc::UnboundedSender<Command>,
    ending: watch::Sender<Ending>,
    task: tokio::task::JoinHandle<()>,
}

/// Starts to keep a grant alive, on the runtime that this is called on.
#[must_use]
pub fn spawn(
    params: Params,
    endpoint: Arc<dyn TokenEndpoint>,
    store: Arc<dyn Store>,
    clock: Clock,
    dice: fn() -> f64,
) -> Handle {
    let (publisher, reader) = token::seam(clock.clone());
    let board = Board::new(Status::starting(clock.now(), store.place()));
    let (commands, inbox) = mpsc::unbounded_channel();
    let (ending, told) = watch::channel(Ending::None);
    let parts = Parts {
        params,
        endpoint,
        store,
        publisher,
        clock,
        dice,
        board: board.clone(),
        commands: inbox,
        ending: told,
    };
    let task = tokio::spawn(Refresher::new(parts).run());
    Handle { reader, board, commands, ending, task }
}

impl Handle {
    /// Tells the refresher something, which it hears once no refresh is in flight; false when it has ended.
    pub fn tell(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }

    /// Ends the refresher with the program; a refresh in flight, and the save of its answer, are finished first (R16).
    pub async fn stop(self) {
        // Nobody listens only when the refresher has ended already.
        let _ = self.ending.send(Ending::Stop);
        let _ = self.task.await;
    }

    /// Ends the refresher of a grant that is no longer wanted, while the program goes on: as [`Handle::stop`], but what
    /// is in memory only is kept until it is saved, or until `stopping` is true.
    pub async fn leave(mut self, mut stopping: watch::Receiver<bool>) {
        let _ = self.ending.send(Ending::Leave);
        let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
        tokio::select! {
            _ = &mut self.task => {}
            () = stopped => self.stop().await,
        }
    }
}

/// What `[oauth]` or `[grant.NAME]` says, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// The grant's name.
    pub name: GrantName,
    /// Where the authorization server is.
    pub server: Server,
    /// `client_id`.
    pub client_id: String,
    /// How the client proves who it is.
    pub client_auth: ClientAuthMethod,
    /// `client_secret`, by reference: read anew before each attempt (R29).
    pub client_secret: Option<Secret>,
    /// Which grant type is used.
    pub flow: Flow,
    /// `scopes`, in order.
    pub scopes: Vec<String>,
    /// `send_scopes_on_refresh`.
    pub send_scopes_on_refresh: bool,
    /// `resource` (RFC 8707).
    pub resource: Vec<String>,
    /// `audience`.
    pub audience: Option<String>,
    /// `extra`: parameters that add and never replace.
    pub extra: Vec<(String, String)>,
    /// `refresh_margin`.
    pub margin: Margin,
    /// `timeout`: one token request in all.
    pub timeout: Duration,
    /// `connect_to`: `host:port` to dial instead of the server's name, which stays in Host, SNI and certificate checks.
    pub connect_to: Option<(String, u16)>,
}

impl Params {
    /// What a record must belong to, to be this grant's (R45).
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { issuer: self.server.identity().to_owned(), client_id: self.client_id.clone() }
    }
}

impl Params {
    /// Whether a token that these got is what `other` would get, too.
    fn asks_like(&self, other: &Self) -> bool {
        let asked = |params: &Self| {
            let Self { flow, scopes, resource, audience, extra, .. } = params.clone();
            (matches!(flow, Flow::ClientCredentials), scopes, resource, audience, extra)
        };
        asked(self) == asked(other)
    }
}

/// How the authorization server's endpoints are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// `issuer`: by discovery (RFC 8414, OpenID Connect Discovery), unless `token_endpoint` names it as well.
    Issuer {
        /// The issuer, as written.
        issuer: String,
        /// `token_endpoint`, if named: discovery is then not needed.
        token_endpoint: Option<String>,
    },
    /// `token_endpoint` alone.
    Endpoint {
        /// The token endpoint.
        token_endpoint: String,
    },
}

impl Server {
    /// Whether secrets go to any of its addresses without TLS.
    #[must_use]
    pub fn is_plaintext(&self) -> bool {
        let is_plain = |url: &str| url.starts_with("http://");
        match self {
            Self::Issuer { issuer, token_endpoint } => {
                is_plain(issuer) || token_endpoint.as_deref().is_some_and(is_plain)
            }
            Self::Endpoint { token_endpoint } => is_plain(token_endpoint),
        }
    }

    /// What binds a record to its server (R45).
    #[must_use]
    pub fn identity(&self) -> &str {
        match self {
            Self::Issuer { issuer, .. } => issuer,
            Self::Endpoint { token_endpoint } => token_endpoint,
        }
    }
}

/// `client_auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthMethod {
    /// Decided once, from what is given and what the server's metadata allow.
    Auto,
    /// `none`: `client_id` in the body.
    None,
    /// `basic` (RFC 6749 §2.3.1, each half form-encoded).
    Basic,
    /// `post` (RFC 6749 §2.3.1, in the body).
    Post,
}

/// `flow`.
#[derive(Clone, Debug, PartialEq)]
pub enum Flow {
    /// `refresh_token`, with the seed by reference if one is configured.
    RefreshToken {
        /// `refresh_token`: the seed, first start only.
        seed: Option<Secret>,
    },
    /// `client_credentials`: there is no refresh token.
    ClientCredentials,
}

/// `refresh_margin`: how long before its expiry a token is renewed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// A share of the token's life, `0.0..1.0`, kept between 30 s and 1 h (R2).
    Share(f64),
    /// As it is, at most the life less 5 s.
    Span(Duration),
}

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
}

impl Secret {
    /// Reads the secret's text, trimmed. Blocking.
    ///
    /// # Errors
    /// A sentence that names the file when it cannot be read, is over 64 KiB, is not UTF-8 or is empty.
    pub fn read(&self) -> Result<ClientSecret, String> {
        /// More than any token or secret seen; a wrong path (a device, a log) ends here.
        const LARGEST: u64 = 64 * 1024;
        let path = match self {
            Self::Env { value, .. } => return Ok(value.clone()),
            Self::File(path) => path,
        };
        let shown = path.display();
        let read = || -> std::io::Result<Vec<u8>> {
            use std::io::Read as _;
            let file = open_at_once(path)?;
            if !file.metadata()?.is_file() {
                return Err(std::io::Error::other("it is no regular file"));
            }
            let mut bytes = Vec::new();
            file.take(LARGEST + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| format!("cannot read {shown}: {error}"))?;
        if bytes.len() as u64 > LARGEST {
            return Err(format!("{shown} is larger than 64 KiB, which no secret is"));
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8 text"))?;
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
}

/// Opens a file; a pipe whose other end nobody opens is not waited for.
fn open_at_once(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}
