//! `bearerd explain`: the page of a code, what is known of a key, or a page of the manual.

use super::{Exit, Failure, say};
use crate::config::{Flags, Key, did_you_mean, keys};
use crate::manual::{TOPICS, codes, text, title};

/// As wide as a terminal always is.
const WIDTH: usize = 80;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bearerd explain                   every code, by area\n  bearerd explain grant_rejected    what it means, and what to do\n  bearerd explain oauth.client_id   a key of proxy.toml\n  bearerd explain keycloak          a page of the manual"
)]
pub(super) struct Arguments {
    /// A code as `check`, status, log and answers name it, a key of proxy.toml, or a page of the manual; what there is, when
    /// left out
    #[arg(value_name = "CODE")]
    word: Option<String>,
}

pub(super) fn explain(arguments: &Arguments) -> Result<Exit, Failure> {
    let Some(word) = &arguments.word else {
        say(&list())?;
        return Ok(Exit::Success);
    };
    // As answers write it: urn:bearerd:error:CODE; as `check` does: error[CODE].
    let word = word.trim_end_matches(':').rsplit(':').next().unwrap_or(word);
    let word = word.split_once('[').map_or(word, |(_, code)| code).trim_end_matches(']');
    if let Some(page) = codes::page(word) {
        say(&text::plain(page, WIDTH))?;
        return Ok(Exit::Success);
    }
    let found = keys_of(word);
    if found.is_empty() {
        let topic = TOPICS.iter().find(|(name, _)| *name == word.replace('-', "_"));
        let (_, page) = topic.ok_or_else(|| unknown(word))?;
        say(&text::plain(page, WIDTH))?;
        return Ok(Exit::Success);
    }
    say(&found.into_iter().map(of_key).collect::<Vec<_>>().join("\n"))?;
    Ok(Exit::Success)
}

/// Every code and its first sentence, and what else there is to be read.
fn list() -> String {
    let mut lines = Vec::new();
    for area in codes::areas() {
        lines.push(format!("{}\n", area.title));
        let width = area.codes.iter().map(|code| code.len()).max().unwrap_or(0);
        for code in area.codes {
            let indent = " ".repeat(width + 4);
            let summary = text::wrapped(codes::summary(code), WIDTH.saturating_sub(indent.len()));
            lines.push(format!("  {code:width$}  {}", summary.join(&format!("\n{indent}"))));
        }
        lines.push(String::new());
    }
    lines.push("The manual\n".to_owned());
    let width = TOPICS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines.extend(TOPICS.iter().map(|(name, page)| format!("  {name:width$}  {}", title(page))));
    lines.push(String::new());
    lines.join("\n")
}

/// The keys with this path, name or variable, or of this section; those of [grant.NAME] are those of [oauth], and a route
/// has some of the top level's.
fn keys_of(word: &str) -> Vec<&'static Key> {
    let of_a_grant = word.strip_prefix("grant.").and_then(|rest| rest.split_once('.'));
    let path = of_a_grant.map_or_else(|| word.to_owned(), |(_, name)| format!("oauth.{name}"));
    let by_path: Vec<&Key> = keys().filter(|key| key.path() == path).collect();
    if !by_path.is_empty() {
        return by_path;
    }
    if let Some(name) = word.strip_prefix("route.") {
        return keys().filter(|key| key.name == name && key.is_of_routes_too()).collect();
    }
    let section = if word == "grant" { "oauth" } else { word };
    let of_section: Vec<&Key> =
        keys().filter(|key| !key.section.is_empty() && key.section == section).collect();
    if !of_section.is_empty() {
        return of_section;
    }
    keys().filter(|key| key.name == word || key.variables().iter().any(|name| name == word)).collect()
}

fn of_key(key: &Key) -> String {
    let mut lines = vec![key.path(), String::new()];
    lines.extend(text::wrapped(key.meaning, WIDTH - 2).into_iter().map(|line| format!("  {line}")));
    lines.push(String::new());
    let mut fact = |name: &str, value: &str| lines.push(format!("  {name:10}{value}"));
    if key.later {
        fact("not yet", "it comes with a later version, and is refused until then");
    }
    let place = match key.section {
        "" if key.is_of_routes_too() => "at the top of proxy.toml, or below [[route]] for that route alone",
        "" => "at the top of proxy.toml, above the first section",
        "oauth" => "below [oauth], or [grant.NAME]",
        "route" => "below [[route]]",
        section => &format!("below [{section}]"),
    };
    fact("stands", place);
    fact("default", if key.default.is_empty() { "none" } else { key.default });
    match key.variables().as_slice() {
        [] => fact("variable", "none"),
        [name] => fact("variable", name),
        [file, env, ..] => fact("variable", &format!("{file}, {env}")),
    }
    fact("flag", Flags::of_key(&key.path()).unwrap_or("none"));
    lines.push(String::new());
    lines.join("\n")
}

fn unknown(word: &str) -> Failure {
    let paths: Vec<String> = keys().map(Key::path).collect();
    let codes = codes::PAGES.iter().chain(TOPICS).map(|(name, _)| *name);
    let words = codes.chain(paths.iter().map(String::as_str));
    let help = match did_you_mean(word, words) {
        Some(near) => format!("did you mean `bearerd explain {near}`?"),
        None => "`bearerd explain` lists every code".to_owned(),
    };
    Failure::new(
        Exit::Failure,
        format!("there is no code, no key and no page `{}`: {help}", word.escape_debug()),
    )
}
