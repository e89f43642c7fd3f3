//! /api/v1/status: the program, its grants and its routes as JSON, for the command and for scripts.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Grant, Overview};
use crate::clock::Moment;
use crate::grant::status::{Attempt, Problem};

/// Grows when a member changes its meaning or goes; new members do not count.
const FORMAT_VERSION: u32 = 1;

pub(super) fn status(overview: &Overview) -> Value {
    let listeners = overview.listeners.iter();
    let listeners = listeners.map(|one| json!({ "listener": one.listener, "address": one.address }));
    let routes = overview.routes.iter().map(|route| {
        json!({
            "path": route.path, "host": route.host, "upstream": route.upstream, "grant": route.grant.as_str(),
        })
    });
    json!({
        "format_version": FORMAT_VERSION,
        "version": env!("CARGO_PKG_VERSION"),
        "process": std::process::id(),
        "started": overview.started.rfc3339(),
        "draining": overview.is_draining(),
        "config": {
            "file": overview.config_file.as_ref().map(|file| file.display().to_string()),
            "identity": overview.identity,
        },
        "listeners": listeners.collect::<Value>(),
        "grants": overview.grants.iter().map(grant).collect::<Value>(),
        "routes": routes.collect::<Value>(),
        "warnings": overview.warnings,
    })
}

fn grant(Grant { name, board, used, .. }: &Grant) -> Value {
    let status = board.look();
    let at = |moment: Option<Moment>| moment.map(Moment::rfc3339);
    json!({
        "name": name.as_str(),
        "used": used,
        "state": status.state.word(),
        "since": status.since.rfc3339(),
        "expires": at(status.expires),
        "obtained": at(status.obtained),
        "grant_ends": status.grant_end.map(|end| Moment { boot: Duration::ZERO, wall: end.at }.rfc3339()),
        "next_attempt": at(status.next_attempt),
        "last_success": at(status.last_success),
        "consecutive_failures": status.consecutive_failures,
        "problem": status.problem.as_ref().map(problem),
        "unsaved_rotation": status.unsaved_rotation,
        "reauth_suspected": status.reauth_suspected,
        "attempts": status.attempts(),
        "generation": status.generation,
        "store": status.store,
        "history": status.history.iter().map(attempt).collect::<Value>(),
    })
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "at": attempt.at.rfc3339(),
        "cause": attempt.cause,
        "outcome": attempt.outcome,
        "took_seconds": attempt.took.as_secs_f64(),
        "http_status": attempt.http_status,
        "rotated": attempt.rotated,
        "problem": attempt.problem.as_ref().map(problem),
    })
}

fn problem(problem: &Problem) -> Value {
    json!({ "code": problem.code, "sentence": problem.sentence })
}
