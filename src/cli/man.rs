//! `bearerd man`: the pages bearerd(1) and proxy.toml(5), in roff.

use super::{EXITS, Exit, Failure, command, say};
use crate::manual::roff;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bearerd man | man -l -\n  bearerd man proxy.toml > /usr/local/share/man/man5/proxy.toml.5"
)]
pub(super) struct Arguments {
    /// Which page
    #[arg(value_parser = ["bearerd", "proxy.toml"], default_value = "bearerd")]
    page: String,
}

pub(super) fn man(arguments: &Arguments) -> Result<Exit, Failure> {
    let page = match arguments.page.as_str() {
        "proxy.toml" => roff::proxy_toml(),
        _ => roff::bearerd(command(), EXITS),
    };
    say(&page)?;
    Ok(Exit::Success)
}
