//! Keeps one grant alive: the control plane's half of the program.

pub mod client_auth;
pub mod end;
pub mod endpoint;
pub mod error;
pub mod lineage;
pub mod lock;
pub mod outage;
#[cfg(test)]
mod properties;
pub mod refresher;
#[cfg(test)]
pub(crate) mod sample;
pub mod schedule;
pub mod sign_out;
pub mod status;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::sync::{mpsc, watch};

use self::endpoint::TokenEndpoint;
use self::lineage::Identity;
use self::refresher::{Command, Ending, Parts, Refresher};
use self::status::{Board, Status};
use crate::clock::Clock;
use crate::jose::Algorithm;
use crate::secret::RefreshToken;
pub use crate::secret::Secret;
use crate::store::Store;
use crate::token::{self, GrantName, Reader};

/// A grant that is being kept alive.
pub struct Handle {
    /// Where routes read the access token; may be cloned.
    pub reader: Reader,
    /// Where operators look.
    pub board: Board,
    teller: Teller,
    ending: watch::Sender<Ending>,
    task: tokio::task::JoinHandle<()>,
}

/// Tells a refresher something; may be cloned.
#[derive(Clone)]
pub struct Teller(mpsc::UnboundedSender<Command>);

impl Teller {
    /// A teller, and where a refresher hears it.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, inbox) = mpsc::unbounded_channel();
        (Self(commands), inbox)
    }

    /// Tells the refresher something, which it hears once no refresh is in flight; false when it has ended.
    pub fn tell(&self, command: Command) -> bool {
        self.0.send(command).is_ok()
    }
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
    let (teller, inbox) = Teller::new();
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
    Handle { reader, board, teller, ending, task }
}

impl Handle {
    /// See [`Teller::tell`].
    pub fn tell(&self, command: Command) -> bool {
        self.teller.tell(command)
    }

    /// A teller of its own for whoever is not to end it.
    #[must_use]
    pub fn teller(&self) -> Teller {
        self.teller.clone()
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
    /// What it proves that with.
    pub credentials: Credentials,
    /// `dpop`: whether tokens are bound to a key of the grant's own.
    pub dpop: Dpop,
    /// `dpop_key`: the key that the seed is bound to; a new one is made, when left out.
    pub dpop_key: Option<Secret>,
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
    /// `extra_headers`: header fields that add and never replace.
    pub extra_headers: Vec<(HeaderName, HeaderValue)>,
    /// `refresh_margin`.
    pub margin: Margin,
    /// `timeout`: one token request in all.
    pub timeout: Duration,
    /// `connect_to`: `host:port` to dial instead of the server's name, which stays in Host, SNI and certificate checks.
    pub connect_to: Option<(String, u16)>,
    /// How people sign in, and out.
    pub sign_in: SignIn,
}

/// Where a grant begins and ends, and what a browser returns to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignIn {
    /// `authorization_endpoint`: the server's metadata say so, when left out, and the same for the others.
    pub authorization_endpoint: Option<String>,
    /// `device_authorization_endpoint`.
    pub device_authorization_endpoint: Option<String>,
    /// `revocation_endpoint`.
    pub revocation_endpoint: Option<String>,
    /// `redirect_port`; 0 takes any free one.
    pub redirect_port: u16,
    /// `redirect_path`.
    pub redirect_path: String,
}

impl SignIn {
    /// Whether secrets go to any of its addresses without TLS.
    #[must_use]
    pub fn is_plaintext(&self) -> bool {
        let Self { authorization_endpoint, device_authorization_endpoint, revocation_endpoint, .. } = self;
        let all = [authorization_endpoint, device_authorization_endpoint, revocation_endpoint];
        all.into_iter().flatten().any(|url| is_plain(url))
    }
}

/// Whether what is sent there is sent without TLS.
fn is_plain(url: &str) -> bool {
    url.starts_with("http://")
}

impl Params {
    /// What a record must belong to, to be this grant's (R45).
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { issuer: self.server.identity().to_owned(), client_id: self.client_id.clone() }
    }
}

impl Params {
    /// Whether it goes on with a refresh token.
    #[must_use]
    pub fn needs_refresh_token(&self) -> bool {
        matches!(self.flow, Flow::RefreshToken { .. })
    }

    /// The configured seed, if there is one, or why it cannot be read. Blocking.
    #[must_use]
    pub fn read_seed(&self) -> Option<Result<RefreshToken, String>> {
        match &self.flow {
            Flow::RefreshToken { seed } => seed.as_ref().map(Secret::read_refresh_token),
            _ => None,
        }
    }

    /// Whether a seed is configured by a file that is not there: it may have been put away after the first start.
    #[must_use]
    pub fn seed_is_gone(&self) -> bool {
        let Flow::RefreshToken { seed: Some(Secret::File(path)) } = &self.flow else { return false };
        path.try_exists().is_ok_and(|is_there| !is_there)
    }

    /// Whether a token that these got is what `other` would get, too.
    fn asks_like(&self, other: &Self) -> bool {
        let asked = |params: &Self| {
            let Self { flow, scopes, resource, audience, extra, extra_headers, dpop, .. } = params.clone();
            let flow = Some(flow).filter(|flow| !matches!(flow, Flow::RefreshToken { .. }));
            (flow, scopes, resource, audience, extra, extra_headers, dpop)
        };
        asked(self) == asked(other)
    }

    /// Everything that an operator gives beside the seed, in a fixed order.
    fn secrets(&self) -> Vec<Secret> {
        let Credentials { secrets, key, assertion, .. } = &self.credentials;
        let given = self.flow.given().into_iter().flatten().map(|(_, given)| given);
        secrets.iter().chain(key).chain(assertion).chain(given).cloned().collect()
    }
}

/// What the client proves itself with, by reference: read anew before each attempt (R29).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// `client_secret`: while secrets are rotated there are two, and the one that the server takes is found out.
    pub secrets: Vec<Secret>,
    /// `client_key`: signs client assertions, and the assertion of a `jwt_bearer` flow that is given none.
    pub key: Option<Secret>,
    /// `client_key_id`.
    pub key_id: Option<String>,
    /// `client_key_algorithm`; by the key and the server's metadata, when left out.
    pub algorithm: Option<Algorithm>,
    /// `client_assertion`: a token that somebody else keeps fresh, as Kubernetes does a projected service account's.
    pub assertion: Option<Secret>,
    /// `assertion_audience`: whom signed assertions are for; the issuer, when left out (R30).
    pub audience: Option<String>,
    /// Whether TLS shows a certificate of the client's.
    pub certificate: bool,
}

/// `dpop` (RFC 9449).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dpop {
    /// No proofs are shown.
    #[default]
    Off,
    /// Proofs are shown. An access token that the server binds to no key is used nevertheless: some servers bind the
    /// refresh token alone.
    Offered,
    /// Proofs are shown, and an access token that is bound to no key is not used (RFC 9449 §5).
    Required,
}

impl Dpop {
    /// Whether proofs are shown.
    #[must_use]
    pub fn is_on(self) -> bool {
        self != Self::Off
    }

    /// Whether an access token may be used that is `bound` to a key, or is not.
    #[must_use]
    pub fn takes(self, bound: bool) -> bool {
        match self {
            Self::Off => !bound,
            Self::Offered => true,
            Self::Required => bound,
        }
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
    /// `client_secret_jwt` (RFC 7523 §2.2, signed with the secret).
    ClientSecretJwt,
    /// `private_key_jwt` (RFC 7523 §2.2), signed with `client_key` or brought in `client_assertion`.
    PrivateKeyJwt,
    /// `tls` (RFC 8705 §2): the certificate of the connection.
    Tls,
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
    /// `jwt_bearer` (RFC 7523 §2.1).
    JwtBearer {
        /// `assertion`, as somebody else makes it; signed with `client_key`, when left out.
        assertion: Option<Secret>,
        /// `subject`: whom a signed one is about; the client itself, when left out.
        subject: Option<String>,
    },
    /// `token_exchange` (RFC 8693).
    TokenExchange(Box<TokenExchange>),
}

impl Flow {
    /// What it presents instead of a refresh token, by reference, and what people call it.
    fn given(&self) -> [Option<(&'static str, &Secret)>; 2] {
        match self {
            Self::RefreshToken { .. } | Self::ClientCredentials => [None, None],
            Self::JwtBearer { assertion, .. } => {
                [assertion.as_ref().map(|assertion| ("assertion", assertion)), None]
            }
            Self::TokenExchange(exchange) => [
                Some(("subject token", &exchange.subject.0)),
                exchange.actor.as_ref().map(|(actor, _)| ("actor token", actor)),
            ],
        }
    }
}

/// What is exchanged for what (RFC 8693 §2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenExchange {
    /// `subject_token`, and its type.
    pub subject: (Secret, String),
    /// `actor_token`, and its type.
    pub actor: Option<(Secret, String)>,
    /// `requested_token_type`; the server's choice, when left out.
    pub requested: Option<String>,
}

/// `refresh_margin`: how long before its expiry a token is renewed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// A share of the token's life, `0.0..1.0`, kept between 30 s and 1 h (R2).
    Share(f64),
    /// As it is, at most the life less 5 s.
    Span(Duration),
}
