//! How it is set up: where requests come in and where they go, and a command to try it with.

use maud::{Markup, html};

use super::super::{Overview, Route};
use super::table;
use super::words::{self, quoted};

pub(super) fn card(overview: &Overview) -> Markup {
    let names = ["Path", "Host", "Upstream", "Grant"];
    let routes = overview.routes.iter().map(|route| {
        [
            html! { code { (route.path) } },
            html! { (route.host.as_deref().unwrap_or("any")) },
            html! { (route.upstream) },
            html! { (route.grant) },
        ]
    });
    let file = overview.config_file.as_ref().map(|file| file.display().to_string());
    html! {
        section.card aria-labelledby="routes-heading" {
            div.head { h2 id="routes-heading" { "Routes" } }
            @if let Some(line) = curl(overview) {
                p.more { "Try it; the token is put on by bearerd:" }
                (words::command(&line))
            }
            (table("routes", "routes-heading", names, routes))
        }
        section.card aria-labelledby="setup-heading" {
            div.head { h2 id="setup-heading" { "Set-up" } }
            dl.facts {
                @for one in &overview.listeners {
                    div { dt { (listener(one.listener)) } dd { (one.address) } }
                }
                div {
                    dt { "Configuration" }
                    dd { (file.as_deref().unwrap_or("flags and environment")) }
                }
            }
        }
    }
}

fn listener(listener: &str) -> &str {
    match listener {
        "proxy" => "Callers",
        "admin" => "This page",
        "probes" => "Probes",
        other => other,
    }
}

/// What asks for the first route, from this machine.
fn curl(overview: &Overview) -> Option<String> {
    let route = overview.routes.first()?;
    let at = &overview.listeners.iter().find(|one| one.listener == "proxy")?.address;
    let host = route.host.as_ref().map(|host| format!(" -H {}", quoted(&format!("Host: {host}"))));
    let target = match at.strip_prefix("unix:") {
        Some(socket) => format!("--unix-socket {} http://localhost{}", quoted(socket), path(route)),
        None => quoted(&format!("http://{at}{}", path(route))),
    };
    Some(format!("curl{} {target}", host.unwrap_or_default()))
}

fn path(route: &Route) -> &str {
    if route.path.is_empty() { "/" } else { &route.path }
}
