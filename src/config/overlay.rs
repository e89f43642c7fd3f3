//! What the environment and flags say, laid over the file.

use std::collections::BTreeMap;

use super::error::{Code, Place, Problem, Report, did_you_mean};
use super::keys::{Key, keys};
use super::value::{Form, Item, Name, Overlay};
use super::written::Written;
use crate::hooks;

/// Where the file is, for [`super::Sources`]; not a key.
pub(super) const CONFIG: &str = "BEARERD_CONFIG";

/// The flags that set a key; each lays its value over the environment and the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// Where callers come in: `localhost:8080`, `unix:/path`, `fd:NAME`
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Where requests lead, as in `https://api.example.com`
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// The authorization server; its endpoints are discovered
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// Its token endpoint, where there is no discovery
    #[arg(long, value_name = "URL")]
    pub token_endpoint: Option<String>,
    /// The client's name there
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// The file that holds the client's secret
    #[arg(long, value_name = "FILE")]
    pub client_secret_file: Option<String>,
    /// The file that holds the first refresh token
    #[arg(long, value_name = "FILE")]
    pub refresh_token_file: Option<String>,
    /// A scope to ask for; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// The file where a rotated refresh token rests
    #[arg(long, value_name = "FILE")]
    pub store_path: Option<String>,
    /// Where people and the command come in; `off` for nowhere
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Where machines ask for health and metrics; `off` for nowhere
    #[arg(long, value_name = "ADDRESS")]
    pub probes_listen: Option<String>,
    /// Threads that carry requests; `auto` is one a core
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// `log.format`: the command's own `--log-format`.
    #[arg(skip)]
    pub log_format: Option<String>,
}

impl Flags {
    /// The flag that sets a key, as in `--client-id` for `oauth.client_id`.
    #[must_use]
    pub fn of_key(path: &str) -> Option<&'static str> {
        let flags = Self::default().forms();
        flags.into_iter().find(|(_, key, _)| *key == path).map(|(flag, _, _)| flag)
    }

    /// These flags again, as a command line has them.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let lists = [("--listen", &self.listen), ("--scope", &self.scopes)];
        let lists = lists.into_iter().flat_map(|(flag, texts)| texts.iter().map(move |text| (flag, text)));
        let singles = [
            ("--upstream", &self.upstream),
            ("--issuer", &self.issuer),
            ("--token-endpoint", &self.token_endpoint),
            ("--client-id", &self.client_id),
            ("--client-secret-file", &self.client_secret_file),
            ("--refresh-token-file", &self.refresh_token_file),
            ("--store-path", &self.store_path),
            ("--admin-listen", &self.admin_listen),
            ("--probes-listen", &self.probes_listen),
            ("--workers", &self.workers),
        ];
        let singles = singles.into_iter().filter_map(|(flag, text)| Some((flag, text.as_ref()?)));
        lists.chain(singles).flat_map(|(flag, text)| [flag.to_owned(), text.clone()]).collect()
    }

    /// Lays the flags over what was written.
    pub(super) fn overlay(&self, written: &mut Written, report: &mut Report) {
        for (flag, path, form) in self.forms() {
            let key = keys().find(|key| key.path() == path);
            if let (Some(key), Some(form)) = (key, form) {
                let item = Item { key: path.to_owned(), form, place: Place::Flag(flag) };
                written.overlay(key, &item, report);
            }
        }
    }

    /// Every flag, the key that it sets, and what was said.
    fn forms(&self) -> [(&'static str, &'static str, Option<Form>); 13] {
        let Self {
            listen,
            upstream,
            issuer,
            token_endpoint,
            client_id,
            client_secret_file,
            refresh_token_file,
            scopes,
            store_path,
            admin_listen,
            probes_listen,
            workers,
            log_format,
        } = self;
        let one = |text: &Option<String>| text.clone().map(Form::Plain);
        [
            ("--listen", "listen", many(listen, "--listen")),
            ("--upstream", "upstream", one(upstream)),
            ("--issuer", "oauth.issuer", one(issuer)),
            ("--token-endpoint", "oauth.token_endpoint", one(token_endpoint)),
            ("--client-id", "oauth.client_id", one(client_id)),
            ("--client-secret-file", "oauth.client_secret", file(client_secret_file, "--client-secret-file")),
            ("--refresh-token-file", "oauth.refresh_token", file(refresh_token_file, "--refresh-token-file")),
            ("--scope", "oauth.scopes", many(scopes, "--scope")),
            ("--store-path", "store.path", one(store_path)),
            ("--admin-listen", "admin.listen", one(admin_listen)),
            ("--probes-listen", "probes.listen", one(probes_listen)),
            ("--workers", "workers", one(workers)),
            ("--log-format", "log.format", one(log_format)),
        ]
    }
}

fn many(texts: &[String], flag: &'static str) -> Option<Form> {
    let entry = |text: &String| Item {
        key: flag.to_owned(),
        form: Form::Plain(text.clone()),
        place: Place::Flag(flag),
    };
    (!texts.is_empty()).then(|| Form::List(texts.iter().map(entry).collect()))
}

fn file(path: &Option<String>, flag: &'static str) -> Option<Form> {
    path.as_ref().map(|path| reference("file", path, &Place::Flag(flag)))
}

/// A reference to a secret, as the file would write it.
fn reference(kind: &str, text: &str, place: &Place) -> Form {
    let name = Name { text: kind.to_owned(), place: place.clone() };
    let item = Item { key: kind.to_owned(), form: Form::Plain(text.to_owned()), place: place.clone() };
    Form::Table(vec![(name, item)])
}

/// Lays `BEARERD_…` over what was written. An empty variable counts as unset, as Compose and Helm write it.
pub(super) fn environment(env: &BTreeMap<String, String>, written: &mut Written, report: &mut Report) {
    let mut set: Vec<String> = Vec::new();
    for (name, text) in env.iter().filter(|(name, text)| name.starts_with("BEARERD_") && !text.is_empty()) {
        let known = keys().find(|key| key.variables().contains(name));
        match known {
            _ if name == CONFIG => {}
            // A command that a hook runs has them from the bearerd that runs the hook.
            _ if hooks::TOLD.iter().any(|(variable, ..)| variable == name) => {}
            // Kubernetes writes an address there, for a Service that happens to have the key's name.
            Some(_) if is_made_by_kubernetes(name) && text.contains("://") => {}
            Some(key) if set.contains(&key.path()) => report.error(twice(key, name)),
            Some(key) => {
                set.push(key.path());
                let place = Place::Variable(name.clone());
                let item = Item { key: key.path(), form: form(key, name, text, &place), place };
                written.overlay(key, &item, report);
            }
            None if is_made_by_kubernetes(name) => {}
            None => report.warn(unknown(name)),
        }
    }
}

fn form(key: &Key, name: &str, text: &str, place: &Place) -> Form {
    match key.overlay {
        Overlay::Secret if name.ends_with("_FILE") => reference("file", text, place),
        Overlay::Secret if name.ends_with("_ENV") => reference("env", text, place),
        _ => Form::Plain(text.to_owned()),
    }
}

fn twice(key: &Key, name: &str) -> Problem {
    let title = format!("`{}` is set by two variables", key.path());
    Problem::new(Code::Contradiction, &Place::Variable(name.to_owned()), title)
        .help(format!("keep one of {}", key.variables().join(", ")))
}

/// Kubernetes sets variables for every Service of a namespace; one called `bearerd-…` makes them look like ours.
fn is_made_by_kubernetes(name: &str) -> bool {
    name.ends_with("_PORT")
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
}

fn unknown(name: &str) -> Problem {
    let title = format!("{name} is set, and no key has that name");
    let problem = Problem::new(Code::UnknownVariable, &Place::Variable(name.to_owned()), title);
    let names: Vec<String> = keys().filter(|key| !key.later).flat_map(Key::variables).collect();
    match did_you_mean(name, names.iter().map(String::as_str)) {
        Some(near) => problem.help(format!("did you mean {near}?")),
        None => problem.help("remove it, or find the name in proxy.toml"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_makes_is_told_from_what_people_write() {
        for made in [
            "BEARERD_PORT",
            "BEARERD_PORT_8080_TCP",
            "BEARERD_PORT_8080_TCP_ADDR",
            "BEARERD_SERVICE_HOST",
            "BEARERD_SERVICE_PORT_HTTP",
            "BEARERD_STAGING_SERVICE_PORT",
        ] {
            assert!(is_made_by_kubernetes(made), "{made}");
        }
        assert!(!is_made_by_kubernetes("BEARERD_OAUTH_CLIENT"));
    }

    #[test]
    fn one_key_of_this_version_looks_like_what_kubernetes_makes() {
        let ours = keys().filter(|key| !key.later).flat_map(Key::variables);
        let alike: Vec<String> = ours.filter(|name| is_made_by_kubernetes(name)).collect();
        // Told apart by what stands there.
        assert_eq!(alike, ["BEARERD_OAUTH_REDIRECT_PORT"]);
    }
}
