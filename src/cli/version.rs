//! `bearerd version`.

use serde_json::json;

use super::{Exit, Failure, say};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn version(arguments: &Arguments) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if arguments.json {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        say(&json!({ "name": "bearerd", "version": version, "os": os, "arch": arch }).to_string())?;
    } else {
        say(&format!("bearerd {version}"))?;
    }
    Ok(Exit::Success)
}
