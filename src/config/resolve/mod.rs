//! Holds what was written against itself, and makes the program's parameters of it.

mod grant;
mod listeners;
mod route;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Config;
use super::choice::StoreKind;
use super::error::{Code, Place, Problem, Report};
use super::keys;
use super::reference::{SecretReference, looks_like_a_variable};
use super::value::{Placed, Workers};
use super::written::Written;
use crate::grant::Secret;
use crate::secret::{ClientSecret, KEYRING_IS_BUILT_IN};
use crate::{hooks, proxy, store, telemetry, tls};

/// What the parts need beside their own keys.
pub(super) struct Context<'a> {
    pub(super) report: &'a mut Report,
    pub(super) env: &'a BTreeMap<String, String>,
    /// The file, which relative paths in it are relative to.
    pub(super) file: Option<&'a Path>,
    /// Whether the process is root's.
    pub(super) root: bool,
    /// Whether secrets of this environment are not needed ([`Config::load_running`]).
    pub(super) runs_elsewhere: bool,
}

/// Resolves everything. Every part is looked at, whatever the others hold; not to be run when the report holds an error.
pub(super) fn resolve(written: Written, context: &mut Context<'_>) -> Config {
    let certificate = written.tls.client_cert.is_some();
    let grants = grant::resolve(&written.grants, certificate, context);
    let routes = route::resolve(&written, context);
    let Written {
        root,
        carriage: _,
        routes: _,
        grants: _,
        store,
        admin,
        probes,
        guard,
        tls,
        limits,
        hooks,
        log,
        listen_tls,
        said: _,
    } = written;
    let keys::ListenTls { faulty: _ } = listen_tls;
    let keys::Root { listen, upstream: _, workers, via, drain_delay, shutdown_grace, faulty: _ } = root;
    let (listen, admin) = listeners::resolve(listen, admin, probes, context);
    let store = resolve_store(store, context);
    let tls = resolve_tls(tls, context);
    let proxy = proxy::Params {
        routes,
        guard: resolve_guard(guard, context),
        limits: resolve_limits(limits),
        via: or(via, true),
    };
    Config {
        file: context.file.map(Path::to_owned),
        listen,
        workers: threads(workers),
        proxy,
        grants,
        store,
        tls,
        admin,
        hooks: resolve_hooks(hooks),
        log: resolve_log(log),
        drain_delay: drain_delay.map_or(Duration::ZERO, |span| span.value.0),
        shutdown_grace: shutdown_grace.map_or(SHUTDOWN_GRACE, |span| span.value.0),
    }
}

/// Kubernetes kills after 30 s; 5 s are left for what follows the last request.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(25);

fn threads(workers: Option<Placed<Workers>>) -> usize {
    match workers.map(|workers| workers.value) {
        None => 1,
        Some(Workers::Threads(threads)) => threads,
        Some(Workers::OnePerCore) => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
    }
}

fn resolve_guard(written: keys::Guard, context: &mut Context<'_>) -> proxy::guard::Params {
    let keys::Guard { allowed_hosts, allowed_origins, browser, faulty: _ } = written;
    let default = proxy::guard::Params::default();
    if let Some(nobody) = allowed_hosts.as_ref().filter(|list| list.value.0.is_empty()) {
        let title = "`guard.allowed_hosts` lets nobody in, and no command either";
        let help = "name the hosts that callers ask for, or leave it out for localhost";
        context.report.error(Problem::new(Code::BadHost, &nobody.place, title).help(help));
    }
    let hosts = allowed_hosts.map(|list| list.value.0.into_iter().map(|host| host.value.0).collect());
    let origins = allowed_origins.map(|list| list.value.0.into_iter().map(|origin| origin.value.0).collect());
    proxy::guard::Params {
        allowed_hosts: hosts.unwrap_or(default.allowed_hosts),
        allowed_origins: origins.unwrap_or(default.allowed_origins),
        browser: or(browser, default.browser),
    }
}

fn resolve_limits(written: keys::Limits) -> proxy::Limits {
    let keys::Limits {
        token_wait,
        connect_timeout,
        tls_timeout,
        first_byte_timeout,
        header_timeout,
        idle_timeout,
        body_timeout,
        stream_idle_timeout,
        header_size,
        connections,
        requests,
        upstream_idle,
        upstream_age,
        replay_body,
        faulty: _,
    } = written;
    let default = proxy::Limits::default();
    proxy::Limits {
        token_wait: token_wait.map_or(default.token_wait, |span| span.value.0),
        connect_timeout: connect_timeout.map_or(default.connect_timeout, |span| span.value.0),
        tls_timeout: tls_timeout.map_or(default.tls_timeout, |span| span.value.0),
        first_byte_timeout: first_byte_timeout.map_or(default.first_byte_timeout, |span| span.value.0),
        header_timeout: header_timeout.map_or(default.header_timeout, |span| span.value.0),
        idle_timeout: idle_timeout.map_or(default.idle_timeout, |span| span.value.0),
        body_timeout: body_timeout.map_or(default.body_timeout, |span| span.value.0),
        stream_idle_timeout: stream_idle_timeout.map_or(default.stream_idle_timeout, |span| span.value.0),
        header_size: header_size.map_or(default.header_size, |size| size.value.0),
        connections: connections.map_or(default.connections, |count| count.value.0),
        requests: requests.map_or(default.requests, |count| count.value.0),
        replay_body: replay_body.map_or(default.replay_body, |size| size.value.0),
        upstream_idle: upstream_idle.map_or(default.upstream_idle, |span| span.value.0),
        upstream_age: upstream_age.map_or(default.upstream_age, |span| span.value.0),
    }
}

fn resolve_hooks(written: keys::Hooks) -> hooks::Params {
    let keys::Hooks { state_changed, faulty: _ } = written;
    hooks::Params { state_changed: state_changed.map(|command| command.value.0) }
}

fn resolve_log(written: keys::Log) -> telemetry::Params {
    let keys::Log { format, level, access, faulty: _ } = written;
    let default = telemetry::Params::default();
    telemetry::Params {
        format: or(format, default.format),
        level: or(level, default.level),
        access: or(access, default.access),
    }
}

fn resolve_tls(written: keys::Tls, context: &mut Context<'_>) -> tls::Params {
    let keys::Tls { ca_file, roots, client_cert, client_key, faulty } = written;
    let alone = match (&client_cert, &client_key) {
        (Some(certificate), None) => Some(("client_cert", &certificate.place, "client_key")),
        (None, Some(key)) => Some(("client_key", &key.place, "client_cert")),
        _ => None,
    };
    if let Some((name, place, missing)) = alone.filter(|(_, _, missing)| !faulty.contains(missing)) {
        let title = format!("`tls.{name}` needs a `tls.{missing}`");
        let problem = Problem::new(Code::Contradiction, place, title);
        context
            .report
            .error(problem.help("a certificate is of no use without its key, nor a key without it"));
    }
    let key = client_key.and_then(|key| context.secret("tls.client_key", &key));
    let client =
        client_cert.zip(key).map(|(chain, key)| tls::Certificate { chain: context.path(chain), key });
    let lacks_file = ca_file.is_none() && !faulty.contains(&"ca_file");
    if let (Some(Placed { value: tls::Roots::File, place }), true) = (&roots, lacks_file) {
        let problem = Problem::new(
            Code::Contradiction,
            place,
            "`tls.roots` is \"file\", and there is no `tls.ca_file`",
        );
        context.report.error(problem.help("name the file in `ca_file`, or leave `roots` out"));
    }
    let ca_file = ca_file.map(|path| context.path(path));
    tls::Params { ca_file, roots: or(roots, tls::Roots::default()), client }
}

fn resolve_store(written: keys::Store, context: &mut Context<'_>) -> store::Params {
    let keys::Store { kind, path, allow_network_fs, encryption_key, faulty: _ } = written;
    let of_path = path.as_ref().map(|path| ("path", path.place.clone()));
    let of_network = allow_network_fs.as_ref().filter(|allow| allow.value);
    let of_network = of_network.map(|allow| ("allow_network_fs", allow.place.clone()));
    let of_key = encryption_key.as_ref().map(|key| ("encryption_key", key.place.clone()));
    let is = |one| kind.as_ref().is_some_and(|kind| kind.value == one);
    if is(StoreKind::Memory) {
        of_no_use("memory", [of_path, of_network, of_key], context.report);
        return store::Params::Memory;
    }
    let path = match path {
        Some(path) => context.path(path),
        None => default_state_folder(context.env, context.root).join("state.json"),
    };
    let allow_network_fs = or(allow_network_fs, false);
    if is(StoreKind::Keyring) {
        of_no_use("keyring", [of_key], context.report);
        if let (false, Some(kind)) = (KEYRING_IS_BUILT_IN, kind) {
            let title = "`store.kind` is \"keyring\", and this bearerd was built without one";
            let problem = Problem::new(Code::NotBuiltIn, &kind.place, title);
            context.report.error(problem.help("build it with `--features keyring`, or write \"file\""));
        }
        return store::Params::Keyring { path, allow_network_fs };
    }
    let references = encryption_key.map(|keys| keys.value.0).unwrap_or_default();
    let encryption_keys =
        references.iter().filter_map(|key| context.secret("store.encryption_key", key)).collect();
    store::Params::File { path, allow_network_fs, encryption_keys }
}

fn of_no_use<const N: usize>(kind: &str, keys: [Option<(&'static str, Place)>; N], report: &mut Report) {
    for (key, place) in keys.into_iter().flatten() {
        let title = format!("`store.{key}` is of no use with `store.kind` = \"{kind}\"");
        report.error(Problem::new(Code::Contradiction, &place, title).help("remove one of the two"));
    }
}

/// systemd's folder, else the user's, else the system's (XDG Base Directory: only absolute paths count).
fn default_state_folder(env: &BTreeMap<String, String>, root: bool) -> PathBuf {
    let folder = |name: &str| {
        let text = env.get(name).map(String::as_str).unwrap_or_default();
        let first = text.split(':').next().unwrap_or_default();
        // systemd lists several folders with colons between them; the others are single paths.
        let path = Path::new(if name == "STATE_DIRECTORY" { first } else { text });
        path.is_absolute().then(|| path.to_owned())
    };
    let users = || folder("XDG_STATE_HOME").map(|path| path.join("bearerd"));
    let home = || folder("HOME").filter(|_| !root).map(|path| path.join(".local/state/bearerd"));
    folder("STATE_DIRECTORY").or_else(users).or_else(home).unwrap_or_else(|| "/var/lib/bearerd".into())
}

/// What was written, or the default.
fn or<T>(written: Option<Placed<T>>, default: T) -> T {
    written.map_or(default, |placed| placed.value)
}

impl Context<'_> {
    /// A path in the file is relative to the file, so that every command means the same; others to where we are.
    fn path(&self, path: Placed<PathBuf>) -> PathBuf {
        match (&path.place, self.file.and_then(Path::parent)) {
            (Place::File(_), Some(folder)) => folder.join(path.value),
            _ => path.value,
        }
    }

    /// Where the secret is; the environment's are read here, files when they are needed.
    fn secret(&mut self, key: &str, reference: &Placed<SecretReference>) -> Option<Secret> {
        let place = &reference.place;
        let path = match &reference.value {
            SecretReference::Variable(name) => return self.variable(key, name, place),
            SecretReference::Exec(words) => return Some(Secret::Exec(words.clone())),
            SecretReference::Keyring(entry) => return Some(Secret::Keyring(entry.clone())),
            SecretReference::File(path) => self.path(Placed { value: path.clone(), place: place.clone() }),
            SecretReference::Credential(name) => match self.env.get("CREDENTIALS_DIRECTORY") {
                Some(folder) => Path::new(folder).join(name),
                None if self.runs_elsewhere => return Some(Secret::File(name.into())),
                None => {
                    let title = format!("`{key}` is a credential, and $CREDENTIALS_DIRECTORY is not set");
                    let help = format!(
                        "write LoadCredential={name}:/path in the unit, which alone has it then; a sign-in beside the service is run \
                         by systemd-run with the same setting (`bearerd explain secret_unset`)"
                    );
                    self.report.error(Problem::new(Code::SecretUnset, place, title).help(help));
                    return None;
                }
            },
        };
        self.look_at(key, &path, place);
        Some(Secret::File(path))
    }

    fn variable(&mut self, key: &str, name: &str, place: &Place) -> Option<Secret> {
        let text = self.env.get(name).map_or("", |text| text.trim());
        if text.is_empty() && !self.runs_elsewhere {
            let title = format!("`{key}` is in an environment variable that is not set, or empty");
            let shown = if looks_like_a_variable(name) { name } else { "the variable that it names" };
            let help = format!("set {shown}, or keep the secret in a file");
            self.report.error(Problem::new(Code::SecretUnset, place, title).help(help));
            return None;
        }
        Some(Secret::Env { name: name.to_owned(), value: ClientSecret::new(text) })
    }

    /// Warns of a file that is not there (it may come later), or that too many can read.
    fn look_at(&mut self, key: &str, path: &Path, place: &Place) {
        use std::os::unix::fs::PermissionsExt as _;
        /// All that 0640 does not allow to others than the owner.
        const TOO_MUCH: u32 = 0o037;
        let shown = path.display();
        let problem = match std::fs::metadata(path) {
            Err(error) => {
                Problem::new(Code::SecretFileMissing, place, format!("`{key}`: cannot read {shown}: {error}"))
                    .help("it is read when it is needed, and may come later")
            }
            Ok(found) if found.is_file() && found.permissions().mode() & TOO_MUCH != 0 => {
                let mode = found.permissions().mode() & 0o777;
                Problem::new(Code::SecretFileMode, place, format!("`{key}`: {shown} has mode {mode:04o}"))
                    .help("more than its owner and group can read it: chmod 0640, or less")
            }
            Ok(_) => return,
        };
        self.report.warn(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_rests_with_systemd_or_the_user_or_the_system() {
        let folder = |env: &[(&str, &str)], root| {
            let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            default_state_folder(&env, root).display().to_string()
        };
        let home = ("HOME", "/home/a");
        assert_eq!(folder(&[("STATE_DIRECTORY", "/var/lib/x:/var/lib/y"), home], true), "/var/lib/x");
        assert_eq!(folder(&[("XDG_STATE_HOME", "/s"), home], false), "/s/bearerd");
        assert_eq!(folder(&[("XDG_STATE_HOME", "relative"), home], false), "/home/a/.local/state/bearerd");
        assert_eq!(folder(&[home], true), "/var/lib/bearerd");
        assert_eq!(folder(&[], false), "/var/lib/bearerd");
    }
}
