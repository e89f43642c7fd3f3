//! `bearerd config`: shows what is in use, writes a first proxy.toml, and prints its schema.

mod init;

use super::{Common, Exit, Failure, complain, say};
use crate::config::{self, Flags};

#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show the configuration in use, as a proxy.toml that says the same
    Show(Box<Show>),
    /// Print the JSON Schema of proxy.toml, for editors
    #[command(after_help = "Example:\n  bearerd config schema > proxy.schema.json")]
    Schema,
    /// Write a first proxy.toml
    Init(init::Arguments),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Say behind each value where it comes from
    #[arg(long)]
    origin: bool,
    /// Show what stands in `extra` and `extra_headers` and the arguments of a hook as well, which may be secrets
    #[arg(long)]
    all: bool,
    #[command(flatten, next_help_heading = "As of `bearerd run`")]
    flags: Flags,
}

pub(super) fn config(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    match arguments.what {
        What::Show(show) => {
            let loaded = common.load(show.flags)?;
            complain(&loaded.render_warnings(common.is_coloured()));
            say(&loaded.show(show.origin, show.all))?;
        }
        What::Schema => say(&format!("{:#}", config::schema()))?,
        What::Init(arguments) => init::init(common, arguments)?,
    }
    Ok(Exit::Success)
}
