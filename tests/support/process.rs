//! The real `bearerd` as a child process: its log lines, its signals and its exit code.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use super::authorization_server::AuthorizationServer;
use super::{canaries, in_time_or};

/// A child process. Dropping it kills it, so that none is left behind, and looks for secrets in what it has printed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
    lines: watch::Sender<usize>,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    /// Whose secrets it must not have told when it ends.
    keeps: Option<AuthorizationServer>,
}

/// A place for one bearerd: its proxy.toml and its state. Outlives the process, which may be started in it again.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
}

/// Runs a command to its end: exit code, standard output and standard error.
pub(crate) fn told(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

impl Home {
    /// An empty place.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes proxy.toml, in which `@HOME@` stands for this place, and returns its path.
    pub(crate) fn configure(&self, proxy_toml: &str) -> PathBuf {
        self.write("proxy.toml", &proxy_toml.replace("@HOME@", &self.path().display().to_string()))
    }

    /// `bearerd run` with this place's proxy.toml, and JSON logs at the most verbose level.
    pub(crate) fn run(&self) -> Process {
        self.run_with(&[])
    }

    /// The same with these arguments more.
    pub(crate) fn run_with(&self, arguments: &[&str]) -> Process {
        Process::spawn(self.to_run().args(arguments))
    }

    /// What [`Home::run`] runs, to be given an environment or more arguments.
    pub(crate) fn to_run(&self) -> Command {
        let mut command = self.bearerd();
        command.args(["-vvv", "--log-format", "json", "run"]);
        command
    }

    /// `bearerd --config proxy.toml`, to be given more arguments. Of the environment nothing is passed on.
    pub(crate) fn bearerd(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bearerd"));
        command.env_clear().current_dir(self.path()).arg("--config").arg(self.path().join("proxy.toml"));
        command
    }
}

impl Process {
    /// Starts it. Standard error is read line by line, standard output as a whole.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let printed = Arc::new(Mutex::new(Vec::new()));
        let lines = watch::Sender::new(0);
        let (stderr, kept, told) = (child.stderr.take().unwrap(), Arc::clone(&printed), lines.clone());
        let log_reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                told.send_modify(|count| *count += 1);
            }
        });
        let output = Arc::new(Mutex::new(String::new()));
        let (mut stdout, kept) = (child.stdout.take().unwrap(), Arc::clone(&output));
        let output_reader = std::thread::spawn(move || {
            let mut text = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut text) {
                let text = String::from_utf8_lossy(&text[..read]);
                kept.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Self { child, printed, lines, output, readers: vec![log_reader, output_reader], keeps: None }
    }

    /// Holds it to telling none of this server's secrets, until its end.
    pub(crate) fn keeps_secrets_of(mut self, server: &AuthorizationServer) -> Self {
        self.keeps = Some(server.clone());
        self
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines on standard error so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has written to standard output so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log lines with this `event`, as JSON.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        let parsed = self.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        parsed.filter(|line| field(line, "event").and_then(Value::as_str) == Some(event)).collect()
    }

    /// Waits until a line with this `event` has been logged `count` times, and returns the last of these.
    ///
    /// # Panics
    /// When it does not come in time.
    pub(crate) async fn wait_for_events(&self, event: &str, count: usize) -> Value {
        let mut lines = self.lines.subscribe();
        let seen = async {
            loop {
                lines.mark_unchanged();
                if let Some(line) = self.events(event).get(count - 1) {
                    return line.clone();
                }
                let _gone = lines.changed().await;
            }
        };
        in_time_or(|| format!("event {event}, {count} times, in {:#?}", self.log()), seen).await
    }

    /// Waits until a line with this `event` has been logged, and returns the first.
    pub(crate) async fn wait_for_event(&self, event: &str) -> Value {
        self.wait_for_events(event, 1).await
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGSTOP; returns once every thread stands still, for each takes the signal in its own time.
    pub(crate) async fn stop(&self) {
        self.signal(Signal::STOP);
        let threads = format!("/proc/{}/task", self.child.id());
        let stands = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            // The state comes after the name, which stands in parentheses (proc(5)).
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        let still = async {
            while !std::fs::read_dir(&threads).unwrap().all(stands) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        in_time_or(|| "every thread stopped".to_owned(), still).await;
    }

    /// SIGKILL; returns once the process is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended by itself and all that it printed has been read.
    ///
    /// # Panics
    /// When it does not in time.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let log = Arc::clone(&self.printed);
        let ended = async {
            loop {
                let read = self.readers.iter().all(JoinHandle::is_finished);
                if let Some(status) = self.child.try_wait().unwrap().filter(|_| read) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        in_time_or(|| format!("the end of the process, which said {log:#?}"), ended).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
        let Some(server) = self.keeps.take().filter(|_| !std::thread::panicking()) else { return };
        for reader in std::mem::take(&mut self.readers) {
            reader.join().unwrap();
        }
        let printed = self.log().join("\n") + &self.output();
        assert_eq!(canaries::found(&printed, &server.secrets()), None, "a secret is in {printed}");
    }
}

/// A field of a log line, at its top level or among `fields`.
pub(crate) fn field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    line.get(name).or_else(|| line.get("fields")?.get(name))
}
