//! One grant's world: two processes that keep it, a server, a store, a seed file and two clocks, played by a schedule.

use std::cell::Cell;
use std::path::PathBuf;

use super::endpoint::Wire;
use super::events::{Event, Life, Mood, Schedule, Seed, Who};
use super::faulty::Watched;
use super::process::Process;
use super::server::{Server, Token, Verdict};
use super::witness::Witness;
use super::*;
use crate::clock::Stopwatch;

thread_local! {
    static DICE: Cell<u64> = const { Cell::new(1) };
}

/// The schedule's dice (xorshift): the same schedule falls the same.
fn dice() -> f64 {
    DICE.with(|state| {
        let mut next = state.get();
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        state.set(next);
        (next >> 11) as f64 / (1u64 << 53) as f64
    })
}

/// What all of it shares.
pub(super) struct World {
    clock: TestClock,
    began: Stopwatch,
    pub(super) store: MemoryStore,
    server: Mutex<Server>,
    mood: Mutex<Mood>,
    witness: Mutex<Witness>,
}

fn with<T, R>(shared: &Mutex<T>, look: impl FnOnce(&mut T) -> R) -> R {
    look(&mut shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

impl World {
    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn mood(&self) -> Mood {
        with(&self.mood, |mood| *mood)
    }

    pub(super) fn server<R>(&self, look: impl FnOnce(&mut Server) -> R) -> R {
        with(&self.server, look)
    }

    pub(super) fn process(&self, token: Token) -> Verdict {
        let now = self.elapsed();
        self.server(|server| server.process(token, now))
    }

    pub(super) fn witness<R>(&self, look: impl FnOnce(&mut Witness, Duration) -> R) -> R {
        let now = self.elapsed();
        with(&self.witness, |witness| look(witness, now))
    }

    pub(super) async fn rests(&self) -> Option<Record> {
        self.store.peek().await.unwrap()
    }

    /// What I3 and I4 stand on: nothing is presented without a durable intent (R40), but for a line that does not rotate.
    pub(super) async fn is_intended(&self, token: Token) {
        let Some(record) = self.rests().await else {
            return self.witness(|witness, _| witness.broke("R40", "a redeem without a record"));
        };
        let intended = record
            .intent
            .is_some_and(|intent| intent.presented == RefreshToken::new(token.to_string()).fingerprint());
        if !intended && record.quiet_redeems < store::QUIET_REDEEMS {
            self.witness(|witness, _| {
                witness.broke("R40", format!("{token} is presented without an intent"))
            });
        }
    }
}

/// Plays a schedule; says what it breaks.
pub(super) async fn play(schedule: &Schedule, seed: PathBuf) -> Result<(), String> {
    DICE.with(|state| state.set(schedule.dice | 1));
    let server = Server::new(schedule.profile, schedule.rotation, schedule.life);
    let world = Arc::new(World {
        clock: TestClock::starting_at(START),
        began: Stopwatch::start(),
        store: MemoryStore::default(),
        server: Mutex::new(server),
        mood: Mutex::default(),
        witness: Mutex::default(),
    });
    let mut stage = Stage { world, seed, main: None, peer: None };
    stage.reseed(Seed::New).await;
    stage.start(Who::Main).await;
    let played = stage.plays(&schedule.events).await;
    let course = stage.world.witness(|witness, _| std::mem::take(&mut witness.course));
    played.map_err(|broken| format!("{broken}\nafter {}", course.join("\n      ")))
}

/// The world with the processes in it.
pub(super) struct Stage {
    pub(super) world: Arc<World>,
    seed: PathBuf,
    pub(super) main: Option<Process>,
    peer: Option<Process>,
}

impl Stage {
    async fn plays(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            self.world.witness(|witness, now| witness.notes(now, event));
            self.befalls(event).await;
            self.broken()?;
        }
        self.recovers().await
    }

    async fn start(&mut self, who: Who) {
        let world = &self.world;
        world.witness(|witness, _| witness.starts(who));
        let handle = grant::spawn(
            self.params(false),
            Arc::new(Wire { world: Arc::clone(world), who }),
            Arc::new(Watched { world: Arc::clone(world), who }),
            Clock::Test(world.clock.clone()),
            dice,
        );
        let process = Process::new(Arc::clone(world), who, handle);
        *self.slot(who) = Some(process);
    }

    fn slot(&mut self, who: Who) -> &mut Option<Process> {
        match who {
            Who::Main => &mut self.main,
            Who::Peer => &mut self.peer,
        }
    }

    fn params(&self, other: bool) -> Params {
        let file = grant::Secret::File(self.seed.clone());
        let scopes = if other { vec!["more".to_owned()] } else { Vec::new() };
        Params { scopes, flow: Flow::RefreshToken { seed: Some(file) }, ..bare_params() }
    }

    /// Looks at every process, once its tasks have run.
    fn look(&mut self) {
        for process in [&mut self.main, &mut self.peer].into_iter().flatten() {
            process.look();
        }
        self.world.witness(Witness::is_saving);
    }

    /// What is broken by now.
    pub(super) fn broken(&self) -> Result<(), String> {
        let broken = self.world.witness(|witness, _| witness.broken.join("; "));
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    /// Time passes, under observation.
    pub(super) async fn pass(&mut self, span: Duration) {
        for _ in 0..5 {
            tokio::time::sleep(span / 5).await;
            settle().await;
            self.look();
        }
    }

    async fn befalls(&mut self, event: &Event) {
        match event {
            Event::Pass(millis) => self.pass(Duration::from_millis(u64::from(*millis))).await,
            Event::Suspend(seconds) => self.suspend(i64::from(*seconds)),
            Event::Wall(seconds) => {
                self.world.clock.step_wall(i64::from(*seconds));
                self.clock_set(false);
            }
            Event::Boot(seconds) => {
                self.world.clock.step_boot(i64::from(*seconds));
                self.clock_set(false);
            }
            Event::Ask(who, patience) => self.on(*who, |process| process.ask(*patience)).await,
            Event::Doubt(who, patience) => self.on(*who, |process| process.doubt(*patience)).await,
            Event::Refresh(who) => self.tell(*who, |_| Command::Refresh).await,
            Event::Reconfigure(who, other) => {
                let (params, world) = (self.params(*other), Arc::clone(&self.world));
                self.tell(*who, |who| Command::Reconfigure(Box::new(params), Arc::new(Wire { world, who })))
                    .await;
            }
            Event::Seed(seed) => self.reseed(*seed).await,
            Event::Store(mood) => {
                with(&self.world.mood, |now| *now = *mood);
                // A store that can be read again holds news for whoever could not read it.
                self.world.witness(Witness::excuse);
            }
            Event::Next(mishap) => self.world.server(|server| server.next.push_back(*mishap)),
            Event::Every(mishap) => self.world.server(|server| server.every = *mishap),
            Event::Live(life) => self.world.server(|server| server.life = *life),
            Event::Restart(who, kill, down) => self.restart(*who, *kill, *down).await,
            Event::Peer => match self.peer.take() {
                Some(process) => process.kill().await,
                None => self.start(Who::Peer).await,
            },
            Event::Reboot(seconds) => self.reboot(*seconds).await,
        }
    }

    pub(super) fn suspend(&mut self, seconds: i64) {
        self.world.clock.step_boot(seconds);
        self.world.clock.step_wall(seconds);
        self.clock_set(false);
    }

    fn clock_set(&mut self, booted: bool) {
        let clock = self.world.now();
        self.world.witness(|witness, now| witness.clock_set(clock, booted, now));
        for process in [&mut self.main, &mut self.peer].into_iter().flatten() {
            process.clock_set();
        }
    }

    async fn on(&mut self, who: Who, ask: impl FnOnce(&mut Process)) {
        if let Some(process) = self.slot(who) {
            ask(process);
        }
    }

    pub(super) async fn tell(&mut self, who: Who, command: impl FnOnce(Who) -> Command) {
        self.world.witness(Witness::excuse);
        self.on(who, |process| process.tell(command(who))).await;
    }

    async fn restart(&mut self, who: Who, kill: bool, down: u32) {
        let Some(process) = self.slot(who).take() else { return };
        if kill {
            process.kill().await;
        } else {
            process.stop().await;
        }
        self.pass(Duration::from_millis(u64::from(down))).await;
        self.start(who).await;
    }

    async fn reboot(&mut self, seconds: u32) {
        for process in [self.main.take(), self.peer.take()].into_iter().flatten() {
            process.kill().await;
        }
        self.world.clock.step_wall(i64::from(seconds));
        self.world.clock.reboot(Duration::from_secs(3));
        self.clock_set(true);
        self.start(Who::Main).await;
    }

    pub(super) async fn reseed(&mut self, seed: Seed) {
        self.world.witness(Witness::excuse);
        let token = match seed {
            Seed::New => self.world.server(Server::sign_in),
            Seed::Bad => self.world.server(Server::sign_in_in_vain),
            Seed::Known(ago) => {
                let Some(record) = self.world.rests().await else { return };
                let known = self.world.server(|server| {
                    (0..server.sign_ins()).map(|ago| server.sign_in_before(ago).unwrap()).collect::<Vec<_>>()
                });
                let met = |token: &&Token| {
                    record.seeds.contains(&RefreshToken::new(token.to_string()).fingerprint())
                };
                let met: Vec<_> = known.iter().filter(met).collect();
                *met[usize::from(ago) % met.len()]
            }
            Seed::Gone => {
                // It may be gone already.
                let _ = std::fs::remove_file(&self.seed);
                return;
            }
        };
        std::fs::write(&self.seed, token.to_string()).unwrap();
    }

    /// Everything but the grant itself is well again.
    pub(super) fn heal(&mut self) {
        with(&self.world.mood, |mood| *mood = Mood::default());
        self.world.server(|server| {
            server.next.clear();
            server.every = None;
            server.life = Life::Seconds(3600);
        });
        self.world.witness(Witness::excuse);
    }
}

/// Lets every task run until it waits for time to pass; what it sends to the blocking pool is done by then.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
