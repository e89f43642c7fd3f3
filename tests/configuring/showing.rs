//! `config show` tells what is in use and who said so, and is itself a proxy.toml that says the same.

use bearerd::config::{Config, Flags, Loaded};

use super::{files, load};
use crate::support::process::{Home, told};

/// What `text` loads as, with nothing but the usual environment.
fn again(text: &str, env: &[(&str, &str)]) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path, env, Flags::default()).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    Config { file: None, ..loaded.config }
}

fn same(loaded: &Loaded, env: &[(&str, &str)]) {
    let before = Config { file: None, ..loaded.config.clone() };
    for origins in [false, true] {
        let shown = loaded.show(origins, true);
        assert_eq!(again(&shown, env), before, "{shown}");
    }
}

/// What the good files refer to.
const SECRETS: [(&str, &str); 3] =
    [("BILLING_SECRET", "hush"), ("FOLLOWING", "next"), ("CREDENTIALS_DIRECTORY", "/run/credentials")];

#[test]
fn what_is_shown_reads_as_the_same_configuration() {
    let mut read = 0;
    for (name, path) in files("good", "toml") {
        let Ok(loaded) = load(&path, &SECRETS, Flags::default()) else {
            assert_eq!(name, "empty", "only the environment fills that one");
            continue;
        };
        same(&loaded, &SECRETS);
        read += 1;
    }
    assert!(read >= 6, "{read}");
}

#[test]
fn what_environment_and_flags_say_is_shown_as_a_file_would_say_it() {
    let flags = Flags {
        listen: vec!["localhost:1".to_owned(), "unix:/run/b.sock".to_owned()],
        scopes: vec!["openid".to_owned()],
        client_secret_file: Some("/run/secret \"quoted\"".to_owned()),
        workers: Some("auto".to_owned()),
        ..Flags::default()
    };
    let env = [
        ("BEARERD_UPSTREAM", "https://h"),
        ("BEARERD_OAUTH_ISSUER", "https://i"),
        ("BEARERD_OAUTH_CLIENT_ID", "7"),
        ("BEARERD_OAUTH_REFRESH_TOKEN_ENV", "SEED"),
        ("BEARERD_OAUTH_DPOP", "true"),
        ("BEARERD_OAUTH_RESOURCE", "https://a,https://b"),
        ("BEARERD_METHODS", "GET, POST"),
        ("BEARERD_LIMITS_REQUESTS", "7"),
        ("BEARERD_VIA", "false"),
        ("BEARERD_STORE_PATH", "/var/lib/x/state.json"),
        ("SEED", "canary"),
    ];
    let empty = &files("good", "toml")["empty"];
    let loaded = load(empty, &env, flags).unwrap_or_else(|errors| panic!("{errors}"));
    same(&loaded, &[("SEED", "canary")]);
    let shown = loaded.show(true, false);
    for line in [
        "listen = [\"localhost:1\", \"unix:/run/b.sock\"]  # --listen",
        "workers = \"auto\"  # --workers",
        "client_id = \"7\"  # BEARERD_OAUTH_CLIENT_ID",
        "client_secret = { file = \"/run/secret \\\"quoted\\\"\" }  # --client-secret-file",
        "refresh_token = { env = \"SEED\" }  # BEARERD_OAUTH_REFRESH_TOKEN_ENV",
        "resource = [\"https://a\", \"https://b\"]  # BEARERD_OAUTH_RESOURCE",
        "methods = [\"GET\", \"POST\"]  # BEARERD_METHODS",
        "requests = 7  # BEARERD_LIMITS_REQUESTS",
        "# connections = 10000  # default",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn what_may_be_a_secret_is_shown_only_where_that_is_asked_for() {
    let home = Home::new();
    home.configure(
        "upstream = \"https://h\"\n[oauth]\nissuer = \"https://i\"\nclient_id = \"c\"\nextra = { password = \"canary\" }\n[oauth.extra_headers]\nx-api-key = \"canary\"\n[hooks]\nstate_changed = [\"curl\", \"-d\", \"https://canary\"]\n",
    );
    let shown = |arguments: &[&str]| told(home.bearerd().args(["config", "show"]).args(arguments)).1;
    for arguments in [&[][..], &["--origin"]] {
        let out = shown(arguments);
        assert!(!out.contains("canary") && out.contains("extra = { password = \"…\" }"), "{out}");
        assert!(out.contains("extra_headers = { x-api-key = \"…\" }"), "{out}");
        assert!(out.contains("state_changed = [\"curl\", \"…\"]"), "{out}");
    }
    assert_eq!(shown(&["--all"]).matches("canary").count(), 3);
    let said = |command: &str| {
        let mut bearerd = home.bearerd();
        told(bearerd.env("BEARERD_HOOKS_STATE_CHANGED", command).args(["config", "show"])).1
    };
    assert!(said("curl, canary, canary").contains("state_changed = [\"curl\", \"…\"]\n"));
    assert!(said("curl").contains("state_changed = [\"curl\"]\n"), "there is nothing behind it");
}

#[test]
fn every_value_is_shown_with_where_it_comes_from() {
    let home = Home::new();
    let file = home.configure(
        "upstream = \"https://h\"\n\n[oauth]\nissuer = \"https://i\"\nclient_id = \"c\"\nclient_secret = { file = \"secret\" }\n",
    );
    let (code, out, _) = told(home.bearerd().env("BEARERD_OAUTH_CLIENT_ID", "other").args([
        "config",
        "show",
        "--origin",
        "--upstream",
        "https://flag",
    ]));
    assert_eq!(code, Some(0));
    let secret = home.path().join("secret");
    for line in [
        "upstream = \"https://flag\"  # --upstream".to_owned(),
        format!("issuer = \"https://i\"  # {}:4", file.display()),
        "client_id = \"other\"  # BEARERD_OAUTH_CLIENT_ID".to_owned(),
        format!("client_secret = {{ file = \"{}\" }}  # {}:6", secret.display(), file.display()),
        "# timeout = \"20s\"  # default".to_owned(),
        "# path = \"/var/lib/bearerd/state.json\"  # default".to_owned(),
    ] {
        assert!(out.lines().any(|shown| shown == line), "{line} is not in\n{out}");
    }
    let (_, plain, _) = told(home.bearerd().args(["config", "show"]));
    assert!(plain.contains("\nclient_id = \"c\"\n"), "{plain}");
}
