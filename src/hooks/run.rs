//! One run of a hook's command: what it is told, and its end.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};

use crate::child;
use crate::grant::status::State;
use crate::token::GrantName;

/// How long a command may take: to reach a mail server, or a desktop that is busy.
pub(super) const WITHIN: Duration = Duration::from_secs(30);

/// What is said of one that cannot be ended.
const RUNS_ON: &str = ", and cannot be ended: it runs on";

/// What a command is told: the environment variable, the member of the JSON object on its standard input, and the meaning.
pub const TOLD: [(&str, &str, &str); 6] = [
    ("BEARERD_GRANT", "grant", "The grant's name."),
    ("BEARERD_STATE", "state", "The word that its state has now."),
    (
        "BEARERD_PREVIOUS_STATE",
        "previous_state",
        "The last word that was told, or the one at the reload that brought a first command; at first `starting`.",
    ),
    ("BEARERD_CODE", "code", "What is wrong, as `bearerd explain` knows it; empty when nothing is."),
    (
        "BEARERD_SENTENCE",
        "sentence",
        "The same in one sentence that says what to do. It may quote the server: give it to no `echo` and no `eval`.",
    ),
    (
        "BEARERD_STATUS_PAGE",
        "status_page",
        "The status page's address; empty when it has none for a browser.",
    ),
];

/// What is told of one change; holds no secret.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    pub(super) grant: GrantName,
    pub(super) state: State,
    pub(super) previous: State,
    pub(super) code: &'static str,
    pub(super) sentence: String,
    pub(super) status_page: String,
}

impl Telling {
    /// In the order of [`TOLD`]. Each is one line, so that none is mistaken for more than it is.
    fn values(&self) -> [String; 6] {
        let line = |text: &str| text.replace(char::is_control, " ");
        [
            self.grant.to_string(),
            self.state.to_string(),
            self.previous.to_string(),
            self.code.to_owned(),
            line(&self.sentence),
            line(&self.status_page),
        ]
    }

    fn json(&self) -> String {
        let members = TOLD.iter().zip(self.values());
        let members: Map<String, Value> =
            members.map(|((_, member, _), value)| ((*member).to_owned(), value.into())).collect();
        format!("{}\n", Value::Object(members))
    }
}

/// Runs a command to its end, without a shell; after `within`, or when it is `called_off`, it is ended with all that it has
/// started in its process group. Blocking.
///
/// # Errors
/// What became of it, to follow the command's name.
pub(super) fn run(
    words: &[String],
    telling: &Telling,
    within: Duration,
    called_off: impl Fn() -> bool,
) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("names no program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.envs(TOLD.iter().map(|(variable, ..)| *variable).zip(telling.values()));
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let why = match see_through(&mut child, telling.json(), within, &called_off) {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => return Err(format!("failed ({status})")),
        Err(why) => why,
    };
    Err(if child::end(child, child::GOING, kill) { why } else { why + RUNS_ON })
}

/// Gives a child its standard input, and waits for its end.
///
/// # Errors
/// Why it is to be ended.
fn see_through(
    child: &mut Child,
    json: String,
    within: Duration,
    called_off: impl Fn() -> bool,
) -> Result<ExitStatus, String> {
    let write = move |mut stdin: ChildStdin| stdin.write_all(json.as_bytes());
    let stdin = child.stdin.take();
    // Beside it: one that reads nothing is not waited for here.
    child::beside(move || stdin.map(write)).map_err(|error| format!("cannot be started: {error}"))?;
    match child::ended(child, within, &called_off) {
        Ok(Some(status)) => Ok(status),
        Ok(None) if called_off() => Err("did not end before bearerd ends".to_owned()),
        Ok(None) => Err(format!("did not end within {} s", within.as_secs())),
        Err(error) => Err(format!("cannot be waited for: {error}")),
    }
}

/// Kills a child and its group. Nobody has waited for it yet: no other process can have its number, or the group's.
fn kill(child: &mut Child) {
    let _gone_or_not_ours = kill_process_group(Pid::from_child(child), Signal::KILL);
    // It may have left its group.
    let _gone_or_not_ours = child.kill();
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};

    use rustix::process::test_kill_process;

    use super::*;

    fn telling() -> Telling {
        Telling {
            grant: GrantName::new("billing"),
            state: State::SignInRequired,
            previous: State::Active,
            code: "grant_rejected",
            sentence: "Sign in.\nAgain \"soon\".\0".to_owned(),
            status_page: "http://127.0.0.1:9901/".to_owned(),
        }
    }

    fn sh(script: &str, within: Duration) -> Result<(), String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        run(&words, &telling(), within, || false)
    }

    #[test]
    fn a_command_is_told_the_same_in_its_environment_and_on_its_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let script = format!("env > {0}; cat > {1}", path("env"), path("stdin"));
        sh(&script, WITHIN).unwrap();
        let (env, stdin) = (std::fs::read_to_string(path("env")), std::fs::read_to_string(path("stdin")));
        let (env, stdin) = (env.unwrap(), stdin.unwrap());
        let object: Value = serde_json::from_str(&stdin).unwrap();
        assert_eq!(object.as_object().unwrap().len(), TOLD.len());
        for (variable, member, _) in TOLD {
            let value = object[member].as_str().unwrap();
            assert!(env.lines().any(|line| line == format!("{variable}={value}")), "{variable}: {env}");
        }
        assert_eq!(object["sentence"], "Sign in. Again \"soon\". ");
        assert_eq!(
            (&object["state"], &object["previous_state"]),
            (&"sign_in_required".into(), &"active".into())
        );
    }

    #[test]
    fn one_that_cannot_be_started_or_fails_is_told_and_one_that_reads_nothing_is_well() {
        let words = ["/nowhere/to-be-found".to_owned()];
        let why = run(&words, &telling(), WITHIN, || false).unwrap_err();
        assert!(why.starts_with("cannot be started: "), "{why}");
        assert_eq!(sh("exit 3", WITHIN), Err("failed (exit status: 3)".to_owned()));
        assert_eq!(sh("exec <&-; exit 0", WITHIN), Ok(()));
    }

    #[test]
    fn one_that_takes_too_long_is_ended() {
        assert_eq!(sh("sleep 600", Duration::ZERO), Err("did not end within 0 s".to_owned()));
    }

    #[test]
    fn one_that_has_left_its_group_is_ended_all_the_same() {
        // It never had a group of its own, so that there is none with its number.
        let child =
            Command::new("sleep").arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert!(child::end(child, Duration::from_secs(20), kill));
    }

    #[test]
    fn one_that_cannot_be_ended_is_given_up_and_waited_for_elsewhere() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (pid, stdin) = (Pid::from_child(&child), child.stdin.take());
        assert!(!child::end(child, Duration::ZERO, |_| ()), "nothing was done about it");
        assert_eq!(test_kill_process(pid), Ok(()));
        drop(stdin);
        // A defunct process still has its number.
        while test_kill_process(pid).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn one_that_is_called_off_is_ended_with_what_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let script = format!("(echo; exec sleep 600) > {} & wait", fifo.display());
        let words = ["sh", "-c", &script].map(str::to_owned);
        let (has_begun, (tell, told)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let begun = Arc::clone(&has_begun);
        std::thread::spawn(move || {
            let mut reader = std::fs::File::open(fifo).unwrap();
            reader.read_exact(&mut [0]).unwrap();
            begun.store(true, Ordering::Relaxed);
            // Its end comes when nobody has it open for writing.
            tell.send(reader.read(&mut [0]).unwrap()).unwrap();
        });
        let why = run(&words, &telling(), WITHIN, || has_begun.load(Ordering::Relaxed)).unwrap_err();
        assert_eq!(why, "did not end before bearerd ends");
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(0));
    }
}
