//! A worker: one thread that carries requests, with connections and pools of its own and no lock.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

use super::carrying::{Alive, Caller, Totals};
use super::connection::{self, Current};
use super::listener::{Listener, Socket};
use super::{Proxy, Setup, recent};
use crate::clock::{Clock, Moment};
use crate::metrics::Shard;

/// How often a worker says that it lives, and sweeps its pools.
const BEAT: Duration = Duration::from_secs(1);

/// What a worker is told.
pub enum Order {
    /// Accept on this socket.
    Listen(Listener),
    /// Serve this connection.
    Carry(Socket),
    /// Carry the requests that follow as this says; the sender is dropped once they are.
    Reload(Arc<Setup>, mpsc::Sender<()>),
    /// Tell the last requests.
    Recent(oneshot::Sender<Vec<recent::Request>>),
    /// Accept no more, let requests end for so long (`shutdown_grace`), then end. Told twice: end at once.
    Drain(Duration),
}

/// A worker's handle.
pub struct Worker {
    orders: mpsc::UnboundedSender<Order>,
    heartbeat: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(
        index: usize,
        setup: Arc<Setup>,
        shard: Arc<Shard>,
        totals: Arc<Totals>,
    ) -> io::Result<Self> {
        let (orders, inbox) = mpsc::unbounded_channel();
        let heartbeat = Arc::new(AtomicU64::new(0));
        let beats = Arc::clone(&heartbeat);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, work((setup, shard), totals, inbox, beats));
            drop(local);
            // A name lookup that nobody answers blocks, and is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { orders, heartbeat, thread })
    }

    /// Tells it something; a worker that has ended hears nothing.
    pub fn send(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// A sender of orders, for whoever accepts on behalf of several workers.
    #[must_use]
    pub fn orders(&self) -> mpsc::UnboundedSender<Order> {
        self.orders.clone()
    }

    /// The boot time of the last sign of life, in milliseconds.
    #[must_use]
    pub fn heartbeat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.heartbeat)
    }

    /// Waits for the thread's end. Blocking.
    pub fn join(self) {
        // A panic of the thread has been printed; there is nothing left of it to drain.
        let _ = self.thread.join();
    }
}

/// A moment as [`Worker::heartbeat`] tells it.
#[must_use]
pub fn beat(now: Moment) -> u64 {
    u64::try_from(now.boot.as_millis()).unwrap_or(u64::MAX)
}

async fn work(
    (setup, shard): (Arc<Setup>, Arc<Shard>),
    totals: Arc<Totals>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    heartbeat: Arc<AtomicU64>,
) {
    let clock = setup.clock.clone();
    let Ok(proxy) = Proxy::build(setup, &shard, None) else { return };
    let current: Current = Rc::new(RefCell::new(Rc::new(proxy)));
    let (drain, drained) = watch::channel(false);
    let alive = Rc::new(Alive::default());
    let desk = Rc::new(Desk { current, shard, totals, alive, drained });
    tokio::task::spawn_local(live(Rc::clone(&desk), clock, heartbeat));

    let mut accepting = JoinSet::new();
    let grace = loop {
        match inbox.recv().await {
            Some(Order::Listen(listener)) => {
                let (desk, drained) = (Rc::clone(&desk), desk.drained.clone());
                accepting.spawn_local(listener.accept_all(drained, move |socket| desk.serve(socket)));
            }
            Some(Order::Drain(grace)) => break grace,
            None => break Duration::ZERO,
            Some(order) => desk.obey(order),
        }
    };
    // Listeners and connections hold receivers; a send fails only when there are none.
    let _ = drain.send(true);
    let end = async {
        while accepting.join_next().await.is_some() {}
        desk.alive.none_left().await;
    };
    tokio::select! {
        _ = tokio::time::timeout(grace, end) => {}
        () = hurried(&desk, &mut inbox) => {}
    }
}

/// Obeys while draining; returns when told to drain once more, which means at once.
async fn hurried(desk: &Rc<Desk>, inbox: &mut mpsc::UnboundedReceiver<Order>) {
    loop {
        match inbox.recv().await {
            Some(Order::Drain(_)) => return,
            Some(order) => desk.obey(order),
            None => std::future::pending().await,
        }
    }
}

/// Says that the worker lives, and closes what rested too long.
async fn live(desk: Rc<Desk>, clock: Clock, heartbeat: Arc<AtomicU64>) {
    loop {
        heartbeat.store(beat(clock.now()), Ordering::Relaxed);
        desk.current.borrow().sweep();
        tokio::time::sleep(BEAT).await;
    }
}

/// What a new connection needs.
struct Desk {
    current: Current,
    shard: Arc<Shard>,
    totals: Arc<Totals>,
    alive: Rc<Alive>,
    drained: watch::Receiver<bool>,
}

impl Desk {
    fn obey(self: &Rc<Self>, order: Order) {
        match order {
            Order::Carry(socket) => self.serve(socket),
            Order::Reload(setup, _taken) => self.reload(setup),
            // Whoever asked may have gone.
            Order::Recent(asker) => drop(asker.send(self.current.borrow().recent())),
            Order::Listen(_) | Order::Drain(_) => {}
        }
    }

    fn reload(&self, setup: Arc<Setup>) {
        let previous = Rc::clone(&self.current.borrow());
        // The control thread has checked that every grant is there.
        if let Ok(proxy) = Proxy::build(setup, &self.shard, Some(&previous)) {
            *self.current.borrow_mut() = Rc::new(proxy);
        }
    }

    /// Serves a connection in a task of its own; one too many is closed at once.
    fn serve(self: &Rc<Self>, socket: Socket) {
        let limit = self.current.borrow().limits().connections;
        let Some(caller) = Caller::enter(&self.totals, &self.alive, &self.shard, limit) else { return };
        let (current, drained) = (Rc::clone(&self.current), self.drained.clone());
        match socket {
            Socket::Tcp(stream) => {
                if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                    tokio::task::spawn_local(connection::serve(stream, caller, current, drained));
                }
            }
            #[cfg(unix)]
            Socket::Unix(stream) => {
                if let Ok(stream) = tokio::net::UnixStream::from_std(stream) {
                    tokio::task::spawn_local(connection::serve(stream, caller, current, drained));
                }
            }
        }
    }
}
