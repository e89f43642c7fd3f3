//! What the listeners show: filled by the program's composition, replaced whole by a reload.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Actions, Requests};
use crate::clock::{Clock, Moment};
use crate::grant::Teller;
use crate::grant::error::RefreshError;
use crate::grant::sign_out::{SignedOut, Unrevoked};
use crate::grant::status::Board;
use crate::metrics::{self, Shard};
use crate::proxy::guard::Guard;
use crate::token::GrantName;

/// Everything an operator may know; no secret is reachable from here.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Tells the time.
    pub clock: Clock,
    /// When the process started.
    pub started: Moment,
    /// The configuration's file, absolute; none when environment and flags were enough.
    pub config_file: Option<PathBuf>,
    /// [`super::identity`] of the configuration.
    pub identity: String,
    /// What is listened on.
    pub listeners: Vec<Listening>,
    /// Every grant, by name.
    pub grants: Vec<Grant>,
    /// The routes, in the order of the file.
    pub routes: Vec<Route>,
    /// Every worker's counters.
    pub shards: Vec<Arc<Shard>>,
    /// Every worker's, and the control thread's.
    pub heartbeats: Vec<Heartbeat>,
    /// Set once the program was asked to stop.
    pub draining: Arc<AtomicBool>,
    /// What deserves a second look, a sentence each.
    pub warnings: Vec<String>,
    /// Stands before the admin listener, not before the probes.
    pub guard: Guard,
    /// The last requests.
    pub requests: Requests,
    /// What people may have done beside what a grant is told.
    pub actions: Actions,
}

/// A grant, where its refresher posts how it is, and how it is told something.
#[derive(Clone)]
pub struct Grant {
    /// Its name.
    pub name: GrantName,
    /// Its snapshots.
    pub board: Board,
    /// Its refresher's ear.
    pub teller: Teller,
    /// Whose it is.
    pub about: About,
    /// Revokes and erases it.
    pub sign_out: SignOut,
    /// Whether a route uses it: then it counts for /readyz and /startupz.
    pub used: bool,
}

/// Ends a grant by a person's word, who says what becomes of tokens that the server could not be told about.
pub type SignOut = Arc<
    dyn Fn(Unrevoked) -> Pin<Box<dyn Future<Output = Result<SignedOut, RefreshError>> + Send>> + Send + Sync,
>;

/// Whose a grant is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The authorization server, as configured.
    pub issuer: String,
    /// The client there.
    pub client_id: String,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Whether it begins with a person's sign-in; else the client gets tokens by itself.
    pub signs_in: bool,
}

/// A thread that must not stand still.
#[derive(Clone)]
pub struct Heartbeat {
    /// `worker 0`, `control thread`.
    pub of: String,
    /// When it last moved.
    pub last: Arc<dyn Fn() -> Moment + Send + Sync>,
}

/// An address that is listened on.
#[derive(Clone, Debug)]
pub struct Listening {
    /// `proxy`, `admin` or `probes`.
    pub listener: &'static str,
    /// As bound: a port 0 has become a number.
    pub address: String,
}

/// A route, for people.
#[derive(Clone, Debug)]
pub struct Route {
    /// `path`.
    pub path: String,
    /// `host`.
    pub host: Option<String>,
    /// Where it leads; without user or password.
    pub upstream: String,
    /// Whose token it takes.
    pub grant: GrantName,
}

impl Overview {
    /// Whether the program was asked to stop.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What a scrape shows of the grants.
    pub(super) fn snapshots(&self) -> metrics::Grants {
        self.grants.iter().map(|grant| (grant.name.as_str().to_owned(), grant.board.look())).collect()
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("name", &self.name).field("used", &self.used).finish_non_exhaustive()
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("of", &self.of).finish_non_exhaustive()
    }
}
