//! The program, running: starts everything, obeys orders, and ends in the order in which nothing is lost.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::reload::Readings;
use super::{App, Ask};
use crate::admin::{self, Overview};
use crate::clock::{Clock, Moment};
use crate::config::Loaded;
use crate::grant::endpoint::HttpEndpoint;
use crate::grant::{self, Handle};
use crate::hooks::{self, Hooks};
use crate::metrics::Shard;
use crate::proxy::Setup;
use crate::proxy::carrying::Totals;
#[cfg(unix)]
use crate::proxy::listener::SocketFile;
use crate::proxy::listener::{Listener, Socket};
use crate::proxy::worker::{self, Order, Worker};
use crate::secret;
use crate::store::Store;
use crate::tls::Tls;
use crate::token::GrantName;

/// How often the control thread says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// How often the TLS files are looked at.
const LOOK: Duration = Duration::from_secs(15);

/// The program, running.
pub(super) struct Running {
    pub(super) loaded: Loaded,
    pub(super) clock: Clock,
    pub(super) tls: Tls,
    pub(super) grants: BTreeMap<GrantName, Grant>,
    /// Refreshers of grants that a reload took away, on their way out.
    pub(super) leaving: JoinSet<()>,
    /// True once they have to.
    pub(super) stopping: watch::Sender<bool>,
    pub(super) workers: Vec<Worker>,
    pub(super) shards: Vec<Arc<Shard>>,
    doors: Doors,
    pub(super) listening: Vec<admin::Listening>,
    pub(super) warnings: Vec<String>,
    /// Of the admin and probes listeners, which serve to the very end.
    #[cfg(unix)]
    socket_files: Vec<SocketFile>,
    pub(super) started: Moment,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) heartbeat: Arc<AtomicU64>,
    pub(super) actions: admin::Actions,
}

/// A grant that is kept alive, and where it rests.
pub(super) struct Grant {
    pub(super) handle: Handle,
    pub(super) store: Arc<dyn Store>,
}

impl Running {
    /// Starts all threads and tasks.
    pub(super) fn start(app: App) -> io::Result<Governed> {
        let App { loaded, clock, tls, stores, listeners, admin, probes, warnings, orders, again } = app;
        let (asks, orders) = orders;
        let (reloads, stops) = (asks.clone(), asks);
        // Nobody hears only when the program has ended.
        let actions = admin::Actions::new(
            move |asker| drop(reloads.send(Ask::Reload(Some(asker)))),
            move || drop(stops.send(Ask::Drain)),
        );
        let mut listening = Vec::new();
        for (listener, bound) in [("proxy", &listeners), ("admin", &admin), ("probes", &probes)] {
            listening
                .extend(bound.iter().map(|bound| admin::Listening { listener, address: bound.address() }));
        }
        let started = clock.now();
        let mut running = Self {
            loaded,
            clock,
            tls,
            grants: BTreeMap::new(),
            leaving: JoinSet::new(),
            stopping: watch::Sender::new(false),
            workers: Vec::new(),
            shards: Vec::new(),
            doors: Doors::new(),
            listening,
            warnings,
            #[cfg(unix)]
            socket_files: Vec::new(),
            started,
            draining: Arc::default(),
            heartbeat: Arc::default(),
            actions,
        };
        for (name, store) in stores {
            running.keep(name, store);
        }
        let (totals, setup) = (Arc::new(Totals::default()), Arc::new(running.setup()));
        for index in 0..running.loaded.config.workers {
            let shard = Arc::new(Shard::default());
            let worker = Worker::spawn(index, Arc::clone(&setup), Arc::clone(&shard), Arc::clone(&totals))?;
            running.workers.push(worker);
            running.shards.push(shard);
        }
        let overview = Arc::new(ArcSwap::from_pointee(running.overview()));
        running.serve(admin, &overview, admin::Role::Admin)?;
        running.serve(probes, &overview, admin::Role::Probes)?;
        running.open(listeners);
        for admin::Listening { listener, address } in &running.listening {
            tracing::info!(event = "listening", listener, %address, "Listening on {address} ({listener})");
        }
        let hooks = Hooks::begin(running.scene(), running.clock.clone());
        Ok(Governed { running, overview, hooks, orders, readings: Readings::new(again) })
    }

    /// Starts to keep the grant of this name alive as the configuration says.
    pub(super) fn keep(&mut self, name: GrantName, store: Arc<dyn Store>) {
        let Some(params) = self.loaded.config.grants.get(&name) else { return };
        let endpoint = self.endpoint(params);
        let handle =
            grant::spawn(params.clone(), endpoint, Arc::clone(&store), self.clock.clone(), secret::dice);
        self.grants.insert(name, Grant { handle, store });
    }

    pub(super) fn endpoint(&self, params: &grant::Params) -> Arc<HttpEndpoint> {
        Arc::new(HttpEndpoint::new(params.clone(), self.tls.clone(), self.clock.clone()))
    }

    /// What workers need.
    pub(super) fn setup(&self) -> Setup {
        let reader = |(name, grant): (&GrantName, &Grant)| (name.clone(), grant.handle.reader.clone());
        Setup {
            params: self.loaded.config.proxy.clone(),
            readers: self.grants.iter().map(reader).collect::<HashMap<_, _>>(),
            tls: self.tls.clone(),
            clock: self.clock.clone(),
            access: self.loaded.config.log.access,
            recent: self.kept_requests(),
        }
    }

    /// Whose changes are told, and to whom.
    pub(super) fn scene(&self) -> hooks::Scene {
        let boards = self.grants.iter().map(|(name, grant)| (name.clone(), grant.handle.board.clone()));
        hooks::Scene {
            params: self.loaded.config.hooks.clone(),
            boards: boards.collect(),
            status_page: status_page(&self.listening),
        }
    }

    /// One worker accepts by itself; for several, the control thread accepts and hands sockets round in turn.
    fn open(&mut self, listeners: Vec<Listener>) {
        if let [only] = self.workers.as_slice() {
            listeners.into_iter().for_each(|listener| only.send(Order::Listen(listener)));
            return;
        }
        for listener in listeners {
            let orders: Vec<_> = self.workers.iter().map(Worker::orders).collect();
            let mut turn = 0_usize;
            self.doors.open(listener, move |socket| {
                turn = (turn + 1) % orders.len().max(1);
                if let Some(worker) = orders.get(turn) {
                    drop(worker.send(Order::Carry(socket)));
                }
            });
        }
    }

    /// Serves operators until the program ends.
    fn serve(
        &mut self,
        bound: Vec<Listener>,
        overview: &Arc<ArcSwap<Overview>>,
        role: admin::Role,
    ) -> io::Result<()> {
        let mut listeners = Vec::new();
        for listener in bound {
            listeners.push(match listener {
                Listener::Tcp(tcp) => admin::Listener::Tcp(tokio::net::TcpListener::from_std(tcp)?),
                #[cfg(unix)]
                Listener::Unix(unix, file) => {
                    self.socket_files.extend(file);
                    admin::Listener::Unix(tokio::net::UnixListener::from_std(unix)?)
                }
            });
        }
        if !listeners.is_empty() {
            tokio::spawn(admin::serve(listeners, Arc::clone(overview), role));
        }
        Ok(())
    }

    /// Requests first, then grants: a refresh in flight, and the save of its answer, are finished (R16).
    async fn drain(mut self, mut orders: mpsc::UnboundedReceiver<Ask>) {
        self.draining.store(true, Ordering::Relaxed);
        tracing::info!(event = "draining", "Letting requests end");
        let config = &self.loaded.config;
        let mut grace = config.shutdown_grace;
        tokio::select! {
            () = tokio::time::sleep(config.drain_delay) => {}
            () = hurry(&mut orders) => grace = Duration::ZERO,
        }
        self.doors.close().await;
        let orders_of: Vec<_> = self.workers.iter().map(Worker::orders).collect();
        // A worker that has ended hears nothing.
        let end_within = |grace| orders_of.iter().for_each(|orders| drop(orders.send(Order::Drain(grace))));
        end_within(grace);
        let workers = self.workers;
        let joined = tokio::task::spawn_blocking(move || workers.into_iter().for_each(Worker::join));
        let mut joined = std::pin::pin!(joined);
        tokio::select! {
            _ = joined.as_mut() => {}
            () = hurry(&mut orders) => {
                end_within(Duration::ZERO);
                let _ = joined.await;
            }
        }
        self.stopping.send_replace(true);
        for grant in self.grants.into_values() {
            self.leaving.spawn(grant.handle.stop());
        }
        while self.leaving.join_next().await.is_some() {}
    }
}

/// Where a browser finds the status page; empty when it is off or on a Unix socket, which no browser opens.
fn status_page(listening: &[admin::Listening]) -> String {
    let is_it = |one: &&admin::Listening| one.listener == "admin" && !one.address.starts_with("unix:");
    listening.iter().find(is_it).map(|one| format!("http://{}/", one.address)).unwrap_or_default()
}

/// The program, running, with what it listens to and where it is looked at.
pub(super) struct Governed {
    running: Running,
    overview: Arc<ArcSwap<Overview>>,
    hooks: Hooks,
    orders: mpsc::UnboundedReceiver<Ask>,
    readings: Readings,
}

impl Governed {
    /// Obeys orders until the end.
    pub(super) async fn govern(self) -> io::Result<()> {
        let Self { mut running, overview, hooks, mut orders, mut readings } = self;
        let beating = tokio::spawn(beat(running.clock.clone(), Arc::clone(&running.heartbeat)));
        let following = tokio::spawn(follow(running.tls.clone()));
        loop {
            tokio::select! {
                ask = orders.recv() => match ask {
                    Some(Ask::Reload(asker)) => readings.ask(asker),
                    Some(Ask::Drain) | None => break,
                },
                read = readings.next() => {
                    running.reload(read).await;
                    overview.store(Arc::new(running.overview()));
                    hooks.go_on(running.scene());
                }
            }
        }
        // Whoever still waits for a reload is told by this that there will be none.
        drop(readings);
        tell_systemd(sd_notify::NotifyState::Stopping);
        hooks.stop();
        running.drain(orders).await;
        hooks.stopped().await;
        beating.abort();
        following.abort();
        tracing::info!(event = "stopped", "Stopped");
        Ok(())
    }
}

/// Tells systemd how things are; without one there is nobody to tell.
pub(crate) fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}

/// Returns when the end is asked for once more.
async fn hurry(orders: &mut mpsc::UnboundedReceiver<Ask>) {
    loop {
        match orders.recv().await {
            Some(Ask::Drain) => return,
            Some(Ask::Reload(_)) => {}
            None => std::future::pending().await,
        }
    }
}

/// The accept loops of the control thread.
struct Doors {
    accepting: JoinSet<()>,
    closing: watch::Sender<bool>,
}

impl Doors {
    fn new() -> Self {
        Self { accepting: JoinSet::new(), closing: watch::Sender::new(false) }
    }

    fn open(&mut self, listener: Listener, take: impl FnMut(Socket) + Send + 'static) {
        self.accepting.spawn(listener.accept_all(self.closing.subscribe(), take));
    }

    /// Lets in who waits, and nobody after.
    async fn close(&mut self) {
        self.closing.send_replace(true);
        while self.accepting.join_next().await.is_some() {}
    }
}

async fn beat(clock: Clock, heartbeat: Arc<AtomicU64>) {
    loop {
        heartbeat.store(worker::beat(clock.now()), Ordering::Relaxed);
        tokio::time::sleep(BEAT).await;
    }
}

/// Keeps to the TLS files: whoever renews a certificate does so long before its end.
async fn follow(tls: Tls) {
    while tls.has_files() {
        tokio::time::sleep(LOOK).await;
        let tls = tls.clone();
        // It ends with the program, which then needs no certificate any more.
        drop(tokio::task::spawn_blocking(move || tls.follow()).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_page_has_an_address_where_a_browser_can_open_it() {
        let listening = |listener, address: &str| admin::Listening { listener, address: address.to_owned() };
        let proxy = || listening("proxy", "127.0.0.1:8080");
        assert_eq!(status_page(&[proxy(), listening("admin", "[::1]:9901")]), "http://[::1]:9901/");
        assert_eq!(status_page(&[proxy(), listening("admin", "unix:/run/bearerd.sock")]), "");
        assert_eq!(status_page(&[proxy()]), "");
    }
}
