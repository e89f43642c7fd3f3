//! A reload: a new configuration is taken whole, or everything stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::running::{Grant, Running};
use super::{StartError, load_tls, open_store};
use crate::admin::Reloaded;
use crate::config::{Config, Loaded};
use crate::grant::refresher::Command;
use crate::grant::{self, Handle};
use crate::proxy::worker::Order;
use crate::store::Store;
use crate::telemetry;
use crate::tls::Tls;
use crate::token::GrantName;

/// Reads the configuration again. Blocking.
pub(super) type Again = Arc<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// What a reading came to, and who asked for it.
pub(super) type Read = (Result<Loaded, String>, Vec<oneshot::Sender<Reloaded>>);

/// Readings of the configuration: one at a time, and one more for whoever asked meanwhile.
pub(super) struct Readings {
    again: Again,
    reading: JoinSet<Result<Loaded, String>>,
    once_more: bool,
    askers: Vec<oneshot::Sender<Reloaded>>,
}

impl Readings {
    pub(super) fn new(again: Again) -> Self {
        Self { again, reading: JoinSet::new(), once_more: false, askers: Vec::new() }
    }

    /// Reads once more, or again once what is being read has been.
    pub(super) fn ask(&mut self, asker: Option<oneshot::Sender<Reloaded>>) {
        self.askers.extend(asker);
        self.once_more = !self.reading.is_empty();
        if !self.once_more {
            let again = Arc::clone(&self.again);
            self.reading.spawn_blocking(move || again());
        }
    }

    /// The next reading that nobody wants another one after; pending while there is none. Dropping it loses nothing.
    pub(super) async fn next(&mut self) -> Read {
        loop {
            let Some(read) = self.reading.join_next().await else { return std::future::pending().await };
            if !self.once_more {
                return (
                    read.unwrap_or_else(|fault| Err(fault.to_string())),
                    std::mem::take(&mut self.askers),
                );
            }
            self.ask(None);
        }
    }
}

/// What a new configuration needs and the running program has not got: made before anything is given up.
struct News {
    tls: Tls,
    /// Of the grants that are new.
    stores: BTreeMap<GrantName, Arc<dyn Store>>,
}

impl Running {
    /// Goes on as what was read says, if it can be used, and tells those who asked.
    pub(super) async fn reload(&mut self, (read, askers): Read) {
        let outcome = match read {
            Ok(loaded) => self.take(loaded).await,
            // A report of its own lines.
            Err(why) => Err(format!("\n{why}")),
        };
        match outcome {
            Ok((sentence, taken)) => {
                tracing::info!(event = "config_reloaded", "The new configuration is in use");
                tokio::spawn(tell_when_taken(sentence, taken, askers));
            }
            Err(why) => {
                let separator = if why.starts_with('\n') { "" } else { " " };
                let sentence =
                    format!("The new configuration is not used, the old one goes on:{separator}{why}");
                tracing::error!(event = "config_rejected", "{sentence}");
                askers.into_iter().for_each(|asker| drop(asker.send(Err(sentence.clone()))));
            }
        }
    }

    /// Goes on as `loaded` says, if it can be used: what is to be told, once the workers have taken it.
    async fn take(&mut self, mut loaded: Loaded) -> Result<(String, Taken), String> {
        let later = loaded.config.take_back(&self.loaded.config);
        let mut sentence = "The new configuration is in use.".to_owned();
        if !later.is_empty() {
            let keys = later.join(", ");
            tracing::warn!(
                event = "config_needs_restart",
                keys,
                "These keys take effect at the next start only: {keys}"
            );
            sentence = format!(
                "The new configuration is in use, but for what takes effect at the next start only: {keys}."
            );
        }
        let news = self.prepare(&loaded.config).await.map_err(|why| why.to_string())?;
        Ok((sentence, self.adopt(loaded, news)))
    }

    async fn prepare(&self, config: &Config) -> Result<News, StartError> {
        let tls = load_tls(config).await?;
        let mut stores = BTreeMap::new();
        for name in config.grants.keys().filter(|name| !self.grants.contains_key(name)) {
            stores.insert(name.clone(), open_store(config, name).await?);
        }
        Ok(News { tls, stores })
    }

    fn adopt(&mut self, loaded: Loaded, news: News) -> Taken {
        let before = std::mem::replace(&mut self.loaded, loaded);
        self.tls = news.tls;
        for (name, grant) in std::mem::take(&mut self.grants) {
            self.go_on(name, grant, &before.config);
        }
        for (name, store) in news.stores {
            self.keep(name, store);
        }
        let setup = Arc::new(self.setup());
        let (takes, taken) = mpsc::channel(1);
        for worker in &self.workers {
            worker.send(Order::Reload(Arc::clone(&setup), takes.clone()));
        }
        telemetry::follow(self.loaded.config.log);
        taken
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

/// Closed once every worker carries requests as it was told.
type Taken = mpsc::Receiver<()>;

async fn tell_when_taken(sentence: String, mut taken: Taken, askers: Vec<oneshot::Sender<Reloaded>>) {
    let _closed = taken.recv().await;
    askers.into_iter().for_each(|asker| drop(asker.send(Ok(sentence.clone()))));
}
