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
use crate::grant::{Flow, Params, Secret, lineage};
use crate::login::{Code, Login, LoginError, Outcome, Signed, Wish, emit, in_short};
use crate::net::Listen;
use crate::secret::Fingerprint;
use crate::signal::{Signal, Signals};
use crate::store::{self, Txn, transfer};
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
                let home = Home {
                    common,
                    arguments: &arguments,
                    config: &loaded.config,
                    grant: of_store(&loaded, &params)?,
                };
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

/// A command of the same configuration, for the same grant.
fn bearerd(common: &Common, verb: &str, grant: Option<&str>, flags: &Flags) -> Vec<String> {
    let config = common.config.iter().flat_map(|file| ["--config".to_owned(), file.display().to_string()]);
    let verb = [verb.to_owned()].into_iter().chain(grant.map(str::to_owned));
    ["bearerd".to_owned()].into_iter().chain(config).chain(verb).chain(flags.words()).collect()
}

/// A command as a shell takes it.
fn typed(words: &[String]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+/:@,%".contains(&byte);
    let quoted = |word: &String| {
        let is_plain = !word.is_empty() && word.bytes().all(is_plain);
        if is_plain { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
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
    arguments: &'a Arguments,
    config: &'a Config,
    grant: Grant,
}

/// A grant and its store, where that is one that a command reaches.
fn of_store(loaded: &Loaded, params: &Params) -> Result<Grant, Failure> {
    let store = &loaded.config.store;
    if *store == store::Params::Memory {
        let why = "the store is in the memory of the bearerd that runs, where a sign-in cannot be put: give it a file with \
                   `[store] path`, or print the refresh token with --emit";
        return Err(Failure::new(Exit::Config, why));
    }
    let store = store::open(store, &params.name).map_err(|error| unusable_store(&error))?;
    Ok(Grant { params: params.clone(), store })
}

/// Does what blocks on a thread of its own, so that a signal is heard meanwhile.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|fault| Err(Failure::new(Exit::Failure, fault.to_string())))
}

impl Home<'_> {
    /// Looks at the store and at whoever runs with it, before anybody signs in for nothing; the configured seed.
    async fn look_around(&self) -> Result<Option<Fingerprint>, Failure> {
        let Grant { params, store } = &self.grant;
        let (config, name, place) = (self.config.clone(), params.name.to_string(), store.place());
        beside(move || daemon::shares(&config, &name, &place)).await?;
        store.probe().await.map_err(|error| unusable_store(&error))?;
        let seed = self.seed().await?;
        // One that is damaged is set aside when there is another.
        if let Ok(Some(resting)) = store.peek().await {
            self.grant.owns(&resting)?;
            if resting.refresh_token.is_some() {
                let what = if resting.refused.is_some() { "was refused by the server" } else { "is in use" };
                note(&format!("Grant {} {what}; this sign-in replaces it once it is done.", params.name));
            }
        }
        Ok(seed)
    }

    /// The configured seed, if it is there: one that comes later is another person's word.
    async fn seed(&self) -> Result<Option<Fingerprint>, Failure> {
        let grant = self.grant.clone();
        beside(move || match &grant.params.flow {
            Flow::RefreshToken { seed: Some(Secret::File(path)) } if !path.exists() => Ok(None),
            _ => grant.seed("sign-in"),
        })
        .await
    }

    /// Stores it under the lock, and tells a bearerd that runs.
    async fn keep(
        &self,
        signed: Signed,
        seed: Option<Fingerprint>,
        signals: &mut Signals,
    ) -> Result<Vec<String>, LoginError> {
        let life = signed.tokens.issued.life;
        let replaced = self.store(signed, seed, signals).await?;
        let (grant, flags) = (self.arguments.grant.as_deref(), &self.arguments.flags);
        let place = self.grant.store.place();
        note(&format!(
            "✓ Signed in. Access token valid {}; refresh token stored in {place}.",
            in_short(life)
        ));
        if replaced {
            note(&format!(
                "  The refresh token from before was replaced and not revoked: some servers would end the new one with it. \
                 `{}` before a sign-in revokes it.",
                typed(&bearerd(self.common, "logout", grant, flags))
            ));
        }
        let curl = curl(&self.config.listen);
        let mut next = Vec::new();
        match daemon::look(self.config, self.grant.params.name.as_str()) {
            Ok(true) => note("  The bearerd that runs has been told, and goes on with it."),
            Ok(false) => next.push(typed(&bearerd(self.common, "run", None, flags))),
            Err(failure) => {
                note(&format!("  No bearerd that runs has been told of it: {}.", failure.says));
                next.push(typed(&bearerd(self.common, "run", None, flags)));
            }
        }
        next.extend(curl);
        if !next.is_empty() {
            note(&format!("  Next:  {}", next.join("    then   ")));
        }
        Ok(next)
    }

    /// Whether it takes the place of another.
    async fn store(
        &self,
        signed: Signed,
        seed: Option<Fingerprint>,
        signals: &mut Signals,
    ) -> Result<bool, LoginError> {
        let lost = |failure: Failure| {
            let sentence = format!(
                "The sign-in was good, and what it brought could not be stored: {}. Mend that and sign in again.",
                failure.says
            );
            let is_locked = failure.exit == Exit::Failure;
            let outcome = if is_locked { Outcome::Locked } else { Outcome::Config };
            LoginError::new(outcome, Code::StoreUnavailable, sentence)
        };
        let mut txn = self.lock(signals).await.map_err(lost)?;
        let mut replaced = false;
        if let Some(resting) = txn.record() {
            self.grant.owns(resting).map_err(lost)?;
            replaced = resting.refresh_token.is_some() && resting.refused.is_none();
        }
        // If it cannot be read any more, what it was at the start is no reason to lose what has come.
        let seed = self.seed().await.unwrap_or(seed);
        let record = lineage::signed_in(&self.grant.params.identity(), signed.tokens);
        transfer::settle(&mut txn, record, seed).await?;
        Ok(replaced)
    }

    /// The store's lock, however long another has it: what has come would be lost without. A person may give up.
    async fn lock(&self, signals: &mut Signals) -> Result<Box<dyn Txn>, Failure> {
        let mut taken = self.grant.lock().await;
        let mut is_told = false;
        loop {
            let locked = match taken {
                Err(failure) if failure.exit == Exit::Failure => failure,
                done => return done,
            };
            if !std::mem::replace(&mut is_told, true) {
                note(&format!(
                    "You are signed in, and it cannot be stored yet: {}. It is tried on; Ctrl-C gives up, and what the sign-in \
                     brought is lost then.",
                    locked.says
                ));
            }
            taken = tokio::select! {
                taken = self.grant.lock() => taken,
                signal = signals.next() => match signal {
                    Signal::Terminate => return Err(locked),
                    Signal::Reload => Err(locked),
                },
            };
        }
    }
}

/// What tries it out, where that is a line.
fn curl(listen: &[Listen]) -> Option<String> {
    match listen.first()? {
        Listen::Tcp { port: 0, .. } | Listen::Inherited(_) => None,
        Listen::Unix(path) => {
            let words = ["curl", "--unix-socket", &path.display().to_string(), "http://localhost/"];
            Some(typed(&words.map(str::to_owned)))
        }
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

    #[test]
    fn the_line_to_try_it_out_is_one_that_works() {
        let tcp = |host: &str, port| Listen::Tcp { host: host.to_owned(), port };
        assert_eq!(curl(&[tcp("localhost", 8080)]).as_deref(), Some("curl http://localhost:8080/"));
        assert_eq!(curl(&[tcp("::1", 1)]).as_deref(), Some("curl http://[::1]:1/"));
        assert_eq!(curl(&[tcp("localhost", 0)]), None);
    }
}
