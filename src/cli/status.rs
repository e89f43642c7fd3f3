//! `bearerd status`: how the running bearerd's grants are, in words.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use serde_json::{Value, json};

use super::daemon::{self, Report, grants, plain, problem, text, until};
use super::grants::wait_for;
use super::{Common, Exit, Failure, say, unread};
use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, Flags};
use crate::grant::outage::SUSPICION;
use crate::signal::{Signal, Signals};
use crate::token::GrantName;

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// One grant, and no other
    #[arg(value_name = "GRANT")]
    grant: Option<String>,
    /// As JSON, as /api/v1/status gives it
    #[arg(long)]
    json: bool,
    /// Go on looking, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Exit 77 when a person has to sign in, 78 to mend the configuration, else 1 when a route has no usable token
    #[arg(long)]
    exit_code: bool,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

/// What is shown, and of which grant.
struct View<'a> {
    config: &'a Config,
    grant: Option<&'a str>,
    json: bool,
    coloured: bool,
}

/// One look.
struct Look {
    /// What a person or a program reads.
    shown: String,
    /// What has to change before it is worth another line.
    gist: String,
    exit: Exit,
}

pub(super) fn status(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { grant, json, watch, exit_code, flags } = arguments;
    let config = common.load_running(flags)?;
    let coloured = common.is_coloured_on(&stdout());
    let view = View { config: &config, grant: grant.as_deref(), json, coloured };
    let exit = if watch {
        wait_for(view.watch())?
    } else {
        let look = view.look()?;
        say(&look.shown)?;
        look.exit
    };
    Ok(if exit_code { exit } else { Exit::Success })
}

impl View<'_> {
    fn look(&self) -> Result<Look, Failure> {
        let Report { text: whole, mut json } = daemon::report(self.config)?;
        if let Some(name) = self.grant {
            only(&mut json, name)?;
        }
        let exit = verdict(&json, self.grant.is_some(), &now());
        if self.json {
            let shown = if self.grant.is_none() { whole } else { format!("{json:#}") };
            return Ok(Look { gist: json.to_string(), shown, exit });
        }
        let gist = grants(&json)
            .map(|grant| format!("{} {} {}", text(grant, "state"), grant["problem"], is_suspected(grant)))
            .collect();
        Ok(Look { shown: in_words(&json, &now(), self.coloured), gist, exit })
    }

    /// A look at which nobody answers.
    fn none(&self, Failure { exit, says }: Failure) -> Look {
        let json =
            || json!({ "format_version": 1, "error": { "sentence": says }, "exit": exit as u8 }).to_string();
        let shown = if self.json { json() } else { says };
        Look { gist: shown.clone(), shown, exit }
    }

    /// Looks again and again: a terminal shows the last look, anything else a line for each change. Until Ctrl-C, which
    /// is how one ends it and no failure.
    async fn watch(&self) -> Result<Exit, Failure> {
        let mut signals =
            Signals::listen().map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
        let redraws = stdout().is_terminal() && !self.json;
        let mut gist = None;
        loop {
            let look = match self.look() {
                Ok(look) => look,
                // What the configuration has not will not come.
                Err(failure) if failure.exit == Exit::Config => return Err(failure),
                Err(failure) => self.none(failure),
            };
            let printed = if redraws {
                Some(redrawn(gist.is_none(), &look.shown))
            } else {
                let is_new = gist.as_ref() != Some(&look.gist);
                let compact = if self.json { &look.gist } else { &look.shown };
                is_new.then(|| line(compact, self.json))
            };
            if let Some(printed) = printed {
                let written = write!(stdout(), "{printed}").and_then(|()| stdout().flush());
                if let Err(error) = written {
                    return unread(&error).map(|()| look.exit);
                }
            }
            gist = Some(look.gist);
            tokio::select! {
                signal = signals.next() => if signal == Signal::Terminate { return Ok(look.exit) },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

/// From the top of the screen: nobody knows here how many lines of it a long sentence takes.
fn redrawn(is_first: bool, shown: &str) -> String {
    let cleared = if is_first { "\x1b[2J\x1b[H" } else { "\x1b[H\x1b[J" };
    format!("{cleared}{}\n", shown.trim_end())
}

fn line(shown: &str, json: bool) -> String {
    if json { format!("{}\n", shown.trim_end()) } else { format!("{}  {}\n", now(), shown.trim_end()) }
}

fn now() -> String {
    Clock::System.now().rfc3339()
}

/// Leaves the grant of this name alone.
fn only(report: &mut Value, name: &str) -> Result<(), Failure> {
    let known: Vec<String> =
        grants(report).map(|grant| format!("`{}`", plain(text(grant, "name")))).collect();
    let kept: Vec<Value> = grants(report).filter(|grant| text(grant, "name") == name).cloned().collect();
    if kept.is_empty() {
        let why = format!("there is no grant `{}`; there is {}", name.escape_debug(), known.join(", "));
        return Err(Failure::new(Exit::Config, why));
    }
    if let Some(all) = report.get_mut("grants") {
        *all = kept.into();
    }
    Ok(())
}

/// What the grants come to: those that a route uses, or the `named` one. That a person is needed is told while the token
/// is still good, when there is time to act.
fn verdict(report: &Value, named: bool, now: &str) -> Exit {
    let counts = |grant: &&Value| named || grant.get("used").and_then(Value::as_bool) != Some(false);
    let is_usable = |grant: &Value| until(grant, "expires", now).is_some_and(|left| !left.is_zero());
    let otherwise = if grants(report).filter(counts).all(is_usable) { Exit::Success } else { Exit::Failure };
    let states = grants(report).filter(counts).map(|grant| text(grant, "state"));
    Exit::for_states(states).unwrap_or(otherwise)
}

/// A line a grant, in columns; below it its problem, and what to do.
fn in_words(report: &Value, now: &str, coloured: bool) -> String {
    let widest =
        |key: &str| grants(report).map(|grant| plain(text(grant, key)).chars().count()).max().unwrap_or(0);
    let (names, states) = (widest("name"), widest("state"));
    let mut lines = Vec::new();
    for grant in grants(report) {
        let (name, state) = (&plain(text(grant, "name")), &plain(text(grant, "state")));
        let painted = painted(state, &format!("{state:states$}"), coloured);
        lines.push(format!("{name:names$}  {painted} — {}", times(grant, now)));
        lines.extend(problem(grant).map(|problem| format!("{:names$}  {problem}", "")));
        lines.extend(is_suspected(grant).then(|| format!("{:names$}  {SUSPICION}", "")));
        lines.extend(cure(name, state, is_suspected(grant)).map(|cure| format!("{:names$}  → {cure}", "")));
    }
    lines.join("\n")
}

/// The command that helps, if one does.
fn cure(name: &str, state: &str, is_suspected: bool) -> Option<String> {
    let login = || {
        if name == GrantName::DEFAULT { "bearerd login".to_owned() } else { format!("bearerd login {name}") }
    };
    match state {
        "sign_in_required" => Some(login()),
        "misconfigured" => Some("mend it, then bearerd reload".to_owned()),
        _ => is_suspected.then(|| format!("if they do, {}", login())),
    }
}

/// Whether the server has failed for so long that the grant may be gone.
fn is_suspected(grant: &Value) -> bool {
    grant.get("reauth_suspected").and_then(Value::as_bool) == Some(true)
}

/// The state's colour beside its word, never instead of it.
fn painted(state: &str, text: &str, coloured: bool) -> String {
    let colour = match state {
        "active" => 32,
        "sign_in_required" | "misconfigured" => 31,
        _ => 33,
    };
    if coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

fn times(grant: &Value, now: &str) -> String {
    let token = match until(grant, "expires", now) {
        Some(left) if !left.is_zero() => format!("token good for {}", admin::in_words(left)),
        Some(_past) => "token expired".to_owned(),
        None => "no token".to_owned(),
    };
    let next = match until(grant, "next_attempt", now) {
        Some(left) if !left.is_zero() => format!(", next refresh in {}", admin::in_words(left)),
        Some(_past) => ", refresh due now".to_owned(),
        None => String::new(),
    };
    let end = match until(grant, "grant_ends", now) {
        Some(left) if !left.is_zero() => format!(", sign-in ends in {}", admin::in_words(left)),
        Some(_past) => ", sign-in has ended".to_owned(),
        None => String::new(),
    };
    format!("{token}{next}{end}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn a_grant_is_told_in_a_line_and_its_problem_and_cure_below() {
        let report = json!({ "grants": [
            { "name": "default", "state": "active", "expires": "2026-01-01T00:08:00Z", "next_attempt": "2026-01-01T00:02:38Z",
              "grant_ends": "2026-01-13T00:00:01Z" },
            { "name": "crm", "state": "sign_in_required", "problem": { "code": "invalid_grant", "sentence": "Sign in again.\u{1b}" } },
        ]});
        let told = "default  active           — token good for 8 min, next refresh in 2 min 38 s, sign-in ends in 12 days\n\
                    crm      sign_in_required — no token\n         Sign in again.\\u{1b} (invalid_grant)\n         → bearerd login crm";
        assert_eq!(in_words(&report, NOW, false), told);
        assert!(in_words(&report, NOW, true).contains("\x1b[31msign_in_required\x1b[0m"));
        assert_eq!(in_words(&json!("?"), "?", false), "");
    }

    #[test]
    fn that_the_grant_may_be_gone_is_told_below_its_problem() {
        let problem = json!({ "code": "token_endpoint_error", "sentence": "It failed." });
        let grant = |name: &str, suspected: bool| json!({ "name": name, "state": "unavailable", "problem": problem, "reauth_suspected": suspected });
        let told = in_words(
            &json!({ "grants": [grant("default", true), grant("crm", true), grant("x", false)] }),
            NOW,
            false,
        );
        let expected = format!(
            "default  unavailable — no token\n         It failed. (token_endpoint_error)\n         {SUSPICION}\n         → if they do, bearerd login\n\
             crm      unavailable — no token\n         It failed. (token_endpoint_error)\n         {SUSPICION}\n         → if they do, bearerd login crm\n\
             x        unavailable — no token\n         It failed. (token_endpoint_error)"
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn the_exit_code_tells_the_worst_of_the_grants_that_count() {
        let grant = |state: &str, good: bool, used: bool| {
            let expires = good.then_some("2026-01-01T00:08:00Z");
            json!({ "name": state, "state": state, "expires": expires, "used": used })
        };
        let told = |grants: Vec<Value>| verdict(&json!({ "grants": grants }), false, NOW);
        assert_eq!(told(vec![grant("active", true, true), grant("starting", false, false)]), Exit::Success);
        assert_eq!(told(vec![grant("degraded", true, true)]), Exit::Success, "callers notice nothing");
        assert_eq!(told(vec![grant("unavailable", false, true), grant("active", true, true)]), Exit::Failure);
        assert_eq!(
            told(vec![grant("sign_in_required", true, true)]),
            Exit::SignInRequired,
            "while there is time"
        );
        assert_eq!(told(vec![grant("misconfigured", false, true)]), Exit::Config);
        let unused = json!({ "grants": [grant("sign_in_required", false, false)] });
        assert_eq!(verdict(&unused, false, NOW), Exit::Success, "no route uses it");
        assert_eq!(verdict(&unused, true, NOW), Exit::SignInRequired, "it was asked for by name");
    }

    #[test]
    fn a_terminal_shows_the_last_look_alone() {
        assert_eq!(redrawn(true, "one\ntwo\n"), "\x1b[2J\x1b[Hone\ntwo\n");
        assert_eq!(redrawn(false, "three"), "\x1b[H\x1b[Jthree\n");
    }
}
