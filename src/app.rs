//! The composition root: builds everything from a configuration, binds, runs, reloads, drains.
//!
//! The thread that runs [`App::run`] is the control thread: grants, stores, admin, probes, reload and signals live on
//! its runtime; requests live on the workers' threads. They share published tokens and counters, nothing else.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::admin::{self, Overview};
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::grant::endpoint::HttpEndpoint;
use crate::grant::refresher::Command;
use crate::grant::{self, Handle};
use crate::metrics::Shard;
use crate::net::Listen;
use crate::proxy::carrying::Totals;
use crate::proxy::guard::Guard;
use crate::proxy::inherited::Inherited;
use crate::proxy::listener::{self, Listener};
use crate::proxy::worker::{self, Order, Worker};
use crate::proxy::{Setup, upstream};
use crate::secret;
use crate::store::{self, Store};
use crate::telemetry;
use crate::tls::Tls;
use crate::token::GrantName;

/// How often the control thread says that it lives.
const BEAT: Duration = Duration::from_secs(1);

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
    Reload(Box<Config>),
    /// Let requests end, then end; asked a second time, at once.
    Drain,
}

/// The program, bound and not yet running.
pub struct App {
    config: Config,
    clock: Clock,
    tls: Tls,
    stores: BTreeMap<GrantName, Arc<dyn Store>>,
    listeners: Vec<Listener>,
    admin: Vec<Listener>,
    probes: Vec<Listener>,
    warnings: Vec<String>,
}

impl App {
    /// Checks what can be checked beforehand, and binds. On the runtime that will run it.
    ///
    /// # Errors
    /// When TLS, a store or a listener cannot be used.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        Self::bind_with(config, Inherited::none()).await
    }

    /// As [`App::bind`], with the sockets that systemd handed over.
    ///
    /// # Errors
    /// As [`App::bind`].
    pub async fn bind_with(config: Config, mut inherited: Inherited) -> Result<Self, StartError> {
        let tls = load_tls(&config).await?;
        let mut stores = BTreeMap::new();
        for name in config.grants.keys() {
            let unusable = |error: store::StoreError| StartError::Unusable(format!("{error}."));
            let store = store::open(&config.store, name).map_err(unusable)?;
            store.probe().await.map_err(unusable)?;
            stores.insert(name.clone(), store);
        }
        let mut warnings = Vec::new();
        let listeners = bind_all(&config.listen, &mut inherited)?;
        let admin = bind_admin(&config.admin, &mut inherited, &mut warnings)?;
        let probes = bind_all(config.admin.probes.as_slice(), &mut inherited)?;
        listeners.iter().chain(&admin).try_for_each(refuse_exposed)?;
        Ok(Self { config, clock: Clock::System, tls, stores, listeners, admin, probes, warnings })
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
        Running::start(self)?.govern(orders).await
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

/// The program, running.
struct Running {
    config: Config,
    clock: Clock,
    tls: Tls,
    grants: BTreeMap<GrantName, Handle>,
    workers: Vec<Worker>,
    shards: Vec<Arc<Shard>>,
    overview: Arc<ArcSwap<Overview>>,
    draining: Arc<AtomicBool>,
    heartbeat: Arc<AtomicU64>,
}

impl Running {
    fn start(app: App) -> io::Result<Self> {
        let App { config, clock, tls, stores, listeners, admin, probes, warnings } = app;
        let mut grants = BTreeMap::new();
        for (name, store) in stores {
            if let Some(params) = config.grants.get(&name) {
                let endpoint = Arc::new(HttpEndpoint::new(params.clone(), tls.clone(), clock.clone()));
                let handle = grant::spawn(params.clone(), endpoint, store, clock.clone(), secret::dice);
                grants.insert(name, handle);
            }
        }
        let totals = Arc::new(Totals::default());
        let setup = Arc::new(setup(&config, &grants, &tls, &clock));
        let (mut workers, mut shards) = (Vec::new(), Vec::new());
        for index in 0..config.workers {
            let shard = Arc::new(Shard::default());
            workers.push(Worker::spawn(index, Arc::clone(&setup), Arc::clone(&shard), Arc::clone(&totals))?);
            shards.push(shard);
        }
        let mut listening = Vec::new();
        for (listener, bound) in [("proxy", &listeners), ("admin", &admin), ("probes", &probes)] {
            listening
                .extend(bound.iter().map(|bound| admin::Listening { listener, address: bound.address() }));
        }
        let (draining, heartbeat) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let overview = overview(
            &config,
            &clock,
            &grants,
            &workers,
            &shards,
            (&draining, &heartbeat),
            listening,
            warnings,
        );
        let overview = Arc::new(ArcSwap::from_pointee(overview));
        serve_admin(admin, &overview, admin::Role::Admin)?;
        serve_admin(probes, &overview, admin::Role::Probes)?;
        hand_out(listeners, &workers);
        for listening in &overview.load().listeners {
            let (listener, address) = (listening.listener, &listening.address);
            tracing::info!(event = "listening", listener, %address, "Listening on {address} ({listener})");
        }
        Ok(Self { config, clock, tls, grants, workers, shards, overview, draining, heartbeat })
    }

    /// Obeys orders until the end.
    async fn govern(mut self, mut orders: mpsc::UnboundedReceiver<Ask>) -> io::Result<()> {
        let beating = tokio::spawn(beat(self.clock.clone(), Arc::clone(&self.heartbeat)));
        while let Some(Ask::Reload(config)) = orders.recv().await {
            self.reload(*config).await;
        }
        self.drain(orders).await;
        beating.abort();
        tracing::info!(event = "stopped", "Stopped");
        Ok(())
    }

    /// Takes a new configuration whole, or leaves everything as it is.
    async fn reload(&mut self, config: Config) {
        let restart = self.config.needs_restart(&config);
        let same_grants = self.config.grants.keys().eq(config.grants.keys());
        let tls = load_tls(&config).await;
        let refused = match &tls {
            Err(error) => Some(error.to_string()),
            Ok(_) if !same_grants => {
                Some("Grants were added, removed or renamed, which needs a restart.".to_owned())
            }
            Ok(_) => self.strangers(&config),
        };
        let (Ok(tls), None) = (tls, &refused) else {
            let why = refused.unwrap_or_default();
            tracing::error!(
                event = "config_rejected",
                "The new configuration is not used, the old one goes on: {why}"
            );
            return;
        };
        let mut config = config;
        if !restart.is_empty() {
            let keys = restart.join(", ");
            tracing::warn!(
                event = "config_needs_restart",
                keys,
                "These keys take effect at the next start only: {keys}"
            );
            config.listen = self.config.listen.clone();
            config.workers = self.config.workers;
            config.store = self.config.store.clone();
            config.admin = self.config.admin.clone();
        }
        self.tls = tls;
        for (name, params) in &config.grants {
            let endpoint = Arc::new(HttpEndpoint::new(params.clone(), self.tls.clone(), self.clock.clone()));
            if let Some(handle) = self.grants.get(name) {
                handle.tell(Command::Reconfigure(Box::new(params.clone()), endpoint));
            }
        }
        let setup = Arc::new(setup(&config, &self.grants, &self.tls, &self.clock));
        self.workers.iter().for_each(|worker| worker.send(Order::Reload(Arc::clone(&setup))));
        let old = self.overview.load();
        let flags = (&self.draining, &self.heartbeat);
        let new = overview(
            &config,
            &self.clock,
            &self.grants,
            &self.workers,
            &self.shards,
            flags,
            old.listeners.clone(),
            old.warnings.clone(),
        );
        self.overview.store(Arc::new(Overview { started: old.started, ..new }));
        telemetry::follow(config.log);
        self.config = config;
        tracing::info!(event = "config_reloaded", "The new configuration is in use");
    }

    /// A grant that would present its refresh token to somebody else needs a restart, and a store of its own (R45).
    fn strangers(&self, config: &Config) -> Option<String> {
        let strange = |(name, params): (&GrantName, &grant::Params)| {
            let known = self.config.grants.get(name)?;
            let same = known.identity() == params.identity();
            (!same).then(|| format!("Grant {name} has another issuer or client, which needs a restart."))
        };
        config.grants.iter().find_map(strange)
    }

    /// Requests first, then grants: a refresh in flight, and the save of its answer, are finished (R16).
    async fn drain(self, mut orders: mpsc::UnboundedReceiver<Ask>) {
        self.draining.store(true, Ordering::Relaxed);
        tracing::info!(event = "draining", "Letting requests end");
        let (delay, grace) = (self.config.drain_delay, self.config.shutdown_grace);
        self.workers.iter().for_each(|worker| worker.send(Order::Drain { delay, grace }));
        let orders_of: Vec<_> = self.workers.iter().map(Worker::orders).collect();
        let workers = self.workers;
        let joined = tokio::task::spawn_blocking(move || workers.into_iter().for_each(Worker::join));
        let mut joined = std::pin::pin!(joined);
        loop {
            tokio::select! {
                _ = joined.as_mut() => break,
                Some(Ask::Drain) = orders.recv() => {
                    let now = || Order::Drain { delay: Duration::ZERO, grace: Duration::ZERO };
                    // A worker that has ended hears nothing.
                    orders_of.iter().for_each(|orders| drop(orders.send(now())));
                }
            }
        }
        for handle in self.grants.into_values() {
            handle.stop().await;
        }
    }
}

/// What workers need.
fn setup(config: &Config, grants: &BTreeMap<GrantName, Handle>, tls: &Tls, clock: &Clock) -> Setup {
    let readers: HashMap<_, _> =
        grants.iter().map(|(name, handle)| (name.clone(), handle.reader.clone())).collect();
    Setup {
        params: config.proxy.clone(),
        readers,
        tls: tls.clone(),
        clock: clock.clone(),
        access: config.log.access,
    }
}

/// One worker accepts by itself; for several, the control thread accepts and hands sockets round in turn.
fn hand_out(listeners: Vec<Listener>, workers: &[Worker]) {
    if let [only] = workers {
        listeners.into_iter().for_each(|listener| only.send(Order::Listen(listener)));
        return;
    }
    for listener in listeners {
        let orders: Vec<_> = workers.iter().map(Worker::orders).collect();
        let mut turn = 0_usize;
        tokio::spawn(listener.accept_all(move |socket| {
            turn = (turn + 1) % orders.len().max(1);
            if let Some(worker) = orders.get(turn) {
                drop(worker.send(Order::Carry(socket)));
            }
        }));
    }
}

fn serve_admin(bound: Vec<Listener>, overview: &Arc<ArcSwap<Overview>>, role: admin::Role) -> io::Result<()> {
    let mut listeners = Vec::new();
    for listener in bound {
        listeners.push(match listener {
            Listener::Tcp(tcp) => admin::Listener::Tcp(tokio::net::TcpListener::from_std(tcp)?),
            #[cfg(unix)]
            Listener::Unix(unix, _) => admin::Listener::Unix(tokio::net::UnixListener::from_std(unix)?),
        });
    }
    if !listeners.is_empty() {
        tokio::spawn(admin::serve(listeners, Arc::clone(overview), role));
    }
    Ok(())
}

async fn beat(clock: Clock, heartbeat: Arc<AtomicU64>) {
    loop {
        heartbeat.store(worker::beat(clock.now()), Ordering::Relaxed);
        tokio::time::sleep(BEAT).await;
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "a list of everything, filled in at one place and named by field"
)]
fn overview(
    config: &Config,
    clock: &Clock,
    grants: &BTreeMap<GrantName, Handle>,
    workers: &[Worker],
    shards: &[Arc<Shard>],
    (draining, control): (&Arc<AtomicBool>, &Arc<AtomicU64>),
    listeners: Vec<admin::Listening>,
    warnings: Vec<String>,
) -> Overview {
    let used = |name: &GrantName| config.proxy.routes.iter().any(|route| route.grant == *name);
    let route = |route: &crate::proxy::route::Params| admin::Route {
        path: route.path.clone(),
        host: route.host.clone(),
        upstream: shown(&route.upstream),
        grant: route.grant.clone(),
    };
    let grant = |(name, handle): (&GrantName, &Handle)| admin::Grant {
        name: name.clone(),
        board: handle.board.clone(),
        used: used(name),
    };
    let worker_beats =
        workers.iter().enumerate().map(|(index, worker)| (format!("worker {index}"), worker.heartbeat()));
    let beats = worker_beats.chain([("control thread".to_owned(), Arc::clone(control))]);
    let started = clock.now();
    Overview {
        clock: clock.clone(),
        started,
        config_file: admin::file(config),
        identity: admin::identity(config),
        listeners,
        grants: grants.iter().map(grant).collect(),
        routes: config.proxy.routes.iter().map(route).collect(),
        shards: shards.to_vec(),
        heartbeats: beats.map(|(of, beat)| heartbeat(of, beat, started)).collect(),
        draining: Arc::clone(draining),
        warnings,
        guard: Guard::new(&config.proxy.guard, []),
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

fn shown(upstream: &upstream::Params) -> String {
    format!("{}{}", upstream.target, upstream.path)
}
