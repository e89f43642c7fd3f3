//! The process that dies: the real refresher, endpoint and file store, which count their steps and stop at one of them.
//!
//! The shipped program has no such place to stop at. So the table's test starts this very test binary once more, asks it
//! for the one test below, and tells it in its environment where to work and at which step to kill itself.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bearerd::clock::Clock;
use bearerd::dpop::ProofKey;
use bearerd::grant::endpoint::{HttpEndpoint, Pending, Prepared, Redeemed, TokenEndpoint};
use bearerd::grant::error::RefreshError;
use bearerd::grant::{self, Params, Server};
use bearerd::secret::RefreshToken;
use bearerd::store::{self, Step, Watch};
use bearerd::tls::{self, Tls};
use rustix::process::{Signal, getpid, kill_process};

use crate::support::authorization_server::AuthorizationServer;
use crate::support::grants;

/// What the child is told: the folder, the issuer, the token endpoint, the step and what to do there, on a line each.
const TOLD: &str = "BEARERD_CRASH";

/// Where it notes the steps that it has come to, in its folder.
const NOTED: &str = "steps";

/// Starts a child that refreshes once in this folder, and dies at the step of this number, if there is one.
pub(super) fn start(folder: &Path, server: &AuthorizationServer, at: Option<usize>) -> Child {
    spawn(folder, server, at, "dies")
}

/// The same, but it stops there, and goes on when it is told to.
pub(super) fn start_to_stop(folder: &Path, server: &AuthorizationServer, at: usize) -> Child {
    spawn(folder, server, Some(at), STOPS)
}

/// The word for a child that is not to die.
const STOPS: &str = "stops";

fn spawn(folder: &Path, server: &AuthorizationServer, at: Option<usize>, then: &str) -> Child {
    let at = at.map_or_else(String::new, |at| at.to_string());
    let told = [folder.to_str().unwrap(), server.issuer(), &server.token_endpoint(), &at, then].join("\n");
    let _none_yet = std::fs::remove_file(folder.join(NOTED));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["running::crashes::child::refreshes_once_or_dies", "--exact", "--ignored"]).env(TOLD, told);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The steps that the last child in this folder has come to.
pub(super) fn steps(folder: &Path) -> Vec<String> {
    std::fs::read_to_string(folder.join(NOTED)).unwrap().lines().map(str::to_owned).collect()
}

/// Counts and notes steps, and dies or stops at one of them.
struct Steps {
    folder: PathBuf,
    count: AtomicUsize,
    at: Option<usize>,
    stops: bool,
}

impl Steps {
    /// One more; whether it is the last.
    fn is_last(&self, name: &str) -> bool {
        let mut noted = OpenOptions::new().append(true).create(true).open(self.folder.join(NOTED)).unwrap();
        writeln!(noted, "{name}").unwrap();
        Some(self.count.fetch_add(1, Ordering::SeqCst)) == self.at
    }

    fn reach(&self, name: &str) {
        match (self.is_last(name), self.stops) {
            (false, _) => {}
            (true, true) => stop(),
            (true, false) => die(),
        }
    }

    fn on_disk(&self, step: Step<'_>) {
        match step {
            Step::Create(path) => self.reach(&format!("create {}", name(path))),
            Step::Write(file, bytes) => {
                let name = open_name(file);
                self.reach(&format!("write {name}"));
                if self.is_last(&format!("write {name}, half of it")) {
                    let mut file = file;
                    file.write_all(&bytes[..bytes.len() / 2]).unwrap();
                    die();
                }
            }
            Step::Cut(file) => self.reach(&format!("cut {}", open_name(file))),
            Step::Sync(file) => self.reach(&format!("fsync {}", open_name(file))),
            Step::Rename(from, to) => self.reach(&format!("rename {} to {}", name(from), name(to))),
            Step::SyncFolder => self.reach("fsync the folder"),
            Step::Remove(path) if path.exists() => self.reach(&format!("remove {}", name(path))),
            Step::Remove(_) => {}
        }
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.strip_prefix("state.json.").unwrap_or("record").to_owned()
}

fn open_name(file: &File) -> String {
    use std::os::fd::AsRawFd as _;
    name(&std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap())
}

/// The signal stops each thread at its next leisure, so this one takes its own.
fn stop() {
    kill_process(getpid(), Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_secs(1));
}

fn die() -> ! {
    kill_process(getpid(), Signal::KILL).unwrap();
    unreachable!("SIGKILL waits for nobody")
}

/// The real token endpoint, with a step before and after the one redeem. A token that has ended when it begins would be
/// renewed at once: the second refresh waits for ever before it has touched anything.
struct Counted {
    inner: HttpEndpoint,
    steps: Arc<Steps>,
    has_begun: AtomicBool,
}

impl TokenEndpoint for Counted {
    fn forget(&self) {
        self.inner.forget();
    }

    fn disown(&self) {
        self.inner.disown();
    }

    fn prepare(&self) -> Pending<'_, Result<Prepared, RefreshError>> {
        if self.has_begun.swap(true, Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        self.steps.reach("take the lock, read the record");
        self.inner.prepare()
    }

    fn redeem<'a>(
        &'a self,
        prepared: &'a Prepared,
        presented: Option<&'a RefreshToken>,
        key: Option<&'a ProofKey>,
    ) -> Pending<'a, Redeemed> {
        Box::pin(async move {
            self.steps.reach("send the request");
            let redeemed = self.inner.redeem(prepared, presented, key).await;
            self.steps.reach(match &redeemed {
                Redeemed::Answer(_) => "take the answer",
                Redeemed::NotSent(_) | Redeemed::Untrusted(_) => "give up: nobody listens",
                Redeemed::Unanswered(_) => "give up: no answer",
            });
            redeemed
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "how else would a child of the test binary be told?")]
#[tokio::test]
#[ignore = "the child process of the table of crashes"]
async fn refreshes_once_or_dies() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let told: Vec<&str> = told.split('\n').collect();
    let (folder, issuer, token_endpoint) = (PathBuf::from(told[0]), told[1].to_owned(), told[2].to_owned());
    let steps = Arc::new(Steps {
        folder: folder.clone(),
        count: AtomicUsize::new(0),
        at: told[3].parse().ok(),
        stops: told[4] == STOPS,
    });
    let server = Server::Issuer { issuer, token_endpoint: Some(token_endpoint) };
    let params =
        Params { timeout: Duration::from_secs(30), ..grants::params(server, "billing", folder.join("seed")) };
    let tls = Tls::load(&tls::Params::default()).unwrap();
    let inner = HttpEndpoint::new(params.clone(), tls, Clock::System);
    let endpoint = Arc::new(Counted { inner, steps: Arc::clone(&steps), has_begun: AtomicBool::new(false) });
    let counting = Arc::clone(&steps);
    let watch: Watch = Arc::new(move |step| counting.on_disk(step));
    let store = store::open_watched(&folder.join("state.json"), watch).unwrap();
    let handle = grant::spawn(params, endpoint, store, Clock::System, || 0.5);
    while handle.board.look().history.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    steps.reach("go on");
}
