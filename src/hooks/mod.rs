//! Tells who wants to know that a grant's state has changed, by a command of the operator's (R68).
//!
//! The boards are looked at, as the status page does; no grant, request or reload ever waits for a command.

mod news;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use self::news::{Change, News};
pub use self::run::TOLD;
use self::run::{Telling, WITHIN};
use crate::child;
use crate::clock::Clock;
use crate::code::codes;
use crate::grant::status::{Board, State, Status};
use crate::token::GrantName;

codes! {
    /// Why nobody was told.
    {
        /// A command could not be started, failed, took too long, or was cut off by the end.
        HookFailed = "hook_failed";
    }
}

/// How often it is looked whether a state has changed: as often as the status page does.
const LOOK: Duration = Duration::from_millis(500);

/// What a command that runs has left when the program ends.
const LAST: Duration = Duration::from_secs(1);

/// How long its end is then waited for: it comes at once, but on a machine that stands still, and for a command that cannot
/// be ended or that the system is still about to start.
const ENDING: Duration = Duration::from_secs(5);

/// What `[hooks]` says, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// `state_changed`: a program and its arguments.
    pub state_changed: Option<Vec<String>>,
}

/// What is followed, and who is told.
#[derive(Clone, Default)]
pub struct Scene {
    /// The commands.
    pub params: Params,
    /// The grants.
    pub boards: Vec<(GrantName, Board)>,
    /// Where people look, as a URL; empty where a browser cannot.
    pub status_page: String,
}

/// The grants are being followed.
pub struct Hooks {
    scene: watch::Sender<Arc<Scene>>,
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Hooks {
    /// Begins to follow, on the runtime that this is called on.
    #[must_use]
    pub fn begin(scene: Scene, clock: Clock) -> Self {
        let (scene, scenes) = watch::channel(Arc::new(scene));
        let (stopping, stopped) = watch::channel(false);
        let task = tokio::spawn(follow(scenes, clock, stopped));
        Self { scene, stopping, task }
    }

    /// Goes on with another scene, as after a reload.
    pub fn go_on(&self, scene: Scene) {
        self.scene.send_replace(Arc::new(scene));
    }

    /// Starts no command any more; one that runs is ended after a second.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Returns once none runs, after [`Hooks::stop`].
    pub async fn stopped(self) {
        let _ = self.task.await;
    }
}

impl Scene {
    /// The grants as they are.
    fn seen(&self) -> Vec<(GrantName, Arc<Status>)> {
        self.boards.iter().map(|(name, board)| (name.clone(), board.look())).collect()
    }
}

fn words(seen: &[(GrantName, Arc<Status>)]) -> Vec<(GrantName, State)> {
    seen.iter().map(|(name, status)| (name.clone(), status.state)).collect()
}

async fn follow(mut scenes: watch::Receiver<Arc<Scene>>, clock: Clock, stopped: watch::Receiver<bool>) {
    let mut news = News::default();
    let mut scene = Arc::clone(&scenes.borrow_and_update());
    loop {
        tokio::select! {
            // The end comes first: nothing is started after it.
            biased;
            () = is_true(stopped.clone()) => return,
            Ok(()) = scenes.changed() => {
                if scene.params.state_changed.is_none() {
                    news.pass_over(&words(&scene.seen()));
                }
                scene = Arc::clone(&scenes.borrow_and_update());
            }
            // Nothing is looked at for nobody.
            () = tokio::time::sleep(LOOK), if scene.params.state_changed.is_some() => {}
        }
        let Some(command) = scene.params.state_changed.clone() else { continue };
        let seen = scene.seen();
        // One at a time: what happens while it runs is looked at when it has ended.
        if let Some(change) = news.next(clock.now(), &words(&seen)) {
            let status = seen.into_iter().find(|(name, _)| *name == change.grant).map(|(_, status)| status);
            let telling = telling(change, status.as_deref(), scene.status_page.clone());
            tell(command, telling, stopped.clone()).await;
        }
    }
}

fn telling(
    Change { grant, previous, state }: Change,
    status: Option<&Status>,
    status_page: String,
) -> Telling {
    let problem = status.and_then(|status| status.problem.as_ref());
    let sentence = problem.map(|problem| problem.sentence.clone()).unwrap_or_default();
    Telling {
        grant,
        previous,
        state,
        code: problem.map_or("", |problem| problem.code),
        sentence,
        status_page,
    }
}

/// Runs the command, and says how it went.
async fn tell(command: Vec<String>, telling: Telling, stopped: watch::Receiver<bool>) {
    let program = command.first().cloned().unwrap_or_default();
    let (grant, state) = (telling.grant.clone(), telling.state);
    match outcome(command, telling, stopped).await {
        Ok(()) => {
            tracing::info!(event = "hook_ran", %grant, %state, "`{program}` was told that grant {grant} is {state}");
        }
        Err(why) => {
            let code = Code::HookFailed.word();
            tracing::warn!(event = "hook_failed", %grant, %state, code, "`{program}`, to be told that grant {grant} is {state}, {why}");
        }
    }
}

/// Runs the command on a thread of its own; what became of it, to follow its name, where it did not end well.
async fn outcome(
    command: Vec<String>,
    telling: Telling,
    stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    let called_off = Arc::new(AtomicBool::new(false));
    let is_called_off = Arc::clone(&called_off);
    let (ends, mut ended) = oneshot::channel();
    child::beside(move || {
        let outcome = run::run(&command, &telling, WITHIN, || is_called_off.load(Ordering::Relaxed));
        // Nobody listens when the program has not waited for it.
        let _ = ends.send(outcome);
    })
    .map_err(|error| format!("cannot be started: {error}"))?;
    let last = async {
        is_true(stopped).await;
        tokio::time::sleep(LAST).await;
    };
    let outcome = tokio::select! {
        outcome = &mut ended => outcome,
        () = last => {
            called_off.store(true, Ordering::Relaxed);
            let ended = tokio::time::timeout(ENDING, ended).await;
            ended.map_err(|_elapsed| "is left alone, because bearerd ends".to_owned())?
        }
    };
    outcome.unwrap_or_else(|_gone| Err("is out of sight: the thread that ran it has failed".to_owned()))
}

/// Returns when it is true, or can never be.
async fn is_true(mut told: watch::Receiver<bool>) {
    drop(told.wait_for(|told| *told).await);
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::clock::{Moment, TestClock};
    use crate::grant::status::Problem;

    const START: Moment = Moment { boot: Duration::from_secs(100), wall: Duration::from_secs(1_800_000_000) };

    /// Grants "a" and "b", and a command that writes what it is told into a file.
    struct Stage {
        folder: tempfile::TempDir,
        boards: Vec<(GrantName, Board)>,
        clock: TestClock,
        hooks: Hooks,
    }

    impl Stage {
        /// With this shell command between the two lines that are written.
        fn of(between: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let board = |name| (GrantName::new(name), Board::new(Status::starting(START, String::new())));
            let boards = vec![board("a"), board("b")];
            let script = format!(
                "cd {}; echo $BEARERD_GRANT $BEARERD_PREVIOUS_STATE $BEARERD_STATE $BEARERD_CODE >> told; {between}; \
                 echo end >> told",
                folder.path().display()
            );
            let params = Params { state_changed: Some(["sh", "-c", &script].map(str::to_owned).to_vec()) };
            let scene = Scene { params, boards: boards.clone(), status_page: String::new() };
            let clock = TestClock::starting_at(START);
            let hooks = Hooks::begin(scene, Clock::Test(clock.clone()));
            Self { folder, boards, clock, hooks }
        }

        fn comes_to(&self, index: usize, state: State, code: Option<&'static str>) {
            let problem = code.map(|code| Problem { code, sentence: "Sign in again.".to_owned() });
            self.boards[index].1.post(Status { state, problem, ..Status::starting(START, String::new()) });
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Waits for this many lines, and returns all.
        async fn told(&self, lines: usize) -> Vec<String> {
            let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
            let seen = async {
                loop {
                    let told: Vec<String> = read(&self.path("told")).lines().map(str::to_owned).collect();
                    if told.len() >= lines {
                        return told;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap()
        }
    }

    #[tokio::test]
    async fn what_happens_within_the_pause_is_told_after_it_with_the_problem_there_is_then() {
        let stage = Stage::of(":");
        stage.comes_to(0, State::Active, None);
        stage.told(2).await;
        stage.comes_to(0, State::Degraded, Some("token_endpoint_busy"));
        stage.comes_to(1, State::Active, None);
        // The other grant is told of: the first one's new word was seen, and kept.
        stage.told(4).await;
        stage.comes_to(0, State::SignInRequired, Some("grant_rejected"));
        stage.clock.pass(news::PAUSE);
        let told = stage.told(6).await;
        let (began, ended): (Vec<_>, Vec<_>) = told.iter().partition(|line| *line != "end");
        assert_eq!(
            began,
            ["a starting active", "b starting active", "a active sign_in_required grant_rejected"]
        );
        assert_eq!(ended.len(), 3);
    }

    #[tokio::test]
    async fn one_runs_at_a_time() {
        let stage = Stage::of("until [ -e go ]; do sleep 0.1; done");
        stage.comes_to(0, State::Active, None);
        stage.comes_to(1, State::Active, None);
        stage.told(1).await;
        // Time enough for a second one to begin beside it.
        tokio::time::sleep(LOOK * 3).await;
        std::fs::write(stage.path("go"), "").unwrap();
        assert_eq!(stage.told(4).await, ["a starting active", "end", "b starting active", "end"]);
    }

    #[tokio::test]
    async fn the_end_is_not_held_up_by_one_that_hangs() {
        let stage = Stage::of("sleep 600");
        stage.comes_to(0, State::Active, None);
        assert_eq!(stage.told(1).await, ["a starting active"]);
        stage.hooks.stop();
        // Well before it would be ended for taking too long.
        tokio::time::timeout(Duration::from_secs(10), stage.hooks.stopped()).await.unwrap();
    }

    #[tokio::test]
    async fn none_is_started_after_the_end_whatever_else_is_there_to_be_looked_at() {
        // Often, for what is ready at once might be taken by lot.
        for _ in 0..16 {
            let stage = Stage::of(":");
            tokio::task::yield_now().await;
            stage.comes_to(0, State::Active, None);
            let whole = Arc::clone(&stage.hooks.scene.borrow());
            stage.hooks.go_on(Scene::clone(&whole));
            stage.hooks.stop();
            let told = stage.path("told");
            stage.hooks.stopped().await;
            assert!(!told.exists());
        }
    }

    #[tokio::test]
    async fn a_command_that_comes_with_a_reload_is_told_what_changes_from_then_on() {
        let stage = Stage::of(":");
        let whole = Arc::clone(&stage.hooks.scene.borrow());
        stage.hooks.go_on(Scene { params: Params::default(), ..Scene::clone(&whole) });
        // Time to take up each of the two.
        tokio::time::sleep(LOOK).await;
        stage.comes_to(0, State::SignInRequired, None);
        stage.hooks.go_on(Scene::clone(&whole));
        tokio::time::sleep(LOOK).await;
        stage.comes_to(1, State::Active, None);
        stage.told(2).await;
        stage.comes_to(0, State::Active, None);
        let told = stage.told(4).await;
        assert_eq!(told, ["b starting active", "end", "a sign_in_required active", "end"]);
    }
}
