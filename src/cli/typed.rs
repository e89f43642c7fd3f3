//! Commands that a person is told to type: with all that was said, as a shell takes it.

use super::Common;
use crate::config::Flags;

/// A command of the same configuration, for the same grant.
pub(super) fn bearerd(common: &Common, verb: &str, grant: Option<&str>, flags: &Flags) -> Vec<String> {
    let config = common.config.iter().flat_map(|file| ["--config".to_owned(), file.display().to_string()]);
    let verb = [verb.to_owned()].into_iter().chain(grant.map(str::to_owned));
    ["bearerd".to_owned()].into_iter().chain(config).chain(verb).chain(flags.words()).collect()
}

/// A command as a shell takes it.
pub(super) fn typed(words: &[String]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+/:@,%".contains(&byte);
    let quoted = |word: &String| {
        let is_plain = !word.is_empty() && word.bytes().all(is_plain);
        if is_plain { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
