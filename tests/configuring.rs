//! Whoever writes a configuration is understood, or told in one go what is wrong, where, and what to write instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bearerd::config::{Config, ConfigErrors, Flags, Loaded, Sources};

/// Loads a file in an environment that is the same on every machine.
fn load(path: &Path, env: &[(&str, &str)], flags: Flags) -> Result<Loaded, ConfigErrors> {
    let usual = [("STATE_DIRECTORY", "/var/lib/bearerd")];
    let env = usual.iter().chain(env).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Config::load(&Sources { file: Some(path.to_owned()), search: Vec::new(), env, flags })
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name)
}

/// The files of a folder, by name without extension, that end with `.extension`.
fn files(name: &str, extension: &str) -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let ours = entries.filter(|path| path.extension().is_some_and(|found| found == extension));
    ours.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path)).collect()
}

/// What is said of a file, with the file's name alone.
fn told(path: &Path) -> String {
    let errors = load(path, &[], Flags::default()).expect_err("this configuration is bad");
    errors.to_string().replace(&format!("{}/", folder("bad").display()), "")
}

#[test]
fn whatever_is_wrong_is_told_with_line_caret_and_cure() {
    let mut differences = String::new();
    for (name, path) in files("bad", "toml") {
        let expected = std::fs::read_to_string(path.with_extension("error")).unwrap_or_default();
        let actual = told(&path);
        if expected != actual {
            differences.push_str(&format!("== {name}.toml: expected\n{expected}== but it says\n{actual}\n"));
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}
