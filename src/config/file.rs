//! proxy.toml, read: the only code that knows TOML.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Code, Place, Problem, Report, Source};
use super::keys::{Key, join, keys};
use super::reference::looks_like_a_variable;
use super::value::{Form, Item, Name};
use super::written::Written;

/// Reads the file's text. The source that comes with it is safe to show: what may be a secret is masked.
pub(super) fn read(name: &str, text: &str, report: &mut Report) -> (Written, Source) {
    let source = |text| Source { name: name.to_owned(), text };
    match DeTable::parse(text) {
        Ok(document) => {
            let mut reader = Reader::default();
            let entries = reader.entries("", document.get_ref(), Part::Known);
            (Written::read(&entries, report), source(masked(text, &reader.secrets)))
        }
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let title = format!("this is not TOML: {}", error.message());
            report.error(Problem::new(Code::TomlSyntax, &Place::File(span), title));
            (Written::default(), source(masked_lines(text)))
        }
    }
}

/// Turns TOML into items, and remembers what must not be shown: whatever is not known to be no secret.
#[derive(Default)]
struct Reader {
    secrets: Vec<Range<usize>>,
}

impl Reader {
    fn entries(&mut self, above: &str, table: &DeTable<'_>, part: Part) -> Vec<(Name, Item)> {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let text: String = AsRef::<str>::as_ref(key.get_ref()).to_owned();
            let part = part.below(&text, value.get_ref());
            let item = self.item(join(above, &text), value, part);
            (Name { text, place: Place::File(key.span()) }, item)
        };
        table.iter().map(entry).collect()
    }

    fn item(&mut self, key: String, value: &Spanned<DeValue<'_>>, part: Part) -> Item {
        let form = match value.get_ref() {
            DeValue::Array(values) => {
                Form::List(values.iter().map(|value| self.item(key.clone(), value, part)).collect())
            }
            DeValue::Table(table) => Form::Table(self.entries(&key, table, part)),
            scalar => {
                if part != Part::Shown || scalar.as_str().is_some_and(carries_more) {
                    self.secrets.push(value.span());
                }
                scalar_form(scalar)
            }
        };
        Item { key, form, place: Place::File(value.span()) }
    }
}

fn scalar_form(value: &DeValue<'_>) -> Form {
    match value {
        DeValue::String(text) => Form::Text(text.clone().into_owned()),
        DeValue::Integer(number) => Form::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Boolean(truth) => Form::Truth(*truth),
        DeValue::Float(_) => Form::Other("a number with a point"),
        _ => Form::Other("a date"),
    }
}

/// What may be shown of a place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A table of keys that we know.
    Known,
    /// `[grant]`, whose keys are names.
    Names,
    /// A value that is no secret.
    Shown,
    /// A secret, which only a reference may stand for.
    Secret,
    /// What nobody knows may be anything.
    Unknown,
}

impl Part {
    /// What stands below `key` here.
    fn below(self, key: &str, value: &DeValue<'_>) -> Self {
        match self {
            Self::Known if key == "grant" && value.is_table() => Self::Names,
            Self::Known if is_section(key) && !value.is_str() => Self::Known,
            Self::Known => match kind_of(key) {
                Some(true) => Self::Secret,
                Some(false) => Self::Shown,
                None => Self::Unknown,
            },
            Self::Names => Self::Known,
            Self::Secret if is_reference(key, value) => Self::Shown,
            Self::Shown => Self::Unknown,
            hidden => hidden,
        }
    }
}

fn is_section(key: &str) -> bool {
    keys().any(|known| known.section == key) || key == "tls"
}

/// Whether a key has a secret as its value; `None` when no section has such a key.
fn kind_of(key: &str) -> Option<bool> {
    let mut named = keys().filter(|known| known.name == key).peekable();
    named.peek()?;
    Some(named.any(Key::is_secret))
}

/// What stands in a reference is a name, not a secret; unless somebody took `env` for the place of the secret itself.
fn is_reference(kind: &str, value: &DeValue<'_>) -> bool {
    match kind {
        "env" => value.as_str().is_some_and(looks_like_a_variable),
        _ => matches!(kind, "file" | "credential" | "keyring" | "exec"),
    }
}

/// Whether a text that may be an address holds more than one: a password, or a query.
fn carries_more(text: &str) -> bool {
    text.contains(['@', '?'])
}

/// The text with an asterisk for each byte of what may be a secret, quotes and line ends aside: spans stay true.
fn masked(text: &str, secrets: &[Range<usize>]) -> String {
    let hidden = |at: usize| secrets.iter().any(|span| span.contains(&at));
    mask(text, hidden)
}

/// As [`masked`], for a text that is not TOML: of each line what comes before its first `=`, `:` or blank, if that is a
/// key; the rest only if the key is known and no secret, and nothing in it looks like more than that.
fn masked_lines(text: &str) -> String {
    let mut shown = Vec::new();
    let (mut start, mut in_string) = (0, false);
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        if !in_string {
            shown.push(start..start + shown_of(line));
        }
        in_string ^= (line.matches("\"\"\"").count() + line.matches("'''").count()) % 2 == 1;
        start = end;
    }
    mask(text, |at| !shown.iter().any(|span| span.contains(&at)))
}

/// How many bytes of a line may be shown.
fn shown_of(line: &str) -> usize {
    let indent = line.len() - line.trim_start().len();
    let rest = line.trim_start();
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(is_bare);
    if rest.starts_with(['[', '#']) {
        let header = rest.trim_end().trim_start_matches('[').trim_end_matches(']');
        let known = header.split('.').next().is_some_and(|first| first == "grant" || is_section(first));
        return if known && header.split('.').all(is_word) { line.len() } else { indent };
    }
    let end = rest.find(|next: char| "=: \t".contains(next)).unwrap_or(0);
    let (key, value) = rest.split_at(end);
    let value = value.trim_start();
    if !key.split('.').all(is_word) || !value.starts_with('=') && kind_of(key).is_none() {
        return indent;
    }
    let harmless = !value.contains(['@', '?', '{']) && value.matches('=').count() == 1;
    let last = key.rsplit('.').next().unwrap_or_default();
    if kind_of(last) == Some(false) && harmless { line.len() } else { indent + end }
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn mask(text: &str, hidden: impl Fn(usize) -> bool) -> String {
    let show = |(at, character): (usize, char)| match character {
        '"' | '\'' | '\r' | '\n' | '=' | ' ' | '{' | '}' => character.to_string(),
        _ if hidden(at) => "*".repeat(character.len_utf8()),
        _ => character.to_string(),
    };
    text.char_indices().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        read("proxy.toml", text, &mut Report::default()).1.text
    }

    #[test]
    fn what_may_be_a_secret_is_masked_before_anything_is_shown() {
        for text in [
            "[oauth]\nclient_secret = \"canary\"\n",
            "[oauth]\nclient_secrt_token = \"canary\"\n",
            "oauth = { client_id = \"x\", refresh_token = 'canary' }\n",
            "[oauth]\nclient_secret = { text = \"canary\" }\n",
            "[grant.crm]\nclient_secret = [\"canary\", \"other\"]\n",
            "[oauth]\nclient_secret = { env = \"canary\" }\n",
            "upstream = \"https://me:canary@host\"\n",
            "client_secret = \"canary\n",
            "client_secret = \"\"\"\ncanary\n= x\n",
            "[oauth]\nclient_sercet = \"canary\"\n",
            "[oauth]\nrefresh_tokn = \"canary\"\n",
            "client_sercet = \"canary\n",
            "client_secret: canary\n",
            "client_secret \"canary\"\n",
            "client_secrt \"canary\"\n",
            "client_secret = [\n\"canary\"\n\"B\"\n]\n",
            "[oauth]\nrefresh_token = [\n[canary]\n",
            "[oauth]\nrefresh_token = 0xcafe_canary\n",
            "oauth = { client_id = \"x\", refresh_token = \"canary }\n",
            "[oauth]\nissuer = \"me:canary@host\"\n",
            "[oauth]\nissuer = \"https://h/?token=canary\"\n",
            "issuer = \"https://h/?token=canary\n",
            "[oauth.extra]\npassword = \"canary\"\n",
            "[oauth]\nextra = { code = \"canary\" }\n",
            "canary\n",
        ] {
            let shown = shown(text);
            assert!(!shown.contains("canary"), "{shown}");
            assert_eq!(shown.len(), text.len(), "spans stay true");
        }
    }

    #[test]
    fn a_number_in_the_place_of_a_secret_is_masked() {
        let shown = shown("[oauth]\nrefresh_token = 424242\n");
        assert!(!shown.contains("42"), "{shown}");
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        let broken = "listen = localhost:8080\n[oauth]\nclient_id = \"billing\n";
        assert_eq!(shown(broken), broken, "also where it is not TOML");
        let text = "[grant.token]\nclient_secret = { file = \"/run/x\" }\ntoken_endpoint = \"https://h\"\n";
        assert_eq!(shown(text), text);
    }
}
