//! References to secrets: exactly one of `file`, `env`, `credential`, `exec`, `keyring`; never the secret itself.

use std::path::PathBuf;

use super::error::{Code, Problem, Report, did_you_mean};
use super::value::{Form, Item, Name, OneOrMore, Overlay, Placed, Read, read_some};
use super::word::Text;
use crate::secret::{Entry, KEYRING_IS_BUILT_IN};

/// Where a secret is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretReference {
    File(PathBuf),
    /// The name of an environment variable.
    Variable(String),
    /// The name of a file below `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A program and its arguments.
    Exec(Vec<String>),
    /// An entry of the desktop's keyring.
    Keyring(Entry),
}

const KINDS: [&str; 5] = ["file", "env", "credential", "exec", "keyring"];

impl Read for SecretReference {
    const OVERLAY: Overlay = Overlay::Secret;

    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        let problem = match &item.form {
            Form::Text(_) => bare(item).help(format!(
                "write {} = {{ file = \"/run/secrets/{0}\" }}, and keep the text in that file",
                last(&item.key)
            )),
            Form::Plain(_) => bare(item).help(format!(
                "name a file in {}, or a variable in {}",
                suffixed(item, "_FILE"),
                suffixed(item, "_ENV")
            )),
            Form::List(_) => item.wrong_type("one reference such as { file = \"/run/secrets/name\" }"),
            Form::Table(entries) => match entries.as_slice() {
                [(name, value)] => return one(item, name, value, report),
                _ => item
                    .problem(
                        Code::BadSecretReference,
                        "needs exactly one of `file`, `env`, `credential`, `exec`, `keyring`",
                    )
                    .label(format!("this has {}", entries.len())),
            },
            _ => item.wrong_type("a reference such as { file = \"/run/secrets/name\" }"),
        };
        report.error(problem);
        None
    }
}

fn bare(item: &Item) -> Problem {
    item.problem(Code::BareSecret, "holds a secret itself; only a reference may stand here")
        .label("the secret (not shown)")
}

/// The last word of a key, as the file writes it.
fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

fn suffixed(item: &Item, suffix: &str) -> String {
    format!("BEARERD_{}{suffix}", item.key.replace('.', "_").to_ascii_uppercase())
}

/// The one entry of a reference.
fn one(item: &Item, name: &Name, value: &Item, report: &mut Report) -> Option<SecretReference> {
    let kind = name.text.as_str();
    if !KINDS.contains(&kind) {
        let title = format!("`{}` is not a way to refer to a secret", kind.escape_debug());
        let help = match did_you_mean(kind, KINDS) {
            Some(word) => format!("did you mean `{word}`?"),
            None => "write one of `file`, `env`, `credential`, `exec`, `keyring`".to_owned(),
        };
        report.error(Problem::new(Code::BadSecretReference, &name.place, title).help(help));
        return None;
    }
    let text = value.text().map(str::to_owned);
    match kind {
        "file" => PathBuf::read(value, report).map(SecretReference::File),
        "exec" => exec(value, report),
        _ if text.is_none() => {
            report.error(value.wrong_type("a name in quotes"));
            None
        }
        "env" => text.map(SecretReference::Variable),
        "keyring" => keyring(item, value, report),
        _ => credential(value, report),
    }
}

/// A program and its arguments.
fn exec(value: &Item, report: &mut Report) -> Option<SecretReference> {
    command(value, "[\"pass\", \"show\", \"name\"]", report).map(SecretReference::Exec)
}

/// A command that is run: a program and its arguments; no shell reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command(pub(super) Vec<String>);

impl Read for Command {
    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        command(item, "[\"notify-send\", \"bearerd\"]", report).map(Self)
    }
}

/// Reads a command, of which one string of the file tells too little.
fn command(value: &Item, example: &str, report: &mut Report) -> Option<Vec<String>> {
    if let Form::Text(_) = value.form {
        let problem = value.wrong_type("a list of a program and its arguments");
        report.error(problem.help(format!("write {example}: no shell takes a line apart")));
        return None;
    }
    let words = OneOrMore::<Text>::read(value, report)?;
    Some(words.0.into_iter().map(|word| word.value.0).collect())
}

/// One reference, or a list of them: the current secret, and the one that follows it or went before.
#[derive(Clone, Debug)]
pub(super) struct Secrets(pub(super) Vec<Placed<SecretReference>>);

impl Read for Secrets {
    const OVERLAY: Overlay = Overlay::Secret;

    fn read(item: &Item, report: &mut Report) -> Option<Self> {
        let entries = match &item.form {
            Form::List(entries) => entries.as_slice(),
            _ => std::slice::from_ref(item),
        };
        read_some(item, entries, report).map(Self)
    }
}

/// An entry of the keyring, by service and name.
fn keyring(item: &Item, value: &Item, report: &mut Report) -> Option<SecretReference> {
    if !KEYRING_IS_BUILT_IN {
        let title = format!("`{}` is in the keyring, and this bearerd was built without one", item.key);
        report.error(
            Problem::new(Code::NotBuiltIn, &value.place, title)
                .help("build it with `--features keyring`, or keep the secret elsewhere"),
        );
        return None;
    }
    let entry = value.text().and_then(Entry::parse);
    if entry.is_none() {
        let problem = value.problem(Code::BadSecretReference, "is not an entry of a keyring");
        report.error(
            problem.help("write \"service/name\": the entry with these attributes `service` and `username`"),
        );
    }
    entry.map(SecretReference::Keyring)
}

/// A credential's name stays below the directory of credentials.
fn credential(value: &Item, report: &mut Report) -> Option<SecretReference> {
    let text = value.text()?;
    if text.is_empty() || text.contains(['/', '\0']) || matches!(text, "." | "..") {
        report.error(
            value
                .problem(Code::BadSecretReference, "is not the name of a credential")
                .help("name it as LoadCredential= does"),
        );
        return None;
    }
    Some(SecretReference::Credential(text.to_owned()))
}

/// Whether a name may be shown as a variable's: capitals, as everybody writes them, and as few secrets are.
pub(super) fn looks_like_a_variable(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.bytes().all(legal)
}
