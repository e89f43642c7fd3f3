//! proxy.toml, read: the only code that knows TOML.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Code, Place, Problem, Report, Source};
use super::keys::join;
use super::reference::looks_like_a_variable;
use super::value::{Form, Item, Name};
use super::written::Written;

/// Reads the file's text. The source that comes with it is safe to show: what may be a secret is masked.
pub(super) fn read(name: &str, text: &str, report: &mut Report) -> (Written, Source) {
    let source = |text| Source { name: name.to_owned(), text };
    match DeTable::parse(text) {
        Ok(document) => {
            let mut reader = Reader::default();
            let entries = reader.entries("", document.get_ref(), false);
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

/// Turns TOML into items, and remembers where secrets may have been written.
#[derive(Default)]
struct Reader {
    secrets: Vec<Range<usize>>,
}

impl Reader {
    fn entries(&mut self, above: &str, table: &DeTable<'_>, secret: bool) -> Vec<(Name, Item)> {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let text: String = AsRef::<str>::as_ref(key.get_ref()).to_owned();
            let secret = match above {
                "grant" => false, // a grant may be called as it likes
                _ if secret => !is_reference(&text, value.get_ref()),
                _ => sounds_secret(&text),
            };
            let item = self.item(join(above, &text), value, secret);
            (Name { text, place: Place::File(key.span()) }, item)
        };
        table.iter().map(entry).collect()
    }

    fn item(&mut self, key: String, value: &Spanned<DeValue<'_>>, secret: bool) -> Item {
        let form = match value.get_ref() {
            DeValue::String(text) => {
                self.note_secret(text, value.span(), secret);
                Form::Text(text.clone().into_owned())
            }
            DeValue::Integer(number) => {
                Form::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(_) => Form::Other("a number with a point"),
            DeValue::Boolean(truth) => Form::Truth(*truth),
            DeValue::Datetime(_) => Form::Other("a date"),
            DeValue::Array(values) => {
                Form::List(values.iter().map(|value| self.item(key.clone(), value, secret)).collect())
            }
            DeValue::Table(table) => Form::Table(self.entries(&key, table, secret)),
        };
        Item { key, form, place: Place::File(value.span()) }
    }

    fn note_secret(&mut self, text: &str, span: Range<usize>, secret: bool) {
        let has_password = text.contains("://") && text.contains('@');
        if secret || has_password {
            self.secrets.push(span);
        }
    }
}

/// Whether a key, known or misspelt, may have a secret as its value.
fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words = ["secret", "token", "password", "passwd", "assertion", "client_key"];
    words.iter().any(|word| key.contains(word)) && !key.contains("endpoint") && key != "token_wait"
}

/// What stands in a reference is a name, not a secret; unless somebody took `env` for the place of the secret itself.
fn is_reference(kind: &str, value: &DeValue<'_>) -> bool {
    match kind {
        "env" => value.as_str().is_some_and(looks_like_a_variable),
        _ => matches!(kind, "file" | "credential" | "keyring" | "exec"),
    }
}

/// The text with an asterisk for each byte of what may be a secret, quotes and line ends aside: spans stay true.
fn masked(text: &str, secrets: &[Range<usize>]) -> String {
    let hidden = |at: usize| secrets.iter().any(|span| span.contains(&at));
    mask(text, hidden)
}

/// As [`masked`], for a text that is not TOML: everything on a line that sounds of a secret, or that holds an `@`; and
/// all that follows where such a line begins a string of several lines.
fn masked_lines(text: &str) -> String {
    let mut hidden = Vec::new();
    let mut start = 0;
    let mut rest = false;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let key = line.split('=').next().unwrap_or_default();
        if rest {
            hidden.push(start..end);
        } else if sounds_secret(line) || line.contains('@') {
            hidden.push(start + key.len()..end);
            rest = line.contains("\"\"\"") || line.contains("'''");
        }
        start = end;
    }
    mask(text, |at| hidden.iter().any(|span| span.contains(&at)))
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
        ] {
            let shown = shown(text);
            assert!(!shown.contains("canary"), "{shown}");
            assert_eq!(shown.len(), text.len(), "spans stay true");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        let text = "[grant.token]\nclient_secret = { file = \"/run/x\" }\ntoken_endpoint = \"https://h\"\n";
        assert_eq!(shown(text), text);
    }
}
