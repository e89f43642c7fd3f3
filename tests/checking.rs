//! `bearerd check --online`: each set-up that is broken is told by its cause, with a code and an exit code.

mod certificates;
mod machine;
mod servers;

use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use crate::support::authorization_server::{AuthorizationServer, Client, Options};
use crate::support::canaries;
use crate::support::certificates::Authority;
use crate::support::process::{Home, told};
use crate::support::upstream::Upstream;

/// A set-up that is good, until a test breaks it.
struct Setup {
    server: AuthorizationServer,
    upstream: Upstream,
    home: Home,
    toml: String,
}

/// Writes a file that nobody else may read.
fn private(home: &Home, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = home.write(name, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// What a check has found.
struct Found {
    code: Option<i32>,
    findings: Vec<Value>,
}

/// Where a browser returns to, on any port.
const RETURN: &str = "http://127.0.0.1/callback";

fn strict() -> Options {
    AuthorizationServer::strict().client(Client::public("billing").redirects_to(RETURN))
}

impl Setup {
    fn of(options: Options) -> Self {
        let server = options.start();
        let upstream = Upstream::checking(&server);
        Self::between(server, upstream, "")
    }

    /// With this authority's certificates all around.
    fn secured(authority: &Arc<Authority>, options: Options) -> Self {
        let server = options.tls(authority).start();
        let upstream = Upstream::start(None, Some(Arc::clone(authority)));
        let tls = format!("[tls]\nroots = \"file\"\nca_file = \"{}\"\n", authority.ca_file().display());
        Self::between(server, upstream, &tls)
    }

    fn between(server: AuthorizationServer, upstream: Upstream, more: &str) -> Self {
        let home = Home::new();
        private(&home, "seed", &server.seed("billing"));
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nupstream = \"{}\"\n\n[oauth]\nissuer = \"{}\"\nclient_id = \"billing\"\n\
             refresh_token = {{ file = \"seed\" }}\ntimeout = \"2s\"\n\n[store]\npath = \"{}/state.json\"\n\n\
             [admin]\nlisten = \"unix:{}/admin.sock\"\n{more}",
            upstream.url(),
            server.issuer(),
            home.path().display(),
            home.path().display(),
        );
        home.write("proxy.toml", &toml);
        Self { server, upstream, home, toml }
    }

    /// With something in proxy.toml replaced.
    fn with(self, what: &str, by: &str) -> Self {
        assert!(self.toml.contains(what), "{what} in {}", self.toml);
        let toml = self.toml.replace(what, by);
        self.home.write("proxy.toml", &toml);
        Self { toml, ..self }
    }

    /// What `bearerd check --online` finds.
    async fn checked(&self) -> Found {
        self.checked_with(|_| {}).await
    }

    /// The same in another environment.
    async fn checked_with(&self, change: impl FnOnce(&mut Command)) -> Found {
        let before = self.server.redeems().len();
        let mut command = self.home.bearerd();
        command.args(["check", "--online", "--json"]);
        change(&mut command);
        let (code, out, err) = tokio::task::spawn_blocking(move || told(&mut command)).await.unwrap();
        assert_eq!(self.server.redeems().len(), before, "nothing is presented");
        let seed = std::fs::read_to_string(self.home.path().join("seed")).unwrap();
        let secrets: Vec<String> = self.server.secrets().into_iter().chain([seed]).collect();
        assert_eq!(canaries::found(&(out.clone() + &err), &secrets), None, "{out}{err}");
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        assert_eq!(report["format_version"], 1);
        Found { code, findings: report["findings"].as_array().unwrap().clone() }
    }

    /// Where its server takes tokens back, as a check has found.
    async fn revocation_endpoint(&self) -> String {
        self.checked().await;
        let asked = self.server.revocations().pop().unwrap();
        format!("{}{}", self.server.issuer(), asked.head.path())
    }

    /// Breaks nothing more and wants this cause told: a code, words of its sentence, and the exit code.
    async fn fails(&self, exit: i32, code: &str, words: &str) -> Found {
        let found = self.checked().await;
        found.tells("bad", code, words);
        assert_eq!(found.code, Some(exit), "{}", found.text());
        found
    }
}

impl Found {
    /// That there is a finding of this worth with this code, or of this check, and these words.
    fn tells(&self, verdict: &str, code: &str, words: &str) {
        let is_it = |finding: &&Value| {
            let named = finding["code"] == code || finding["code"].is_null() && finding["check"] == code;
            named && finding["verdict"] == verdict && finding["sentence"].as_str().unwrap().contains(words)
        };
        assert!(
            self.findings.iter().any(|finding| is_it(&finding)),
            "{verdict} {code} {words}: {}",
            self.text()
        );
    }

    /// The codes of what is wrong.
    fn wrong(&self) -> Vec<&str> {
        let bad = self.findings.iter().filter(|finding| finding["verdict"] == "bad");
        bad.map(|finding| finding["code"].as_str().unwrap()).collect()
    }

    fn text(&self) -> String {
        self.findings.iter().map(|finding| format!("{finding}\n")).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_setup_has_nothing_against_it_and_is_left_as_it_was() {
    let setup = Setup::of(strict());
    let found = setup.checked().await;
    assert_eq!(found.code, Some(0), "{}", found.text());
    let odd = found.findings.iter().filter(|finding| finding["verdict"] != "good");
    assert_eq!(odd.count(), 0, "{}", found.text());
    for check in [
        "egress",
        "connection",
        "discovery",
        "client_authentication",
        "client",
        "redirect_uri",
        "clock",
        "store",
        "record",
    ] {
        found.tells("good", check, "");
    }
    let left = std::fs::read_dir(setup.home.path()).unwrap().count();
    assert_eq!(left, 2, "proxy.toml and the seed, and nothing of the store's");

    let (code, out, err) = {
        let mut command = setup.home.bearerd();
        command.args(["check", "--online"]);
        tokio::task::spawn_blocking(move || told(&mut command)).await.unwrap()
    };
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("is good") && out.contains("\n✓ discovery "), "{out}");
    assert!(!out.contains('\u{1b}'), "no colour where no terminal is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_hides_nothing_else_that_is() {
    let setup = Setup::of(strict());
    setup.server.refuse_connections().await;
    let upstream = setup.upstream.url();
    let setup = setup.with(&upstream, "http://127.0.0.1:9").with("/state.json\"", "/seed/state.json\"");
    let found = setup.checked().await;
    assert_eq!(
        found.wrong(),
        ["connection_failed", "connection_failed", "store_unavailable"],
        "{}",
        found.text()
    );
    assert_eq!(found.code, Some(78), "what a person has to mend comes first");
    found.tells("not_tried", "discovery", "it was not reached");
    found.tells("not_tried", "clock", "it was not reached");
}
