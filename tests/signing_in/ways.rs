//! Where a sign-in goes and where it ends up: which way is taken, who else holds the store, and what is to be typed next.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::command::{LOOPBACK, home, login, rest, resting, strict};
use super::faults::in_log;
use crate::support::authorization_server::{AuthorizationServer, Client, Endpoint, Options, Person};
use crate::support::browser;
use crate::support::certificates::Authority;
use crate::support::process::{Home, Process, told};

/// A grant of client `app` at this server whose store is where the environment says.
fn with_default_store(server: &AuthorizationServer) -> Home {
    let home = home(server, "");
    let text = std::fs::read_to_string(home.path().join("proxy.toml")).unwrap();
    let store = format!("[store]\npath = \"{}/state.json\"\n", home.path().display());
    home.write("proxy.toml", &text.replace(&store, ""));
    home
}

#[tokio::test]
async fn a_sign_in_where_the_one_that_runs_would_never_look_is_refused_before_it_begins() {
    let server = strict(|options| options);
    let home = with_default_store(&server);
    let state = |name: &str| home.path().join(name);
    let bearerd = Process::spawn(home.to_run().env("XDG_STATE_HOME", state("service")));
    bearerd.wait_for_event("refresh_failed").await;
    let before = server.requests().len();
    for verb in ["login", "logout"] {
        let (code, _, err) = told(home.bearerd().env("XDG_STATE_HOME", state("person")).arg(verb));
        assert_eq!(code, Some(78), "{verb}: {err}");
        let places =
            ["service", "person"].map(|name| state(name).join("bearerd/state.json").display().to_string());
        for word in [&places[0], &places[1], "--store-path"] {
            assert!(err.contains(word), "{verb}: no {word} in {err}");
        }
    }
    assert_eq!(server.requests().len(), before, "nobody was asked anything");
    assert!(!state("person").exists(), "nothing was made there");
    let mut program = Process::spawn(
        home.bearerd().env("XDG_STATE_HOME", state("service")).args(["login", "--no-browser"]),
    );
    let url = browser::printed_url(&program, &server).await;
    browser::open(&url).await.callback().get().await;
    assert_eq!(program.wait().await.code(), Some(0));
    let said = program.log().join("\n");
    assert!(said.contains("The bearerd that runs has been told"), "{said}");
    bearerd.wait_for_event("grant_adopted").await;
}

#[tokio::test]
async fn a_stranger_who_answers_is_told_of_and_not_told() {
    let server = strict(|options| options);
    let (home, theirs) = (home(&server, ""), Home::new());
    let text = std::fs::read_to_string(home.path().join("proxy.toml")).unwrap();
    theirs.write("proxy.toml", &text);
    let stranger = theirs.run();
    stranger.wait_for_event("refresh_failed").await;
    let mut program = login(&home, &["--no-browser"]);
    let url = browser::printed_url(&program, &server).await;
    browser::open(&url).await.callback().get().await;
    assert_eq!(program.wait().await.code(), Some(0));
    let said = program.log().join("\n");
    assert!(!said.contains("has been told, and goes on"), "{said}");
    for words in
        ["No bearerd that runs has been told", "runs another configuration", "Next:  bearerd --config"]
    {
        assert!(said.contains(words), "no {words} in {said}");
    }
}

#[tokio::test]
async fn where_no_device_may_sign_in_it_goes_on_with_a_browser_unless_that_was_asked_for() {
    let server = strict(Options::refuses_devices);
    let home = home(&server, "");
    // Nobody is at a terminal here: no browser is opened.
    let mut program = login(&home, &[]);
    let url = browser::printed_url(&program, &server).await;
    browser::open(&url).await.callback().get().await;
    assert_eq!(program.wait().await.code(), Some(0));
    let said = program.log().join("\n");
    assert!(
        said.contains("`unauthorized_client` (not with a device)") && !said.contains("--device`"),
        "{said}"
    );
    let (code, _, err) = told(home.bearerd().args(["login", "--device"]));
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("(client_refused)") && err.contains("login --no-browser`"), "{err}");
    let elsewhere = AuthorizationServer::strict().exact_ports();
    let elsewhere =
        elsewhere.client(Client::public("app").redirects_to("http://127.0.0.1:8976/callback")).start();
    let home = super::command::home(&elsewhere, "");
    let (code, _, err) = told(home.bearerd().args(["login", "--no-browser"]));
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("(redirect_uri_refused)") && err.contains("login --device`"), "{err}");
}

#[tokio::test]
async fn a_scope_that_was_added_is_named_where_the_scopes_are_refused() {
    let server = strict(|options| options);
    let home = home(&server, "scopes = [\"read\", \"nonsense\"]\n");
    for way in ["--no-browser", "--device"] {
        let (code, _, err) = told(home.bearerd().args(["login", way]));
        assert_eq!(code, Some(78), "{err}");
        for words in [
            "(scope_refused)",
            "`openid read nonsense offline_access`",
            "bearerd added `openid` and `offline_access`",
        ] {
            assert!(err.contains(words), "{way}: no {words} in {err}");
        }
    }
}

#[tokio::test]
async fn the_server_is_asked_once_beforehand_as_nobody_and_the_redirect_uri_is_told_first() {
    let server = strict(|options| options);
    server.person(Person::Reads);
    let home = home(&server, "");
    let program = login(&home, &["--no-browser"]);
    browser::printed_url(&program, &server).await;
    let said = in_log(&program, "Open the address above").await;
    let (uri, open) = (said.find("Redirect URI  http://127.0.0.1:"), said.find("Open  http"));
    assert!(uri.is_some() && uri < open, "{said}");
    let requests = server.requests();
    let asked: Vec<_> = requests.iter().filter(|one| one.endpoint == Endpoint::Authorization).collect();
    assert_eq!(asked.len(), 1, "{:#?}", asked.iter().map(|one| one.summary()).collect::<Vec<_>>());
    assert_eq!((asked[0].head.method(), asked[0].head.header("cookie")), ("GET", None));
    let others = requests.iter().filter(|one| one.endpoint == Endpoint::Other).count();
    assert_eq!(others, 0, "no redirect was followed");
}

/// A sign-in whose store somebody else holds from when the browser is asked for; what rests, and whoever holds it.
async fn locked_out() -> (AuthorizationServer, Home, Process, Vec<u8>, std::fs::File) {
    let server = strict(|options| options);
    let home = home(&server, "timeout = \"1s\"\n");
    rest(&home, &resting(&server, &server.seed("app")));
    let bytes = std::fs::read(home.path().join("state.json")).unwrap();
    let program = login(&home, &["--no-browser"]).keeps_secrets_of(&server);
    let url = browser::printed_url(&program, &server).await;
    let lock = std::fs::File::options().write(true).open(home.path().join("state.json.lock")).unwrap();
    lock.lock().unwrap();
    let callback = browser::open(&url).await.callback();
    // It learns how it ended only in the end.
    tokio::spawn(async move { callback.get().await });
    in_log(&program, "it cannot be stored yet").await;
    (server, home, program, bytes, lock)
}

#[tokio::test]
async fn who_gives_up_on_a_store_that_another_holds_changes_nothing_in_it() {
    let (_server, home, mut program, bytes, _lock) = locked_out().await;
    program.signal(Signal::INT);
    assert_eq!(program.wait().await.code(), Some(1));
    let said = program.log().join("\n");
    assert!(said.contains("(store_unavailable)"), "{said}");
    assert_eq!(std::fs::read(home.path().join("state.json")).unwrap(), bytes);
}

#[tokio::test]
async fn a_store_that_another_holds_is_waited_for() {
    let (server, home, mut program, bytes, lock) = locked_out().await;
    assert_eq!(std::fs::read(home.path().join("state.json")).unwrap(), bytes);
    drop(lock);
    assert_eq!(program.wait().await.code(), Some(0), "{:#?}", program.log());
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.path().join("state.json")).unwrap()).unwrap();
    let token = record["refresh_token"].as_str().unwrap();
    assert_eq!(server.current_refresh_token(token).as_deref(), Some(token));
}

#[tokio::test]
async fn a_seed_that_can_be_read_no_more_is_no_reason_to_lose_what_came() {
    let server = strict(|options| options);
    let script = "test -e @HOME@/gone && exit 1; echo seed";
    let home = home(&server, &format!("refresh_token = {{ exec = [\"sh\", \"-c\", \"{script}\"] }}\n"));
    let mut program = login(&home, &["--no-browser"]);
    let url = browser::printed_url(&program, &server).await;
    home.write("gone", "");
    browser::open(&url).await.callback().get().await;
    assert_eq!(program.wait().await.code(), Some(0), "{:#?}", program.log());
    let record = std::fs::read_to_string(home.path().join("state.json")).unwrap();
    let seed = serde_json::to_string(&bearerd::secret::Fingerprint::of("seed")).unwrap();
    assert!(record.contains(&seed), "it counts as met");
}

#[tokio::test]
async fn ctrl_c_ends_what_hangs_before_anybody_signs_in() {
    let server = strict(|options| options);
    let hang = "[\"sh\", \"-c\", \"echo >@HOME@/hangs; exec sleep 40\"]";
    for secret in ["refresh_token", "client_secret"] {
        let home = home(&server, &format!("{secret} = {{ exec = {hang} }}\ntimeout = \"60s\"\n"));
        let mut program = login(&home, &["--no-browser"]);
        crate::support::in_time("the secret is asked for", async {
            while !home.path().join("hangs").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        program.signal(Signal::INT);
        assert_eq!(program.wait().await.code(), Some(130), "{secret}: {:#?}", program.log());
    }
}

#[tokio::test]
async fn what_is_to_be_typed_next_says_all_that_was_said_where_there_is_no_file() {
    let server = AuthorizationServer::strict().client(Client::public("app").redirects_to(LOOPBACK)).start();
    let home = Home::new();
    let flags = ["--upstream", "http://127.0.0.1:9", "--issuer", server.issuer(), "--client-id", "app"];
    let flags = [&flags[..], &["--store-path", "my state/s.json", "--admin-listen", "off"]].concat();
    let flags = [&flags[..], &["--scope", "openid offline_access"]].concat();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearerd"));
    command.env_clear().current_dir(home.path()).args(["login", "--no-browser"]).args(&flags);
    let mut program = Process::spawn(&mut command);
    let url = browser::printed_url(&program, &server).await;
    browser::open(&url).await.callback().get().await;
    assert_eq!(program.wait().await.code(), Some(0), "{:#?}", program.log());
    let said = program.log().join("\n");
    let rest = format!(
        "--scope 'openid offline_access' --upstream http://127.0.0.1:9 --issuer {} --client-id app --store-path 'my state/s.json' --admin-listen off",
        server.issuer()
    );
    for verb in ["Next:  bearerd run", "`bearerd login"] {
        assert!(said.contains(&format!("{verb} {rest}")), "{verb}: {said}");
    }
}

#[tokio::test]
async fn a_device_asks_nobody_who_cannot_prove_to_be_the_server() {
    let (ours, another) = (Authority::new(), Authority::new());
    let server = AuthorizationServer::strict().tls(&ours).client(Client::public("app")).start();
    server.person(Person::Reads);
    let home = home(&server, "");
    let text = std::fs::read_to_string(home.path().join("proxy.toml")).unwrap();
    home.write("proxy.toml", &format!("{text}\n[tls]\nca_file = \"{}\"\n", ours.ca_file().display()));
    let mut program = login(&home, &["--device"]);
    in_log(&program, "Open that on any device").await;
    server.certificate(another.server(&["localhost", "127.0.0.1"], &[b"http/1.1"]));
    assert_eq!(program.wait().await.code(), Some(78), "{:#?}", program.log());
    assert!(program.log().join("\n").contains("(tls_verify)"), "{:#?}", program.log());
}
