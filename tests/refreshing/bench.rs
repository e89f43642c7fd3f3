//! One grant over real sockets, with its record in a folder of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bearerd::clock::Clock;
use bearerd::grant::endpoint::HttpEndpoint;
use bearerd::grant::refresher::Command;
use bearerd::grant::status::{State, Status};
use bearerd::grant::{self, Handle, Params, Secret, Server};
use bearerd::store;
use bearerd::tls::{self, Tls};
use tempfile::TempDir;

use crate::support::authorization_server::AuthorizationServer;
use crate::support::{grants, in_time_or};

/// What a grant is made of.
pub(super) struct Bench {
    pub(super) params: Params,
    pub(super) tls: tls::Params,
    /// What the grant goes by. Servers go by the system's, and so does what is signed for them.
    pub(super) clock: Clock,
    home: TempDir,
}

/// A grant that is being kept alive.
pub(super) struct Running {
    pub(super) handle: Handle,
    bench: Bench,
}

impl Bench {
    /// A grant of `client`, seeded at the server.
    pub(super) fn of(server: &AuthorizationServer, client: &str) -> Self {
        let home = TempDir::new().unwrap();
        let seed = home.path().join("seed");
        std::fs::write(&seed, format!("{}\n", server.seed(client))).unwrap();
        let issuer = server.issuer().to_owned();
        let params = Params {
            timeout: Duration::from_secs(2),
            ..grants::params(Server::Issuer { issuer, token_endpoint: None }, client, seed)
        };
        Self { params, tls: tls::Params::default(), clock: Clock::System, home }
    }

    /// Puts a pipe that nobody writes to in the seed's place.
    pub(super) fn seed_is_a_pipe(&self) {
        let seed = self.home.path().join("seed");
        std::fs::remove_file(&seed).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &seed, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }

    /// The refresh token that it begins with.
    pub(super) fn seed(&self) -> String {
        std::fs::read_to_string(self.home.path().join("seed")).unwrap().trim().to_owned()
    }

    /// Gives the client a secret, in a file.
    pub(super) fn secret(&mut self, secret: Option<&str>) {
        let one = secret.map(|text| self.file("secret", text));
        self.params.credentials.secrets = one.into_iter().collect();
    }

    /// A secret in a file of this name.
    pub(super) fn file(&self, name: &str, text: &str) -> Secret {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        Secret::File(path)
    }

    /// Removes a file of a secret.
    pub(super) fn remove(&self, file: &str) {
        std::fs::remove_file(self.home.path().join(file)).unwrap();
    }

    /// Where the record rests.
    pub(super) fn record(&self) -> PathBuf {
        self.home.path().join("state.json")
    }

    fn endpoint(&self) -> HttpEndpoint {
        HttpEndpoint::new(self.params.clone(), Tls::load(&self.tls).unwrap(), Clock::System)
    }

    pub(super) async fn start(self) -> Running {
        let endpoint = Arc::new(self.endpoint());
        let place =
            store::Params::File { path: self.record(), allow_network_fs: false, encryption_keys: Vec::new() };
        let store = store::open(&place, &self.params.name).unwrap();
        store.probe().await.unwrap();
        let handle = grant::spawn(self.params.clone(), endpoint, store, self.clock.clone(), || 0.5);
        Running { handle, bench: self }
    }
}

impl Running {
    /// Puts another text into the file of the seed, or of a secret.
    pub(super) fn replace(&self, file: &str, text: &str) {
        std::fs::write(self.bench.home.path().join(file), text).unwrap();
    }

    /// Removes a file of a secret.
    pub(super) fn remove(&self, file: &str) {
        self.bench.remove(file);
    }

    /// Where the record rests.
    pub(super) fn record(&self) -> PathBuf {
        self.bench.record()
    }

    /// As a reload does that changes nothing of the grant.
    pub(super) fn reconfigure(&self) {
        let endpoint = Arc::new(self.bench.endpoint());
        assert!(self.handle.tell(Command::Reconfigure(Box::new(self.bench.params.clone()), endpoint)));
    }

    pub(super) async fn stopped(self) -> Bench {
        self.handle.stop().await;
        self.bench
    }

    pub(super) async fn restart(self) -> Running {
        self.stopped().await.start().await
    }

    pub(super) fn refresh(&self) {
        assert!(self.handle.tell(Command::Refresh));
    }

    pub(super) async fn is(&self, state: State) -> Arc<Status> {
        self.until(state.word(), |status| status.state == state).await
    }

    pub(super) async fn generation(&self, generation: u64) -> Arc<Status> {
        self.until("a later token", |status| status.generation >= generation).await
    }

    pub(super) async fn fails(&self) -> Arc<Status> {
        self.until("a failure", |status| status.consecutive_failures > 0).await
    }

    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Arc<Status> {
        let seen = async {
            loop {
                let status = self.handle.board.look();
                if holds(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        in_time_or(|| format!("{what}: {:?}", self.handle.board.look()), seen).await
    }
}
