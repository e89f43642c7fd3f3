//! A reload: a new configuration is taken whole, or everything stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::running::{Grant, Running};
use super::{StartError, load_tls, open_store};
use crate::config::{Config, Loaded};
use crate::grant::refresher::Command;
use crate::grant::{self, Handle};
use crate::proxy::worker::Order;
use crate::store::Store;
use crate::telemetry;
use crate::tls::Tls;
use crate::token::GrantName;

/// What a new configuration needs and the running program has not got: made before anything is given up.
struct News {
    tls: Tls,
    /// Of the grants that are new.
    stores: BTreeMap<GrantName, Arc<dyn Store>>,
}

impl Running {
    /// Goes on as `loaded` says, if it can be used.
    pub(super) async fn reload(&mut self, mut loaded: Loaded) {
        let later = loaded.config.take_back(&self.loaded.config);
        if !later.is_empty() {
            let keys = later.join(", ");
            tracing::warn!(
                event = "config_needs_restart",
                keys,
                "These keys take effect at the next start only: {keys}"
            );
        }
        match self.prepare(&loaded.config).await {
            Ok(news) => self.adopt(loaded, news),
            Err(why) => tracing::error!(
                event = "config_rejected",
                "The new configuration is not used, the old one goes on: {why}"
            ),
        }
    }

    async fn prepare(&self, config: &Config) -> Result<News, StartError> {
        let tls = load_tls(config).await?;
        let mut stores = BTreeMap::new();
        for name in config.grants.keys().filter(|name| !self.grants.contains_key(name)) {
            stores.insert(name.clone(), open_store(config, name).await?);
        }
        Ok(News { tls, stores })
    }

    fn adopt(&mut self, loaded: Loaded, news: News) {
        let before = std::mem::replace(&mut self.loaded, loaded);
        self.tls = news.tls;
        for (name, grant) in std::mem::take(&mut self.grants) {
            self.go_on(name, grant, &before.config);
        }
        for (name, store) in news.stores {
            self.keep(name, store);
        }
        let setup = Arc::new(self.setup());
        self.workers.iter().for_each(|worker| worker.send(Order::Reload(Arc::clone(&setup))));
        telemetry::follow(self.loaded.config.log);
        tracing::info!(event = "config_reloaded", "The new configuration is in use");
    }

    /// A grant of the same issuer and client keeps its refresher, and with it its token; of others it gets a new one,
    /// which will not present what rests there (R45). The refresher of one that is gone finishes what it has begun.
    fn go_on(&mut self, name: GrantName, grant: Grant, before: &Config) {
        let identity = |params: &grant::Params| params.identity();
        let was = before.grants.get(&name).map(identity);
        match self.loaded.config.grants.get(&name) {
            Some(params) if was == Some(identity(params)) => {
                let endpoint = self.endpoint(params);
                grant.handle.tell(Command::Reconfigure(Box::new(params.clone()), endpoint));
                self.grants.insert(name, grant);
            }
            Some(_) => {
                self.let_go(grant.handle);
                self.keep(name, grant.store);
            }
            None => self.let_go(grant.handle),
        }
    }

    fn let_go(&mut self, handle: Handle) {
        self.leaving.spawn(handle.leave(self.stopping.subscribe()));
    }
}
