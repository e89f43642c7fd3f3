//! Flags win over the environment, the environment over the file, the file over defaults.

use std::collections::BTreeMap;

use bearerd::config::{Code, Config, ConfigErrors, Flags, Loaded, Sources, keys};
use bearerd::grant::{Flow, Secret};
use bearerd::net::Listen;
use bearerd::token::GrantName;
use bearerd::{hooks, store};

use super::{folder, load};

/// What is enough to run without a file.
const ENOUGH: [(&str, &str); 3] = [
    ("BEARERD_UPSTREAM", "https://api.example.com"),
    ("BEARERD_OAUTH_ISSUER", "https://id.example.com"),
    ("BEARERD_OAUTH_CLIENT_ID", "billing"),
];

/// Loads without a file: what is enough, and `more`.
fn without_file(more: &[(&str, &str)], flags: Flags) -> Result<Loaded, ConfigErrors> {
    let env =
        ENOUGH.iter().chain(more).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Config::load(&Sources { env, flags, ..Sources::default() })
}

fn codes(errors: &ConfigErrors) -> Vec<Code> {
    errors.problems().iter().map(|problem| problem.code()).collect()
}

#[test]
fn environment_alone_is_enough() {
    let loaded = without_file(&[("HOME", "/nowhere")], Flags::default()).unwrap();
    assert_eq!(loaded.warnings(), []);
    assert_eq!(
        (loaded.config.file, loaded.config.proxy.routes.len(), loaded.config.grants.len()),
        (None, 1, 1)
    );
}

#[test]
fn an_empty_file_is_the_same_as_none() {
    let mut config = load(&folder("good").join("empty.toml"), &ENOUGH, Flags::default()).unwrap().config;
    config.file = None;
    let env = ("STATE_DIRECTORY", "/var/lib/bearerd");
    assert_eq!(config, without_file(&[env], Flags::default()).unwrap().config);
}

#[test]
fn flags_alone_are_enough_and_each_sets_its_key() {
    let text = |text: &str| Some(text.to_owned());
    let flags = Flags {
        listen: vec!["localhost:1".to_owned(), "unix:/p.sock".to_owned()],
        upstream: text("https://api.example.com"),
        issuer: text("https://id.example.com"),
        token_endpoint: text("https://id.example.com/token"),
        client_id: text("billing"),
        client_secret_file: text("/nowhere/secret"),
        refresh_token_file: text("/nowhere/seed"),
        scopes: vec!["openid".to_owned(), "offline_access".to_owned()],
        store_path: text("/s/state.json"),
        admin_listen: text("off"),
        probes_listen: text("0.0.0.0:2"),
        workers: text("4"),
        log_format: text("json"),
    };
    let config = Config::load(&Sources { flags, ..Sources::default() }).unwrap().config;
    let grant = &config.grants[&GrantName::new("default")];
    assert_eq!(
        config.listen.iter().map(Listen::to_string).collect::<Vec<_>>(),
        ["localhost:1", "unix:/p.sock"]
    );
    assert_eq!(
        (config.workers, config.admin.listen, config.admin.probes.unwrap().to_string().as_str()),
        (4, None, "0.0.0.0:2")
    );
    assert_eq!(
        config.store,
        store::Params::File {
            path: "/s/state.json".into(),
            allow_network_fs: false,
            encryption_keys: Vec::new()
        }
    );
    assert_eq!(grant.scopes, ["openid", "offline_access"]);
    assert_eq!(grant.credentials.secrets, [Secret::File("/nowhere/secret".into())]);
    assert_eq!(grant.flow, Flow::RefreshToken { seed: Some(Secret::File("/nowhere/seed".into())) });
    assert_eq!(config.log.format, bearerd::telemetry::Format::Json);
}

#[test]
fn flags_parse_on_a_command_line() {
    let command = <Flags as clap::Args>::augment_args(clap::Command::new("bearerd"));
    let line = ["bearerd", "--scope", "a", "--scope", "b", "--workers", "auto", "--listen", "localhost:0"];
    let matches = command.try_get_matches_from(line).unwrap();
    let flags = <Flags as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
    assert_eq!(
        (flags.scopes.join(" "), flags.workers, flags.listen.len()),
        ("a b".to_owned(), Some("auto".to_owned()), 1)
    );
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let path = folder("good").join("local.toml");
    let client = |env: &[(&str, &str)], flags| {
        let config = load(&path, env, flags).unwrap().config;
        config.grants[&GrantName::new("default")].client_id.clone()
    };
    let env = [("BEARERD_OAUTH_CLIENT_ID", "environment")];
    let flags = Flags { client_id: Some("flag".to_owned()), ..Flags::default() };
    assert_eq!(client(&[], Flags::default()), "dev");
    assert_eq!(client(&env, Flags::default()), "environment");
    assert_eq!(client(&env, flags), "flag");
    assert_eq!(client(&[("BEARERD_OAUTH_CLIENT_ID", "")], Flags::default()), "dev", "empty counts as unset");
}

#[test]
fn a_list_in_the_environment_is_separated_by_commas() {
    let env =
        [("BEARERD_OAUTH_SCOPES", "openid, offline_access"), ("BEARERD_LISTEN", "localhost:1,unix:/p.sock")];
    let config = without_file(&env, Flags::default()).unwrap().config;
    assert_eq!(config.grants[&GrantName::new("default")].scopes, ["openid", "offline_access"]);
    assert_eq!(config.listen.len(), 2);
    let env = [("BEARERD_HOOKS_STATE_CHANGED", "notify-send, bearerd")];
    let config = without_file(&env, Flags::default()).unwrap().config;
    assert_eq!(config.hooks.state_changed.unwrap(), ["notify-send", "bearerd"]);
}

#[test]
fn a_secret_in_the_environment_is_a_file_or_a_variable_and_never_itself() {
    let secret = |name, text| {
        let mut config = without_file(&[(name, text), ("HUSH", "s")], Flags::default()).unwrap().config;
        config.grants.get_mut(&GrantName::new("default")).unwrap().credentials.secrets.pop()
    };
    assert_eq!(secret("BEARERD_OAUTH_CLIENT_SECRET_FILE", "/nowhere"), Some(Secret::File("/nowhere".into())));
    assert!(
        matches!(secret("BEARERD_OAUTH_CLIENT_SECRET_ENV", "HUSH"), Some(Secret::Env { name, .. }) if name == "HUSH")
    );
    let errors = without_file(&[("BEARERD_OAUTH_CLIENT_SECRET", "canary")], Flags::default()).unwrap_err();
    let shown = errors.to_string();
    assert_eq!(codes(&errors), [Code::BareSecret]);
    assert!(shown.contains("BEARERD_OAUTH_CLIENT_SECRET_FILE") && !shown.contains("canary"), "{shown}");
    let both = [
        ("BEARERD_OAUTH_CLIENT_SECRET_FILE", "/nowhere"),
        ("BEARERD_OAUTH_CLIENT_SECRET_ENV", "HUSH"),
        ("HUSH", "s"),
    ];
    assert_eq!(codes(&without_file(&both, Flags::default()).unwrap_err()), [Code::Contradiction]);
}

#[test]
fn an_error_of_the_environment_or_a_flag_names_it() {
    let flags = Flags { workers: Some("many".to_owned()), ..Flags::default() };
    let errors = without_file(&[("BEARERD_OAUTH_TIMEOUT", "30")], flags).unwrap_err();
    let expected = "\
error[bad_duration]: `oauth.timeout` has a number without a unit
--> environment variable BEARERD_OAUTH_TIMEOUT
 = help: write \"30s\"

error[bad_choice]: `workers` must be a number of threads or \"auto\"
--> flag --workers
";
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn an_unknown_variable_is_a_warning_with_a_guess() {
    let env = [("BEARERD_OAUTH_CLIENTID", "x"), ("OTHER_OAUTH_CLIENTID", "x")];
    let loaded = without_file(&env, Flags::default()).unwrap();
    let [warning] = loaded.warnings() else { panic!("{:?}", loaded.warnings()) };
    assert_eq!(warning.code(), Code::UnknownVariable);
    assert!(warning.to_string().contains("did you mean BEARERD_OAUTH_CLIENT_ID?"), "{warning}");
}

#[test]
fn what_a_hook_is_told_is_no_unknown_variable_to_a_command_that_it_runs() {
    let env = hooks::TOLD.map(|(variable, ..)| (variable, "x"));
    assert_eq!(without_file(&env, Flags::default()).unwrap().warnings(), []);
}

#[test]
fn what_kubernetes_puts_into_the_environment_is_ignored() {
    let env = [
        ("BEARERD_PORT", "tcp://10.96.0.12:8080"),
        ("BEARERD_PORT_8080_TCP_ADDR", "10.96.0.12"),
        ("BEARERD_SERVICE_HOST", "10.96.0.12"),
        ("BEARERD_SERVICE_PORT_HTTP", "8080"),
        ("BEARERD_STAGING_PORT", "tcp://10.96.0.13:8080"),
        ("BEARERD_OAUTH_REDIRECT_PORT", "tcp://10.96.0.14:8080"),
    ];
    assert_eq!(without_file(&env, Flags::default()).unwrap().warnings(), []);
    let ours = [("BEARERD_OAUTH_REDIRECT_PORT", "8484")];
    let config = without_file(&ours, Flags::default()).unwrap().config;
    assert_eq!(config.grants[&GrantName::new("default")].sign_in.redirect_port, 8484);
}

#[test]
fn every_key_of_a_later_version_is_refused_in_the_environment_too() {
    let later: Vec<String> = keys()
        .filter(|key| key.later && key.section != "route" && key.name != "tls")
        .map(|key| key.path())
        .collect();
    assert!(later.len() > 5);
    for path in later {
        let name = format!("BEARERD_{}", path.replace('.', "_").to_ascii_uppercase());
        let errors = without_file(&[(name.as_str(), "x")], Flags::default()).unwrap_err();
        assert_eq!(codes(&errors), [Code::NotYet], "{name}");
    }
}

#[test]
fn named_grants_are_not_mixed_with_the_environments() {
    let path = folder("good").join("several.toml");
    let env = [("CREDENTIALS_DIRECTORY", "/run/credentials"), ("BEARERD_OAUTH_TIMEOUT", "3s")];
    let errors = load(&path, &env, Flags::default()).unwrap_err();
    assert_eq!(codes(&errors), [Code::MixedShapes]);
    assert!(errors.to_string().contains("[grant.crm]"), "{errors}");
}

#[test]
fn a_credential_needs_systemd() {
    let errors = load(&folder("good").join("several.toml"), &[], Flags::default()).unwrap_err();
    assert_eq!(codes(&errors), [Code::SecretUnset]);
}

#[test]
fn the_file_is_the_one_that_is_named_or_the_first_that_is_there() {
    let place = |name: &str| folder("good").join(format!("{name}.toml"));
    let found = |file: Option<&str>, env: &str| {
        let env = BTreeMap::from([("BEARERD_CONFIG".to_owned(), env.to_owned())]);
        let search = vec!["/nowhere/proxy.toml".into(), place("mixed")];
        Config::load(&Sources { file: file.map(place), search, env, ..Sources::default() })
            .unwrap()
            .config
            .file
    };
    let local = place("local").display().to_string();
    assert_eq!(found(None, ""), Some(place("mixed")));
    assert_eq!(found(None, &local), Some(place("local")));
    assert_eq!(found(Some("default_by_name"), &local), Some(place("default_by_name")));
}

#[test]
fn a_named_file_that_is_not_there_is_an_error() {
    let errors = load("/nowhere/proxy.toml".as_ref(), &[], Flags::default()).unwrap_err();
    assert_eq!(codes(&errors), [Code::UnreadableFile]);
    assert!(errors.to_string().contains("/nowhere/proxy.toml"), "{errors}");
    assert_eq!(
        codes(&load("/dev/zero".as_ref(), &[], Flags::default()).unwrap_err()),
        [Code::UnreadableFile]
    );
}
