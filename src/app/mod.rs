//! The composition root: builds everything from a configuration, binds, runs, reloads, drains.
//!
//! The thread that runs [`App::run`] is the control thread: grants, stores, admin, probes, reload and signals live on
//! its runtime; requests live on the workers' threads. They share published tokens and counters, nothing else.

mod reload;
mod running;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use self::running::Running;
use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::net::Listen;
use crate::proxy::inherited::Inherited;
use crate::proxy::listener::{self, Listener};
use crate::store::{self, Store};
use crate::tls::Tls;
use crate::token::GrantName;

/// Why the program did not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration or the store cannot be used: exit 78.
    Unusable(String),
    /// The system refused something: exit 1.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(why) => f.write_str(why),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What the outside asks of a running program.
pub enum Ask {
    /// Go on as this configuration says, if it can be used.
    Reload(Box<Loaded>),
    /// Let requests end, then end; asked a second time, at once.
    Drain,
}

/// The program, bound and not yet running.
pub struct App {
    loaded: Loaded,
    clock: Clock,
    tls: Tls,
    stores: BTreeMap<GrantName, Arc<dyn Store>>,
    listeners: Vec<Listener>,
    admin: Vec<Listener>,
    probes: Vec<Listener>,
    /// What deserves a second look, beside what the configuration's reader found.
    warnings: Vec<String>,
}

impl App {
    /// Checks what can be checked beforehand, and binds. On the runtime that will run it.
    ///
    /// # Errors
    /// When TLS, a store or a listener cannot be used.
    pub async fn bind(loaded: Loaded) -> Result<Self, StartError> {
        Self::bind_with(loaded, Inherited::none()).await
    }

    /// As [`App::bind`], with the sockets that systemd handed over.
    ///
    /// # Errors
    /// As [`App::bind`].
    pub async fn bind_with(loaded: Loaded, mut inherited: Inherited) -> Result<Self, StartError> {
        let config = &loaded.config;
        let tls = load_tls(config).await?;
        let mut stores = BTreeMap::new();
        for name in config.grants.keys() {
            stores.insert(name.clone(), open_store(config, name).await?);
        }
        let mut warnings = Vec::new();
        let listeners = bind_all(&config.listen, &mut inherited)?;
        let admin = bind_admin(&config.admin, &mut inherited, &mut warnings)?;
        let probes = bind_all(config.admin.probes.as_slice(), &mut inherited)?;
        listeners.iter().chain(&admin).try_for_each(refuse_exposed)?;
        Ok(Self { loaded, clock: Clock::System, tls, stores, listeners, admin, probes, warnings })
    }

    /// Where callers come in, as bound.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<String> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Runs until `orders` asks for the end, or its sender is gone.
    ///
    /// # Errors
    /// When the system gives no thread or socket.
    pub async fn run(self, orders: mpsc::UnboundedReceiver<Ask>) -> io::Result<()> {
        let (running, overview) = Running::start(self)?;
        running.govern(overview, orders).await
    }

    /// As [`App::run`], until `shutdown` is ready; there is no reload.
    ///
    /// # Errors
    /// As [`App::run`].
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let (orders, inbox) = mpsc::unbounded_channel();
        let mut running = std::pin::pin!(self.run(inbox));
        tokio::select! {
            ended = running.as_mut() => return ended,
            () = shutdown => drop(orders.send(Ask::Drain)),
        }
        running.await
    }
}

async fn load_tls(config: &Config) -> Result<Tls, StartError> {
    let params = config.tls.clone();
    let loaded = tokio::task::spawn_blocking(move || Tls::load(&params)).await;
    loaded
        .map_err(|error| StartError::System(io::Error::other(error)))?
        .map_err(|error| StartError::Unusable(format!("[tls]: {error}.")))
}

/// A grant's store, which was written to once.
async fn open_store(config: &Config, name: &GrantName) -> Result<Arc<dyn Store>, StartError> {
    let unusable = |error: store::StoreError| StartError::Unusable(format!("{error}."));
    let store = store::open(&config.store, name).map_err(unusable)?;
    store.probe().await.map_err(unusable)?;
    Ok(store)
}

fn bind_all(listen: &[Listen], inherited: &mut Inherited) -> Result<Vec<Listener>, StartError> {
    let mut all = Vec::new();
    for one in listen {
        all.extend(match one {
            Listen::Inherited(name) => inherited.take(name).map_err(StartError::Unusable)?,
            other => listener::bind(other).map_err(StartError::System)?,
        });
    }
    Ok(all)
}

/// What a configuration says is checked when it is read; where systemd bound a socket is seen only now.
fn refuse_exposed(listener: &Listener) -> Result<(), StartError> {
    if listener.is_local() {
        return Ok(());
    }
    Err(StartError::Unusable(format!(
        "The socket that systemd bound to {} would let others on the network spend the token: set ListenStream= to \
         127.0.0.1, [::1] or a file.",
        listener.address()
    )))
}

/// A default admin port that is taken is a warning: two programs on one machine is no reason not to start.
fn bind_admin(
    params: &admin::Params,
    inherited: &mut Inherited,
    warnings: &mut Vec<String>,
) -> Result<Vec<Listener>, StartError> {
    match bind_all(params.listen.as_slice(), inherited) {
        Err(StartError::System(error)) if params.listen_is_default => {
            let warning = format!("The status page is off: {error}.");
            tracing::warn!(event = "admin_off", "{warning}");
            warnings.push(warning);
            Ok(Vec::new())
        }
        bound => bound,
    }
}
