//! What the operator asked for: proxy.toml, environment and flags, resolved into the program that will run.
//!
//! Two shapes: `written` holds what was said, each value read into its type; `resolve` takes it apart in full and makes
//! every module's `Params` of it. `keys` is the one table of all keys.

mod address;
mod choice;
mod error;
mod file;
mod keys;
mod overlay;
mod quantity;
mod reference;
mod resolve;
mod schema;
mod show;
mod value;
mod word;
mod written;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use annotate_snippets::Level;

pub(crate) use self::error::did_you_mean;
pub use self::error::{Code, ConfigErrors, Place, Problem};
use self::error::{Report, Source};
pub use self::keys::{Key, keys};
pub use self::overlay::Flags;
pub use self::schema::schema;
pub use self::show::quoted;
use self::written::Said;
use crate::net::Listen;
use crate::token::GrantName;
use crate::{admin, grant, hooks, proxy, store, telemetry, tls};

/// The whole program, resolved and checked. Plain data: every module's `Params`, filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from; none when environment and flags were enough.
    pub file: Option<PathBuf>,
    /// `listen`.
    pub listen: Vec<Listen>,
    /// `workers`, at least 1.
    pub workers: usize,
    /// Routes, guard, limits.
    pub proxy: proxy::Params,
    /// The grants, by name; at least those that routes use.
    pub grants: BTreeMap<GrantName, grant::Params>,
    /// `[store]`.
    pub store: store::Params,
    /// `[tls]`.
    pub tls: tls::Params,
    /// `[admin]` and `[probes]`.
    pub admin: admin::Params,
    /// `[hooks]`.
    pub hooks: hooks::Params,
    /// `[log]`.
    pub log: telemetry::Params,
    /// `drain_delay`.
    pub drain_delay: Duration,
    /// `shutdown_grace`.
    pub shutdown_grace: Duration,
}

/// Where a configuration comes from: flags before environment before file before defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; must be there.
    pub file: Option<PathBuf>,
    /// Where a file is looked for when neither `--config` nor `BEARERD_CONFIG` names one; the first that is there.
    pub search: Vec<PathBuf>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The flags.
    pub flags: Flags,
}

/// A configuration, and what deserves a warning about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    warnings: Vec<Problem>,
    source: Source,
    said: Vec<Said>,
}

impl Sources {
    /// The command's sources, with the usual places of a file.
    #[must_use]
    pub fn of_command(
        file: Option<PathBuf>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Flags,
    ) -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let env = env.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        Self { file, search: vec!["proxy.toml".into(), "/etc/bearerd/proxy.toml".into()], env, flags }
    }

    /// The file to read, if there is one.
    fn find(&self) -> Option<PathBuf> {
        let named = self.env.get(overlay::CONFIG).filter(|path| !path.is_empty()).map(PathBuf::from);
        let found = || self.search.iter().find(|path| path.exists()).cloned();
        self.file.clone().or(named).or_else(found)
    }
}

impl Config {
    /// Reads, overlays and resolves. Blocking: reads the file, and looks at those that secrets are in.
    ///
    /// # Errors
    /// Everything that is wrong, in one go; only a file that is not TOML hides what else is wrong.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        Self::load_for(sources, false)
    }

    /// As [`Config::load`], for a command that asks the program where it runs: that one has an environment of its own,
    /// so secrets that this one lacks are no error. Not to be run.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_running(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        Self::load_for(sources, true)
    }

    /// Where the program that runs listens for operators, as far as that can be told: what is wrong with the file since
    /// is no reason not to ask it. With that, why the file could not tell, if it could not. Not to be run.
    ///
    /// # Errors
    /// When there is no such file: no program runs with it.
    pub fn load_listeners(sources: &Sources) -> Result<(Self, Option<ConfigErrors>), ConfigErrors> {
        let file = sources.find();
        let (text, mut unread) = match file.as_deref().map(read).transpose() {
            Ok(text) => (text.unwrap_or_default(), None),
            Err(errors) if file.as_deref().is_some_and(is_missing) => return Err(errors),
            Err(errors) => (String::new(), Some(errors)),
        };
        let mut report = Report::default();
        let (config, source, _) = Self::gather(sources, file.as_deref(), Some(&text), true, &mut report);
        report.errors.retain(|problem| problem.code() == Code::TomlSyntax);
        if !report.errors.is_empty() {
            unread = Some(ConfigErrors::new(source, report.errors));
        }
        Ok((config, unread))
    }

    /// Whether this text would be a good file called `name`, alone and on another machine. Not to be run.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn of_text(name: &Path, text: &str) -> Result<Loaded, ConfigErrors> {
        Self::judge(&Sources::default(), Some(name), Some(text), true, Report::default())
    }

    fn load_for(sources: &Sources, runs_elsewhere: bool) -> Result<Loaded, ConfigErrors> {
        let file = sources.find();
        let text = file.as_deref().map(read).transpose()?;
        Self::judge(sources, file.as_deref(), text.as_deref(), runs_elsewhere, Report::default())
    }

    fn judge(
        sources: &Sources,
        file: Option<&Path>,
        text: Option<&str>,
        runs_elsewhere: bool,
        mut report: Report,
    ) -> Result<Loaded, ConfigErrors> {
        let (config, source, said) = Self::gather(sources, file, text, runs_elsewhere, &mut report);
        let Report { mut errors, warnings } = report;
        if errors.iter().any(|problem| problem.code() == Code::TomlSyntax) {
            errors.retain(|problem| problem.code() == Code::TomlSyntax);
        }
        if errors.is_empty() {
            Ok(Loaded { config, warnings, source, said })
        } else {
            Err(ConfigErrors::new(source, errors))
        }
    }

    fn gather(
        sources: &Sources,
        file: Option<&Path>,
        text: Option<&str>,
        runs_elsewhere: bool,
        report: &mut Report,
    ) -> (Self, Source, Vec<Said>) {
        let (mut written, source) = match (file, text) {
            (Some(path), Some(text)) => file::read(&path.display().to_string(), text, report),
            _ => Default::default(),
        };
        overlay::environment(&sources.env, &mut written, report);
        sources.flags.overlay(&mut written, report);
        let root = rustix::process::geteuid().is_root();
        let mut context = resolve::Context { report, env: &sources.env, file, root, runs_elsewhere };
        let said = written.said.clone();
        (resolve::resolve(written, &mut context), source, said)
    }

    /// Takes back what only a restart can change: those keys stay as `running` has them. Returns the ones that differed.
    pub fn take_back(&mut self, running: &Self) -> Vec<&'static str> {
        let mut later = Vec::new();
        keep("listen", &mut self.listen, &running.listen, &mut later);
        keep("workers", &mut self.workers, &running.workers, &mut later);
        keep("store", &mut self.store, &running.store, &mut later);
        keep("admin.listen", &mut self.admin.listen, &running.admin.listen, &mut later);
        keep("probes.listen", &mut self.admin.probes, &running.admin.probes, &mut later);
        keep("log.format", &mut self.log.format, &running.log.format, &mut later);
        self.admin.listen_is_default = running.admin.listen_is_default;
        later
    }
}

fn keep<T: Clone + PartialEq>(key: &'static str, new: &mut T, running: &T, later: &mut Vec<&'static str>) {
    if new != running {
        later.push(key);
        new.clone_from(running);
    }
}

impl Loaded {
    /// What deserves a warning.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The warnings as a person reads them; empty when there are none.
    #[must_use]
    pub fn render_warnings(&self, color: bool) -> String {
        error::render(&self.warnings, &self.source, &Level::WARNING, color)
    }

    /// One sentence: what this configuration does.
    #[must_use]
    pub fn summary(&self) -> String {
        let Config { file, listen, proxy, grants, store, admin, .. } = &self.config;
        let name = file.as_ref().map_or("the environment".to_owned(), |path| path.display().to_string());
        let listen: Vec<String> = listen.iter().map(Listen::to_string).collect();
        let shown = |listen: &Option<Listen>| listen.as_ref().map_or("off".to_owned(), Listen::to_string);
        let store = store.place();
        format!(
            "{name} is good: listens on {}, {}, {}, store {store}, admin {}, probes {}",
            listen.join(" and "),
            counted(proxy.routes.len(), "route"),
            counted(grants.len(), "grant"),
            shown(&admin.listen),
            shown(&admin.probes),
        )
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn is_missing(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// The file's text.
fn read(path: &Path) -> Result<String, ConfigErrors> {
    /// Far more than a person writes; a wrong path (a device, a log) ends here.
    const LARGEST: u64 = 1024 * 1024;
    let open = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LARGEST {
            return Err(std::io::Error::other("larger than 1 MiB, which no configuration is"));
        }
        Ok(text)
    };
    open().map_err(|error| {
        let source = Source { name: path.display().to_string(), text: String::new() };
        let problem = Problem::new(
            Code::UnreadableFile,
            &Place::Nowhere,
            format!("cannot read the configuration: {error}"),
        );
        ConfigErrors::new(
            source,
            vec![problem.help("name the right file with --config FILE or BEARERD_CONFIG")],
        )
    })
}
