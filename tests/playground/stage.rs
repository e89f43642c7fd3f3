//! The parties, and the proxy.toml that brings them together.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::authorization_server::{AuthorizationServer, Options};
use crate::support::upstream::Upstream;

/// The life of access tokens in seconds: short, so that renewals can be watched; long enough for bearerd to renew at
/// half of it.
pub(crate) const EXPIRES_IN: u64 = 15;

/// The client that bearerd is.
pub(crate) const CLIENT: &str = "playground";

/// Everything but bearerd.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) server: AuthorizationServer,
    pub(crate) upstream: Upstream,
    /// The refresh token that bearerd starts with.
    pub(crate) seed: String,
    /// Where the proxy listens.
    pub(crate) proxy: u16,
    /// Where the status page is.
    pub(crate) admin: u16,
    /// proxy.toml.
    pub(crate) config: PathBuf,
    /// Where the refresh token rests.
    pub(crate) state: PathBuf,
    _folder: TempDir,
}

impl Stage {
    /// Starts both parties and writes the files.
    pub(crate) fn set(server: Options) -> io::Result<Self> {
        let server = server.start();
        let upstream = Upstream::checking(&server);
        let folder = tempfile::Builder::new().prefix("bearerd-playground-").tempdir()?;
        let (config, state) = (folder.path().join("proxy.toml"), folder.path().join("state.json"));
        let seed_file = folder.path().join("refresh_token");
        let seed = server.seed(CLIENT);
        std::fs::write(&seed_file, &seed)?;
        let (proxy, admin) = (free_port(8080)?, free_port(9901)?);
        let proxy_toml = format!(
            "listen   = \"localhost:{proxy}\"\n\
             upstream = \"{upstream}\"\n\
             \n\
             [oauth]\n\
             issuer        = \"{issuer}\"\n\
             client_id     = \"{CLIENT}\"\n\
             refresh_token = {{ file = \"{seed_file}\" }}\n\
             \n\
             [store]\n\
             path = \"{state}\"\n\
             \n\
             [admin]\n\
             listen = \"127.0.0.1:{admin}\"\n",
            upstream = upstream.url(),
            issuer = server.issuer(),
            seed_file = seed_file.display(),
            state = state.display(),
        );
        std::fs::write(&config, proxy_toml)?;
        Ok(Self { server, upstream, seed, proxy, admin, config, state, _folder: folder })
    }
}

/// `wanted` if nobody has it on either loopback address, else any.
fn free_port(wanted: u16) -> io::Result<u16> {
    let taken = ["127.0.0.1", "::1"].iter().any(|address| {
        let bound = TcpListener::bind((*address, wanted));
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    });
    if !taken {
        return Ok(wanted);
    }
    TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}
