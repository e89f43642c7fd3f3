//! The command's words and exit codes.

use std::process::Command;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bearerd::admin::{self, Listener, Overview, Role, serve};
use bearerd::config::{Config, Sources};
use bearerd::grant::status::{Problem, State, Status};
use tokio::net::UnixListener;

use super::{stage, starting, usable};
use crate::support::process::{Home, told};

const GOOD: &str = "\
upstream = \"http://127.0.0.1:9\"
[oauth]
token_endpoint = \"http://127.0.0.1:9/token\"
client_id = \"billing\"
flow = \"refresh_token\"
[store]
path = \"@HOME@/state.json\"
[admin]
listen = \"unix:@HOME@/admin.sock\"
";

fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bearerd"));
    command.env_clear();
    command
}

#[test]
fn version_is_told_to_people_and_programs() {
    let (code, out, _) = told(bare().arg("version"));
    assert_eq!((code, out), (Some(0), format!("bearerd {}\n", env!("CARGO_PKG_VERSION"))));
    let (_, out, _) = told(bare().args(["version", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_bare_command_helps_with_three_examples() {
    let (_, out, err) = told(&mut bare());
    assert_eq!(format!("{out}{err}").matches("\n  bearerd ").count(), 3);
}

#[test]
fn bad_usage_is_2() {
    for line in [&["rnu"][..], &["run", "--no-such"], &["-q", "-v", "check"], &["--color", "mauve", "check"]]
    {
        assert_eq!(told(bare().args(line)).0, Some(2), "{line:?}");
    }
}

#[test]
fn a_bad_configuration_is_78_and_says_where() {
    let home = Home::new();
    home.configure("upstraem = \"https://api.test\"\n");
    for verb in ["check", "run", "status"] {
        let (code, _, err) = told(home.bearerd().arg(verb));
        assert_eq!(code, Some(78), "{verb}");
        assert!(err.contains("upstraem") && err.contains("upstream"), "{err}");
    }
    assert_eq!(told(home.bearerd().arg("healthcheck")).0, Some(1), "a container knows 0 and 1 only");
}

#[test]
fn a_good_configuration_is_summed_up() {
    let home = Home::new();
    home.configure(GOOD);
    let (code, out, err) = told(home.bearerd().arg("check"));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("is good") && out.contains("1 route"), "{out}");
}

#[test]
fn without_a_daemon_status_is_69_and_healthcheck_1() {
    let home = Home::new();
    home.configure(GOOD);
    let (code, _, err) = told(home.bearerd().arg("status"));
    assert_eq!(code, Some(69), "{err}");
    assert!(err.contains("no bearerd answers at unix:") && err.contains("bearerd run"), "{err}");
    assert_eq!(told(home.bearerd().arg("healthcheck")).0, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_a_sign_in_by_77_and_refuses_a_stranger() {
    let home = Home::new();
    let file = home.configure(GOOD);
    let config = Config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap().config;
    let stage = stage().await;
    let identity = admin::identity(&config);
    let overview = Overview { identity, ..Overview::clone(&stage.overview.load()) };
    let overview = Arc::new(ArcSwap::from_pointee(overview));
    let listener = Listener::Unix(UnixListener::bind(home.path().join("admin.sock")).unwrap());
    let serving = tokio::spawn(serve(vec![listener], Arc::clone(&overview), Role::Admin));
    let ask = async |line: &'static [&'static str]| {
        let mut command = home.bearerd();
        command.args(line);
        tokio::task::spawn_blocking(move || told(&mut command)).await.unwrap()
    };

    stage.board.post(usable(State::Active));
    let (code, out, err) = ask(&["status", "--exit-code"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("default  active   — token good for"), "{out}");
    assert_eq!(ask(&["healthcheck", "--ready"]).await.0, Some(0));

    let problem = Some(Problem { code: "invalid_grant", sentence: "Sign in again.".to_owned() });
    stage.board.post(Status { state: State::SignInRequired, problem, settled: true, ..starting() });
    let (code, out, _) = ask(&["status", "--exit-code"]).await;
    assert_eq!(code, Some(77));
    assert!(out.contains("sign_in_required") && out.contains("Sign in again."), "{out}");
    assert_eq!(ask(&["status"]).await.0, Some(0), "77 is said only when asked for");
    assert_eq!(ask(&["healthcheck"]).await.0, Some(0));
    assert_eq!(ask(&["healthcheck", "--ready"]).await.0, Some(1));

    overview.store(stage.overview.load_full());
    let (code, _, err) = ask(&["status"]).await;
    assert_eq!(code, Some(69));
    assert!(err.contains("another configuration"), "{err}");
    assert_eq!(ask(&["healthcheck"]).await.0, Some(1), "well or not, it is somebody else");
    serving.abort();
}

#[test]
fn a_running_program_is_found_without_its_secrets_and_by_its_flags() {
    let home = Home::new();
    let secrets =
        "client_secret = { env = \"NOT_HERE\" }\nrefresh_token = { credential = \"seed\" }\n[store]";
    home.configure(&GOOD.replace("[store]", secrets));
    assert_eq!(told(home.bearerd().arg("check")).0, Some(78));
    assert_eq!(told(home.bearerd().arg("status")).0, Some(69), "what is missing is the program alone");

    let flags =
        ["--upstream", "http://127.0.0.1:9", "--token-endpoint", "http://127.0.0.1:9/t", "--client-id", "a"];
    let without_file = Home::new();
    let ask = |verb: &str| {
        let admin = format!("unix:{}", home.path().join("admin.sock").display());
        told(bare().current_dir(without_file.path()).arg(verb).args(flags).args(["--admin-listen", &admin]))
    };
    let (code, _, err) = ask("status");
    assert_eq!(code, Some(69), "{err}");
    assert!(err.contains("admin.sock"), "{err}");
    assert!(ask("healthcheck").2.contains("admin.sock"));
}
