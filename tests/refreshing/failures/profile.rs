//! The servers of the failure table, and a grant that each of them keeps.

use std::time::Duration;

use bearerd::clock::{Clock, TestClock};
use bearerd::grant::{ClientAuthMethod, Dpop, Secret};
use bearerd::tls::{self, Certificate, Roots};

use super::super::bench::Bench;
use crate::support::authorization_server::{AuthorizationServer, Client, Options};
use crate::support::certificates::Authority;
use crate::support::keys::Key;

/// The life of an access token, in seconds: an attempt fails while it lives, however little the machine gets done. Its
/// end is not waited for: a cell lets the grant's clock pass towards it.
const LIFE: u64 = 45;

/// Whose manners the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// Rotates, and kills the family of a refresh token that comes twice.
    Strict,
    /// Rotates, and forgives for a while (Okta, Auth0, Cognito).
    Grace,
    /// Rotates, and forgives until the new access token is used.
    Doorkeeper,
    /// Rotates nothing.
    Still,
    /// FAPI 2.0, which rotates nothing.
    Fapi,
    /// FAPI 2.0 with the rotation that it allows: a retry succeeds.
    FapiRotating,
    /// The same, with tokens that are bound to a key, and nonces.
    FapiDpop,
    /// Authgear with rotation: it forgives nothing, and kills nothing.
    Authgear,
    /// Authgear as it comes.
    AuthgearStill,
}

/// A server, a client of its, and a grant of that client.
pub(super) struct Ground {
    pub(super) server: AuthorizationServer,
    pub(super) bench: Bench,
    /// What the grant goes by; the server goes by the system's.
    pub(super) clock: TestClock,
    client: Client,
    _authority: Option<Authority>,
}

impl Profile {
    pub(super) const ALL: [Self; 9] = [
        Self::Strict,
        Self::Grace,
        Self::Doorkeeper,
        Self::Still,
        Self::Fapi,
        Self::FapiRotating,
        Self::FapiDpop,
        Self::Authgear,
        Self::AuthgearStill,
    ];

    /// The column's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Grace => "grace",
            Self::Doorkeeper => "doorkeeper",
            Self::Still => "no rotation",
            Self::Fapi => "FAPI",
            Self::FapiRotating => "FAPI, rotating",
            Self::FapiDpop => "FAPI, DPoP",
            Self::Authgear => "Authgear, rot.",
            Self::AuthgearStill => "Authgear",
        }
    }

    /// Whether a refresh brings a new refresh token.
    pub(super) fn rotates(self) -> bool {
        !matches!(self, Self::Still | Self::Fapi | Self::AuthgearStill)
    }

    pub(super) fn ground(self) -> Ground {
        let grace = Duration::from_secs(600);
        match self {
            Self::Strict => secretive(AuthorizationServer::strict()),
            Self::Grace => secretive(AuthorizationServer::strict().grace(grace)),
            Self::Doorkeeper => secretive(AuthorizationServer::doorkeeper()),
            Self::Still => secretive(AuthorizationServer::strict().no_rotation()),
            Self::Fapi => fapi(|options| options),
            Self::FapiRotating => fapi(|options| options.grace(grace)),
            Self::FapiDpop => {
                let mut ground = fapi(|options| options.grace(grace).nonces());
                ground.bench.params.dpop = Dpop::Required;
                ground
            }
            Self::Authgear => secretive(AuthorizationServer::authgear()),
            Self::AuthgearStill => secretive(AuthorizationServer::authgear().no_rotation()),
        }
    }
}

impl Ground {
    fn new(
        server: AuthorizationServer,
        mut bench: Bench,
        client: Client,
        authority: Option<Authority>,
    ) -> Self {
        let clock = TestClock::starting_at(Clock::System.now());
        bench.clock = Clock::Test(clock.clone());
        Self { server, bench, clock, client, _authority: authority }
    }

    /// The client as it was.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The same client, proving itself with something else.
    pub(super) fn stranger(client: &Client) -> Client {
        match client.secret() {
            Some(_) => Client::confidential("app", "another"),
            None => Client::keyed("app", &Key::p256()),
        }
    }
}

fn secretive(options: Options) -> Ground {
    let client = Client::confidential("app", "s3cret");
    let server = options.client(client.clone()).expires_in(LIFE).start();
    let mut bench = Bench::of(&server, "app");
    bench.secret(Some("s3cret"));
    Ground::new(server, bench, client, None)
}

/// A key proves the client, and a certificate binds its tokens where no other key does.
fn fapi(rotation: impl FnOnce(Options) -> Options) -> Ground {
    let (authority, key) = (Authority::new(), Key::p256());
    let client = Client::keyed("app", &key);
    let options = rotation(AuthorizationServer::fapi(&authority));
    let server = options.client(client.clone()).expires_in(LIFE).start();
    let mut bench = Bench::of(&server, "app");
    bench.params.client_auth = ClientAuthMethod::PrivateKeyJwt;
    bench.params.credentials.key = Some(bench.file("client.pem", &key.pem()));
    bench.params.credentials.certificate = true;
    let (chain, key, _) = authority.client("app");
    let Secret::File(chain) = bench.file("cert.pem", &chain) else { panic!("a file") };
    let certificate = Certificate { chain, key: bench.file("key.pem", &key) };
    let ca_file = Some(authority.ca_file());
    bench.tls = tls::Params { ca_file, roots: Roots::File, client: Some(certificate) };
    Ground::new(server, bench, client, Some(authority))
}
