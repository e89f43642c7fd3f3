//! The status page: one look, no script, nothing loaded from anywhere.

use std::fmt::{self, Display, Write as _};

use super::{Grant, Overview, in_words};
use crate::clock::Moment;
use crate::grant::status::{Attempt, State, Status};

/// The page's look; the policy below allows this text and no other.
const STYLE: &str = "\
:root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}\
body{margin:0 auto;max-width:60rem;padding:1rem}\
section{border:1px solid #8888;border-radius:.5rem;margin:1rem 0;padding:0 1rem 1rem}\
table{border-collapse:collapse;display:block;overflow-x:auto}\
th,td{border-bottom:1px solid #8884;padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}\
.problem{border-left:.3rem solid #c33;padding-left:.8rem}";

/// The style's digest for `Content-Security-Policy`.
pub(super) fn policy() -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::Engine as _;
    let digest = base64::engine::general_purpose::STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// Text between tags or in an attribute.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_string().chars().try_for_each(|character| match character {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

pub(super) fn page(overview: &Overview) -> String {
    let now = overview.clock.now();
    let grants: String = overview.grants.iter().map(|of| grant(of, overview.actions.token(), now)).collect();
    let warnings: String =
        overview.warnings.iter().map(|text| format!("<p class=problem>{}</p>", Escaped(text))).collect();
    let file =
        overview.config_file.as_ref().map_or("the environment".into(), |file| file.display().to_string());
    let up = in_words(now.since(overview.started));
    let draining =
        if overview.is_draining() { "<p class=problem>Stopping: requests may end.</p>" } else { "" };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>bearerd</title><style>{STYLE}</style><main><h1>bearerd</h1>\
         <p>Version {}, running for {up}, as {} says.</p>{draining}{warnings}{grants}{}{}</main></html>\n",
        env!("CARGO_PKG_VERSION"),
        Escaped(file),
        routes(overview),
        listeners(overview),
    )
}

fn headline(state: State) -> &'static str {
    match state {
        State::Starting => "Starting: no token yet",
        State::Active => "Active",
        State::Degraded => "Degraded: the token is good, but the last refresh or save failed",
        State::Unavailable => "Unavailable: no usable token, trying",
        State::SignInRequired => "Sign-in needed",
        State::Misconfigured => "Misconfigured",
    }
}

fn grant(Grant { name, board, used, .. }: &Grant, token: &str, now: Moment) -> String {
    let status = board.look();
    let problem = status.problem.as_ref().map_or_else(String::new, |problem| {
        format!("<p class=problem>{} <code>{}</code></p>", Escaped(&problem.sentence), Escaped(problem.code))
    });
    let unsaved = if status.unsaved_rotation {
        "<p class=problem>A new refresh token lives in memory only: it could not be saved.</p>"
    } else {
        ""
    };
    let unused = if *used { "" } else { "<p>No route uses this grant.</p>" };
    format!(
        "<section><h2>{}: {}</h2>{problem}{unsaved}{unused}\
         <form method=post action=\"/api/v1/grants/{}/refresh\"><input type=hidden name=\"token\" value=\"{token}\">\
         <button>Refresh now</button></form>{}{}</section>",
        Escaped(name),
        headline(status.state),
        Escaped(name),
        times(&status, now),
        history(&status),
    )
}

fn times(status: &Status, now: Moment) -> String {
    let row = |what: &str, at: Option<Moment>| match at {
        Some(at) => {
            let (time, word) = (at.rfc3339(), relative(at, now));
            format!("<tr><th scope=row>{what}<td><time datetime={time}>{time}</time><td>{word}")
        }
        None => format!("<tr><th scope=row>{what}<td>none<td>"),
    };
    let (expires, next) = (row("Token expires", status.expires), row("Next refresh", status.next_attempt));
    let (success, since) =
        (row("Last success", status.last_success), row("In this state since", Some(status.since)));
    let (failures, store) = (status.consecutive_failures, Escaped(&status.store));
    format!(
        "<table>{expires}{next}{success}{since}<tr><th scope=row>Failures in a row<td>{failures}<td>\
         <tr><th scope=row>Store<td>{store}<td></table>"
    )
}

fn relative(at: Moment, now: Moment) -> String {
    if at.has_come(now) {
        format!("{} ago", in_words(now.since(at)))
    } else {
        format!("in {}", in_words(at.remaining(now)))
    }
}

fn history(status: &Status) -> String {
    if status.history.is_empty() {
        return "<p>No refresh yet.</p>".to_owned();
    }
    let rows: String = status.history.iter().map(attempt).collect();
    format!(
        "<h3>Refreshes</h3><table><tr><th scope=col>Time<th scope=col>Why<th scope=col>Outcome<th scope=col>Took\
         <th scope=col>HTTP<th scope=col>Rotated<th scope=col>Problem{rows}</table>"
    )
}

fn attempt(of: &Attempt) -> String {
    let (time, took) = (of.at.rfc3339(), of.took.as_secs_f64());
    let http = of.http_status.map_or("–".to_owned(), |status| status.to_string());
    let rotated = if of.rotated { "yes" } else { "no" };
    let problem = of.problem.as_ref().map_or("", |problem| &problem.sentence);
    format!(
        "<tr><td><time datetime={time}>{time}</time><td>{}<td>{}<td>{took:.2} s<td>{http}<td>{rotated}<td>{}",
        Escaped(of.cause),
        Escaped(of.outcome),
        Escaped(problem)
    )
}

fn routes(overview: &Overview) -> String {
    let rows = overview.routes.iter().map(|route| {
        let host = route.host.as_deref().unwrap_or("any");
        let [host, path] = [Escaped(host), Escaped(&route.path)];
        format!("<tr><td>{host}<td>{path}<td>{}<td>{}", Escaped(&route.upstream), Escaped(&route.grant))
    });
    let head = "<tr><th scope=col>Host<th scope=col>Path<th scope=col>Upstream<th scope=col>Grant";
    format!("<h2>Routes</h2><table>{head}{}</table>", rows.collect::<String>())
}

fn listeners(overview: &Overview) -> String {
    let rows = overview.listeners.iter();
    let rows = rows.map(|one| format!("<tr><th scope=row>{}<td>{}", one.listener, Escaped(&one.address)));
    format!("<h2>Listeners</h2><table>{}</table>", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_cannot_become_markup() {
        assert_eq!(Escaped("<b a='\"'>&").to_string(), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }
}
