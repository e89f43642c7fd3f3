//! What README and manual name is there: files, codes, keys and commands that a reader will look for.

/// Every code that the program emits has a page, and every page a code.
mod codes;
/// Every command and configuration that is shown is read by the program, or known by name.
mod commands;
/// The pages of reference are made from the code.
mod reference;

use std::path::{Path, PathBuf};

use bearerd::config::keys;

use crate::layers;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// Every page of the manual, by its path in the repository.
fn pages() -> Vec<(String, String)> {
    let mut pending: Vec<PathBuf> = vec![root().join("src/manual")];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            found.push((name.clone(), read(&name)));
        }
    }
    found.sort();
    assert!(found.len() > 80, "{}", found.len());
    found
}

/// The READMEs and every page.
fn texts() -> Vec<(String, String)> {
    let mut texts = pages();
    texts.extend(["README.md", "deploy/README.md"].map(|name| (name.to_owned(), read(name))));
    texts
}

/// What stands in backticks outside fenced blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_file_that_is_named_is_there() {
    let mut found = 0;
    for (page, text) in texts() {
        let is_path =
            |word: &&str| ["src/", "tests/", "deploy/"].iter().any(|folder| word.starts_with(folder));
        for path in quoted(&text).into_iter().filter(is_path) {
            assert!(root().join(path).exists(), "{page} names {path}");
            found += 1;
        }
    }
    assert!(found >= 20, "{found}");
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    let between = |open: &'static str, close: char| {
        text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
    };
    between("](", ')').chain(between(" src=\"", '"')).chain(between(" srcset=\"", '"')).collect()
}

#[test]
fn every_page_that_is_linked_is_there() {
    let (mut found, mut pictures) = (0, 0);
    for (page, text) in texts() {
        let folder = root().join(&page).parent().unwrap().to_owned();
        for link in links(&text).into_iter().filter(|link| !link.starts_with("http")) {
            let path = link.split('#').next().unwrap();
            assert!(folder.join(path).exists(), "{page} links to {link}");
            found += 1;
            pictures += usize::from(path.ends_with(".png"));
        }
    }
    assert!(found >= 10 && pictures >= 2, "{found}, {pictures} of them pictures");
}

/// Words of OAuth's and of servers', which pages quote and the program only reads.
const OTHERS_WORDS: &[&str] = &[
    "device_sso",
    "http_proxy",
    "invalid_scope",
    "invalid_target",
    "read_api",
    "unsupported_grant_type",
    "unsupported_response_type",
];

#[test]
fn every_code_and_key_that_the_manual_names_is_the_programs_own() {
    let source: String = layers::sources("").into_iter().map(|(_, text)| text).collect();
    let is_word = |word: &&str| {
        word.contains('_') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let mut found = 0;
    for (page, text) in pages() {
        for word in quoted(&text).into_iter().filter(is_word) {
            let is_key = keys().any(|key| key.name == word) || OTHERS_WORDS.contains(&word);
            assert!(is_key || source.contains(&format!("\"{word}\"")), "{page} names `{word}`");
            found += 1;
        }
    }
    assert!(found >= 5, "{found}");
}

#[test]
fn every_key_that_is_named_with_its_section_is_there() {
    let sections: Vec<&str> = keys().map(|key| key.section).filter(|section| !section.is_empty()).collect();
    let mut found = 0;
    for (page, text) in pages() {
        for word in quoted(&text) {
            let Some((section, name)) = word.split_once('.') else { continue };
            let is_key = sections.contains(&section)
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            if is_key {
                assert!(
                    keys().any(|key| key.section == section && key.name == name),
                    "{page} names `{word}`"
                );
                found += 1;
            }
        }
    }
    assert!(found >= 10, "{found}");
}
