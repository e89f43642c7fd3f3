//! A TCP link between two parties, with the faults that links have.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::background::{Background, Door};

/// What happens on the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Bytes pass at once.
    #[default]
    Fair,
    /// Each batch of bytes passes this much later.
    Slow(Duration),
    /// Connections stay open and no byte passes, until the weather changes.
    Blackhole,
    /// Both sides get FIN after this many more bytes towards the server; with 0 at once, here as below.
    CutToServer(usize),
    /// Both sides get FIN after this many more bytes towards the client.
    CutToClient(usize),
    /// Both sides get RST after this many more bytes towards the server.
    ResetToServer(usize),
    /// Both sides get RST after this many more bytes towards the client.
    ResetToClient(usize),
}

/// How much has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Connections that came in.
    pub(crate) connections: usize,
    /// Bytes on their way to the server that were let pass.
    pub(crate) to_server: usize,
    /// Bytes on their way to the client that were let pass.
    pub(crate) to_client: usize,
}

/// A running link.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    link: Arc<Link>,
    door: Door,
    _running: Background,
}

#[derive(Debug)]
struct Link {
    weather: watch::Sender<Weather>,
    traffic: Mutex<Traffic>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Fin,
    Rst,
}

impl FaultProxy {
    /// A link to `server` in fair weather.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let (door, listener) = Door::bind();
        let link = Arc::new(Link { weather: watch::Sender::new(Weather::Fair), traffic: Mutex::default() });
        let (inside, entrance) = (Arc::clone(&link), door.clone());
        let running = Background::run("fault proxy", move || async move {
            let serve = |client, _peer| {
                let link = Arc::clone(&inside);
                tokio::spawn(async move { link.connect(client, server).await });
            };
            entrance.accept(listener, serve).await;
        });
        Self { link, door, _running: running }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Changes the weather for connections old and new.
    pub(crate) fn weather(&self, weather: Weather) {
        self.link.weather.send_replace(weather);
    }

    /// How much has passed.
    pub(crate) fn traffic(&self) -> Traffic {
        *self.link.traffic()
    }

    /// Refuses connections from the return of this on; those that exist stay.
    pub(crate) async fn refuse_connections(&self) {
        self.door.close().await;
    }

    /// Accepts connections again, at the same address.
    pub(crate) async fn accept_connections(&self) {
        self.door.open().await;
    }
}

impl Link {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, client: TcpStream, server: SocketAddr) {
        self.traffic().connections += 1;
        let Ok(server) = TcpStream::connect(server).await else { return };
        let _unimportant = server.set_nodelay(true);
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let end = {
            let there = self.carry(&mut from_client, &mut to_server, Way::ToServer);
            let back = self.carry(&mut from_server, &mut to_client, Way::ToClient);
            let both = async { tokio::join!(there, back) };
            // A fault ends both ways at once; one side's FIN ends only its own.
            tokio::select! {
                ((), ()) = both => End::Fin,
                end = self.broken() => end,
            }
        };
        // Whole again, because a half that is dropped alone says FIN.
        for stream in [from_client.reunite(to_client), from_server.reunite(to_server)].into_iter().flatten() {
            if end == End::Rst {
                let _closed_already = stream.set_zero_linger();
            }
        }
    }

    /// Carries bytes one way until the sender's FIN, which it passes on.
    async fn carry(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, way: Way) {
        let mut weather = self.weather.subscribe();
        let mut chunk = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            let mut bytes = &chunk[..read];
            while !bytes.is_empty() {
                drop(weather.wait_for(|now| *now != Weather::Blackhole).await);
                let now = *weather.borrow();
                if let Weather::Slow(span) = now {
                    tokio::time::sleep(span).await;
                }
                let length = self.claim(way, bytes.len()).await;
                self.count(way, length); // before the other side can have seen them
                if to.write_all(&bytes[..length]).await.is_err() {
                    return;
                }
                bytes = &bytes[length..];
            }
        }
        let _closed_already = to.shutdown().await;
    }

    /// How many of `length` bytes may pass. Waits for ever when a cut is due: `broken` ends the connection.
    async fn claim(&self, way: Way, length: usize) -> usize {
        let mut allowed = Some(length);
        self.weather.send_if_modified(|now| {
            let left = match (now, way) {
                (Weather::CutToServer(left) | Weather::ResetToServer(left), Way::ToServer)
                | (Weather::CutToClient(left) | Weather::ResetToClient(left), Way::ToClient) => left,
                _ => return false,
            };
            allowed = Some(length.min(*left)).filter(|allowed| *allowed > 0);
            *left -= allowed.unwrap_or(0);
            *left == 0
        });
        match allowed {
            Some(allowed) => allowed,
            None => std::future::pending().await,
        }
    }

    fn count(&self, way: Way, length: usize) {
        let mut traffic = self.traffic();
        match way {
            Way::ToServer => traffic.to_server += length,
            Way::ToClient => traffic.to_client += length,
        }
    }

    /// Waits until the bytes before a cut have been used up.
    async fn broken(&self) -> End {
        let mut weather = self.weather.subscribe();
        loop {
            match *weather.borrow_and_update() {
                Weather::CutToServer(0) | Weather::CutToClient(0) => return End::Fin,
                Weather::ResetToServer(0) | Weather::ResetToClient(0) => return End::Rst,
                _ => {}
            }
            let _gone = weather.changed().await;
        }
    }
}
