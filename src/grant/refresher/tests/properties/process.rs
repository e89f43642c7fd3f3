//! One process that keeps the grant, with the requests that wait in it: what I2, I7 and I8 say of its readers.

use http::HeaderMap;
use tokio::task::JoinHandle;

use super::events::Who;
use super::witness::{End, Witness};
use super::world::{World, settle};
use super::*;
use crate::token::{AbsentReason, AccessToken, Credential, Reader};

/// Timers are a millisecond wide, and a task may run after the one that looks.
const HAIR: Duration = Duration::from_millis(3);

/// A refresh in flight, the last saves, and a slow store's writes: the end comes within this time (R16).
const ENDS_WITHIN: Duration = Duration::from_secs(20 + 15 + 25);

/// A process.
pub(super) struct Process {
    world: Arc<World>,
    who: Who,
    handle: Handle,
    /// The token that a reader had when we looked last.
    seen: Option<Arc<AccessToken>>,
    /// When that was, by clocks that have not been set since.
    looked: Option<Moment>,
    waiting: Vec<Waiting>,
}

/// A request that waits.
struct Waiting {
    deadline: Duration,
    /// Whether any token ends its wait, and no clock was set since it began.
    ends_with_any: bool,
    task: JoinHandle<()>,
}

fn handed_out(world: &World, token: &AccessToken) {
    let mut headers = HeaderMap::new();
    token.authorize(&mut headers, &Credential::default());
    let text = headers[http::header::AUTHORIZATION].to_str().unwrap();
    let access = text.strip_prefix("Bearer A").unwrap().parse().unwrap();
    let clock = world.now();
    world.witness(|witness, _| witness.handed_out(access, clock));
}

impl Process {
    pub(super) fn new(world: Arc<World>, who: Who, handle: Handle) -> Self {
        Self { world, who, handle, seen: None, looked: None, waiting: Vec::new() }
    }

    pub(super) fn state(&self) -> State {
        self.handle.board.look().state
    }

    pub(super) fn has_token(&self) -> bool {
        self.handle.reader.now().is_ok()
    }

    /// The token that was published last, though it may have expired.
    fn published(&self) -> Option<Arc<AccessToken>> {
        self.handle.reader.current(Moment { boot: Duration::ZERO, wall: Duration::ZERO }).ok()
    }

    pub(super) fn tell(&mut self, command: Command) {
        if !self.handle.tell(command) {
            self.world.witness(|witness, _| witness.broke("I5", "the refresher has ended by itself (R20)"));
        }
    }

    pub(super) fn look(&mut self) {
        let now = self.world.elapsed();
        let reads = self.handle.reader.now();
        let seen = self.seen.take();
        let clock = self.world.now();
        let looked = self.looked.replace(clock);
        match (&reads, seen) {
            (Ok(token), seen) => {
                handed_out(&self.world, token);
                if seen.is_some_and(|seen| seen.generation() > token.generation()) {
                    self.broke("I7", "an older token is handed out again".to_owned());
                }
                self.seen = Some(Arc::clone(token));
            }
            (Err(_), Some(seen)) if !seen.expires().has_come(clock) => {
                // A later one may have taken its place and expired since, unless it had when we looked last.
                let later = self.published().filter(|token| token.generation() > seen.generation());
                let was_good =
                    |later: &AccessToken| looked.is_none_or(|then| !later.expires().has_come(then));
                if !later.is_some_and(|later| was_good(&later)) {
                    let state = self.state();
                    let how = format!("in state {state} {seen:?} was taken away before its expiry");
                    self.broke("I7", how);
                }
            }
            _ => {}
        }
        self.waiting.retain(|waiting| !waiting.task.is_finished());
        if let Some(late) = self.waiting.iter().find(|waiting| now > waiting.deadline + HAIR) {
            let how = format!("a request waits {:?} after its deadline", now - late.deadline);
            self.broke("I8", how);
        }
        if reads.is_ok() && self.waiting.iter().any(|waiting| waiting.ends_with_any) {
            self.broke("I8", "a request waits for a token that is there".to_owned());
        }
    }

    fn broke(&self, invariant: &str, how: String) {
        let who = self.who;
        self.world.witness(|witness, _| witness.broke(invariant, format!("{how} ({who:?})")));
    }

    pub(super) fn clock_set(&mut self) {
        self.looked = None;
        self.waiting.iter_mut().for_each(|waiting| waiting.ends_with_any = false);
    }

    /// A request wants a token.
    pub(super) fn ask(&mut self, patience: u32) {
        let patience = Duration::from_millis(u64::from(patience));
        let (world, reader) = (Arc::clone(&self.world), self.handle.reader.clone());
        let deadline = world.elapsed() + patience;
        let task = tokio::spawn(async move {
            match reader.ready(patience).await {
                Ok(token) => handed_out(&world, &token),
                Err(absent) if absent.reason == AbsentReason::Unavailable => {
                    let now = world.elapsed();
                    if now < deadline {
                        let how = format!("a request is sent away {:?} before its deadline", deadline - now);
                        world.witness(|witness, _| witness.broke("I8", how));
                    }
                }
                Err(_) => {}
            }
        });
        self.waiting.push(Waiting { deadline, ends_with_any: true, task });
    }

    /// An upstream has refused the token.
    pub(super) fn doubt(&mut self, patience: u32) {
        let Ok(token) = self.handle.reader.now() else { return };
        let patience = Duration::from_millis(u64::from(patience));
        let (world, reader): (_, Reader) = (Arc::clone(&self.world), self.handle.reader.clone());
        let deadline = world.elapsed() + patience;
        reader.doubt(token.generation());
        let task = tokio::spawn(async move {
            if let Some(successor) = reader.successor(token.generation(), patience).await {
                handed_out(&world, &successor);
                if successor.generation() <= token.generation() {
                    world.witness(|witness, _| witness.broke("I8", "a successor that is none"));
                }
            }
        });
        self.waiting.push(Waiting { deadline, ends_with_any: false, task });
    }

    /// kill -9: nothing of it runs any more.
    pub(super) async fn kill(self) {
        self.world.witness(|witness, now| {
            witness.is_saving(now);
            witness.ends(self.who, End::Killed);
        });
        self.waiting.iter().for_each(|waiting| waiting.task.abort());
        self.handle.task.abort();
        // It ends by being aborted.
        let _ = self.handle.task.await;
    }

    /// SIGTERM.
    pub(super) async fn stop(mut self) {
        self.world.witness(|witness, _| witness.ends(self.who, End::Stopped));
        let began = self.world.elapsed();
        // As `Handle::stop`, which would leave us nothing to look at.
        let _ = self.handle.ending.send(Ending::Stop);
        while !self.handle.task.is_finished() {
            tokio::time::sleep(Duration::from_millis(250)).await;
            settle().await;
            self.look();
            self.world.witness(Witness::is_saving);
            if self.world.elapsed() > began + ENDS_WITHIN {
                self.broke("I3", "the end of the program is not the end of the refresher (R16)".to_owned());
                break;
            }
        }
        self.kill().await;
    }
}
