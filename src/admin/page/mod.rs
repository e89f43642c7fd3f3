//! The status page: whole without a script, and kept up to date with one; nothing is loaded from anywhere else.

mod grant;
mod requests;
mod setup;
mod words;

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Overview, in_words};
use crate::clock::Moment;
use crate::proxy::recent::Request;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What stands in the browser's tab.
pub(super) const ICON: &str = include_str!("icon.svg");

/// How often a page without a script is loaded again by whoever wants that, in seconds.
const EVERY: u32 = 10;

/// The query by which a page is asked to load itself again.
const AGAIN: &str = "every=10";

/// What may run and where it may go: the page's own style and script, known by their digests, and nothing else.
pub(super) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let of =
            |text: &str| base64::engine::general_purpose::STANDARD.encode(digest(&SHA256, text.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            of(STYLE),
            of(SCRIPT)
        )
    });
    &POLICY
}

/// What is shown, at a moment.
pub(super) struct View<'a> {
    pub(super) overview: &'a Overview,
    pub(super) now: Moment,
    /// The latest first.
    pub(super) requests: Vec<Request>,
}

impl<'a> View<'a> {
    pub(super) async fn of(overview: &'a Overview) -> Self {
        let requests = overview.requests.latest().await;
        Self { overview, now: overview.clock.now(), requests }
    }
}

/// The whole page.
pub(super) fn page(view: &View<'_>, query: Option<&str>) -> String {
    let loads_again = query == Some(AGAIN);
    let overview = view.overview;
    let (_, verdict) = words::verdict(overview, view.now);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (head(&title(view)))
                @if loads_again { noscript { meta http-equiv="refresh" content=(EVERY); } }
            }
            body data-edition=(edition(overview)) {
                header.top {
                    p.brand { (key()) "bearerd" }
                    p.about { (env!("CARGO_PKG_VERSION")) " · " span.live #up { (up(view)) } }
                    p.link #link hidden {}
                }
                main {
                    div.verdict {
                        h1.live #verdict { (headline(view)) }
                        p.hidden.live #announce role="status" { (announced(view, &verdict)) }
                        div.live #warnings { (warnings(overview)) }
                    }
                    @for grant in &overview.grants { (grant::card(view, grant)) }
                    (requests::card(view))
                    div.pair { (setup::card(overview)) }
                }
                footer {
                    nav aria-label="For programs" {
                        @for (path, what) in [
                            ("/api/v1/status", "Status as JSON"),
                            ("/api/v1/requests", "Requests as JSON"),
                            ("/metrics", "Metrics"),
                            ("/readyz", "Readiness"),
                        ] { a href=(path) { (what) } }
                    }
                    noscript {
                        p {
                            "As of " (words::time(view.now, view.now)) ". "
                            @if loads_again {
                                "It is loaded again every " (EVERY) " seconds. " a href="/" { "Stop that" }
                            } @else {
                                a href="/" { "Load it again" } " · "
                                a href=(format!("/?{AGAIN}")) { "Load it again every " (EVERY) " seconds" }
                            }
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// A sentence on a page of its own, and the way to the status page.
pub(super) fn notice(title: &str, sentence: &str, on: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { (head(&format!("{title} · bearerd"))) }
            body {
                header.top { p.brand { (key()) "bearerd" } }
                main {
                    div.verdict { h1 { (title) } }
                    section.card {
                        p { (words::sentence(sentence)) }
                        p.on { a href="/" { (on) } }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn head(title: &str) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width, initial-scale=1";
        meta name="color-scheme" content="light dark";
        title { (title) }
        link rel="icon" href="/icon.svg" type="image/svg+xml";
        style { (PreEscaped(STYLE)) }
    }
}

/// Names what stands still on the page: it is the same for as long as telling the parts that change is enough.
pub(super) fn edition(overview: &Overview) -> String {
    let still = html! {
        @for one in &overview.grants { (grant::still(overview, one)) }
        (setup::card(overview))
        (overview.requests.kept() > 0)
    };
    let text = format!("{}\n{}", overview.started.rfc3339(), still.into_string());
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The parts that change, by the id of the element that holds them.
pub(super) fn parts(view: &View<'_>) -> Vec<(String, String)> {
    let overview = view.overview;
    let (_, verdict) = words::verdict(overview, view.now);
    let mut parts = vec![
        ("verdict".to_owned(), headline(view)),
        ("announce".to_owned(), announced(view, &verdict)),
        ("up".to_owned(), up(view)),
        ("warnings".to_owned(), warnings(overview)),
    ];
    parts.extend(overview.grants.iter().flat_map(|one| grant::parts(view, one)));
    if overview.requests.kept() > 0 {
        parts.push((requests::PART.to_owned(), requests::list(view)));
    }
    parts.into_iter().map(|(id, markup)| (id, markup.into_string())).collect()
}

/// What the browser's tab says.
pub(super) fn title(view: &View<'_>) -> String {
    format!("{} · bearerd", words::verdict(view.overview, view.now).1)
}

fn headline(view: &View<'_>) -> Markup {
    let (tone, verdict) = words::verdict(view.overview, view.now);
    html! { span.(tone.class()) { (tone.icon()) } (verdict) }
}

/// For who cannot see what changes: each state, and nothing that counts.
fn announced(view: &View<'_>, verdict: &str) -> Markup {
    html! {
        (verdict) "."
        @for grant in &view.overview.grants {
            " " (grant.name) ": " (words::state(words::met(&grant.board.look(), view.now))) "."
        }
    }
}

fn up(view: &View<'_>) -> Markup {
    html! { "up " (in_words(view.now.since(view.overview.started))) }
}

fn warnings(overview: &Overview) -> Markup {
    html! {
        @if overview.is_draining() {
            div.problem.trouble { p { "bearerd lets requests end, and is not ready for new ones." } }
        }
        @for warning in &overview.warnings {
            div.problem.trouble { p { (warning) } }
        }
    }
}

fn key() -> Markup {
    html! {
        svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
            circle cx="8" cy="12" r="4.5" {}
            path d="M12.5 12H22M18.5 12v4" {}
        }
    }
}

/// A table that becomes a list of its rows where it has no room; its roles are written down because that takes them away.
fn table<const N: usize>(
    class: &str,
    labelled: &str,
    names: [&str; N],
    rows: impl Iterator<Item = [Markup; N]>,
) -> Markup {
    html! {
        table.(class) role="table" aria-labelledby=(labelled) {
            thead role="rowgroup" {
                tr role="row" { @for name in names { th role="columnheader" scope="col" { (name) } } }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (name, cell) in names.iter().zip(row) { td role="cell" data-label=(name) { (cell) } }
                    }
                }
            }
        }
    }
}
