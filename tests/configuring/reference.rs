//! The reference file says what the code does, key by key, in both directions.

use std::collections::BTreeMap;
use std::path::Path;

use bearerd::config::{Config, Flags, Key, keys};

use super::load;

/// A key of the reference file.
#[derive(Debug)]
struct Entry<'a> {
    section: &'a str,
    name: &'a str,
    value: &'a str,
    /// The line above it, without `# `.
    meaning: &'a str,
}

fn reference() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.toml")).unwrap()
}

/// A line without the `# ` that keeps it from counting, if it is a key or a section; prose is none.
fn live(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let is_key = line.split_once(" = ").is_some_and(|(name, _)| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    });
    (is_key || line.starts_with('[')).then_some(line)
}

fn entries(text: &str) -> Vec<Entry<'_>> {
    let (mut section, mut above, mut found) = ("", "", Vec::new());
    for line in text.lines() {
        match live(line).map(|line| line.split_once(" = ").ok_or(line)) {
            Some(Err(heading)) => section = heading.trim_matches(['[', ']']),
            Some(Ok((name, value))) => {
                found.push(Entry { section, name, value, meaning: above.trim_start_matches("# ") });
            }
            None => {}
        }
        above = line;
    }
    found
}

/// The file with every line live that `keep` wants.
fn uncommented(text: &str, keep: impl Fn(&str, &str) -> bool) -> String {
    let mut section = "";
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some(live) = live(line) else { continue };
        if live.starts_with('[') {
            section = live.trim_matches(['[', ']']);
        }
        let name = live.split(" = ").next().unwrap();
        if line == live || keep(section, name) {
            lines.push(live);
        }
    }
    lines.join("\n") + "\n"
}

fn loaded(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    let mut config = load(&path, &[], Flags::default()).unwrap_or_else(|errors| panic!("{errors}")).config;
    config.file = None;
    config
}

#[test]
fn every_key_is_in_the_reference_with_its_default_and_meaning_and_no_other_is() {
    let text = reference();
    let entries = entries(&text);
    let known: BTreeMap<String, &Key> =
        keys().filter(|key| !key.later).map(|key| (key.path(), key)).collect();
    assert!(known.len() > 50);
    assert_eq!(entries.len(), known.len(), "each once");
    for entry in entries {
        let path = if entry.section.is_empty() {
            entry.name.to_owned()
        } else {
            format!("{}.{}", entry.section, entry.name)
        };
        let key = known.get(&path).unwrap_or_else(|| panic!("{path} is unknown to the code"));
        assert_eq!(entry.meaning, key.meaning, "{path}");
        if !key.default.is_empty() {
            assert_eq!(entry.value, key.default, "{path}");
        }
    }
}

#[test]
fn every_key_that_is_not_yet_is_listed_as_such_and_no_other_is() {
    let text = reference();
    let listed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# - ")).collect();
    let later = keys().filter(|key| key.later);
    assert_eq!(listed, later.map(|key| format!("{}: {}", key.path(), key.meaning)).collect::<Vec<_>>());
}

#[test]
fn the_reference_loads_as_it_is_and_its_defaults_are_those_of_the_code() {
    let text = reference();
    let bare = loaded(&text);
    let has_default = |section: &str, name: &str| {
        section != "route"
            && keys().any(|key| key.section == section && key.name == name && !key.default.is_empty())
    };
    let written = uncommented(&text, has_default);
    assert!(written.lines().count() > text.lines().filter(|line| live(line) == Some(*line)).count() + 20);
    let mut explicit = loaded(&written);
    assert!(!explicit.admin.listen_is_default && bare.admin.listen_is_default);
    explicit.admin.listen_is_default = true;
    assert_eq!(explicit, bare);
}

#[test]
fn every_example_in_the_reference_can_be_used() {
    // What excludes one another stands with the flow that it is written for.
    let exchange = [
        "client_assertion",
        "subject_token",
        "subject_token_type",
        "actor_token",
        "actor_token_type",
        "requested_token_type",
    ];
    let flows: [(&str, &[&str]); 3] = [
        ("refresh_token", &["refresh_token", "client_key", "client_key_id", "client_key_algorithm"]),
        ("jwt_bearer", &["client_assertion", "assertion", "subject"]),
        ("token_exchange", &exchange),
    ];
    for (flow, own) in flows {
        let of_others = |name: &str| flows.iter().any(|(_, names)| names.contains(&name));
        let keep = |section: &str, name: &str| section != "oauth" || own.contains(&name) || !of_others(name);
        let text = uncommented(&reference(), keep);
        let without_short_form = text.replacen("upstream = \"https://api.example.com\"\n", "", 1);
        let text = without_short_form.replacen("flow = \"refresh_token\"", &format!("flow = \"{flow}\""), 1);
        let text = text.replacen("dpop = false", "dpop = true", 1);
        let config = loaded(&text);
        assert_eq!(config.proxy.routes[0].host.as_deref(), Some("crm.example.com"));
        assert_eq!(config.grants.len(), 1);
    }
}
