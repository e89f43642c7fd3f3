//! A child process is watched while it runs, and is never left behind.

use std::process::Command;

use rustix::process::{Pid, Signal, test_kill_process};

use crate::support::process::{Home, Process, field};

fn shell(script: &str) -> Process {
    Process::spawn(Command::new("/bin/sh").args(["-c", script]))
}

#[tokio::test]
async fn events_are_found_among_the_log_lines() {
    let script = r#"echo '{"event":"listening","address":"127.0.0.1:1"}' >&2; echo hello; echo plain >&2
        echo '{"fields":{"event":"refreshed","generation":1}}' >&2
        echo '{"fields":{"event":"refreshed","generation":2}}' >&2; exit 7"#;
    let mut process = shell(script);
    let listening = process.wait_for_event("listening").await;
    assert_eq!(field(&listening, "address").unwrap(), "127.0.0.1:1");
    let second = process.wait_for_events("refreshed", 2).await;
    assert_eq!(field(&second, "generation").unwrap(), 2);
    assert_eq!(process.wait().await.code(), Some(7));
    assert_eq!((process.output().as_str(), process.log()[1].as_str()), ("hello\n", "plain"));
    assert_eq!(process.events("listening").len(), 1);
}

#[tokio::test]
async fn a_signal_reaches_the_process() {
    let mut process =
        shell("trap 'exit 3' TERM; echo '{\"event\":\"ready\"}' >&2; while :; do sleep 0.01; done");
    process.wait_for_event("ready").await;
    assert!(process.is_running());
    process.signal(Signal::TERM);
    assert_eq!(process.wait().await.code(), Some(3));
}

#[tokio::test]
async fn a_killed_or_dropped_process_is_gone() {
    let mut killed = shell("exec sleep 1000");
    killed.kill();
    assert!(!killed.is_running());
    let dropped = shell("exec sleep 1000");
    let id = Pid::from_raw(i32::try_from(dropped.id()).unwrap()).unwrap();
    assert!(test_kill_process(id).is_ok());
    drop(dropped);
    assert!(test_kill_process(id).is_err());
}

#[tokio::test]
async fn a_home_holds_the_configuration_and_outlives_its_processes() {
    let home = Home::new();
    let path = home.configure("[store]\npath = \"@HOME@/state.json\"\n");
    let expected = format!("[store]\npath = \"{}/state.json\"\n", home.path().display());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    drop(home.run());
    assert!(path.exists() && home.write("seed", "x").exists());
}
