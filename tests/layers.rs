//! Absences that hold: who may know whom, and where TOML and secrets are read (DESIGN §3). Where time and the environment
//! are read is held by .clippy.toml.

use std::path::{Path, PathBuf};

/// The program's files below this folder of src, without their tests.
pub(crate) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
            let text = std::fs::read_to_string(&path).unwrap();
            let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            found.push((path.strip_prefix(&root).unwrap().to_owned(), program));
        }
    }
    assert!(!found.is_empty(), "nothing below src/{folder}");
    found
}

fn is_test(path: &Path) -> bool {
    // What the fuzzer asks is in no program that is shipped.
    let apart = ["tests", "tests.rs", "fuzzing", "fuzzing.rs"];
    path.components().any(|part| apart.iter().any(|name| part.as_os_str() == *name))
}

/// The files below `folder` whose program text `holds` something.
fn files(folder: &str, holds: impl Fn(&str) -> bool) -> Vec<String> {
    let mut files: Vec<String> = sources(folder)
        .into_iter()
        .filter(|(_, text)| holds(text))
        .map(|(path, _)| path.to_str().unwrap().to_owned())
        .collect();
    files.sort();
    files
}

/// Whether a program names one of these modules of the crate's: by `crate::it`, by `use crate::{…, it, …}`, or by
/// climbing up to it.
fn names(text: &str, modules: &[&str]) -> bool {
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let begins = |text: &str, module: &str| text.strip_prefix(module).is_some_and(ends);
    let named = |module: &&str| {
        text.split("crate::").skip(1).any(|rest| match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split(';').next().unwrap_or_default();
                group.split(['{', ',', '}', '\n']).any(|part| begins(part.trim(), module))
            }
            None => begins(rest, module),
        }) || text.split("super::").skip(1).any(|rest| begins(rest, module))
    };
    modules.iter().any(named)
}

#[test]
fn a_module_is_found_however_it_is_named() {
    for text in [
        "use crate::grant::Handle;",
        "use crate::{\n    clock,\n    grant::{self, Handle},\n};",
        "super::super::grant::x()",
    ] {
        assert!(names(text, &["grant"]), "{text}");
    }
    for text in ["use crate::grants;", "use crate::{token::GrantName, clock};", "a grant"] {
        assert!(!names(text, &["grant"]), "{text}");
    }
}

#[test]
fn the_data_plane_knows_neither_grants_nor_stores() {
    assert_eq!(files("proxy", |text| names(text, &["grant", "store"])), Vec::<String>::new());
    assert_eq!(files("proxy", |text| text.contains("RefreshToken")), Vec::<String>::new());
}

#[test]
fn the_control_plane_knows_neither_proxy_nor_configuration() {
    assert_eq!(files("grant", |text| names(text, &["proxy", "config"])), Vec::<String>::new());
    assert_eq!(files("login", |text| names(text, &["proxy", "config", "cli"])), Vec::<String>::new());
    assert_eq!(files("store", |text| names(text, &["proxy", "config", "grant"])), Vec::<String>::new());
}

#[test]
fn hooks_know_what_anybody_may_know_of_a_grant() {
    let known = ["proxy", "config", "admin", "store", "secret", "app", "cli"];
    assert_eq!(files("hooks", |text| names(text, &known)), Vec::<String>::new());
    assert_eq!(files("grant", |text| names(text, &["hooks"])), Vec::<String>::new());
}

#[test]
fn only_the_refresher_redeems_saves_and_publishes() {
    for call in [".redeem(", ".intend(", "publisher.publish(", "txn.commit("] {
        let callers = files("", |text| text.contains(call));
        let is_in_place = |file: &String| file.starts_with("grant/refresher/") || file.starts_with("store/");
        assert!(!callers.is_empty() && callers.iter().all(is_in_place), "{call}: {callers:?}");
    }
}

#[test]
fn only_the_configuration_knows_toml() {
    let readers = files("", |text| text.contains("toml::"));
    assert!(!readers.is_empty() && readers.iter().all(|file| file.starts_with("config/")), "{readers:?}");
}

#[test]
fn secrets_are_opened_only_where_they_leave() {
    let openers = [
        "cli/token.rs",
        "dpop.rs",
        "grant/client_auth.rs",
        "grant/endpoint/request.rs",
        "grant/sign_out.rs",
        "grant/wire/told.rs",
        "jose.rs",
        "login/emit.rs",
        "login/request.rs",
        "secret.rs",
        "secret/reference.rs",
        "store/record/mod.rs",
        "store/seal.rs",
        "tls.rs",
        "token.rs",
    ];
    assert_eq!(files("", |text| text.contains(".expose()") || text.contains("::expose")), openers);
}

#[test]
fn what_decides_is_pure() {
    for file in [
        "grant/end.rs",
        "grant/schedule.rs",
        "grant/wire.rs",
        "grant/lineage.rs",
        "grant/wire/sign_in.rs",
        "hooks/news.rs",
        "login/callback.rs",
        "login/probe.rs",
        "login/provider.rs",
        "proxy/route.rs",
        "proxy/headers.rs",
        "proxy/guard.rs",
    ] {
        let (_, text) = sources(file).pop().unwrap();
        assert!(!text.contains("tokio") && !text.contains(".await") && !text.contains("Clock"), "{file}");
    }
}
