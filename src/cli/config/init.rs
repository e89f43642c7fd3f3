//! `bearerd config init`: a first proxy.toml, short and commented, for the place where it will be used.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::super::{Common, Exit, Failure, note, say};
use crate::config::{self, Config};

/// The first line of a file whose schema lies beside it.
const SCHEMA_LINE: &str = "#:schema ./proxy.schema.json\n";
/// Where every command looks for the file.
const USUAL: &str = "proxy.toml";
const SCHEMA_FILE: &str = "proxy.schema.json";

/// What the templates say where a flag may say otherwise.
const ISSUER: &str = "\"https://id.example.com\"";
const CLIENT_ID: &str = "\"my-client\"";
const UPSTREAM: &str = "\"https://api.example.com\"";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  bearerd config init --for dev --issuer https://id.example.com --client-id my-client \\\n      --upstream https://api.example.com"
)]
pub(super) struct Arguments {
    /// Where it will be used
    #[arg(long = "for", value_name = "PLACE", default_value = "any")]
    place: Place,
    /// The authorization server
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The client's name there
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Where requests lead
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Write proxy.schema.json beside it as well, so that editors complete and check the file
    #[arg(long)]
    schema: bool,
    /// What to write; must not be there yet; `-` is standard output
    #[arg(value_name = "FILE", default_value = USUAL)]
    file: PathBuf,
}

/// `--for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Place {
    /// The least that it takes
    Any,
    /// Beside an app in a Pod
    Kubernetes,
    /// On a developer's own machine
    Dev,
    /// In front of old services, several grants and routes
    Legacy,
}

impl Place {
    fn template(self) -> &'static str {
        match self {
            Self::Any => include_str!("templates/any.toml"),
            Self::Kubernetes => include_str!("templates/kubernetes.toml"),
            Self::Dev => include_str!("templates/dev.toml"),
            Self::Legacy => include_str!("templates/legacy.toml"),
        }
    }

    /// What to do once it is filled in.
    fn next(self, file: &Path) -> String {
        let config =
            if file == Path::new(USUAL) { String::new() } else { format!(" --config {}", file.display()) };
        let check = format!("`bearerd{config} check`");
        match self {
            Self::Kubernetes => {
                format!(
                    "{check}, then put it into the ConfigMap and the seed into the Secret (deploy/kubernetes)"
                )
            }
            Self::Any | Self::Dev => format!("{check}, `bearerd{config} login`, `bearerd{config} run`"),
            Self::Legacy => format!("{check}, `bearerd{config} login crm`, `bearerd{config} run`"),
        }
    }
}

pub(super) fn init(common: &Common, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { place, issuer, client_id, upstream, schema, file } = arguments;
    let mut text = place.template().to_owned();
    for (example, given) in [(ISSUER, issuer), (CLIENT_ID, client_id), (UPSTREAM, upstream)] {
        if let Some(given) = given {
            text = text.replace(example, &config::quoted(&given));
        }
    }
    let is_stdout = file == Path::new("-");
    // A flag's value may be no URL, which is better told now than by a file that does not load.
    Config::of_text(&file, &text).map_err(|errors| common.rejected(&errors))?;
    if is_stdout && schema {
        let why =
            "--schema writes a file beside FILE, and standard output has none; see `bearerd config schema`";
        return Err(Failure::new(Exit::Failure, why));
    }
    if is_stdout {
        say(&text)?;
        return Ok(());
    }
    if schema {
        text.insert_str(0, SCHEMA_LINE);
    }
    write(&file, &text)?;
    if schema {
        let beside = file.with_file_name(SCHEMA_FILE);
        // Made from the program alone: nothing of a person's is lost with an older one.
        std::fs::write(&beside, format!("{:#}\n", config::schema()))
            .map_err(|error| failed(&beside, &error))?;
    }
    if !common.quiet {
        note(&format!("Wrote {}. Next: {}.", file.display(), place.next(&file)));
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let mut written =
        OpenOptions::new().write(true).create_new(true).open(file).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                let why =
                    format!("{} is there already, and is not overwritten; name another FILE", file.display());
                Failure::new(Exit::Failure, why)
            }
            _ => failed(file, &error),
        })?;
    written.write_all(text.as_bytes()).map_err(|error| failed(file, &error))
}

fn failed(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot write {}: {error}", file.display()))
}
