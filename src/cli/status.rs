//! `bearerd status`: how the running bearerd's grants are, in words.

use jiff::Timestamp;
use serde_json::Value;

use super::{Common, Exit, Failure, ask, say};
use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, Flags};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As JSON, as /api/v1/status gives it
    #[arg(long)]
    json: bool,
    /// Exit 77 when a person has to sign in
    #[arg(long)]
    exit_code: bool,
    #[command(flatten, next_help_heading = "If the running one was started with flags, the same again")]
    flags: Flags,
}

pub(super) fn status(common: &Common, arguments: Arguments) -> Result<Exit, Failure> {
    let config = common.load_running(arguments.flags)?;
    let answer = ask::get(config.admin.listen.as_ref(), &config.proxy.guard, "/api/v1/status")?;
    let report: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let identity = report.pointer("/config/identity").and_then(Value::as_str);
    match identity {
        Some(identity) if identity == admin::identity(&config) => {}
        Some(_other) => return Err(stranger(&report, &config)),
        None => {
            let why = format!("what answers there is not a bearerd (HTTP status {})", answer.status);
            return Err(Failure::new(Exit::Unreachable, why));
        }
    }
    say(&if arguments.json { answer.body } else { in_words(&report, &Clock::System.now().rfc3339()) });
    let sign_in = grants(&report).any(|grant| text(grant, "state") == "sign_in_required");
    Ok(if arguments.exit_code && sign_in { Exit::SignInRequired } else { Exit::Success })
}

/// Somebody else's bearerd has the port.
fn stranger(report: &Value, config: &Config) -> Failure {
    let why = match report.pointer("/config/file").and_then(Value::as_str) {
        None if config.file.is_none() => {
            "the bearerd that answers there keeps another store or other grants: it was started with other flags, or in \
             another environment (STATE_DIRECTORY, XDG_STATE_HOME and the user decide where the store is)"
                .to_owned()
        }
        theirs => format!(
            "the bearerd that answers there runs another configuration, {}: name that one with --config",
            plain(theirs.unwrap_or("its flags and environment"))
        ),
    };
    Failure::new(Exit::Unreachable, why)
}

/// A text that must not steer the terminal.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

fn grants(report: &Value) -> impl Iterator<Item = &Value> {
    report.get("grants").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A line a grant, and its problem below it.
fn in_words(report: &Value, now: &str) -> String {
    let width = grants(report).map(|grant| text(grant, "name").len()).max().unwrap_or(0);
    let lines = grants(report).map(|grant| {
        let (name, state) = (text(grant, "name"), text(grant, "state"));
        let mut line = format!("{name:width$}  {state} — {}", times(grant, now));
        if let Some(problem) = grant.get("problem").filter(|problem| problem.is_object()) {
            let sentence = plain(text(problem, "sentence"));
            line.push_str(&format!("\n{:width$}  {sentence} ({})", "", text(problem, "code")));
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn times(grant: &Value, now: &str) -> String {
    let until = |key: &str| {
        let (at, now) = (text(grant, key).parse::<Timestamp>().ok()?, now.parse::<Timestamp>().ok()?);
        Some(at.duration_since(now))
    };
    let token = match until("expires").map(std::time::Duration::try_from) {
        Some(Ok(left)) if !left.is_zero() => format!("token good for {}", admin::in_words(left)),
        Some(_past) => "token expired".to_owned(),
        None => "no token".to_owned(),
    };
    match until("next_attempt").map(std::time::Duration::try_from) {
        Some(Ok(left)) => format!("{token}, next refresh in {}", admin::in_words(left)),
        Some(Err(_past)) => format!("{token}, refresh due now"),
        None => token,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_grant_is_told_in_a_line_and_its_problem_below() {
        let report = json!({ "grants": [
            { "name": "default", "state": "active", "expires": "2026-01-01T00:08:00Z", "next_attempt": "2026-01-01T00:06:00Z" },
            { "name": "crm", "state": "sign_in_required", "problem": { "code": "invalid_grant", "sentence": "Sign in again.\u{1b}" } },
        ]});
        let told = "default  active — token good for 8 min, next refresh in 6 min\n\
                    crm      sign_in_required — no token\n         Sign in again.\\u{1b} (invalid_grant)";
        assert_eq!(in_words(&report, "2026-01-01T00:00:00Z"), told);
        assert_eq!(in_words(&json!("?"), "?"), "");
    }
}
