//! bearerd as a process, with an authorization server behind it and an upstream that checks every token.

use std::net::SocketAddr;

use serde_json::Value;

use crate::operating::openmetrics;
use crate::support::authorization_server::{AuthorizationServer, Client, Options};
use crate::support::in_time;
use crate::support::process::{Home, Process, field};
use crate::support::raw::{Peer, Reply};
use crate::support::upstream::Upstream;

/// All of it.
pub(super) struct Stage {
    pub(super) server: AuthorizationServer,
    pub(super) upstream: Upstream,
    pub(super) home: Home,
    pub(super) bearerd: Process,
    pub(super) proxy: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// A strict server with one client, and tokens of `life` seconds.
pub(super) fn strict(life: u64) -> Options {
    AuthorizationServer::strict().client(Client::public("billing")).expires_in(life)
}

impl Stage {
    pub(super) async fn of(options: Options) -> Self {
        Box::pin(Self::with(options, "", &[])).await
    }

    /// With more of proxy.toml (keys of the admin listener, and tables after it) and these arguments after `run`.
    pub(super) async fn with(options: Options, more: &str, arguments: &[&str]) -> Self {
        Box::pin(Self::begun(options, more, |home| home.run_with(arguments))).await
    }

    /// With a process that is begun in this way.
    pub(super) async fn begun(options: Options, more: &str, begin: impl FnOnce(&Home) -> Process) -> Self {
        let (server, upstream, home) = furnished(options, more);
        let bearerd = begin(&home).keeps_secrets_of(&server);
        let (proxy, admin) = Box::pin(addresses(&bearerd)).await;
        Self { server, upstream, home, bearerd, proxy, admin }
    }

    /// Starts it once more in the same place.
    pub(super) async fn restart(&mut self) {
        self.bearerd = self.home.run().keeps_secrets_of(&self.server);
        (self.proxy, self.admin) = addresses(&self.bearerd).await;
    }

    pub(super) async fn get(&self, target: &str) -> Reply {
        // Boxed: a test's future holds many of these, and an unoptimized one would outgrow its thread's stack.
        Box::pin(async { Peer::connect(self.proxy).await.get(target, "localhost").await }).await
    }

    /// What a metric's first sample says, or its first with this label.
    pub(super) async fn count(&self, family: &str, label: Option<(&str, &str)>) -> f64 {
        let text = Peer::connect(self.admin).await.get("/metrics", "localhost").await.text();
        let scrape = openmetrics::read(&text);
        let wanted = |sample: &&openmetrics::Sample| {
            label.is_none_or(|(name, value)| sample.label(name) == Some(value))
        };
        scrape[family].samples.iter().find(wanted).unwrap().value
    }

    /// Asks until the proxy gives a good answer.
    pub(super) async fn recovers(&self) {
        let well = async {
            while self.get("/echo").await.status() != 200 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        Box::pin(in_time("a good answer", well)).await;
    }

    /// Waits until the first grant's state is this word.
    pub(super) async fn is(&self, state: &str) -> Value {
        let seen = async {
            loop {
                let status = Peer::connect(self.admin).await.get("/api/v1/status", "localhost").await.json();
                if status["grants"][0]["state"] == state {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        Box::pin(in_time(state, seen)).await
    }

    /// No token that had expired, was unknown or doubled has reached the upstream.
    pub(super) fn assert_clean(&self) {
        let tally = self.upstream.tally();
        assert_eq!(
            (tally.expired_tokens, tally.unknown_tokens, tally.missing, tally.several),
            (0, 0, 0, 0),
            "{tally:?}"
        );
    }
}

/// bearerd as a process before an upstream that is the test's own, without an admin listener.
pub(super) struct InFront {
    pub(super) bearerd: Process,
    pub(super) proxy: SocketAddr,
    _home: Home,
}

impl InFront {
    pub(super) async fn of(upstream: &str, server: &AuthorizationServer) -> Self {
        let home = Home::new();
        home.write("seed", &server.seed("billing"));
        home.configure(&format!(
            "listen = \"127.0.0.1:0\"\nupstream = \"{upstream}\"\n\n[oauth]\nissuer = \"{}\"\nclient_id = \"billing\"\n\
             refresh_token = {{ file = \"seed\" }}\n\n[store]\npath = \"@HOME@/state.json\"\n\n[admin]\nlisten = \"off\"\n",
            server.issuer(),
        ));
        let bearerd = home.run().keeps_secrets_of(server);
        let event = bearerd.wait_for_event("listening").await;
        let proxy = field(&event, "address").unwrap().as_str().unwrap().parse().unwrap();
        Self { bearerd, proxy, _home: home }
    }
}

/// Everything but the process: the home's proxy.toml names the others, and ports that the system picks.
pub(super) fn furnished(options: Options, more: &str) -> (AuthorizationServer, Upstream, Home) {
    let server = options.start();
    let upstream = Upstream::checking(&server);
    let home = Home::new();
    home.write("seed", &server.seed("billing"));
    if let Some(secret) = server.secret_of("billing") {
        home.write("secret", &secret);
    }
    home.configure(&format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{}\"\n\n[oauth]\nissuer = \"{}\"\nclient_id = \"billing\"\n\
         refresh_token = {{ file = \"seed\" }}\ntimeout = \"2s\"\n\n[store]\npath = \"@HOME@/state.json\"\n\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n{more}",
        upstream.url(),
        server.issuer(),
    ));
    (server, upstream, home)
}

/// Where a process listens: for callers, and for people.
pub(super) async fn addresses(bearerd: &Process) -> (SocketAddr, SocketAddr) {
    bearerd.wait_for_events("listening", 2).await;
    let bound = |listener: &str| {
        let events = bearerd.events("listening");
        let event = events.iter().find(|event| field(event, "listener").is_some_and(|name| name == listener));
        field(event.unwrap(), "address").unwrap().as_str().unwrap().parse().unwrap()
    };
    (bound("proxy"), bound("admin"))
}
