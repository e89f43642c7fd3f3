//! The configuration in use, as a proxy.toml that says the same: what was written, by whom, and the defaults.

use std::path::{Path, PathBuf};

use super::error::{Place, Source};
use super::keys::{self, Key, keys};
use super::value::{Form, Item};
use super::written::Said;
use super::{Config, Loaded};
use crate::store;

const HEAD: &str = "# What file, environment and flags say in all. Behind `#`: defaults.\n";

impl Loaded {
    /// The configuration in use as TOML. Secrets are references, as in the file, and what may be one is not shown but with
    /// `all`: read again from anywhere, it is then the same. With `origins`, a comment behind each value says where it comes
    /// from.
    #[must_use]
    pub fn show(&self, origins: bool, all: bool) -> String {
        let Self { config, source, said, .. } = self;
        let mut sheet = Sheet { config, source, said, origins, all, text: HEAD.to_owned() };
        sheet.section("", "", 0);
        let mut grants: Vec<&str> = said.iter().map(|said| said.section.as_str()).collect();
        grants.retain(|section| *section == "oauth" || section.starts_with("grant."));
        grants.sort_unstable();
        grants.dedup();
        for grant in grants {
            sheet.section(&format!("[{grant}]"), grant, 0);
        }
        let mut others: Vec<&str> = keys().filter(|key| !key.later).map(|key| key.section).collect();
        others.retain(|section| !["", "oauth", "route"].contains(section));
        others.dedup();
        for section in others {
            sheet.section(&format!("[{section}]"), section, 0);
        }
        let routes = said.iter().filter(|said| said.section == "route").map(|said| said.place);
        for place in 0..routes.max().map_or(0, |last| last + 1) {
            sheet.section("[[route]]", "route", place);
        }
        sheet.text
    }
}

/// The text that is being written.
struct Sheet<'a> {
    config: &'a Config,
    source: &'a Source,
    said: &'a [Said],
    origins: bool,
    all: bool,
    text: String,
}

impl Sheet<'_> {
    fn section(&mut self, heading: &str, section: &str, place: usize) {
        self.text.push('\n');
        if !heading.is_empty() {
            self.text.push_str(heading);
            self.text.push('\n');
        }
        // A grant of any name has the keys of [oauth]; a route has those of the top level, whose values stand there.
        let table = if section.starts_with("grant.") { "oauth" } else { section };
        for key in keys().filter(|key| key.section == table && !key.later) {
            self.key(key, section, place, true);
        }
        if section == "route" {
            keys::carriage().for_each(|key| self.key(key, section, place, false));
        }
    }

    fn key(&mut self, key: &Key, section: &str, place: usize, shows_default: bool) {
        let is_it = |said: &&Said| {
            (said.section.as_str(), said.place, said.name.as_str()) == (section, place, key.name)
        };
        match self.said.iter().find(is_it) {
            Some(said) => {
                let origin = self.origin(&said.item.place);
                let value = self.value(key, &said.item);
                self.line("", key.name, &value, &origin);
            }
            None => {
                let default = self.default(key).filter(|_| shows_default);
                default.iter().for_each(|value| self.line("# ", key.name, value, "default"));
            }
        }
    }

    fn line(&mut self, mark: &str, name: &str, value: &str, origin: &str) {
        self.text.push_str(&format!("{mark}{name} = {value}"));
        if self.origins {
            self.text.push_str(&format!("  # {origin}"));
        }
        self.text.push('\n');
    }

    fn default(&self, key: &Key) -> Option<String> {
        match &self.config.store {
            store::Params::File { path, .. } | store::Params::Keyring { path, .. }
                if key.path() == "store.path" =>
            {
                Some(quoted(&shown(path)))
            }
            _ => Some(key.default.to_owned()).filter(|default| !default.is_empty()),
        }
    }

    fn origin(&self, place: &Place) -> String {
        match place {
            Place::File(span) => {
                let before = self.source.text.get(..span.start).unwrap_or_default();
                format!(
                    "{}:{}",
                    self.source.name.replace(char::is_control, "?"),
                    before.matches('\n').count() + 1
                )
            }
            Place::Variable(name) => name.clone(),
            Place::Flag(name) => (*name).to_owned(),
            Place::Nowhere => "default".to_owned(),
        }
    }

    fn value(&self, key: &Key, item: &Item) -> String {
        match &item.form {
            Form::Plain(_) | Form::Text(_) if key.is_path => {
                quoted(&self.absolute(item.text().unwrap_or_default(), &item.place))
            }
            Form::Plain(text) => self.plainly(key, &as_in_a_file(key, item, text)),
            Form::List(items) if key.is_secret() => {
                let all: Vec<String> = items.iter().map(|item| self.reference(item)).collect();
                format!("[{}]", all.join(", "))
            }
            Form::Table(_) if key.is_secret() => self.reference(item),
            form => self.plainly(key, form),
        }
    }

    /// What is no reference, as it is, but for what may be a secret: the names of a table and the program of a command are
    /// shown, and not what stands behind them.
    fn plainly(&self, key: &Key, form: &Form) -> String {
        if self.all || !key.may_hold_secrets() {
            return toml(form);
        }
        match form {
            Form::Table(entries) => {
                let entry = |(name, _): &(super::value::Name, Item)| format!("{} = \"…\"", bare(&name.text));
                format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
            Form::List(words) => {
                let program = words.first().map(|word| toml(&word.form));
                let arguments = (words.len() > 1).then(|| "\"…\"".to_owned());
                format!("[{}]", program.into_iter().chain(arguments).collect::<Vec<_>>().join(", "))
            }
            form => toml(form),
        }
    }

    /// A reference to a secret; a relative path in it is relative to the file that it stands in.
    fn reference(&self, item: &Item) -> String {
        match &item.form {
            Form::Table(entries) => match entries.as_slice() {
                [(name, value)] if name.text == "file" => {
                    let path = self.absolute(value.text().unwrap_or_default(), &value.place);
                    format!("{{ file = {} }}", quoted(&path))
                }
                _ => toml(&item.form),
            },
            form => toml(form),
        }
    }

    fn absolute(&self, path: &str, place: &Place) -> String {
        let path = match (place, self.config.file.as_deref().and_then(Path::parent)) {
            (Place::File(_), Some(folder)) => folder.join(path),
            _ => PathBuf::from(path),
        };
        shown(&path)
    }
}

fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// What the environment or a flag said, as the file would have to say it.
fn as_in_a_file(key: &Key, item: &Item, text: &str) -> Form {
    let entry = |text: &str| Item { form: Form::Text(text.trim().to_owned()), ..item.clone() };
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let forms = [
        Some(Form::List(entries.map(entry).collect())),
        Some(Form::Text(text.to_owned())),
        text.parse().ok().map(Form::Truth),
        text.parse().ok().map(|number| Form::Integer(Some(number))),
    ];
    let mut taken = forms.into_iter().flatten();
    let taken = taken.find(|form| (key.takes)(&Item { form: form.clone(), ..item.clone() }));
    taken.unwrap_or_else(|| Form::Text(text.to_owned()))
}

/// A form as TOML.
fn toml(form: &Form) -> String {
    match form {
        Form::Text(text) | Form::Plain(text) => quoted(text),
        Form::Integer(number) => number.unwrap_or_default().to_string(),
        Form::Truth(truth) => truth.to_string(),
        Form::List(items) => {
            let all: Vec<String> = items.iter().map(|item| toml(&item.form)).collect();
            format!("[{}]", all.join(", "))
        }
        Form::Table(entries) => {
            let entry = |(name, item): &(super::value::Name, Item)| {
                format!("{} = {}", bare(&name.text), toml(&item.form))
            };
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        // No key takes them.
        Form::Other(noun) => quoted(noun),
    }
}

/// A key of TOML.
fn bare(name: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(legal) { name.to_owned() } else { quoted(name) }
}

/// A string of TOML, in one line.
#[must_use]
pub fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}
