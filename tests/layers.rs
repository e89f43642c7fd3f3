//! Absences that hold: who may know whom, and where time, TOML and secrets are read (DESIGN §3).

use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            found.push((path.strip_prefix(&root).unwrap().to_owned(), program));
        }
    }
    assert!(!found.is_empty(), "nothing below src/{folder}");
    found
}

/// The files below `folder` whose program text holds one of `words`.
fn holding(folder: &str, words: &[&str]) -> Vec<String> {
    let mut files: Vec<String> = sources(folder)
        .into_iter()
        .filter(|(_, text)| words.iter().any(|word| text.contains(word)))
        .map(|(path, _)| path.to_str().unwrap().to_owned())
        .collect();
    files.sort();
    files
}

#[test]
fn the_data_plane_knows_neither_grants_nor_stores() {
    assert_eq!(holding("proxy", &["crate::grant", "crate::store", "RefreshToken"]), Vec::<String>::new());
}

#[test]
fn the_control_plane_knows_neither_proxy_nor_configuration() {
    assert_eq!(holding("grant", &["crate::proxy", "crate::config"]), Vec::<String>::new());
    assert_eq!(holding("store", &["crate::proxy", "crate::config", "crate::grant"]), Vec::<String>::new());
}

#[test]
fn only_the_refresher_redeems_saves_and_publishes() {
    let calls = [".redeem(&", ".intend(", ".publish(token", "txn.commit("];
    let callers = holding("", &calls);
    assert!(
        callers.iter().all(|file| file.starts_with("grant/refresher/") || file.starts_with("store/")),
        "{callers:?}"
    );
}

#[test]
fn only_the_configuration_knows_toml() {
    let readers = holding("", &["toml::"]);
    assert!(!readers.is_empty() && readers.iter().all(|file| file.starts_with("config/")), "{readers:?}");
}

#[test]
fn secrets_are_opened_only_where_they_leave() {
    let openers = [
        "grant/client_auth.rs",
        "grant/endpoint/mod.rs",
        "grant/mod.rs",
        "grant/wire.rs",
        "secret.rs",
        "store/record/mod.rs",
        "token.rs",
    ];
    let found = holding("", &[".expose()"]);
    assert!(
        found.iter().all(|file| openers.contains(&file.as_str()) || file.starts_with("store/record")),
        "{found:?}"
    );
}

#[test]
fn what_decides_is_pure() {
    for file in [
        "grant/schedule.rs",
        "grant/wire.rs",
        "grant/lineage.rs",
        "proxy/route.rs",
        "proxy/headers.rs",
        "proxy/guard.rs",
    ] {
        let (_, text) = sources(file).pop().unwrap();
        assert!(!text.contains("tokio") && !text.contains(".await") && !text.contains("Clock"), "{file}");
    }
}
