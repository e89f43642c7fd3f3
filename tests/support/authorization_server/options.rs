//! What an authorization server is told before it starts.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use super::AuthorizationServer;
use super::sign_in::Rules;
use crate::support::certificates::Authority;
use crate::support::keys::Key;

/// Whose manners the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// By the book, and unforgiving: a refresh token that comes twice kills its family.
    Strict,
    /// As Authgear was observed, byte for byte.
    Authgear,
}

/// What becomes of a refresh token once it was redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// It stays, and none is answered.
    Never,
    /// Another replaces it; should it come again, all of its family ends.
    AtOnce,
    /// The same, but for this long it still brings the current one (Okta, Auth0, Cognito).
    Grace(Duration),
    /// Another is issued, and it ends when the access token that came with that one is first used (Doorkeeper).
    UntilUse,
}

/// How a client may prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Not at all: a public client.
    None,
    /// HTTP Basic or form parameters.
    Any,
    /// HTTP Basic only.
    Basic,
    /// Form parameters only.
    Post,
    /// An assertion that its secret signs.
    SecretJwt,
    /// An assertion that its key signs.
    KeyJwt,
    /// The certificate of the connection.
    Certificate,
}

/// A client that the server knows.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    pub(super) proof: Proof,
    pub(super) key: Option<Key>,
    /// DER.
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) machine: bool,
    pub(super) rotates: Option<bool>,
    pub(super) proves: bool,
    pub(super) redirect_uris: Vec<String>,
}

impl Client {
    /// A client without a secret.
    pub(crate) fn public(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: None,
            proof: Proof::None,
            key: None,
            certificate: None,
            machine: false,
            rotates: None,
            proves: false,
            redirect_uris: Vec::new(),
        }
    }

    /// A client that proves itself in any way.
    pub(crate) fn confidential(id: &str, secret: &str) -> Self {
        Self { secret: Some(secret.to_owned()), proof: Proof::Any, ..Self::public(id) }
    }

    /// A client whose key signs assertions of who it is.
    pub(crate) fn keyed(id: &str, key: &Key) -> Self {
        Self { key: Some(key.clone()), proof: Proof::KeyJwt, ..Self::public(id) }
    }

    /// A client that a certificate proves, which is told by its DER.
    pub(crate) fn certified(id: &str, certificate: &[u8]) -> Self {
        Self { certificate: Some(certificate.to_vec()), proof: Proof::Certificate, ..Self::public(id) }
    }

    /// A client for `client_credentials` alone.
    pub(crate) fn machine(id: &str, secret: &str) -> Self {
        Self { machine: true, ..Self::confidential(id, secret) }
    }

    /// Its secret, if it has one.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// The same client, proving itself in this way only.
    pub(crate) fn by(self, proof: Proof) -> Self {
        Self { proof, ..self }
    }

    /// The same client, whose every token is bound to a key (RFC 9449 §5.2).
    pub(crate) fn proves(self) -> Self {
        Self { proves: true, ..self }
    }

    /// The same client, which a browser may be sent back to at this URI.
    pub(crate) fn redirects_to(mut self, uri: &str) -> Self {
        self.redirect_uris.push(uri.to_owned());
        self
    }

    /// The same client, with rotation on or off whatever the server's default is.
    pub(crate) fn rotates(self, rotates: bool) -> Self {
        Self { rotates: Some(rotates), ..self }
    }
}

/// How Authgear finds the app that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Apps {
    /// One app; another Host is sent to the public origin.
    LocalFiles,
    /// By Host, which has to be one of these.
    Database(Vec<String>),
}

/// What the server is told before it starts; [`Options::start`] starts it.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(super) profile: Profile,
    pub(super) clients: Vec<Client>,
    pub(super) expires_in: u64,
    pub(super) rotation: Rotation,
    pub(super) fapi: bool,
    pub(super) jwt: bool,
    pub(super) public_origin: Option<String>,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) asks_for_certificates: bool,
    pub(super) signing_algorithms: Vec<&'static str>,
    pub(super) proof_algorithms: Vec<&'static str>,
    pub(super) nonces: bool,
    pub(super) refresh_takes: Duration,
    pub(super) database_connections: usize,
    pub(super) apps: Apps,
    pub(super) trust_proxy: bool,
    pub(super) web_origins: Vec<String>,
    pub(super) sign_in: Rules,
}

/// The profiles, by name.
impl AuthorizationServer {
    /// By the book: rotates on each refresh, and revokes the family of a refresh token that comes twice.
    pub(crate) fn strict() -> Options {
        Options::new(Profile::Strict)
    }

    /// Doorkeeper's manner: a refresh token that was redeemed stays good until the access token that came of it is first
    /// used, at an upstream that checks its tokens here or by introspection.
    pub(crate) fn doorkeeper() -> Options {
        Self::strict().until_use()
    }

    /// FAPI 2.0: keys or certificates prove the clients, assertions are short, tokens are bound to a certificate of
    /// `authority`, and refresh tokens stay; [`Options::grace`] and [`Options::until_use`] are the rotations that it
    /// allows.
    pub(crate) fn fapi(authority: &Authority) -> Options {
        Self::strict().fapi(authority)
    }

    /// As Authgear was observed.
    pub(crate) fn authgear() -> Options {
        Options::new(Profile::Authgear)
    }
}

impl Options {
    fn new(profile: Profile) -> Self {
        let (expires_in, refresh_takes) = match profile {
            Profile::Strict => (3600, Duration::ZERO),
            // authgear.md rows 3 and 5: the default life, and what one refresh took.
            Profile::Authgear => (1800, Duration::from_millis(7)),
        };
        Self {
            profile,
            clients: Vec::new(),
            expires_in,
            rotation: Rotation::AtOnce,
            fapi: false,
            jwt: false,
            public_origin: None,
            tls: None,
            asks_for_certificates: false,
            signing_algorithms: vec!["HS256", "ES256", "RS256", "PS256", "EdDSA"],
            proof_algorithms: vec!["ES256"],
            nonces: false,
            refresh_takes,
            database_connections: 3, // authgear.md row 5
            apps: Apps::LocalFiles,
            trust_proxy: false,
            web_origins: Vec::new(),
            sign_in: Rules::default(),
        }
    }

    /// Registers a client. One that is only seeded needs none: it is registered as public.
    pub(crate) fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// The life of access tokens, in seconds.
    pub(crate) fn expires_in(self, seconds: u64) -> Self {
        Self { expires_in: seconds, ..self }
    }

    /// Refresh tokens stay as they are.
    pub(crate) fn no_rotation(self) -> Self {
        Self { rotation: Rotation::Never, ..self }
    }

    /// The refresh token before the current one is still good for this long: it brings the current one again.
    pub(crate) fn grace(self, grace: Duration) -> Self {
        Self { rotation: Rotation::Grace(grace), ..self }
    }

    /// The refresh token before is good until the access token that replaced its own is first used.
    pub(crate) fn until_use(self) -> Self {
        Self { rotation: Rotation::UntilUse, ..self }
    }

    /// FAPI 2.0 on top of the strict profile: see [`super::fapi`].
    pub(super) fn fapi(self, authority: &Authority) -> Self {
        let strong = self.signing_algorithms(&super::fapi::ALGORITHMS).no_rotation().mtls(authority);
        Self { fapi: true, ..strong }
    }

    /// What becomes of this client's refresh tokens.
    pub(super) fn rotation_of(&self, client: &Client) -> Rotation {
        match (client.rotates, self.rotation) {
            (Some(false), _) => Rotation::Never,
            (Some(true), Rotation::Never) => Rotation::AtOnce,
            (_, rotation) => rotation,
        }
    }

    /// Access tokens are JWTs (in shape; the signature is noise).
    pub(crate) fn jwt(self) -> Self {
        Self { jwt: true, ..self }
    }

    /// The origin that clients know, without a slash at its end; else the address listened on.
    pub(crate) fn public_origin(self, origin: &str) -> Self {
        Self { public_origin: Some(origin.to_owned()), ..self }
    }

    /// Listens with TLS, with a certificate for `localhost`, 127.0.0.1 and the public origin's host.
    pub(crate) fn tls(self, authority: &Authority) -> Self {
        let origin = self.public_origin.clone().unwrap_or_default();
        let host = origin.split("://").nth(1).and_then(|rest| rest.split(':').next());
        let names = ["localhost", "127.0.0.1", host.unwrap_or("localhost")];
        Self { tls: Some(authority.server(&names, &[b"http/1.1"])), ..self }
    }

    /// The same, and asks clients for certificates of this authority; that has an endpoint of its own, at `localhost`
    /// (RFC 8705 §5).
    pub(crate) fn mtls(self, authority: &Authority) -> Self {
        let tls = Some(authority.asking_server(&["localhost", "127.0.0.1"], &[b"http/1.1"]));
        Self { tls, asks_for_certificates: true, ..self }
    }

    /// The algorithms that assertions may be signed with.
    pub(crate) fn signing_algorithms(self, names: &[&'static str]) -> Self {
        Self { signing_algorithms: names.to_vec(), ..self }
    }

    /// The algorithms that proofs of possession may be signed with, as the metadata have them.
    pub(crate) fn proof_algorithms(self, names: &[&'static str]) -> Self {
        Self { proof_algorithms: names.to_vec(), ..self }
    }

    /// Proofs have to hold the server's last nonce (RFC 9449 §8): each token comes with another.
    pub(crate) fn nonces(self) -> Self {
        Self { nonces: true, ..self }
    }

    /// How long Authgear looks between finding a refresh token good and replacing it. Two that look at once both find
    /// it good.
    pub(crate) fn refresh_takes(self, span: Duration) -> Self {
        Self { refresh_takes: span, ..self }
    }

    /// How many refreshes Authgear looks at at a time.
    pub(crate) fn database_connections(self, count: usize) -> Self {
        Self { database_connections: count, ..self }
    }

    /// Authgear finds its apps by Host, one of `domains`.
    pub(crate) fn apps_by_host(self, domains: &[&str]) -> Self {
        let domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
        Self { apps: Apps::Database(domains), ..self }
    }

    /// Authgear believes `X-Forwarded-*`.
    pub(crate) fn trust_proxy(self) -> Self {
        Self { trust_proxy: true, ..self }
    }

    /// The origin of a redirect URI, which browsers may call Authgear from.
    pub(crate) fn web_origin(mut self, origin: &str) -> Self {
        self.web_origins.push(origin.to_owned());
        self
    }

    /// Starts the server.
    pub(crate) fn start(self) -> AuthorizationServer {
        AuthorizationServer::start(self)
    }
}
