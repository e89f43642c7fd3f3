//! What operators are shown of the running program, and what they may have it do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::running::{Grant, Running};
use crate::admin::{self, Overview};
use crate::clock::Moment;
use crate::grant;
use crate::grant::endpoint::HttpEndpoint;
use crate::grant::sign_out::sign_out;
use crate::proxy::worker::{Order, Worker};
use crate::proxy::{route, upstream};
use crate::token::GrantName;

impl Running {
    /// What operators may see.
    pub(super) fn overview(&self) -> Overview {
        let config = &self.loaded.config;
        let used = |name: &GrantName| config.proxy.routes.iter().any(|route| route.grant == *name);
        let route = |route: &route::Params| admin::Route {
            path: route.path.clone(),
            host: route.host.clone(),
            upstream: shown(&route.upstream),
            grant: route.grant.clone(),
        };
        let grant = |(name, grant): (&GrantName, &Grant)| {
            let params = config.grants.get(name)?;
            Some(admin::Grant {
                name: name.clone(),
                board: grant.handle.board.clone(),
                teller: grant.handle.teller(),
                about: about(params),
                sign_out: self.sign_out(params, grant),
                used: used(name),
            })
        };
        let worker_beats = self.workers.iter().enumerate();
        let worker_beats =
            worker_beats.map(|(index, worker)| (format!("worker {index}"), worker.heartbeat()));
        let beats = worker_beats.chain([("control thread".to_owned(), Arc::clone(&self.heartbeat))]);
        let found = self.loaded.warnings().iter().map(ToString::to_string);
        Overview {
            clock: self.clock.clone(),
            started: self.started,
            config_file: admin::file(config),
            identity: admin::identity(config),
            listeners: self.listening.clone(),
            grants: self.grants.iter().filter_map(grant).collect(),
            routes: config.proxy.routes.iter().map(route).collect(),
            shards: self.shards.clone(),
            heartbeats: beats.map(|(of, beat)| heartbeat(of, beat, self.started)).collect(),
            draining: Arc::clone(&self.draining),
            warnings: self.warnings.iter().cloned().chain(found).collect(),
            guard: admin::guard(&config.proxy.guard),
            requests: self.requests(),
            actions: self.actions.clone(),
        }
    }

    /// How many of the last requests are kept: none that nobody can look at.
    pub(super) fn kept_requests(&self) -> usize {
        let is_looked_at = self.listening.iter().any(|one| one.listener == "admin");
        if is_looked_at { self.loaded.config.admin.requests } else { 0 }
    }

    /// Ends a grant by a person's word, with what the configuration says at this moment.
    fn sign_out(&self, params: &grant::Params, grant: &Grant) -> admin::SignOut {
        let parts =
            Arc::new((params.clone(), self.tls.clone(), Arc::clone(&grant.store), self.clock.clone()));
        Arc::new(move |unrevoked| {
            let parts = Arc::clone(&parts);
            Box::pin(async move {
                let (params, tls, store, clock) = &*parts;
                // One of its own each time: what an earlier one was told of the server may have changed.
                let endpoint = HttpEndpoint::new(params.clone(), tls.clone(), clock.clone());
                sign_out(params, &endpoint, store.as_ref(), clock, unrevoked).await
            })
        })
    }

    fn requests(&self) -> admin::Requests {
        let workers: Vec<_> = self.workers.iter().map(Worker::orders).collect();
        let ask = move || {
            let ask = |worker: &mpsc::UnboundedSender<Order>| {
                let (asker, told) = oneshot::channel();
                // One that has ended tells nothing.
                drop(worker.send(Order::Recent(asker)));
                told
            };
            workers.iter().map(ask).collect()
        };
        admin::Requests::new(self.kept_requests(), ask)
    }
}

/// A thread that has not said anything yet counts as alive since the start.
fn heartbeat(of: String, beat: Arc<AtomicU64>, started: Moment) -> admin::Heartbeat {
    let last = move || match beat.load(Ordering::Relaxed) {
        0 => started,
        millis => Moment { boot: Duration::from_millis(millis), ..started },
    };
    admin::Heartbeat { of, last: Arc::new(last) }
}

fn about(params: &grant::Params) -> admin::About {
    admin::About {
        issuer: params.server.identity().to_owned(),
        client_id: params.client_id.clone(),
        scopes: params.scopes.clone(),
        signs_in: params.needs_refresh_token(),
    }
}

fn shown(upstream: &upstream::Params) -> String {
    format!("{}{}", upstream.target, upstream.path)
}
