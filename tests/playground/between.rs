//! bearerd itself, as the program would run it.

use std::io;
use std::path::Path;

use bearerd::app::App;
use bearerd::config::{Config, Sources};

/// Runs bearerd with this proxy.toml until `shutdown` comes.
pub(crate) async fn run(proxy_toml: &Path, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let sources = Sources { file: Some(proxy_toml.to_owned()), ..Sources::default() };
    let loaded = Config::load(&sources).map_err(|errors| io::Error::other(errors.to_string()))?;
    let app = App::bind(loaded).await.map_err(io::Error::other)?;
    app.run_until(shutdown).await
}
