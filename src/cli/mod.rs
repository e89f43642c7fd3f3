//! The command: what a person types, what is printed, and the exit code.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the one part that speaks to the terminal"
)]
#![allow(clippy::disallowed_methods, reason = "NO_COLOR is read here and nowhere else")]

mod ask;
mod check;
mod completions;
mod config;
mod daemon;
mod explain;
mod export;
mod grants;
mod healthcheck;
mod home;
mod import;
mod login;
mod logout;
mod man;
mod orders;
mod refresh;
mod run;
mod status;
mod terminal;
mod token;
mod typed;
mod version;
mod wait;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use crate::config::{Config, ConfigErrors, Flags, Loaded, Sources};
use crate::grant::status::State;
use crate::telemetry::{Colour, Verbosity};

/// What bare `bearerd` says.
const EXAMPLES: &str = "\
Examples:
  bearerd login                              sign in, once; the grant is kept from then on
  bearerd run                                carry requests, as proxy.toml says
  bearerd run --upstream https://api.example.com --issuer https://id.example.com \\
      --client-id billing --refresh-token-file ./refresh_token
                                             the same without a file";

/// Makes OAuth somebody else's problem: keeps a refresh token alive and puts the access token on every request.
#[derive(Debug, Parser)]
#[command(name = "bearerd", version, after_help = EXAMPLES, arg_required_else_help = true, disable_help_subcommand = true)]
struct Command {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every command takes, before or after its name.
#[derive(Clone, Debug, Default, clap::Args)]
struct Common {
    /// The configuration [default: proxy.toml here, then /etc/bearerd/proxy.toml; or BEARERD_CONFIG]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// More detail; -vv for more, -vvv for all of it
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// How log lines look
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["auto", "pretty", "json"])]
    log_format: Option<String>,
    /// When to colour what is shown
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: When,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum When {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Carry requests until told to stop
    Run(Box<Flags>),
    /// Say whether the configuration is good, and what it does
    Check(Box<check::Arguments>),
    /// Show, begin or describe a proxy.toml
    Config(config::Arguments),
    /// Show how the running bearerd's grants are
    Status(Box<status::Arguments>),
    /// Sign in, and store what the grant goes on with
    Login(Box<login::Arguments>),
    /// Have the server revoke the refresh token, and erase it here
    Logout(Box<logout::Arguments>),
    /// Get a new access token now
    Refresh(Box<refresh::Arguments>),
    /// Wait until the running bearerd has a usable token for every route
    Wait(Box<wait::Arguments>),
    /// Have the running bearerd read its configuration again
    Reload(Box<orders::Arguments>),
    /// Have the running bearerd end, and wait until it has
    Stop(Box<orders::Arguments>),
    /// Print the access token that rests in the store
    Token(Box<token::Arguments>),
    /// Take a grant out of the store, for another bearerd to go on with
    Export(Box<export::Arguments>),
    /// Put an exported grant into the store
    Import(Box<import::Arguments>),
    /// Say what a code or a key means, and what to do
    Explain(explain::Arguments),
    /// Exit 0 if the running bearerd is healthy, else 1; for containers
    Healthcheck(Box<healthcheck::Arguments>),
    /// Print what a shell needs to complete this command
    Completions(completions::Arguments),
    /// Print a page for `man`
    Man(man::Arguments),
    /// Say which version this is
    Version(version::Arguments),
}

/// How a command ends (sysexits.h for those above 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// As asked.
    Success = 0,
    /// Something failed.
    Failure = 1,
    /// It was not said what to do.
    Usage = 2,
    /// No bearerd answers, or no server.
    Unreachable = 69,
    /// A person has to sign in.
    SignInRequired = 77,
    /// Bad configuration, or an unusable store.
    Config = 78,
    /// A person ended a sign-in, or the wait for a refresh.
    Cancelled = 130,
}

impl Exit {
    /// What grants in these states need a person for, if for anything: who has to sign in comes first.
    fn for_states<'a>(states: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let needed = states.into_iter().filter_map(|state| match state {
            state if state == State::SignInRequired.word() => Some(Self::SignInRequired),
            state if state == State::Misconfigured.word() => Some(Self::Config),
            _ => None,
        });
        needed.min_by_key(|exit| *exit as u8)
    }
}

/// How a command ends, as the pages tell it.
pub const EXITS: &[(u8, &str)] = &[
    (Exit::Success as u8, "As asked; also after SIGTERM."),
    (Exit::Failure as u8, "Something failed."),
    (Exit::Usage as u8, "The command line is wrong."),
    (Exit::Unreachable as u8, "No bearerd answers, or a server cannot be reached."),
    (Exit::SignInRequired as u8, "A person has to sign in."),
    (Exit::Config as u8, "The configuration is bad, or the store cannot be used."),
    (Exit::Cancelled as u8, "A sign-in, or the wait for a refresh, was cancelled."),
];

/// Why a command did not succeed.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    /// A sentence and what to do about it; a rendered report already ends its lines.
    says: String,
}

impl Failure {
    fn new(exit: Exit, says: impl Into<String>) -> Self {
        Self { exit, says: says.into() }
    }
}

/// The command line as clap knows it: for completions, for the pages of reference, and for whoever checks examples.
#[must_use]
pub fn command() -> clap::Command {
    use clap::CommandFactory as _;
    Command::command()
}

/// Runs the command that `arguments` are, the program's name first.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(usage) => {
            let _closed_terminal = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    let exit = match perform(command) {
        Ok(exit) => exit,
        Err(failure) => {
            complain(&failure.says);
            failure.exit
        }
    };
    ExitCode::from(exit as u8)
}

fn perform(Command { common, verb }: Command) -> Result<Exit, Failure> {
    match verb {
        Verb::Run(flags) => run::run(&common, *flags),
        Verb::Check(arguments) => check::check(&common, *arguments),
        Verb::Config(arguments) => config::config(&common, arguments),
        Verb::Status(arguments) => status::status(&common, *arguments),
        Verb::Login(arguments) => login::login(&common, *arguments),
        Verb::Logout(arguments) => logout::logout(&common, *arguments),
        Verb::Refresh(arguments) => refresh::refresh(&common, *arguments),
        Verb::Wait(arguments) => wait::wait(&common, *arguments),
        Verb::Reload(arguments) => orders::reload(&common, *arguments),
        Verb::Stop(arguments) => orders::stop(&common, *arguments),
        Verb::Token(arguments) => token::token(&common, *arguments),
        Verb::Export(arguments) => export::export(&common, *arguments),
        Verb::Import(arguments) => import::import(&common, *arguments),
        Verb::Explain(arguments) => explain::explain(&arguments),
        Verb::Healthcheck(arguments) => healthcheck::healthcheck(&common, *arguments),
        Verb::Completions(arguments) => completions::completions(&arguments),
        Verb::Man(arguments) => man::man(&arguments),
        Verb::Version(arguments) => version::version(&arguments),
    }
}

/// Where the bearerd that runs listens.
struct Listeners {
    config: Config,
    /// Why the file could not tell.
    unread: Option<Failure>,
}

impl Listeners {
    /// Why it was asked in vain: it was looked for in the wrong place, where the right one could not be read.
    fn in_vain(self, failure: Failure) -> Failure {
        self.unread.filter(|_| failure.exit == Exit::Unreachable).unwrap_or(failure)
    }
}

impl Common {
    /// The configuration, with the command's flags over it.
    fn load(&self, flags: Flags) -> Result<Loaded, Failure> {
        Config::load(&self.sources(flags)).map_err(|errors| self.rejected(&errors))
    }

    /// The configuration of the bearerd that runs; `flags` are those that it was started with.
    fn load_running(&self, flags: Flags) -> Result<Config, Failure> {
        let loaded = Config::load_running(&self.sources(flags)).map_err(|errors| self.rejected(&errors))?;
        Ok(loaded.config)
    }

    /// Where the bearerd that runs listens, whatever is wrong with the configuration otherwise.
    fn load_listeners(&self, flags: Flags) -> Result<Listeners, Failure> {
        let (config, unread) =
            Config::load_listeners(&self.sources(flags)).map_err(|errors| self.rejected(&errors))?;
        Ok(Listeners { config, unread: unread.map(|errors| self.rejected(&errors)) })
    }

    fn sources(&self, flags: Flags) -> Sources {
        let flags = Flags { log_format: self.log_format.clone(), ..flags };
        Sources::of_command(self.config.clone(), std::env::vars_os(), flags)
    }

    fn rejected(&self, errors: &ConfigErrors) -> Failure {
        let mut codes: Vec<&str> = errors.problems().iter().map(|problem| problem.code().word()).collect();
        codes.sort_unstable();
        codes.dedup();
        let more = match codes.as_slice() {
            [code] => format!("`bearerd explain {code}` tells more."),
            _ => "`bearerd explain CODE` tells more of each code in brackets.".to_owned(),
        };
        Failure::new(Exit::Config, format!("{}\n{more}", errors.render(self.is_coloured())))
    }

    fn verbosity(&self) -> Verbosity {
        Verbosity { quiet: self.quiet, verbose: self.verbose }
    }

    /// `--color`, and <https://no-color.org> where it leaves the choice open.
    fn colour(&self) -> Colour {
        let no_color = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self.color {
            When::Always => Colour::Always,
            When::Never => Colour::Never,
            When::Auto if no_color() => Colour::Never,
            When::Auto => Colour::Auto,
        }
    }

    /// Whether what goes to stderr is coloured.
    fn is_coloured(&self) -> bool {
        self.is_coloured_on(&std::io::stderr())
    }

    /// Whether what goes there is coloured.
    fn is_coloured_on(&self, stream: &impl std::io::IsTerminal) -> bool {
        match self.colour() {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => stream.is_terminal(),
        }
    }
}

/// A time span as proxy.toml has it.
fn span(text: &str) -> Result<Duration, String> {
    let not = "write it as \"30s\", \"5m\" or \"1h 30m\"";
    let span: jiff::SignedDuration = text.parse().map_err(|_| not.to_owned())?;
    Duration::try_from(span).map_err(|_| not.to_owned())
}

/// Prints the answer. A reader that has gone away (`bearerd status | head -1`) is no failure; one that did not get it is.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    written.or_else(|error| unread(&error))
}

/// What it is worth that an answer was not written.
fn unread(error: &std::io::Error) -> Result<(), Failure> {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::new(Exit::Failure, format!("the answer could not be written: {error}"))),
    }
}

/// Prints what was done, where the answer proper may go to a program.
fn note(text: &str) {
    let _reader_gone = writeln!(std::io::stderr(), "{text}");
}

/// Prints what is wrong.
fn complain(text: &str) {
    let text = text.trim_end();
    if !text.is_empty() {
        let prefix = if text.contains('\n') || text.starts_with("error") { "" } else { "error: " };
        let _reader_gone = writeln!(std::io::stderr(), "{prefix}{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        use clap::CommandFactory as _;
        Command::command().debug_assert();
    }

    #[test]
    fn common_flags_go_before_and_after_the_verb() {
        for line in ["bearerd -vv --config a run", "bearerd run -v --config a -v"] {
            let command = Command::try_parse_from(line.split(' ')).unwrap();
            assert_eq!((command.common.verbose, command.common.config), (2, Some("a".into())), "{line}");
        }
    }
}
