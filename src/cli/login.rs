//! `bearerd login`: signs in, and stores what the grant goes on with; or prints it, for another machine.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::ValueEnum;

use super::grants::{Grant, named, unusable_store, wait_for};
use super::terminal::{self, Terminal};
use super::{Common, Exit, Failure, daemon, note, run};
use crate::clock::Clock;
use crate::config::{Config, Flags, Loaded};
use crate::grant::endpoint::HttpEndpoint;
use crate::grant::{Params, lineage};
use crate::login::{Code, Login, LoginError, Outcome, Signed, Wish, emit, in_short};
use crate::net::Listen;
use crate::secret::Fingerprint;
use crate::signal::Signals;
use crate::store::{self, transfer};
use crate::telemetry;
use crate::tls::Tls;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which grant; may be left out where there is one
    #[arg(value_name = "GRANT")]
    grant: Option<String>,
    /// Sign in with another device: show a code to type there
    #[arg(long, conflicts_with = "no_browser")]
    device: bool,
    /// Open no browser: print the address
    #[arg(long)]
    no_browser: bool,
    /// How long you have
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = patience)]
    timeout: Duration,
    /// The port that the browser comes back to; `redirect_port`, when left out
    #[arg(long, value_name = "N")]
    redirect_port: Option<u16>,
    /// Print the refresh token for another machine, and store nothing
    #[arg(long, value_name = "FORM")]
    emit: Option<EmitForm>,
    /// With --emit kubernetes-secret: the Secret's name
    #[arg(long, value_name = "NAME", default_value = "bearerd-seed", requires = "emit", value_parser = kubernetes_name)]
    name: String,
    /// With --emit kubernetes-secret: its namespace
    #[arg(short, long, value_name = "NAMESPACE", requires = "emit", value_parser = kubernetes_name)]
    namespace: Option<String>,
    /// With --emit: print it though standard output is a terminal
    #[arg(long, requires = "emit")]
    print: bool,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

/// `--emit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EmitForm {
    KubernetesSecret,
    Env,
    Json,
}

/// How long a person may be given.
fn patience(text: &str) -> Result<Duration, String> {
    let span = super::span(text)?;
    let is_reasonable = (Duration::from_secs(1)..=Duration::from_secs(24 * 3600)).contains(&span);
    if is_reasonable { Ok(span) } else { Err("it has to be from 1s to 24h".to_owned()) }
}

fn kubernetes_name(text: &str) -> Result<String, String> {
    let wrong = || "Kubernetes takes small letters, digits, `-` and `.`".to_owned();
    emit::is_name(text).then(|| text.to_owned()).ok_or_else(wrong)
}

pub(super) fn login(common: &Common, mut arguments: Arguments) -> Result<Exit, Failure> {
    run::forbid_core_dumps();
    // They are of whichever grant signs in.
    let scopes = std::mem::take(&mut arguments.flags.scopes);
    let loaded = common.load(arguments.flags.clone())?;
    if common.verbose > 0 {
        telemetry::init(loaded.config.log, common.colour(), common.verbosity())
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot start logging: {error}")))?;
    }
    let mut params = grant(&loaded.config, arguments.grant.as_deref())?;
    if !scopes.is_empty() {
        params.scopes =
            scopes.iter().flat_map(|scopes| scopes.split_whitespace()).map(str::to_owned).collect();
    }
    if let Some(port) = arguments.redirect_port {
        params.sign_in.redirect_port = port;
    }
    let form = arguments.emit.map(|form| match form {
        EmitForm::KubernetesSecret => emit::Form::KubernetesSecret {
            name: arguments.name.clone(),
            namespace: arguments.namespace.clone(),
        },
        EmitForm::Env => emit::Form::Env,
        EmitForm::Json => emit::Form::Json,
    });
    if let Some(form) = &form {
        let usage = |why: &str| Failure::new(Exit::Usage, why);
        if std::io::stdout().is_terminal() && !arguments.print {
            return Err(usage(
                "--emit would print a refresh token on this terminal: send it on, as in `| kubectl apply -f -` or `> seed`, or \
                 say --print",
            ));
        }
        form.fits(&params).map_err(usage)?;
    }
    let tls = Tls::load(&loaded.config.tls).map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
    let command = command(common, arguments.grant.as_deref());
    let terminal = Terminal::new(common.is_coloured());
    let login = Login {
        params: &params,
        endpoint: &HttpEndpoint::new(params.clone(), tls, Clock::System),
        wish: match (arguments.device, arguments.no_browser) {
            (true, _) => Wish::Device,
            (_, true) => Wish::Address,
            _ => Wish::Any(terminal::can_open_a_browser()),
        },
        timeout: arguments.timeout,
        command: &command,
        person: &terminal,
        clock: Clock::System,
    };
    wait_for(async {
        let mut signals =
            Signals::listen().map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
        match form {
            Some(form) => {
                let printed = async |signed: Signed| print(&form, &params, &signed);
                login.run(&mut signals, printed).await.map_err(failed)
            }
            None => {
                let home = Home::find(common, &loaded, &params).await?;
                login.run(&mut signals, async |signed| home.keep(signed).await).await.map_err(failed)
            }
        }
    })?;
    Ok(Exit::Success)
}

fn failed(error: LoginError) -> Failure {
    let exit = match error.outcome {
        Outcome::Cancelled => Exit::Cancelled,
        Outcome::SignIn => Exit::SignInRequired,
        Outcome::Config => Exit::Config,
        Outcome::Unreachable => Exit::Unreachable,
    };
    Failure::new(exit, error.to_string())
}

/// What signs in again.
fn command(common: &Common, grant: Option<&str>) -> String {
    format!("{} login{}", bearerd(common), grant.map(|grant| format!(" {grant}")).unwrap_or_default())
}

/// The program, with the configuration that was named.
fn bearerd(common: &Common) -> String {
    let config = common.config.as_ref().map(|file| format!(" --config {}", file.display()));
    format!("bearerd{}", config.unwrap_or_default())
}

/// The grant that somebody signs in for.
fn grant(config: &Config, name: Option<&str>) -> Result<Params, Failure> {
    let params = named(config, name)?;
    if params.needs_refresh_token() {
        return Ok(params.clone());
    }
    let why = format!("grant `{}` needs no sign-in: its `flow` gets tokens without a person", params.name);
    Err(Failure::new(Exit::Config, why))
}

/// Sends a seed on. Whoever reads it next is the one who presents it.
fn print(form: &emit::Form, params: &Params, signed: &Signed) -> Result<Vec<String>, LoginError> {
    let text = form.write(params, signed);
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
        let sentence =
            format!("The sign-in was good, and nobody took what it brought: {error}. Sign in again.");
        LoginError::new(Outcome::SignIn, Code::EmitFailed, sentence)
    })?;
    note(
        "✓ Signed in. The refresh token is on standard output, and nothing was stored here.\n  One refresh token has one \
         holder: give it to one bearerd, and keep no copy.",
    );
    Ok(Vec::new())
}

/// Where a sign-in is stored, and who is told of it.
struct Home<'a> {
    common: &'a Common,
    config: &'a Config,
    grant: Grant,
}

impl<'a> Home<'a> {
    /// Looks at the store, before anybody signs in for nothing.
    async fn find(common: &'a Common, loaded: &'a Loaded, params: &Params) -> Result<Self, Failure> {
        let config = &loaded.config;
        if config.store == store::Params::Memory {
            let why = "the store is in the memory of the bearerd that runs, where a sign-in cannot be put: give it a file with \
                       `[store] path`, or print the refresh token with --emit";
            return Err(Failure::new(Exit::Config, why));
        }
        let store = store::open(&config.store, &params.name).map_err(|error| unusable_store(&error))?;
        let home = Self { common, config, grant: Grant { params: params.clone(), store } };
        home.grant.store.probe().await.map_err(|error| unusable_store(&error))?;
        home.seed()?;
        // One that is damaged is set aside when there is another.
        if let Ok(Some(resting)) = home.grant.store.peek().await {
            home.grant.owns(&resting)?;
            if resting.refresh_token.is_some() {
                let what = if resting.refused.is_some() { "was refused by the server" } else { "is in use" };
                note(&format!("Grant {} {what}; this sign-in replaces it once it is done.", params.name));
            }
        }
        Ok(home)
    }

    /// The configured seed, if it is there: one that comes later is another person's word.
    fn seed(&self) -> Result<Option<Fingerprint>, Failure> {
        if self.grant.params.seed_is_gone() { Ok(None) } else { self.grant.seed("sign-in") }
    }

    /// Stores it under the lock, and tells a bearerd that runs.
    async fn keep(&self, signed: Signed) -> Result<Vec<String>, LoginError> {
        let life = signed.tokens.issued.life;
        let replaced = self.store(signed).await?;
        let place = self.grant.store.place();
        note(&format!(
            "✓ Signed in. Access token valid {}; refresh token stored in {place}.",
            in_short(life)
        ));
        if replaced {
            note(
                "  The refresh token from before was replaced and not revoked: some servers would end the new one with it. \
                 `bearerd logout` before a sign-in revokes it.",
            );
        }
        let curl = curl(&self.config.listen);
        let mut next = Vec::new();
        if daemon::look(self.config, self.grant.params.name.as_str()) {
            note("  The bearerd that runs has been told, and goes on with it.");
        } else {
            next.push(format!("{} run", bearerd(self.common)));
        }
        next.extend(curl);
        if !next.is_empty() {
            note(&format!("  Next:  {}", next.join("    then   ")));
        }
        Ok(next)
    }

    /// Whether it takes the place of another.
    async fn store(&self, signed: Signed) -> Result<bool, LoginError> {
        let lost = |failure: Failure| {
            let sentence = format!(
                "The sign-in was good, and what it brought could not be stored: {}. Mend that and sign in again.",
                failure.says
            );
            LoginError::new(Outcome::Config, Code::StoreUnavailable, sentence)
        };
        let mut txn = self.grant.lock_past_damage().await.map_err(lost)?;
        let mut replaced = false;
        if let Some(resting) = txn.record() {
            self.grant.owns(resting).map_err(lost)?;
            replaced = resting.refresh_token.is_some() && resting.refused.is_none();
        }
        let seed = self.seed().map_err(lost)?;
        let record = lineage::signed_in(&self.grant.params.identity(), signed.tokens);
        transfer::settle(&mut txn, record, seed).await?;
        Ok(replaced)
    }
}

/// What tries it out, where that is a line.
fn curl(listen: &[Listen]) -> Option<String> {
    match listen.first()? {
        Listen::Tcp { port: 0, .. } | Listen::Inherited(_) => None,
        Listen::Unix(path) => Some(format!("curl --unix-socket {} http://localhost/", path.display())),
        tcp => Some(format!("curl http://{tcp}/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_one_that_somebody_could_take() {
        assert_eq!(patience("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["", "10", "0s", "-5m", "25h", "soon"] {
            assert!(patience(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_line_to_try_it_out_is_one_that_works() {
        let tcp = |host: &str, port| Listen::Tcp { host: host.to_owned(), port };
        assert_eq!(curl(&[tcp("localhost", 8080)]).as_deref(), Some("curl http://localhost:8080/"));
        assert_eq!(curl(&[tcp("::1", 1)]).as_deref(), Some("curl http://[::1]:1/"));
        assert_eq!(curl(&[tcp("localhost", 0)]), None);
    }
}
