//! Several processes of bearerd with one proxy.toml, one state file, one authorization server and one upstream.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::super::stage::{addresses, furnished, strict};
use super::assert_frugal;
use crate::support::authorization_server::{AuthorizationServer, Exchange};
use crate::support::in_time_or;
use crate::support::process::{Home, Process};
use crate::support::raw::Peer;
use crate::support::upstream::Upstream;

/// All of them.
pub(super) struct Household {
    pub(super) server: AuthorizationServer,
    pub(super) upstream: Upstream,
    pub(super) home: Home,
    pub(super) members: Vec<Member>,
    /// How long access tokens live, in seconds.
    pub(super) life: u64,
}

/// One process.
pub(super) struct Member {
    pub(super) bearerd: Process,
    pub(super) proxy: SocketAddr,
    pub(super) admin: SocketAddr,
}

impl Member {
    /// What it answers to a caller.
    pub(super) async fn asked(&self) -> u16 {
        Peer::connect(self.proxy).await.get("/echo", "localhost").await.status()
    }

    /// Whether it says that it has a token.
    pub(super) async fn is_ready(&self) -> bool {
        Peer::connect(self.admin).await.get("/readyz", "localhost").await.status() == 200
    }

    /// Waits until its grant's state is this word.
    pub(super) async fn is(&self, state: &str) {
        let seen = async {
            while Peer::connect(self.admin).await.get("/api/v1/status", "localhost").await.json()["grants"][0]
                ["state"]
                != state
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        in_time_or(|| format!("{state} after {:#?}", self.bearerd.events("refresh_failed")), seen).await;
    }

    /// Asks until it gives a good answer.
    pub(super) async fn recovers(&self) {
        let well = async {
            while self.asked().await != 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        in_time_or(|| format!("a good answer after {:#?}", self.bearerd.events("refresh_failed")), well)
            .await;
    }
}

impl Household {
    pub(super) async fn of(life: u64, members: usize) -> Self {
        let (server, upstream, home) = furnished(strict(life), "\n[limits]\ntoken_wait = \"1s\"\n");
        let mut house = Self { server, upstream, home, members: Vec::new(), life };
        for _ in 0..members {
            let member = Box::pin(house.start()).await;
            house.members.push(member);
        }
        house
    }

    /// One more.
    pub(super) async fn start(&self) -> Member {
        let bearerd = self.home.run().keeps_secrets_of(&self.server);
        let (proxy, admin) = addresses(&bearerd).await;
        Member { bearerd, proxy, admin }
    }

    /// The record, as it rests.
    pub(super) fn record(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.home.path().join("state.json")).unwrap()).unwrap()
    }

    /// Whoever stands in the record as having presented its refresh token.
    pub(super) fn holder(&self) -> usize {
        let record = self.record();
        let holder = record["intent"]["holder"].as_str().expect("an intent stands").to_owned();
        let is_it = |member: &Member| format!("process {}", member.bearerd.id()) == holder;
        self.members.iter().position(is_it).unwrap()
    }

    /// Nothing was presented twice, no redeem was one too many, and what reached the upstream had a token of the server's.
    pub(super) async fn ends_well(&self, others: &[Member]) {
        let everybody = if others.is_empty() { &self.members } else { others };
        let ended = |log: &[Exchange]| log.iter().filter(|one| one.is_redeem()).all(Exchange::has_ended);
        self.server.wait_for("an end of every redeem", ended).await;
        let rests = self.record();
        let rests = rests["refresh_token"].as_str().unwrap();
        assert_frugal(self, everybody, rests);
        // Not that none had expired on the way: a life this short leaves a request no time for a machine this busy.
        let seen = self.upstream.tally();
        assert_eq!((seen.unknown_tokens, seen.missing, seen.several), (0, 0, 0), "{seen:?}");
    }
}
