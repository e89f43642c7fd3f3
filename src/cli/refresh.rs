//! `bearerd refresh`: a new access token now, by the bearerd that runs, or else by the same refresher, here.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::daemon::{self, grants, plain, problem, text, until};
use super::grants::{Grant, load_tls, named, unusable_store, wait_for};
use super::{Common, Exit, Failure, run, say, span};
use crate::admin;
use crate::clock::{Clock, Stopwatch};
use crate::config::{Config, Flags};
use crate::grant::endpoint::HttpEndpoint;
use crate::grant::error::Code;
use crate::grant::refresher::Command;
use crate::grant::status::{State, Status};
use crate::signal::{Signal, Signals};
use crate::{grant, secret, telemetry};

/// How often it is looked whether the attempt has ended.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which grant, where there are several
    #[arg(value_name = "GRANT")]
    grant: Option<String>,
    /// How long to wait for its end
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "60s")]
    max: Duration,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

/// How a refresh ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    outcome: String,
    state: String,
    /// What is wrong with the attempt, or since.
    problem: Option<String>,
    /// What is left of the token that there is.
    left: Option<Duration>,
}

pub(super) fn refresh(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    run::forbid_core_dumps();
    let Arguments { grant, max, flags } = arguments;
    let config = common.load_running(flags.clone())?;
    let name = named(&config, grant.as_deref())?.name.to_string();
    let ended = match by_the_running_one(&config, &name, max) {
        Err(failure) if failure.exit == Exit::Unreachable => {
            // Nobody runs who could be asked, or another's: the store's lock sees to it that nobody is disturbed.
            let loaded = common.load(flags)?;
            let grant = Grant::of(&loaded.config, Some(&name))?;
            if common.verbose > 0 {
                telemetry::init(loaded.config.log, common.colour(), common.verbosity())
                    .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
            }
            wait_for(here(grant, &loaded.config, max))?
        }
        asked => asked?,
    };
    let told = told(&name, &ended)?;
    if !common.quiet {
        say(&told)?;
    }
    Ok(Exit::Success)
}

fn by_the_running_one(config: &Config, name: &str, max: Duration) -> Result<Ended, Failure> {
    let watch = Stopwatch::start();
    let answer = daemon::act(config, &format!("/api/v1/grants/{name}/refresh"))?;
    let before = answer.get("attempts").and_then(Value::as_u64).unwrap_or(u64::MAX);
    loop {
        let report = daemon::report(config)?.json;
        if let Some(ended) = grants(&report).find(|grant| text(grant, "name") == name)
            && ended.get("attempts").and_then(Value::as_u64).is_some_and(|attempts| attempts > before)
        {
            return Ok(Ended::of_report(ended));
        }
        if watch.elapsed() >= max {
            return Err(unfinished(name, max));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The same refresher as the program's, for one attempt, under the store's lock. Ctrl-C ends the wait and not the attempt:
/// what has been presented may have been replaced already.
async fn here(Grant { params, store }: Grant, config: &Config, max: Duration) -> Result<Ended, Failure> {
    let mut signals = Signals::listen().map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    store.probe().await.map_err(|error| unusable_store(&error))?;
    let tls = load_tls(config)?;
    let endpoint = Arc::new(HttpEndpoint::new(params.clone(), tls, Clock::System));
    let (name, watch) = (params.name.to_string(), Stopwatch::start());
    let handle = grant::spawn(params, endpoint, store, Clock::System, secret::dice);
    // Before it has had a turn: what it would do by itself and what it is told are then one attempt.
    handle.tell(Command::Refresh);
    let mut interrupted = false;
    while !interrupted && handle.board.look().attempts() == 0 && watch.elapsed() < max {
        tokio::select! {
            signal = signals.next() => interrupted = signal == Signal::Terminate,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    let board = handle.board.clone();
    // What is under way, and the save of what came of it, is finished first.
    handle.stop().await;
    let status = board.look();
    let ended = match status.attempts() {
        _ if status.unsaved_rotation => Err(lost(&name, &status)),
        0 => Err(not_begun(&name)),
        _ if was_stopped(&status) => Err(not_begun(&name)),
        _ => Ok(Ended::of_status(&status)),
    };
    if interrupted { Err(cancelled(&name, ended)) } else { ended }
}

/// Whether the attempt was given up before it had the lock.
fn was_stopped(status: &Status) -> bool {
    let problem = status.history.front().and_then(|attempt| attempt.problem.as_ref());
    problem.is_some_and(|problem| problem.code == Code::Stopping.word())
}

impl Ended {
    fn of_report(grant: &Value) -> Self {
        let attempt = grant.pointer("/history/0").cloned().unwrap_or_default();
        let left = until(grant, "expires", &Clock::System.now().rfc3339());
        Self {
            outcome: text(&attempt, "outcome").to_owned(),
            state: plain(text(grant, "state")),
            problem: problem(&attempt).or_else(|| problem(grant)),
            left: left.filter(|left| !left.is_zero()),
        }
    }

    fn of_status(status: &Status) -> Self {
        let attempt = status.history.front();
        let problem = attempt.and_then(|attempt| attempt.problem.as_ref()).or(status.problem.as_ref());
        let now = Clock::System.now();
        Self {
            outcome: attempt.map(|attempt| attempt.outcome.to_owned()).unwrap_or_default(),
            state: status.state.word().to_owned(),
            problem: problem.map(|problem| format!("{} ({})", problem.sentence, problem.code)),
            left: status
                .expires
                .filter(|expires| !expires.has_come(now))
                .map(|expires| expires.remaining(now)),
        }
    }
}

/// What it has come to, as a sentence; a failure's goes with the state's exit code.
fn told(name: &str, ended: &Ended) -> Result<String, Failure> {
    let Ended { outcome, state, problem, left } = ended;
    let is_well = matches!(outcome.as_str(), "success" | "adopted") && state == State::Active.word();
    if is_well {
        let how = if outcome == "adopted" { "another process had refreshed" } else { "refreshed" };
        let left = left
            .map_or_else(String::new, |left| format!("; the token is good for {}", admin::in_words(left)));
        return Ok(format!("{how}: grant {name} is {state}{left}"));
    }
    let exit = Exit::for_states([state.as_str()]).unwrap_or(Exit::Failure);
    let problem = problem.as_deref().unwrap_or("it has not said why");
    Err(Failure::new(exit, format!("grant {name} is {state}: {problem}")))
}

fn unfinished(name: &str, max: Duration) -> Failure {
    let why = format!(
        "the refresh of grant {name} has not ended within {} s, and goes on; `bearerd status` says more",
        max.as_secs_f64()
    );
    Failure::new(Exit::Failure, why)
}

/// What a refresh of our own waited for until nobody waited for it.
fn not_begun(name: &str) -> Failure {
    let why = format!(
        "nothing was presented for grant {name}: until then another process held the lock of its store, or the server had not \
         said where tokens come from; `--max` gives it longer"
    );
    Failure::new(Exit::Failure, why)
}

/// The refresh token that was presented is spent, and the one that came for it is nowhere but here.
fn lost(name: &str, status: &Status) -> Failure {
    let why = status.problem.as_ref().map_or_else(String::new, |problem| format!("{} ", problem.sentence));
    let why = format!(
        "{why}The new refresh token of grant {name} ended with this process: mend the store, and sign in again with `bearerd \
         login`"
    );
    Failure::new(Exit::SignInRequired, why)
}

/// How it ended when nobody waited for it any more.
fn cancelled(name: &str, ended: Result<Ended, Failure>) -> Failure {
    match ended.and_then(|ended| told(name, &ended)) {
        Ok(told) => {
            Failure::new(Exit::Cancelled, format!("interrupted; what was under way was finished: {told}"))
        }
        Err(failure) if failure.exit == Exit::SignInRequired => failure,
        Err(failure) => Failure::new(Exit::Cancelled, format!("interrupted; {}", failure.says)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_with_the_exit_code_of_the_state() {
        let ended = |outcome: &str, state: &str| Ended {
            outcome: outcome.to_owned(),
            state: state.to_owned(),
            problem: Some("Why. (code)".to_owned()),
            left: Some(Duration::from_secs(600)),
        };
        assert_eq!(
            told("crm", &ended("success", "active")).unwrap(),
            "refreshed: grant crm is active; the token is good for 10 min"
        );
        for (outcome, state, exit) in [
            ("success", "degraded", Exit::Failure),
            ("timeout", "unavailable", Exit::Failure),
            ("invalid_grant", "sign_in_required", Exit::SignInRequired),
            ("invalid_client", "misconfigured", Exit::Config),
        ] {
            let failure = told("crm", &ended(outcome, state)).unwrap_err();
            assert_eq!(failure.exit, exit);
            assert_eq!(failure.says, format!("grant crm is {state}: Why. (code)"));
        }
    }
}
