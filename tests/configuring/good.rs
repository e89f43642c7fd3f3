//! The good files, each with what it resolves to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bearerd::config::{Code, Config, Flags, Loaded};
use bearerd::grant::{
    ClientAuthMethod, Credentials, Dpop, Flow, Margin, Secret, Server, SignIn, TokenExchange,
};
use bearerd::jose::Algorithm;
use bearerd::net::Listen;
use bearerd::proxy::guard::Browser;
use bearerd::proxy::upstream::{HttpVersion, Target};
use bearerd::secret::ClientSecret;
use bearerd::token::{Credential, GrantName};
use bearerd::{hooks, proxy, store, telemetry, tls};

use super::{files, folder, load};

fn good(name: &str, env: &[(&str, &str)]) -> Loaded {
    let path = folder("good").join(format!("{name}.toml"));
    load(&path, env, Flags::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn tcp(host: &str, port: u16) -> Listen {
    Listen::Tcp { host: host.to_owned(), port }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn every_good_file_is_known_here() {
    let names: Vec<String> = files("good", "toml").into_keys().collect();
    assert_eq!(names, ["credentials", "default_by_name", "empty", "local", "mixed", "several", "single"]);
}

#[test]
fn a_single_grant_and_upstream_resolve_key_by_key() {
    let config = good("single", &[("BILLING_SECRET", " hush\n")]).config;
    let sockets = [Listen::Unix("/run/bearerd/proxy.sock".into()), Listen::Inherited("web".to_owned())];
    assert_eq!(config.listen[0], tcp("localhost", 0));
    assert_eq!(config.listen[1..], sockets);
    assert_eq!((config.workers, config.proxy.via), (3, false));
    assert_eq!((config.drain_delay, config.shutdown_grace), (seconds(1), seconds(90)));
    let [route] = config.proxy.routes.as_slice() else { panic!("{:?}", config.proxy.routes) };
    assert_eq!((route.path.as_str(), &route.host, &route.response_timeout), ("/", &None, &None));
    assert_eq!(route.upstream.target, Target::Tls { host: "api.example.com".to_owned(), port: 8443 });
    assert_eq!((route.upstream.path.as_str(), route.upstream.http), ("/v2", HttpVersion::One));
    assert_eq!(Some(&route.credential), Credential::new("x-token".parse().unwrap(), "").as_ref());
    assert_eq!(route.methods, Some(vec![http::Method::GET, http::Method::POST]));
    assert_eq!(route.grant, GrantName::new("default"));
}

#[test]
fn a_grant_resolves_key_by_key() {
    let config = good("single", &[("BILLING_SECRET", " hush\n")]).config;
    let grant = &config.grants[&GrantName::new("default")];
    let issuer = "https://id.example.com/realms/acme".to_owned();
    assert_eq!(grant.server, Server::Issuer { issuer, token_endpoint: None });
    assert_eq!((grant.client_id.as_str(), grant.client_auth), ("billing", ClientAuthMethod::Post));
    let secret = Secret::Env { name: "BILLING_SECRET".to_owned(), value: ClientSecret::new("hush") };
    assert_eq!(grant.credentials.secrets, [secret]);
    assert_eq!(grant.flow, Flow::RefreshToken { seed: Some(Secret::File(folder("good").join("seed"))) });
    assert_eq!(
        (grant.scopes.join(" ").as_str(), grant.send_scopes_on_refresh),
        ("openid offline_access", true)
    );
    assert_eq!(grant.resource, ["https://api.example.com"]);
    assert_eq!(grant.audience.as_deref(), Some("api"));
    assert_eq!(grant.extra, [("x_device".to_owned(), "7".to_owned())]);
    assert_eq!((grant.margin, grant.timeout), (Margin::Span(seconds(90)), seconds(5)));
    assert_eq!(grant.connect_to, Some(("127.0.0.1".to_owned(), 9443)));
    let url = |path: &str| Some(format!("https://id.example.com/{path}"));
    let sign_in = SignIn {
        authorization_endpoint: url("authorize"),
        device_authorization_endpoint: url("device"),
        revocation_endpoint: url("revoke"),
        redirect_port: 8976,
        redirect_path: "/back".to_owned(),
    };
    assert_eq!(grant.sign_in, sign_in);
}

#[test]
fn the_other_sections_resolve_key_by_key() {
    let config = good("single", &[("BILLING_SECRET", "hush")]).config;
    let in_folder = |name: &str| folder("good").join(name);
    let place = store::Params::File {
        path: in_folder("state/refresh.json"),
        allow_network_fs: true,
        encryption_keys: ["store_key", "store_key.before"].map(|name| Secret::File(in_folder(name))).to_vec(),
    };
    assert_eq!(config.store, place);
    assert_eq!((config.admin.listen, config.admin.listen_is_default), (None, false));
    assert_eq!(config.admin.probes, Some(tcp("0.0.0.0", 9902)));
    assert_eq!(config.proxy.guard.allowed_hosts, ["gateway.internal", "[::1]"]);
    assert_eq!(config.proxy.guard.allowed_origins, ["https://app.example.com"]);
    assert_eq!(config.proxy.guard.browser, Browser::SameOrigin);
    assert_eq!(
        config.tls,
        tls::Params { ca_file: Some(folder("good").join("ca.pem")), roots: tls::Roots::File, client: None }
    );
    let log = telemetry::Params {
        format: telemetry::Format::Json,
        level: tracing::Level::DEBUG,
        access: telemetry::Access::All,
    };
    assert_eq!(config.log, log);
    let limits = proxy::Limits {
        token_wait: seconds(1),
        connect_timeout: seconds(2),
        tls_timeout: seconds(3),
        first_byte_timeout: seconds(4),
        header_timeout: seconds(5),
        idle_timeout: seconds(6),
        body_timeout: None,
        stream_idle_timeout: Some(seconds(7)),
        header_size: 32 * 1024,
        connections: 8,
        requests: 9,
        replay_body: 16 * 1024,
        upstream_idle: seconds(10),
        upstream_age: seconds(11),
    };
    assert_eq!(config.proxy.limits, limits);
    let command = ["/usr/local/bin/tell", "--grant", "billing"].map(str::to_owned).to_vec();
    assert_eq!(config.hooks, hooks::Params { state_changed: Some(command) });
}

#[test]
fn several_routes_keep_their_order_and_take_what_they_do_not_say_from_above() {
    let config = good("several", &[("CREDENTIALS_DIRECTORY", "/run/credentials/bearerd")]).config;
    let [crm, maps, legacy] = config.proxy.routes.as_slice() else { panic!("{:?}", config.proxy.routes) };
    assert_eq!(
        (crm.path.as_str(), crm.upstream.path.as_str(), crm.response_timeout),
        ("/crm", "/v2", Some(seconds(5)))
    );
    assert_eq!((maps.host.as_deref(), maps.response_timeout), (Some("maps.internal"), Some(seconds(60))));
    assert_eq!(maps.upstream.target, Target::Plain { host: "10.0.0.7".to_owned(), port: 8000 });
    assert_eq!((crm.upstream.http, maps.upstream.http), (HttpVersion::Match, HttpVersion::Two));
    assert_eq!(
        (legacy.path.as_str(), &legacy.upstream.target),
        ("/", &Target::Unix("/run/legacy.sock".into()))
    );
    assert_eq!((crm.grant.as_str(), maps.grant.as_str(), legacy.grant.as_str()), ("crm", "maps", "crm"));
    assert_eq!((crm.methods.clone(), &legacy.methods), (Some(vec![http::Method::GET]), &None));
    let credential = Secret::File("/run/credentials/bearerd/crm_secret".into());
    assert_eq!(config.grants[&GrantName::new("crm")].credentials.secrets, [credential]);
    assert_eq!(config.grants[&GrantName::new("maps")].flow, Flow::ClientCredentials);
}

#[test]
fn plain_http_is_fine_on_this_machine() {
    let loaded = good("local", &[]);
    let [route] = loaded.config.proxy.routes.as_slice() else { panic!("{:?}", loaded.config.proxy.routes) };
    assert_eq!(route.upstream.target, Target::Plain { host: "localhost".to_owned(), port: 3000 });
    assert_eq!(loaded.config.store, store::Params::Memory);
    assert_eq!(loaded.config.listen, [tcp("localhost", 8080)]);
    assert_eq!(
        (loaded.config.admin.listen.clone(), loaded.config.admin.listen_is_default),
        (Some(tcp("127.0.0.1", 9901)), true)
    );
    assert_eq!(loaded.warnings(), []);
    let sign_in = SignIn { redirect_path: "/callback".to_owned(), ..SignIn::default() };
    assert_eq!(loaded.config.grants[&GrantName::new("default")].sign_in, sign_in);
}

#[test]
fn oauth_is_the_grant_called_default() {
    let names = |config: &Config| config.grants.keys().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&good("mixed", &[]).config), ["default", "other"]);
    let by_name = good("default_by_name", &[("BEARERD_OAUTH_CLIENT_ID", "from the environment")]).config;
    assert_eq!(names(&by_name), ["default"]);
    assert_eq!(by_name.grants[&GrantName::new("default")].client_id, "from the environment");
}

#[test]
fn every_way_of_proving_the_client_and_every_flow_resolve() {
    let config = good("credentials", &[("FOLLOWING", "next")]).config;
    let file = |name: &str| Secret::File(folder("good").join(name));
    let words = ["pass", "show", "client key"].map(str::to_owned).to_vec();
    let certificate = tls::Certificate { chain: folder("good").join("client.pem"), key: Secret::Exec(words) };
    assert_eq!(config.tls.client, Some(certificate));
    let grant = |name: &str| &config.grants[&GrantName::new(name)];

    let following = Secret::Env { name: "FOLLOWING".to_owned(), value: ClientSecret::new("next") };
    let of = grant("second-secret");
    assert_eq!(of.credentials.secrets, [file("current"), following]);
    assert_eq!((of.client_auth, of.credentials.certificate), (ClientAuthMethod::ClientSecretJwt, true));

    let of = grant("key");
    let credentials = Credentials {
        key: Some(file("key.pem")),
        key_id: Some("2026-11".to_owned()),
        algorithm: Some(Algorithm::Ps256),
        audience: Some("https://id.example.com/token".to_owned()),
        certificate: true,
        ..Credentials::default()
    };
    assert_eq!((&of.credentials, of.client_auth), (&credentials, ClientAuthMethod::Auto));
    let header = (http::HeaderName::from_static("x-tenant"), http::HeaderValue::from_static("acme"));
    assert_eq!(of.extra_headers, [header]);

    let bound = |name: &str| (grant(name).dpop, grant(name).dpop_key.clone());
    assert_eq!(bound("bound"), (Dpop::Required, Some(file("dpop.pem"))));
    assert_eq!(bound("workload"), (Dpop::Offered, None));
    assert_eq!(bound("key"), (Dpop::Off, None));

    assert_eq!(grant("workload").credentials.assertion, Some(file("token")));
    assert_eq!(grant("workload").flow, Flow::ClientCredentials);
    assert_eq!(grant("certificate").client_auth, ClientAuthMethod::Tls);
    let subject = Some("alice@example.com".to_owned());
    assert_eq!(grant("bearer").flow, Flow::JwtBearer { assertion: None, subject });
    let exchange = TokenExchange {
        subject: (file("subject"), "urn:ietf:params:oauth:token-type:access_token".to_owned()),
        actor: Some((file("actor"), "urn:ietf:params:oauth:token-type:jwt".to_owned())),
        requested: Some("https://types.example/special".to_owned()),
    };
    assert_eq!(grant("exchange").flow, Flow::TokenExchange(Box::new(exchange)));
}

#[test]
fn the_summary_says_in_one_line_what_will_run() {
    let loaded = good("several", &[("CREDENTIALS_DIRECTORY", "/run/credentials/bearerd")]);
    let summary = loaded.summary().replace(&format!("{}/", folder("good").display()), "");
    let expected = "several.toml is good: listens on localhost:8080, 3 routes, 2 grants, \
                    store /var/lib/bearerd/state.json, admin 127.0.0.1:9901, probes off";
    assert_eq!(summary, expected);
}

#[test]
fn a_secret_file_that_is_missing_or_open_to_all_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (config, seed) = (folder.path().join("proxy.toml"), folder.path().join("seed"));
    let text = "upstream = \"https://h\"\n[oauth]\nissuer = \"https://i\"\nclient_id = \"c\"\nrefresh_token = { file = \"seed\" }\n";
    std::fs::write(&config, text).unwrap();
    let warned = |path: &Path| {
        let loaded = load(path, &[], Flags::default()).unwrap();
        let codes: Vec<Code> = loaded.warnings().iter().map(|warning| warning.code()).collect();
        (codes, loaded.render_warnings(false))
    };
    let (codes, shown) = warned(&config);
    assert_eq!(codes, [Code::SecretFileMissing], "{shown}");
    assert!(
        shown.starts_with("warning[secret_file_missing]: ") && shown.contains("proxy.toml:5:17"),
        "{shown}"
    );
    std::fs::write(&seed, "token").unwrap();
    for (mode, expected) in [
        (0o644, vec![Code::SecretFileMode]),
        (0o660, vec![Code::SecretFileMode]),
        (0o640, vec![]),
        (0o400, vec![]),
    ] {
        std::fs::set_permissions(&seed, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(warned(&config).0, expected, "{mode:o}");
    }
}

#[test]
fn what_a_reload_cannot_change_is_named() {
    let old = good("local", &[]).config;
    assert_eq!(old.clone().take_back(&old), Vec::<&str>::new());
    let env = [
        ("BEARERD_LISTEN", "localhost:1"),
        ("BEARERD_WORKERS", "7"),
        ("BEARERD_STORE_KIND", "file"),
        ("BEARERD_ADMIN_LISTEN", "off"),
        ("BEARERD_PROBES_LISTEN", "localhost:2"),
        ("BEARERD_LOG_FORMAT", "json"),
        ("BEARERD_LOG_LEVEL", "debug"),
        ("BEARERD_VIA", "false"),
    ];
    let all = ["listen", "workers", "store", "admin.listen", "probes.listen", "log.format"];
    let mut new = good("local", &env).config;
    assert_eq!(new.take_back(&old), all);
    assert_eq!(new.take_back(&old), Vec::<&str>::new(), "they are the old ones now");
    assert!(!new.proxy.via, "and the rest is the new one's");
}

#[test]
fn relative_paths_are_relative_to_the_file_and_those_of_the_environment_are_not() {
    let config = good("local", &[("BEARERD_STORE_KIND", "file"), ("BEARERD_STORE_PATH", "here.json")]).config;
    assert_eq!(
        config.store,
        store::Params::File {
            path: PathBuf::from("here.json"),
            allow_network_fs: false,
            encryption_keys: Vec::new()
        }
    );
}

#[cfg(feature = "keyring")]
#[test]
fn a_record_in_the_keyring_has_a_place_on_the_disk_too() {
    let env = [("BEARERD_STORE_KIND", "keyring"), ("BEARERD_STORE_PATH", "/state/here.json")];
    let (path, allow_network_fs) = (PathBuf::from("/state/here.json"), false);
    assert_eq!(good("local", &env).config.store, store::Params::Keyring { path, allow_network_fs });
}

#[test]
fn a_grant_that_no_route_uses_is_a_warning() {
    let env = [("CREDENTIALS_DIRECTORY", "/run/credentials"), ("BEARERD_UPSTREAM", "https://h")];
    assert_eq!(
        good("several", &env[..1]).warnings().iter().filter(|one| one.code() == Code::UnusedGrant).count(),
        0
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    let grant = |name: &str| format!("[grant.{name}]\nissuer = \"https://i\"\nclient_id = \"c\"\n");
    std::fs::write(&path, grant("default") + &grant("spare")).unwrap();
    let loaded = load(&path, &env[1..], Flags::default()).unwrap();
    let [warning] = loaded.warnings() else { panic!("{:?}", loaded.warnings()) };
    assert_eq!(
        warning.to_string(),
        "no route uses the grant `spare`; write grant = \"spare\" below a [[route]], or remove it"
    );
}
