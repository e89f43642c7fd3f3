//! `bearerd login` as a person has it: what it asks for, what it keeps, what it prints, and what it refuses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bearerd::secret::Fingerprint;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::authorization_server::{AuthorizationServer, Client, Options, Person};
use crate::support::browser::{self, asked};
use crate::support::canaries::found;
use crate::support::in_time;
use crate::support::process::{Home, Process, told};

pub(crate) const LOOPBACK: &str = "http://127.0.0.1/callback";

/// Of a strict server with one client that comes back to loopback.
pub(crate) fn strict(options: impl FnOnce(Options) -> Options) -> AuthorizationServer {
    options(AuthorizationServer::strict()).client(Client::public("app").redirects_to(LOOPBACK)).start()
}

/// A place whose grant is of client `app` at this server, with these lines more below `[oauth]`.
pub(crate) fn home(server: &AuthorizationServer, more: &str) -> Home {
    let home = Home::new();
    home.configure(&format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:9\"\n\n\
         [oauth]\nissuer = \"{}\"\nclient_id = \"app\"\n{more}\n\
         [store]\npath = \"@HOME@/state.json\"\n\n[admin]\nlisten = \"unix:@HOME@/admin.sock\"\n",
        server.issuer()
    ));
    home
}

pub(crate) fn login(home: &Home, arguments: &[&str]) -> Process {
    Process::spawn(home.bearerd().args(["-vvv", "login"]).args(arguments))
}

fn record(home: &Home) -> Value {
    serde_json::from_slice(&std::fs::read(home.path().join("state.json")).unwrap()).unwrap()
}

/// Signs in by the address that is printed, to the end.
async fn signs_in(home: &Home, server: &AuthorizationServer, arguments: &[&str]) -> String {
    let mut program = login(home, &[&["--no-browser"], arguments].concat()).keeps_secrets_of(server);
    let url = browser::printed_url(&program, server).await;
    let page = browser::open(&url).await.callback().get().await;
    let code = program.wait().await.code();
    let said = program.log().join("\n");
    assert_eq!((code, page.status(), program.output().as_str()), (Some(0), 200, ""), "{said}");
    assert!(page.text().contains("<title>Signed in — you can close this tab</title>"), "{}", page.text());
    said
}

#[tokio::test]
async fn a_sign_in_at_authgear_asks_for_what_it_needs_and_rests_as_a_line_of_its_own() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let uri = format!("http://127.0.0.1:{port}/back/here");
    let server = AuthorizationServer::authgear().client(Client::public("app").redirects_to(&uri)).start();
    let home = home(
        &server,
        &format!(
            "refresh_token = {{ file = \"seed\" }}\nredirect_port = {port}\nredirect_path = \"/back/here\"\n"
        ),
    );
    home.write("seed", "old-seed");
    let said = signs_in(&home, &server, &[]).await;
    let url = said.split_whitespace().find(|word| word.contains("code_challenge=")).unwrap();
    let asks = |name: &str| asked(url, name).unwrap_or_default();
    assert_eq!((asks("scope"), asks("redirect_uri")), ("openid offline_access".to_owned(), uri.clone()));
    assert_eq!(
        (asks("response_type"), asks("code_challenge_method")),
        ("code".to_owned(), "S256".to_owned())
    );
    assert!(asks("state").len() >= 22 && asks("nonce").len() >= 22 && asks("code_challenge").len() == 43);
    let place = home.path().join("state.json");
    for words in [
        format!("Redirect URI  {uri}  (to be registered with the client)"),
        format!("✓ Signed in. Access token valid 30m; refresh token stored in file {}.", place.display()),
        format!("Next:  bearerd --config {} run", home.path().join("proxy.toml").display()),
    ] {
        assert!(said.contains(&words), "{words} in {said}");
    }
    let record = record(&home);
    let token = record["refresh_token"].as_str().unwrap();
    assert_eq!(server.current_refresh_token(token).as_deref(), Some(token));
    assert_eq!((&record["issuer"], &record["client_id"]), (&server.issuer().into(), &"app".into()));
    assert!(record["access_token"]["text"].is_string() && record["intent"].is_null(), "{record}");
    let seed = serde_json::to_value(Fingerprint::of("old-seed")).unwrap();
    assert_eq!(record["seeds"], serde_json::json!([seed]), "it is older than the sign-in");
}

#[tokio::test]
async fn a_port_that_changes_is_not_told_as_one_to_be_registered() {
    let server = strict(|options| options);
    let said = signs_in(&home(&server, ""), &server, &[]).await;
    assert!(said.contains("any port of loopback has to be allowed; `redirect_port` fixes one"), "{said}");
    assert!(!said.contains("to be registered with the client"), "{said}");
}

#[tokio::test]
async fn a_bearerd_that_waits_is_told_and_goes_on_without_a_refresh_and_so_does_the_next() {
    let server = strict(|options| options.expires_in(600));
    let home = home(&server, "refresh_token = { file = \"seed\" }\n");
    home.write("seed", "never-good");
    let mut bearerd = home.run().keeps_secrets_of(&server);
    bearerd.wait_for_event("refresh_failed").await;
    let before = server.redeems().len();
    let said = signs_in(&home, &server, &[]).await;
    assert!(said.contains("The bearerd that runs has been told"), "{said}");
    assert!(!said.contains("Next:"), "what runs needs not be run: {said}");
    bearerd.wait_for_event("grant_adopted").await;
    bearerd.kill();
    let again = home.run().keeps_secrets_of(&server);
    again.wait_for_event("grant_adopted").await;
    let redeems = server.redeems();
    let kinds: Vec<_> = redeems[before..].iter().map(|one| one.parameter("grant_type")).collect();
    assert_eq!(kinds, [Some("authorization_code")], "the token that came with the sign-in is good");
    assert_eq!(server.reuse_errors(), 0);
}

#[tokio::test]
async fn a_grant_that_rests_is_replaced_when_the_next_is_durable_and_not_before() {
    let server = strict(|options| options);
    let home = home(&server, "");
    signs_in(&home, &server, &[]).await;
    let first = record(&home);
    // Cancelled, and without a refresh token: what rests stays, to the byte.
    let bytes = std::fs::read(home.path().join("state.json")).unwrap();
    let mut program = login(&home, &["--no-browser"]).keeps_secrets_of(&server);
    browser::printed_url(&program, &server).await;
    program.signal(Signal::INT);
    assert_eq!(program.wait().await.code(), Some(130));
    let said = program.log().join("\n");
    assert!(
        said.contains("is in use; this sign-in replaces it") && said.contains("(sign_in_cancelled)"),
        "{said}"
    );
    assert_eq!(std::fs::read(home.path().join("state.json")).unwrap(), bytes);
    let said = signs_in(&home, &server, &[]).await;
    assert!(said.contains("was replaced and not revoked"), "{said}");
    let second = record(&home);
    assert_ne!((&first["lineage"], &first["refresh_token"]), (&second["lineage"], &second["refresh_token"]));
    assert!(
        second["generation"].as_u64() > first["generation"].as_u64(),
        "whoever looks sees that it is another"
    );
    let old = first["refresh_token"].as_str().unwrap();
    assert_eq!(server.current_refresh_token(old).as_deref(), Some(old), "some servers would end both");
}

#[tokio::test]
async fn a_damaged_record_is_set_aside_and_what_the_sign_in_brought_is_kept() {
    let server = strict(|options| options);
    for seed in ["", "refresh_token = { file = \"gone\" }\n"] {
        let home = home(&server, seed);
        rest(&home, "{ half a rec");
        let said = signs_in(&home, &server, &[]).await;
        assert!(said.contains("was damaged") && said.contains("set aside as"), "{said}");
        let kept = record(&home)["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(server.current_refresh_token(&kept), Some(kept));
    }
}

#[tokio::test]
async fn without_a_refresh_token_what_rested_stays() {
    let server = strict(|options| options.never_offline());
    let home = home(&server, "scopes = [\"openid\", \"offline_access\"]\n");
    let seed = server.seed("app");
    rest(&home, &resting(&server, &seed));
    let bytes = std::fs::read(home.path().join("state.json")).unwrap();
    let mut program = login(&home, &["--no-browser"]).keeps_secrets_of(&server);
    let url = browser::printed_url(&program, &server).await;
    let page = browser::open(&url).await.callback().get().await.text();
    assert!(page.contains("Not signed in") && page.contains("no_refresh_token"), "{page}");
    assert_eq!(program.wait().await.code(), Some(77));
    assert_eq!(std::fs::read(home.path().join("state.json")).unwrap(), bytes);
}

/// Puts a record where the grant's rests.
pub(crate) fn rest(home: &Home, record: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = home.write("state.json", record);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn what_cannot_be_stored_is_told_on_the_page_too() {
    let server = strict(|options| options);
    let home = home(&server, "");
    let text = std::fs::read_to_string(home.path().join("proxy.toml")).unwrap();
    home.write("proxy.toml", &text.replace("/state.json", "/store/state.json"));
    let mut program = login(&home, &["--no-browser"]).keeps_secrets_of(&server);
    let url = browser::printed_url(&program, &server).await;
    let store = home.path().join("store");
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::write(&store, "in the way").unwrap();
    let page = browser::open(&url).await.callback().get().await.text();
    assert!(page.contains("Not signed in") && page.contains("store_unavailable"), "{page}");
    assert_eq!(program.wait().await.code(), Some(78));
}

pub(crate) fn resting(server: &AuthorizationServer, token: &str) -> String {
    serde_json::json!({
        "version": 1, "lineage": "line", "generation": 7, "issuer": server.issuer(), "client_id": "app",
        "refresh_token": token, "seeds": [],
    })
    .to_string()
}

#[tokio::test]
async fn a_confidential_client_with_a_key_proves_both_all_the_way() {
    let client = Client::confidential("app", "hush-hush-secret").redirects_to(LOOPBACK).proves();
    let server = AuthorizationServer::strict().demands_par().nonces().client(client).start();
    let home = home(
        &server,
        "client_secret = { file = \"secret\" }\ndpop = \"required\"\nresource = \"https://api.example\"\n",
    );
    home.write("secret", "hush-hush-secret");
    signs_in(&home, &server, &[]).await;
    let record = record(&home);
    let token = record["access_token"]["text"].as_str().unwrap();
    assert!(
        server.key_of(token).is_some() && record["dpop_key"].is_string(),
        "the key rests with what it binds"
    );
    assert_eq!(record["access_token"]["bound"], true);
    let code = server.redeems().into_iter().find(|one| one.status == Some(200)).unwrap();
    assert_eq!(code.parameter("resource"), Some("https://api.example"));
    let (exit, _, err) = told(home.bearerd().arg("refresh"));
    assert_eq!(exit, Some(0), "the key is the one that the server knows: {err}");
}

#[tokio::test]
async fn a_seed_for_another_machine_goes_to_standard_output_and_nowhere_else() {
    for form in ["kubernetes-secret", "env", "json"] {
        let server = strict(|options| options);
        let home = home(&server, "");
        let mut program = login(&home, &["--no-browser", "--emit", form]);
        let url = browser::printed_url(&program, &server).await;
        assert_eq!(browser::open(&url).await.callback().get().await.status(), 200);
        assert_eq!(program.wait().await.code(), Some(0));
        let (out, said) = (program.output(), program.log().join("\n"));
        assert_eq!(found(&said, &server.secrets()), None, "{said}");
        assert!(said.contains("One refresh token has one holder"), "{said}");
        assert!(!home.path().join("state.json").exists(), "nothing is stored here");
        let token = match form {
            "kubernetes-secret" => {
                assert!(
                    out.starts_with("apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"bearerd-seed\"\n"),
                    "{out}"
                );
                let data = out.lines().find_map(|line| line.strip_prefix("  refresh_token: ")).unwrap();
                String::from_utf8(STANDARD.decode(data).unwrap()).unwrap()
            }
            "env" => {
                out.lines().find_map(|line| line.strip_prefix("SEED_REFRESH_TOKEN=")).unwrap().to_owned()
            }
            _ => serde_json::from_str::<Value>(&out).unwrap()["refresh_token"].as_str().unwrap().to_owned(),
        };
        assert_eq!(server.current_refresh_token(&token), Some(token.clone()), "{out}");
        let rest = server.secrets().into_iter().filter(|secret| *secret != token).collect::<Vec<_>>();
        assert_eq!(found(&out, &rest), None, "no more than that");
    }
}

#[test]
fn what_a_sign_in_could_not_be_kept_for_is_refused_before_anybody_signs_in() {
    let server = strict(|options| options);
    let oauth =
        |more: &str| format!("[oauth]\nissuer = \"{}\"\nclient_id = \"app\"\n{more}\n", server.issuer());
    let grant = |name: &str| {
        let route = format!(
            "[[route]]\npath = \"/{name}\"\nupstream = \"http://127.0.0.1:9/x\"\ngrant = \"{name}\"\n"
        );
        oauth("").replace("[oauth]", &format!("[grant.{name}]")) + &route
    };
    let file = "[store]\npath = \"@HOME@/state.json\"\n";
    let rows: [(&str, String, &[&str], i32, &str); 12] = [
        ("a store in memory", oauth("") + "[store]\nkind = \"memory\"\n", &[], 78, "--emit"),
        (
            "another flow",
            oauth("flow = \"client_credentials\"\nclient_secret = { file = \"/dev/null\" }") + file,
            &[],
            78,
            "needs no sign-in",
        ),
        ("several grants", grant("crm") + &grant("maps") + file, &[], 78, "`crm`, `maps`"),
        ("an unknown one", oauth("") + file, &["other"], 78, "there is no grant `other`"),
        (
            "a store that is a folder",
            oauth("") + "[store]\npath = \"/proc/1/state.json\"\n",
            &[],
            78,
            "/proc/1",
        ),
        (
            "a seed that cannot be read",
            oauth("refresh_token = { exec = [\"false\"] }") + file,
            &[],
            78,
            "seed",
        ),
        (
            "no server",
            oauth("").replace(server.issuer(), "http://127.0.0.1:9") + file,
            &[],
            69,
            "127.0.0.1:9",
        ),
        ("two ways", oauth("") + file, &["--device", "--no-browser"], 2, "cannot be used with"),
        (
            "a strange name",
            oauth("") + file,
            &["--emit", "kubernetes-secret", "--name", "A_b"],
            2,
            "small letters",
        ),
        (
            "a namespace of two labels",
            oauth("") + file,
            &["--emit", "kubernetes-secret", "--namespace", "a.b"],
            2,
            "63 of them",
        ),
        (
            "variables of a grant with a name",
            grant("crm") + file,
            &["crm", "--emit", "env"],
            2,
            "--emit json",
        ),
        ("no way round", oauth("") + file, &["--emit", "env", "--print", "--timeout", "0s"], 2, "1s to 24h"),
    ];
    for (what, text, arguments, exit, words) in rows {
        let home = Home::new();
        let upstream = if text.contains("[[route]]") { "" } else { "upstream = \"http://127.0.0.1:9\"\n" };
        home.configure(&format!("{upstream}{text}[admin]\nlisten = \"off\"\n"));
        let (code, out, err) = told(home.bearerd().arg("login").args(arguments));
        assert_eq!((code, out.as_str()), (Some(exit), ""), "{what}: {err}");
        assert!(err.contains(words), "{what}: {err}");
    }
    assert_eq!(server.redeems().len(), 0);
}

#[tokio::test]
async fn a_record_of_another_client_is_left_alone() {
    let server = strict(|options| options);
    let home = home(&server, "");
    let theirs = resting(&server, "theirs").replace("\"app\"", "\"other\"");
    rest(&home, &theirs);
    let (code, _, err) = told(home.bearerd().arg("login"));
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("holds the grant of another client, `other`"), "{err}");
    assert_eq!(std::fs::read_to_string(home.path().join("state.json")).unwrap(), theirs);
}

#[tokio::test]
async fn without_a_terminal_no_browser_is_opened_and_the_ways_that_there_are_are_named() {
    let server = strict(|options| options);
    server.person(Person::Reads);
    let home = home(&server, "");
    let mut command = home.bearerd();
    let mut program = Process::spawn(command.env("BROWSER", "/nonexistent/browser").arg("login"));
    // It has another device to offer, and offers that.
    browser::printed(&program, &format!("{}/device", server.issuer())).await;
    let says = |words: &'static str| {
        let said = || program.log().join("\n");
        async move {
            while !said().contains(words) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    };
    for words in ["nobody is at a terminal", "--no-browser", "Ctrl-C cancels"] {
        in_time(words, says(words)).await;
    }
    assert!(!program.log().join("\n").contains('█'), "a drawing is for a terminal");
    program.signal(Signal::INT);
    assert_eq!(program.wait().await.code(), Some(130));
}
