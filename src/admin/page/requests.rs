//! The last requests, without anything that is secret.

use maud::{Markup, html};

use super::words::{self, Tone};
use super::{View, table};
use crate::proxy::recent::Request;

/// How many are shown before one asks for more.
const SHOWN: usize = 10;

/// The id of the element that holds them.
pub(super) const PART: &str = "requests";

pub(super) fn card(view: &View<'_>) -> Markup {
    if view.overview.requests.kept() == 0 {
        return html! {};
    }
    html! {
        section.card aria-labelledby="requests-heading" {
            div.head { h2 id="requests-heading" { "Recent requests" } }
            div.live id=(PART) { (list(view)) }
        }
    }
}

pub(super) fn list(view: &View<'_>) -> Markup {
    let (first, earlier) = view.requests.split_at(view.requests.len().min(SHOWN));
    html! {
        @if first.is_empty() {
            p.more { "None yet. They show here as they come, without queries, headers or bodies." }
        } @else {
            (rows(first, view))
        }
        @if !earlier.is_empty() {
            details.earlier id="requests-earlier" {
                summary { (earlier.len()) " earlier" }
                (rows(earlier, view))
            }
        }
    }
}

fn rows(requests: &[Request], view: &View<'_>) -> Markup {
    let names = ["Time", "Request", "Route", "Status", "Took", "Answered by"];
    let rows = requests.iter().map(|request| {
        let status = request.status.as_u16();
        let tone = match status {
            _ if request.code.is_some() => Tone::Broken,
            500.. => Tone::Broken,
            400.. => Tone::Trouble,
            _ => Tone::Good,
        };
        [
            words::time(request.at, view.now),
            html! { span.request { b { (request.method) } " " span.path { (request.path) } } },
            html! { @if request.route.is_empty() { "–" } @else { (request.route) } },
            html! {
                @if request.renewed { span.before { "401, refreshed, " } }
                span.status.(tone.class()) { (status) }
            },
            html! { (words::took(request.took)) },
            html! { @match request.code { Some(code) => { "bearerd " code.code { (code) } }, None => "upstream" } },
        ]
    });
    table("asked", "requests-heading", names, rows)
}
