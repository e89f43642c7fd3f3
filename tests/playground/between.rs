//! bearerd itself, as the program would run it.

use std::io;
use std::path::Path;

/// Runs bearerd with this proxy.toml until `shutdown` comes.
pub(crate) async fn run(_proxy_toml: &Path, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    shutdown.await;
    Ok(())
}
