//! An authorization server in the test's own process: strict by default, Authgear to the byte, and faulty on cue.

mod assertion;
mod authgear;
mod connection;
mod exchange;
mod fapi;
mod fault;
mod ledger;
mod oddities;
mod options;
mod sign_in;
mod strict;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bearerd::clock::{Clock, Moment};
use rustls::ServerConfig;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

pub(crate) use self::exchange::{ClientAuth, Endpoint, Exchange, Stage};
use self::fault::Faults;
pub(crate) use self::fault::{Fault, Phase};
use self::ledger::Ledger;
pub(crate) use self::ledger::TokenState;
pub(crate) use self::oddities::{Class, Next, Oddity, Token};
pub(crate) use self::options::{Client, Options, Proof};
pub(crate) use self::sign_in::{Person, Press};
use super::background::{Background, Door, Wire};
use super::in_time_or;
use super::proofs::Proofs;

/// A running server. Clones talk about the same one, which ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizationServer {
    shared: Arc<Shared>,
    door: Door,
    _running: Arc<Background>,
}

/// What the handle and the connections share.
struct Shared {
    options: Options,
    /// The issuer: the public origin.
    issuer: String,
    state: Mutex<State>,
    /// Counts changes of the state, so that a test can wait for one.
    changed: watch::Sender<u64>,
    /// Counts releases of what hangs.
    released: watch::Sender<u64>,
    /// Authgear's connections to its database.
    database: Semaphore,
}

struct State {
    clients: Vec<Client>,
    ledger: Ledger,
    /// The assertions that were used, by `jti`.
    assertions: HashSet<String>,
    /// The proofs of possession that came, and what is bound to whose key.
    proofs: Proofs,
    log: Vec<Exchange>,
    connections: usize,
    /// Of these, how many have not ended.
    open: usize,
    faults: Faults,
    limits: BTreeMap<String, authgear::Bucket>,
    authorizations: authgear::Authorizations,
    sign_ins: strict::Authorizations,
    devices: strict::Devices,
    person: Person,
    expires_in: u64,
    rewrite: Option<Rewrite>,
    /// What the metadata name instead of what this server has, by member.
    elsewhere: BTreeMap<&'static str, String>,
    tls: Option<Arc<ServerConfig>>,
}

type Rewrite = Box<dyn Fn(&mut Map<String, Value>) + Send>;

impl AuthorizationServer {
    fn start(options: Options) -> Self {
        let (door, listener) = Door::bind();
        let shared = Arc::new(Shared::new(options, door.address()));
        let (inside, entrance) = (Arc::clone(&shared), door.clone());
        let running = Background::run("authorization server", move || async move {
            let serve = |stream, peer: SocketAddr| {
                let shared = Arc::clone(&inside);
                shared.change(|state| state.open += 1);
                tokio::spawn(async move {
                    if let Ok(wire) = Wire::accept(stream, shared.tls()).await {
                        connection::serve(&shared, wire, peer.ip()).await;
                    }
                    shared.change(|state| state.open -= 1);
                });
            };
            entrance.accept(listener, serve).await;
        });
        Self { shared, door, _running: Arc::new(running) }
    }

    /// The issuer: the public origin, without a slash at its end.
    pub(crate) fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// The token endpoint.
    pub(crate) fn token_endpoint(&self) -> String {
        let path = match self.shared.options.profile {
            options::Profile::Strict => strict::TOKEN,
            options::Profile::Authgear => authgear::TOKEN,
        };
        format!("{}{path}", self.issuer())
    }

    /// Where people are sent to sign in.
    pub(crate) fn authorization_endpoint(&self) -> String {
        let path = match self.shared.options.profile {
            options::Profile::Strict => strict::AUTHORIZE,
            options::Profile::Authgear => authgear::AUTHORIZE,
        };
        format!("{}{path}", self.issuer())
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// A new grant for this client, registered as public if it is unknown: the first refresh token.
    pub(crate) fn seed(&self, client: &str) -> String {
        let mut state = self.shared.state();
        if state.client(client).is_none() {
            state.clients.push(Client::public(client));
        }
        state.ledger.grant(client)
    }

    /// The secret that a client was registered with.
    pub(crate) fn secret_of(&self, client: &str) -> Option<String> {
        self.shared.state().client(client)?.secret.clone()
    }

    /// The refresh token that is good now in the grant that `token` was once of; none when the grant is dead.
    pub(crate) fn current_refresh_token(&self, token: &str) -> Option<String> {
        self.shared.state().ledger.current(token)
    }

    /// What an access token is worth, by this server's own clock.
    pub(crate) fn state_of(&self, access_token: &str) -> TokenState {
        self.shared.state().ledger.state_of(access_token, now())
    }

    /// The same, asked by an upstream that has been given the token on a connection with this certificate: a use.
    pub(crate) fn use_of(&self, access_token: &str, certificate: Option<&[u8]>) -> TokenState {
        self.shared.change(|state| {
            state.ledger.used(access_token);
            match state.ledger.state_of(access_token, now()) {
                TokenState::Active
                    if state
                        .ledger
                        .bound_to(access_token)
                        .is_some_and(|bound| certificate != Some(bound)) =>
                {
                    TokenState::Misplaced
                }
                state => state,
            }
        })
    }

    /// Revokes an access token, or a current refresh token with its grant.
    pub(crate) fn revoke(&self, token: &str) {
        self.shared.change(|state| state.ledger.revoke(token, false));
    }

    /// Disables the one user that there is, or enables it again.
    pub(crate) fn enable_user(&self, enabled: bool) {
        self.shared.change(|state| state.ledger.user_enabled = enabled);
    }

    /// Replaces a client, or adds it: another secret, for one.
    pub(crate) fn register(&self, client: Client) {
        self.shared.change(|state| {
            state.clients.retain(|known| known.id != client.id);
            state.clients.push(client);
        });
    }

    /// Binds a refresh token's grant to the key of this thumbprint, as a sign-in with a proof does (RFC 9449 §5).
    pub(crate) fn bind(&self, refresh_token: &str, thumbprint: &str) {
        self.shared.change(|state| {
            let grant = state.ledger.grant_of(refresh_token).unwrap();
            state.proofs.bind(&grant, thumbprint);
        });
    }

    /// The thumbprint of the key that an access token is bound to.
    pub(crate) fn key_of(&self, access_token: &str) -> Option<String> {
        self.shared.state().proofs.key_of(access_token).map(str::to_owned)
    }

    /// Proofs have to hold another nonce from now on.
    pub(crate) fn change_nonce(&self) {
        self.shared.change(|state| state.proofs.change_nonce());
    }

    /// Sets the server's clock, as far as proofs and `Date` are concerned, this many seconds ahead.
    pub(crate) fn set_clock(&self, ahead: i64) {
        self.shared.change(|state| state.proofs.set_clock(ahead));
    }

    /// The life of access tokens from now on, in seconds.
    pub(crate) fn set_expires_in(&self, seconds: u64) {
        self.shared.change(|state| state.expires_in = seconds);
    }

    /// Has every successful token answer changed before it is sent: odd types, missing fields, other errors.
    pub(crate) fn rewrite(&self, rewrite: impl Fn(&mut Map<String, Value>) + Send + 'static) {
        self.shared.change(|state| state.rewrite = Some(Box::new(rewrite)));
    }

    /// The metadata name this address from now on, as `token_endpoint` or another of their members.
    #[cfg(test)] // the playground's server stays where it is
    pub(crate) fn names(&self, member: &'static str, address: &str) {
        self.shared.change(|state| state.elsewhere.insert(member, address.to_owned()));
    }

    /// Every token request meets this fault until the server is healed.
    pub(crate) fn fault(&self, fault: Fault, phase: Phase) {
        self.shared.change(|state| state.faults.lasting(fault, phase));
    }

    /// The next token request that no earlier fault is meant for meets this one.
    pub(crate) fn fault_once(&self, fault: Fault, phase: Phase) {
        self.shared.change(|state| state.faults.once(fault, phase));
    }

    /// Every request for metadata meets this fault until the server is healed.
    pub(crate) fn fault_discovery(&self, fault: Fault) {
        self.fault_at(Endpoint::Discovery, fault);
    }

    /// Every revocation meets this fault until the server is healed.
    pub(crate) fn fault_revocation(&self, fault: Fault, phase: Phase) {
        self.shared.change(|state| state.faults.elsewhere(Endpoint::Revocation, fault, phase));
    }

    /// Every token that was given up, or was to be.
    #[cfg(test)]
    pub(crate) fn revocations(&self) -> Vec<Exchange> {
        self.requests().into_iter().filter(Exchange::is_revocation).collect()
    }

    /// No faults from now on, answers as they are meant, and what hangs goes on.
    pub(crate) fn heal(&self) {
        self.shared.change(|state| {
            state.faults = Faults::default();
            state.rewrite = None;
        });
        self.release();
    }

    /// What hangs goes on: a request is processed and an answer sent, unless the client has left.
    pub(crate) fn release(&self) {
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Shows another certificate from the next connection on.
    pub(crate) fn certificate(&self, tls: Arc<ServerConfig>) {
        self.shared.change(|state| state.tls = Some(tls));
    }

    /// Refuses connections from the return of this on; those that exist stay.
    pub(crate) async fn refuse_connections(&self) {
        self.door.close().await;
    }

    /// Accepts connections again, at the same address.
    pub(crate) async fn accept_connections(&self) {
        self.door.open().await;
    }

    /// Waits until everything that clients who are gone have sent is processed: also what the kernel had taken from
    /// them before they died, and the server had not yet read.
    ///
    /// # Panics
    /// When it is not in time.
    pub(crate) async fn has_settled(&self) {
        // Connections are accepted in order: once this one is answered, all before it are known.
        let mut last = TcpStream::connect(self.address()).await.unwrap();
        last.write_all(b"GET /settled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let _answer_and_end = last.read_to_end(&mut Vec::new()).await;
        let mut changed = self.shared.changed.subscribe();
        in_time_or(|| "every connection of the dead at its end".to_owned(), async {
            while self.shared.state().open > 0 {
                let _gone = changed.changed().await;
            }
        })
        .await;
    }

    /// Every request so far, in the order in which they were read.
    pub(crate) fn requests(&self) -> Vec<Exchange> {
        self.shared.state().log.clone()
    }

    /// The token requests among them.
    pub(crate) fn redeems(&self) -> Vec<Exchange> {
        self.requests().into_iter().filter(Exchange::is_redeem).collect()
    }

    /// Every secret of it that a client has seen: what was presented and issued so far, and the clients' own.
    #[cfg(test)] // the playground shows, and keeps nothing from anybody
    pub(crate) fn secrets(&self) -> Vec<String> {
        let told = self.redeems().into_iter().chain(self.revocations()).flat_map(|exchange| {
            let given = [
                "refresh_token",
                "token",
                "client_assertion",
                "assertion",
                "subject_token",
                "actor_token",
                "code",
                "code_verifier",
                "device_code",
            ];
            let given = given.map(|name| exchange.parameter(name).map(str::to_owned));
            given
                .into_iter()
                .chain([exchange.refresh_token, exchange.access_token])
                .chain(exchange.head.all("dpop").into_iter().map(|proof| Some(proof.to_owned())))
                .flatten()
                .collect::<Vec<_>>()
        });
        let clients = self.shared.state().clients.clone();
        let keys =
            clients.iter().filter_map(|client| Some(client.key.as_ref()?.pem().lines().nth(1)?.to_owned()));
        let keys: Vec<String> = keys.collect();
        let state = self.shared.state();
        let codes: Vec<String> =
            state.sign_ins.codes().chain(state.authorizations.codes()).cloned().collect();
        told.chain(clients.into_iter().filter_map(|client| client.secret)).chain(keys).chain(codes).collect()
    }

    /// How often a refresh token came that another had replaced.
    pub(crate) fn reuse_errors(&self) -> usize {
        self.shared.state().ledger.reuse_errors
    }

    /// Waits until `seen` says so of the requests so far, and returns them.
    ///
    /// # Panics
    /// When it does not in time.
    pub(crate) async fn wait_for(&self, what: &str, seen: impl Fn(&[Exchange]) -> bool) -> Vec<Exchange> {
        let mut changed = self.shared.changed.subscribe();
        let seen_instead = || {
            let lines: Vec<String> = self.requests().iter().map(Exchange::summary).collect();
            format!("{what}, but {lines:#?}")
        };
        in_time_or(seen_instead, async {
            loop {
                changed.mark_unchanged();
                let log = self.requests();
                if seen(&log) {
                    return log;
                }
                let _gone = changed.changed().await;
            }
        })
        .await
    }

    /// Waits, for ever if need be, for the next token request from number `from` on that has come to an end.
    pub(crate) async fn next_redeem(&self, from: usize) -> Exchange {
        self.next_that(from, Exchange::has_ended).await
    }

    /// Waits until the first redeem among the requests from `from` on is as `is` says: received, rotated, answered.
    pub(crate) async fn next_that(&self, from: usize, is: impl Fn(&Exchange) -> bool) -> Exchange {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let mut log = self.requests().into_iter().skip(from);
            if let Some(found) = log.find(|one| one.is_redeem() && is(one)) {
                return found;
            }
            let _gone = changed.changed().await;
        }
    }

    /// Waits until this many token requests have been answered to the last byte, and returns all token requests.
    pub(crate) async fn wait_for_redeems(&self, count: usize) -> Vec<Exchange> {
        let answered = |one: &&Exchange| one.is_redeem() && one.stage == Stage::Answered;
        let seen = |log: &[Exchange]| log.iter().filter(answered).count() >= count;
        let mut log = self.wait_for(&format!("{count} answered token requests"), seen).await;
        log.retain(Exchange::is_redeem);
        log
    }
}

impl Shared {
    fn new(options: Options, address: SocketAddr) -> Self {
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let issuer = options.public_origin.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
        let mut proofs = match options.profile {
            options::Profile::Strict => Proofs::default(),
            options::Profile::Authgear => Proofs::authgear(),
        };
        if options.nonces {
            proofs.change_nonce();
        }
        let state = State {
            clients: options.clients.clone(),
            ledger: Ledger::new(),
            assertions: HashSet::new(),
            proofs,
            log: Vec::new(),
            connections: 0,
            open: 0,
            faults: Faults::default(),
            limits: BTreeMap::new(),
            authorizations: authgear::Authorizations::default(),
            sign_ins: strict::Authorizations::default(),
            devices: strict::Devices::default(),
            person: Person::default(),
            expires_in: options.expires_in,
            rewrite: None,
            elsewhere: BTreeMap::new(),
            tls: options.tls.clone(),
        };
        let (changed, released) = (watch::Sender::new(0), watch::Sender::new(0));
        let database = Semaphore::new(options.database_connections);
        Self { options, issuer, state: Mutex::new(state), changed, released, database }
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.state().tls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.state());
        self.changed.send_modify(|count| *count += 1);
        value
    }

    fn note(&self, number: usize, note: impl FnOnce(&mut Exchange)) {
        self.change(|state| note(&mut state.log[number]));
    }
}

impl State {
    fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.issuer)
    }
}

fn now() -> Moment {
    Clock::System.now()
}
