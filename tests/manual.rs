//! What README and manual name is there: files, codes and keys that a reader will look for.

use std::path::Path;

use bearerd::config::keys;

use crate::layers;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The pages, by their path.
fn pages() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = files.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".md"));
    names.map(|name| format!("src/manual/{name}")).map(|path| (path.clone(), read(&path))).collect()
}

/// What stands in backticks outside fenced blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_file_that_is_named_is_there() {
    let mut texts = pages();
    texts.push(("README.md".to_owned(), read("README.md")));
    for (page, text) in texts {
        let paths: Vec<&str> = quoted(&text)
            .into_iter()
            .filter(|word| ["src/", "tests/", "deploy/"].iter().any(|folder| word.starts_with(folder)))
            .collect();
        assert!(paths.len() >= 5, "{page} names {paths:?}");
        for path in paths {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{page} names {path}");
        }
    }
}

#[test]
fn every_code_and_key_that_the_manual_names_is_the_programs_own() {
    let source: String = layers::sources("").into_iter().map(|(_, text)| text).collect();
    let is_word = |word: &&str| {
        word.contains('_') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let mut found = 0;
    for (page, text) in pages() {
        for word in quoted(&text).into_iter().filter(is_word) {
            let is_key = keys().any(|key| key.name == word);
            assert!(is_key || source.contains(&format!("\"{word}\"")), "{page} names `{word}`");
            found += 1;
        }
    }
    assert!(found >= 5, "{found}");
}
