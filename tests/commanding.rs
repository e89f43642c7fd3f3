//! The commands beside the running bearerd, and without it: what they do, what they say, and how they exit.

mod ends;
mod refreshes;
mod sign_outs;
mod tokens;
mod watches;

use serde_json::Value;

use crate::support::authorization_server::{AuthorizationServer, Client, Options};
use crate::support::canaries;
use crate::support::in_time_or;
use crate::support::process::{Home, Process, told};

/// A home whose bearerd is found on a socket in it, and the server of its grant.
struct Place {
    server: AuthorizationServer,
    home: Home,
}

/// A strict server with one client, and tokens of `life` seconds.
fn strict(life: u64) -> Options {
    AuthorizationServer::strict().client(Client::public("billing")).expires_in(life)
}

impl Place {
    fn of(options: Options) -> Self {
        Self::with(options, "")
    }

    /// With more of proxy.toml: tables after the grant's.
    fn with(options: Options, more: &str) -> Self {
        let (server, home) = (options.start(), Home::new());
        home.write("seed", &server.seed("billing"));
        home.configure(&format!(
            "listen = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:9\"\n\n[oauth]\nissuer = \"{}\"\n\
             client_id = \"billing\"\nrefresh_token = {{ file = \"seed\" }}\ntimeout = \"2s\"\n{more}\n\
             [store]\npath = \"@HOME@/state.json\"\n\n[admin]\nlisten = \"unix:@HOME@/admin.sock\"\n",
            server.issuer(),
        ));
        Self { server, home }
    }

    /// `bearerd run`, listening.
    async fn runs(&self) -> Process {
        let bearerd = self.home.run().keeps_secrets_of(&self.server);
        bearerd.wait_for_events("listening", 2).await;
        bearerd
    }

    /// `bearerd WORDS`, to its end: exit code, output, and what else it says.
    async fn told(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.home.bearerd();
        command.args(words);
        tokio::task::spawn_blocking(move || told(&mut command)).await.unwrap()
    }

    /// The same, which tells no secret: its exit code and all that it says.
    async fn said(&self, words: &[&str]) -> (Option<i32>, String) {
        let (code, out, err) = self.told(words).await;
        let said = out + &err;
        assert_eq!(canaries::found(&said, &self.server.secrets()), None, "{words:?}: {said}");
        (code, said)
    }

    /// Waits until `bearerd status --json` says so of the first grant, which is returned.
    async fn waits_until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = String::new();
        let seen = async {
            loop {
                let (_, out, err) = self.told(&["status", "--json"]).await;
                let report: Value = serde_json::from_str(&out).unwrap_or_default();
                if is(&report["grants"][0]) {
                    return report["grants"][0].clone();
                }
                last = out + &err;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        Box::pin(in_time_or(|| what.to_owned(), seen)).await
    }

    fn record(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.home.path().join("state.json")).unwrap()).unwrap()
    }
}
