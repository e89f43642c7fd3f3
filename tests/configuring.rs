//! Whoever writes a configuration is understood, or told in one go what is wrong, where, and what to write instead.

/// `config init`: a first file.
mod beginning;
/// What each key and shape resolves to.
mod good;
/// The environment and flags: names, priority, what is ignored and what is warned of.
mod overlays;
/// proxy.toml at the top level and the table of keys are one.
mod reference;
/// `config schema`: proxy.toml for editors.
mod schema;
/// `config show`: what is in use, and who said so.
mod showing;

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
    // What a program without a keyring says.
    let has_keyring = cfg!(feature = "keyring");
    for (name, path) in files("bad", "toml")
        .into_iter()
        .filter(|(name, _)| !(has_keyring && name.starts_with("without_keyring")))
    {
        let expected = std::fs::read_to_string(path.with_extension("error")).unwrap_or_default();
        let actual = told(&path);
        if expected != actual {
            differences.push_str(&format!("== {name}.toml: expected\n{expected}== but it says\n{actual}\n"));
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[test]
fn no_two_bad_files_are_bad_for_the_same_reason() {
    let causes = files("bad", "error").into_values().map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().next().unwrap().to_owned()
    });
    let mut causes: Vec<String> = causes.collect();
    let all = causes.len();
    causes.sort();
    causes.dedup();
    assert!(all >= 20, "only {all} files");
    assert_eq!(causes.len(), all, "{causes:#?}");
    assert_eq!(files("bad", "toml").len(), all, "each has a text beside it");
}

#[test]
fn no_secret_is_shown_however_it_was_written_by_mistake() {
    for name in ["bare_secret", "password_in_a_url"] {
        let shown = told(&folder("bad").join(format!("{name}.toml")));
        assert!(!shown.contains("canary"), "{shown}");
    }
}

/// The kinds of fault in a text that follows a good beginning.
fn faults(text: &str) -> Vec<&'static str> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    match load(&path, &[], Flags::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems().iter().map(|problem| problem.code().word()).collect(),
    }
}

#[test]
fn what_only_looks_right_is_refused() {
    let grant = "[oauth]\nissuer = \"https://i\"\nclient_id = \"c\"\n";
    let below_grant = |text: &str| faults(&format!("upstream = \"https://h\"\n{grant}{text}\n"));
    let on_top = |text: &str| faults(&format!("{text}\n{grant}"));
    let route = |text: &str| faults(&format!("{grant}[[route]]\n{text}\n"));
    assert_eq!(below_grant(""), Vec::<&str>::new());
    assert_eq!(below_grant("[oauth.tls]\nca_file = \"x\""), ["not_yet"]);
    assert_eq!(below_grant("client_secret = [{ file = \"/a\" }, { file = 7 }]"), ["wrong_type"]);
    assert_eq!(below_grant("client_secret = { exec = [] }"), ["missing_key"]);
    let no_entry = if cfg!(feature = "keyring") { "bad_secret_reference" } else { "not_built_in" };
    assert_eq!(below_grant("client_secret = { keyring = \"a\" }"), [no_entry]);
    assert_eq!(below_grant("client_secret = { keyring = 7 }"), ["wrong_type"]);
    assert_eq!(below_grant("client_secret = { fil = \"a\" }"), ["bad_secret_reference"]);
    assert_eq!(below_grant("client_secret = {}"), ["bad_secret_reference"]);
    assert_eq!(below_grant("client_secret = { credential = \"../shadow\" }"), ["bad_secret_reference"]);
    assert_eq!(below_grant("client_secret = { env = 7 }"), ["wrong_type"]);
    assert_eq!(below_grant("client_auth = \"tls\""), ["contradiction"]);
    assert_eq!(below_grant("client_auth = \"none\"\nclient_secret = { file = \"/a\" }"), ["contradiction"]);
    assert_eq!(below_grant("flow = \"client_credentials\""), ["contradiction"]);
    assert_eq!(below_grant("flow = \"jwt_bearer\""), ["contradiction"]);
    assert_eq!(below_grant("send_scopes_on_refresh = true"), ["contradiction"]);
    assert_eq!(below_grant("refresh_margin = 0.2"), ["wrong_type"]);
    assert_eq!(below_grant("extra = { a = 1 }"), ["wrong_type"]);
    assert_eq!(below_grant("extra = { code_challenge = \"x\" }"), ["reserved_parameter"]);
    assert_eq!(below_grant("redirect_port = 65536"), ["bad_number"]);
    for path in ["", "callback", "/a/../b", "/a?b", "/%61", "/ä"] {
        assert_eq!(below_grant(&format!("redirect_path = {path:?}")), ["bad_path"], "{path}");
    }
    assert_eq!(below_grant("revocation_endpoint = \"http://id.example.com/revoke\""), ["plaintext_server"]);
    let detour = "connect_to = \"10.0.0.7:443\"\nauthorization_endpoint = \"http://localhost/authorize\"";
    assert_eq!(below_grant(detour), ["plaintext_server"]);
    assert_eq!(below_grant("[grant]\nissuer = \"https://i\""), ["wrong_type"]);
    assert_eq!(below_grant("[grant.CRM]\nissuer = \"https://i\"\nclient_id = \"c\""), ["bad_grant_name"]);
    assert_eq!(below_grant("[limits]\nreplay_body = \"2MiB\""), ["bad_size"]);
    assert_eq!(below_grant("[guard]\nallowed_origins = [\"*\"]"), ["bad_origin"]);
    assert_eq!(on_top("upstream = \"https://h\"\noauth = 1"), ["toml_syntax"], "written twice");
    assert_eq!(on_top("upstream = \"https://h\"\nlimits = 1"), ["wrong_type"]);
    assert_eq!(on_top("upstream = \"https://h\"\nlisten = []"), ["missing_key"]);
    assert_eq!(on_top("upstream = \"https://h\"\nlisten = 2026-01-01"), ["wrong_type"]);
    assert_eq!(on_top("upstream = \"https://h?q=1\""), ["bad_url"]);
    assert_eq!(route("upstream = \"https://h\"\n[route.tls]\nroots = \"file\""), ["not_yet"]);
    assert_eq!(route("path = \"/a\""), ["missing_key"]);
    assert_eq!(
        route("path = \"/a\"\nupstream = \"https://h/\""),
        ["not_yet"],
        "a prefix replaced by nothing"
    );
    assert_eq!(route("host = \"h:80\"\nupstream = \"https://h\""), ["bad_host"]);
    assert_eq!(route("upstream = \"https://h\"\ngrant = \"other\""), ["unknown_grant"]);
    assert_eq!(route("upstream = \"https://h\"\nworkers = 2"), ["unknown_key"]);
}

#[test]
fn no_text_of_a_file_steers_the_terminal() {
    let text = "\"\\u001b[2J\" = 1\n[grant]\n\"\\u001b[2J\" = 1\n[grant.\"\\u001b[3J\"]\n[log]\nlevel = \"\\u001b[2J\"\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    let shown = load(&path, &[("BEARERD_\u{1b}", "x")], Flags::default()).unwrap_err().to_string();
    assert!(shown.contains("\\u{1b}[2J") && !shown.contains('\u{1b}'), "{shown}");
}

/// Numbers that are the same in each run: a failure can be repeated.
fn shuffled(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

#[test]
fn no_file_however_mangled_stops_the_program() {
    let good = std::fs::read_to_string(folder("good").join("single.toml")).unwrap();
    let scraps = [
        "\"",
        "'",
        "\n",
        "\r\n",
        "\t",
        "ü",
        "🦀",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "#",
        "0",
        "\u{1b}[31m",
        "\u{200b}",
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    let (mut seed, mut bad) = (1, 0);
    for _ in 0..1500 {
        let mut text: Vec<char> = good.chars().collect();
        for _ in 0..=shuffled(&mut seed) % 4 {
            let at = shuffled(&mut seed) % text.len();
            let until = (at + shuffled(&mut seed) % 5).min(text.len());
            text.splice(at..until, scraps[shuffled(&mut seed) % scraps.len()].chars());
        }
        std::fs::write(&path, text.into_iter().collect::<String>()).unwrap();
        if let Err(errors) = load(&path, &[("BILLING_SECRET", "x")], Flags::default()) {
            bad += 1;
            assert!(errors.render(true).len() > 20);
            assert!(!errors.to_string().contains('\u{1b}'), "{errors}");
        }
    }
    assert!(bad > 500, "only {bad} were bad");
}
