//! The bearerd that runs with this configuration, as a command sees it: what it says of itself, and what it is told to do.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::ask::{self, Answer};
use super::{Exit, Failure};
use crate::admin;
use crate::config::Config;

/// What it says of itself.
pub(super) struct Report {
    /// As it came.
    pub(super) text: String,
    /// The same, read.
    pub(super) json: Value,
}

/// Asks how it is. Whoever answers for another configuration is refused.
pub(super) fn report(config: &Config) -> Result<Report, Failure> {
    let answer = ask::get(config.admin.listen.as_ref(), "/api/v1/status")?;
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    match json.pointer("/config/identity").and_then(Value::as_str) {
        Some(identity) if identity == admin::identity(config) => Ok(Report { text: answer.body, json }),
        Some(_other) => Err(stranger(&json, config)),
        None => {
            let why = format!("what answers there is not a bearerd (HTTP status {})", answer.status);
            Err(Failure::new(Exit::Unreachable, why))
        }
    }
}

/// Has it do something, once it is known to be the right one; what it answers if it does.
pub(super) fn act(config: &Config, path: &str) -> Result<Value, Failure> {
    report(config)?;
    let Answer { status, body, .. } = ask::act(config.admin.listen.as_ref(), path)?;
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    if (200..300).contains(&status) {
        return Ok(json);
    }
    let exit = match status {
        409 | 422 => Exit::Config,
        502 => Exit::Unreachable,
        _ => Exit::Failure,
    };
    let sentence = match text(&json, "sentence") {
        "" => format!("the bearerd that runs does not do that (HTTP status {status})"),
        sentence => sentence.lines().map(plain).collect::<Vec<_>>().join("\n"),
    };
    Err(Failure::new(exit, sentence))
}

/// Has it look at once at what was put in place for a grant: whether there is one to be told. It looks by itself after a
/// while, so nothing depends on this.
pub(super) fn look(config: &Config, grant: &str) -> Result<bool, Failure> {
    if config.admin.listen.as_ref().is_none_or(ask::is_nobodys) {
        return Ok(false);
    }
    act(config, &format!("/api/v1/grants/{grant}/look")).map(|_| true)
}

/// Whether it keeps a grant at this place, too, so that it finds what is put there; without one that runs there is nobody to
/// find it. Where the store is says the environment of each, if the configuration does not.
pub(super) fn shares(config: &Config, grant: &str, place: &str) -> Result<(), Failure> {
    let Ok(Report { json, .. }) = report(config) else { return Ok(()) };
    let Some(theirs) = grants(&json).find(|one| text(one, "name") == grant) else { return Ok(()) };
    let theirs = text(theirs, "store");
    // The kind in front may have another key since that one started, and the file is the same.
    let file = |place: &str| {
        place.rsplit_once("file ").map_or_else(|| place.to_owned(), |(_, file)| file.to_owned())
    };
    if file(theirs) == file(place) {
        return Ok(());
    }
    let why = format!(
        "the bearerd that runs keeps grant `{grant}` in {}, and this command has it in {place}, where that one never looks: if \
         `[store]` was changed since it started, start it again; else run this as the one that runs is run (its user, STATE_DIRECTORY, XDG_STATE_HOME and HOME decide where the store is), or \
         name the store's file with --store-path",
        plain(theirs)
    );
    Err(Failure::new(Exit::Config, why))
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
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// The grants of a report.
pub(super) fn grants(report: &Value) -> impl Iterator<Item = &Value> {
    report.get("grants").and_then(Value::as_array).into_iter().flatten()
}

/// A member that is a text; an empty one where it is none.
pub(super) fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What is wrong with a grant, or was with an attempt: the sentence and its code; none where nothing is.
pub(super) fn problem(of: &Value) -> Option<String> {
    let problem = of.get("problem").filter(|problem| problem.is_object())?;
    Some(format!("{} ({})", plain(text(problem, "sentence")), plain(text(problem, "code"))))
}

/// How long until then; none when that is not known, and no time when it is past.
pub(super) fn until(grant: &Value, key: &str, now: &str) -> Option<Duration> {
    let (at, now) = (text(grant, key).parse::<Timestamp>().ok()?, now.parse::<Timestamp>().ok()?);
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}
