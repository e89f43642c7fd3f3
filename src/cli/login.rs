//! `bearerd login`: signs in, and stores what the grant goes on with; or prints it, for another machine.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::ValueEnum;

use super::grants::{named, wait_for};
use super::home::Home;
use super::terminal::{self, Terminal};
use super::typed::{bearerd, typed};
use super::{Common, Exit, Failure, note, run};
use crate::clock::Clock;
use crate::config::{Config, Flags};
use crate::grant::Params;
use crate::grant::endpoint::HttpEndpoint;
use crate::login::{Code, Login, LoginError, Outcome, Signed, Wish, emit};
use crate::signal::Signals;
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
    #[arg(long, value_name = "NAME", default_value = NAME, requires = "emit", value_parser = kubernetes_name)]
    name: String,
    /// With --emit kubernetes-secret: its namespace
    #[arg(short, long, value_name = "NAMESPACE", requires = "emit", value_parser = kubernetes_namespace)]
    namespace: Option<String>,
    /// With --emit: print it though standard output is a terminal
    #[arg(long, requires = "emit")]
    print: bool,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

/// How long a person has when nobody says.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a Secret is called when nobody says.
const NAME: &str = "bearerd-seed";

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

fn kubernetes_namespace(text: &str) -> Result<String, String> {
    let wrong = || "Kubernetes takes small letters, digits and `-`, and 63 of them at most".to_owned();
    emit::is_label(text).then(|| text.to_owned()).ok_or_else(wrong)
}

pub(super) fn login(common: &Common, mut arguments: Arguments) -> Result<Exit, Failure> {
    run::forbid_core_dumps();
    let command = typed(&words(common, &arguments));
    // They are of whichever grant signs in.
    let scopes = std::mem::take(&mut arguments.flags.scopes);
    let loaded = common.load(arguments.flags.clone())?;
    if loaded.config.file.is_none() {
        // What is run without a file asks for them, too.
        arguments.flags.scopes.clone_from(&scopes);
    }
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
                let printed = async |signed: Signed, _: &mut Signals| print(&form, &params, &signed);
                login.run(&mut signals, printed).await.map_err(failed)
            }
            None => {
                let home = Home::of(common, &loaded, &params, arguments.grant.as_deref(), &arguments.flags)?;
                let seed = tokio::select! {
                    seed = home.look_around() => seed?,
                    _ = signals.next() => return Err(failed(LoginError::cancelled())),
                };
                login
                    .run(&mut signals, async |signed, signals| home.keep(signed, seed, signals).await)
                    .await
                    .map_err(failed)
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
        Outcome::Locked => Exit::Failure,
    };
    Failure::new(exit, error.to_string())
}

/// What signs in again, but for the way.
fn words(common: &Common, arguments: &Arguments) -> Vec<String> {
    let Arguments { grant, timeout, redirect_port, emit, name, namespace, print, flags, .. } = arguments;
    let mut words = bearerd(common, "login", grant.as_deref(), flags);
    let mut add = |flag: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    };
    add("--timeout", (*timeout != PATIENCE).then(|| format!("{}s", timeout.as_secs())));
    add("--redirect-port", redirect_port.map(|port| port.to_string()));
    if let Some(form) = emit {
        add("--emit", form.to_possible_value().map(|value| value.get_name().to_owned()));
        add("--name", (name != NAME).then(|| name.clone()));
        add("--namespace", namespace.clone());
        words.extend(print.then(|| "--print".to_owned()));
    }
    words
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
    fn what_is_to_be_typed_says_all_that_was_said_and_is_one_line_of_a_shell() {
        use clap::Parser as _;
        let line = [
            "bearerd",
            "-c",
            "my files/it's.toml",
            "login",
            "crm",
            "--no-browser",
            "--timeout",
            "90s",
            "--redirect-port",
            "8976",
            "--emit",
            "kubernetes-secret",
            "-n",
            "demo",
            "--print",
            "--scope",
            "a b",
            "--client-id",
            "$x",
            "--store-path",
            "/s",
        ];
        let command = super::super::Command::try_parse_from(line).unwrap();
        let super::super::Verb::Login(arguments) = command.verb else { panic!() };
        let words = words(&command.common, &arguments);
        assert_eq!(
            typed(&words),
            "bearerd --config 'my files/it'\\''s.toml' login crm --scope 'a b' --client-id '$x' --store-path /s --timeout 90s \
             --redirect-port 8976 --emit kubernetes-secret --namespace demo --print"
        );
        let again = super::super::Command::try_parse_from(words).unwrap();
        let super::super::Verb::Login(again) = again.verb else { panic!() };
        assert_eq!(
            (&again.flags, again.timeout, &again.name),
            (&arguments.flags, arguments.timeout, &arguments.name)
        );
        let run = bearerd(&command.common, "run", None, &arguments.flags);
        assert!(super::super::Command::try_parse_from(run).is_ok());
        let plain = super::super::Command::try_parse_from(["bearerd", "login"]).unwrap();
        let super::super::Verb::Login(arguments) = plain.verb else { panic!() };
        assert_eq!(typed(&super::words(&plain.common, &arguments)), "bearerd login");
    }
}
