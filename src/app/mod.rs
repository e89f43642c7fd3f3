//! The composition root: builds everything from a configuration, binds, runs, reloads, drains.
//!
//! The thread that runs [`App::run`] is the control thread: grants, stores, admin, probes, reload and signals live on
//! its runtime; requests live on the workers' threads. They share published tokens and counters, nothing else.

mod overview;
mod reload;
mod running;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use self::reload::Again;
use self::running::Running;
pub(crate) use self::running::tell_systemd;
use crate::admin::{self, Reloaded};
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
    /// Read the configuration again, and go on as it says, if it can be used; who asks may be told.
    Reload(Option<oneshot::Sender<Reloaded>>),
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
    orders: (mpsc::UnboundedSender<Ask>, mpsc::UnboundedReceiver<Ask>),
    again: Again,
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
        Ok(Self {
            loaded,
            clock: Clock::System,
            tls,
            stores,
            listeners,
            admin,
            probes,
            warnings,
            orders: mpsc::unbounded_channel(),
            again: Arc::new(|| {
                Err("This bearerd was started without a configuration to read again.".to_owned())
            }),
        })
    }

    /// Where callers come in, as bound.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<String> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// With a way to read the configuration again, for a reload. It may block; its errors are sentences for people.
    #[must_use]
    pub fn reading(self, again: impl Fn() -> Result<Loaded, String> + Send + Sync + 'static) -> Self {
        Self { again: Arc::new(again), ..self }
    }

    /// Where it is asked to reload and to end.
    #[must_use]
    pub fn orders(&self) -> mpsc::UnboundedSender<Ask> {
        self.orders.0.clone()
    }

    /// Runs until it is asked for the end.
    ///
    /// # Errors
    /// When the system gives no thread or socket.
    pub async fn run(self) -> io::Result<()> {
        Running::start(self)?.govern().await
    }

    /// As [`App::run`], until `shutdown` is ready.
    ///
    /// # Errors
    /// As [`App::run`].
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let orders = self.orders();
        let mut running = std::pin::pin!(self.run());
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
