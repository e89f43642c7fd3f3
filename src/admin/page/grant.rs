//! One grant: its state, the life of its token, what went wrong and how to mend it, and what a person can do.

use maud::{Markup, html};

use super::super::{Grant, Overview, in_words};
use super::View;
use super::words::{self, Tone};
use crate::clock::Moment;
use crate::grant::end;
use crate::grant::outage::SUSPICION;
use crate::grant::status::{Attempt, Problem, State, Status};
use crate::token::GrantName;

/// How many refreshes are shown before one asks for more.
const SHOWN: usize = 5;

/// The frame, and in it the parts that change.
pub(super) fn card(view: &View<'_>, grant: &Grant) -> Markup {
    let (name, status) = (&grant.name, grant.board.look());
    let heading = format!("grant-{name}");
    html! {
        section.card.grant aria-labelledby=(heading) {
            div.head {
                h2 id=(heading) { span.kind { "Grant " } (name) }
                div.live id=(format!("{name}-state")) { (state(&status, view.now)) }
                (refresh(view.overview, name))
            }
            div.live id=(format!("{name}-life")) { (life(&status, view.now)) }
            div.live id=(format!("{name}-problem")) { (problems(view, grant, &status)) }
            dl.facts.live id=(format!("{name}-facts")) { (facts(grant, &status, view.now)) }
            @if grant.about.signs_in { (doors(view.overview, name)) }
            h3 id=(format!("{name}-refreshes")) { "Refreshes" }
            div.live id=(format!("{name}-history")) { (history(name, &status, view.now)) }
        }
    }
}

/// The parts that change, by the id of the element that holds them.
pub(super) fn parts(view: &View<'_>, grant: &Grant) -> [(String, Markup); 5] {
    let (name, status) = (&grant.name, grant.board.look());
    [
        (format!("{name}-state"), state(&status, view.now)),
        (format!("{name}-life"), life(&status, view.now)),
        (format!("{name}-problem"), problems(view, grant, &status)),
        (format!("{name}-facts"), facts(grant, &status, view.now)),
        (format!("{name}-history"), history(name, &status, view.now)),
    ]
}

/// What stands still, beside the name.
pub(super) fn still(overview: &Overview, grant: &Grant) -> Markup {
    html! { (grant.name) @if grant.about.signs_in { (doors(overview, &grant.name)) } }
}

fn state(status: &Status, now: Moment) -> Markup {
    let state = words::met(status, now);
    let tone = Tone::of(state);
    html! { p.badge.(tone.class()) { (tone.icon()) span { (words::state(state)) } } }
}

fn life(status: &Status, now: Moment) -> Markup {
    html! {
        p.outlook { (words::outlook(status, now)) }
        @if let (Some(obtained), Some(expires)) = (status.obtained, status.expires) {
            (bar(status, obtained, expires, now))
        }
    }
}

/// How much of the token's life is left, with the moment of the next refresh marked.
fn bar(status: &Status, obtained: Moment, expires: Moment, now: Moment) -> Markup {
    let whole = expires.since(obtained).as_secs_f64().max(1.0);
    let share = |at: Moment| (at.since(obtained).as_secs_f64() / whole).clamp(0.0, 1.0) * 100.0;
    let is_over = expires.has_come(now);
    let gone = if is_over { 100.0 } else { share(now) };
    let next = status.next_attempt.filter(|next| !is_over && !next.has_come(now) && !expires.has_come(*next));
    let next_is = if status.state == State::Active { "Next refresh" } else { "Next try" };
    let left =
        if is_over { "expired".to_owned() } else { format!("{} left", in_words(expires.remaining(now))) };
    let spoken = match next {
        Some(next) => format!("{left}, {} in {}", next_is.to_lowercase(), in_words(next.remaining(now))),
        None => left,
    };
    html! {
        div.bar role="meter" aria-label="Life of the access token" aria-valuemin="0" aria-valuemax="100"
            aria-valuenow=(format!("{:.0}", 100.0 - gone)) aria-valuetext=(spoken) {
            svg width="100%" height="14" aria-hidden="true" {
                rect.track x="0" y="3" width="100%" height="8" rx="4" {}
                rect.left x=(format!("{gone:.1}%")) y="3" width=(format!("{:.1}%", 100.0 - gone)) height="8" rx="4" {}
                @if let Some(next) = next {
                    rect.mark x=(format!("{:.1}%", share(next))) y="0" width="3" height="14" rx="1.5" {}
                }
            }
        }
        dl.moments.(below(next.map(share))) {
            div { dt { "Issued" } dd { (words::time(obtained, now)) } }
            @if let Some(next) = next {
                div.next { dt { (next_is) } dd { (words::time(next, now)) } }
            }
            div { dt { @if is_over { "Expired" } @else { "Expires" } } dd { (words::time(expires, now)) } }
        }
    }
}

/// The classes that bring a label below the mark at this share of the bar: a page may carry no style of its elements' own.
fn below(share: Option<f64>) -> String {
    let Some(share) = share else { return String::new() };
    // To the next whole percent; the mark is no thinner.
    let percent = format!("{:02.0}", share.min(99.0));
    let (tens, ones) = percent.split_at(1);
    format!("tens-{tens} ones-{ones}")
}

fn problems(view: &View<'_>, grant: &Grant, status: &Status) -> Markup {
    let sign_in = || words::command(&sign_in(view.overview, &grant.name));
    let ends = status.grant_end.filter(|end| end::warnings_due(*end, view.now) > 0);
    let needs_sign_in = status.state == State::SignInRequired && grant.about.signs_in;
    html! {
        @if let Some(problem) = &status.problem {
            div.problem.(Tone::of(status.state).class()) {
                (told(problem))
                @if needs_sign_in {
                    p { "Sign in with this command; requests get a token as soon as that is done:" }
                    (sign_in())
                } @else {
                    p.more { "More about it: " code { "bearerd explain " (problem.code) } }
                }
            }
        }
        @if status.unsaved_rotation {
            div.problem.trouble {
                p { "A new refresh token lives in memory only: it could not be saved. Do not end bearerd before it is." }
            }
        }
        @if status.reauth_suspected {
            div.problem.trouble {
                p { (SUSPICION) }
                @if grant.about.signs_in { (sign_in()) }
            }
        }
        @if let Some(end) = ends.filter(|_| !needs_sign_in) {
            div.problem.trouble {
                p {
                    "The sign-in ends in " (in_words(end.at.saturating_sub(view.now.wall)))
                    ", and no refresh puts that off. Sign in again before, with this command:"
                }
                (sign_in())
            }
        }
        @if !grant.used { p.more { "No route uses this grant." } }
    }
}

fn told(problem: &Problem) -> Markup {
    html! { p { (words::sentence(&problem.sentence)) " " code.code { (problem.code) } } }
}

fn facts(grant: &Grant, status: &Status, now: Moment) -> Markup {
    let about = &grant.about;
    html! {
        @if !about.issuer.is_empty() {
            div { dt { "Server" } dd { (about.issuer) } }
            div { dt { "Client" } dd { (about.client_id) } }
        }
        @if !about.scopes.is_empty() { div { dt { "Scopes" } dd { (about.scopes.join(" ")) } } }
        div { dt { "Store" } dd { (status.store) } }
        @if let Some(end) = status.grant_end {
            div { dt { "Sign-in ends" } dd { (words::time(Moment { wall: end.at, ..now }, now)) } }
        }
    }
}

fn refresh(overview: &Overview, name: &GrantName) -> Markup {
    html! {
        form.refresh method="post" action=(format!("/api/v1/grants/{name}/refresh")) {
            (form_token(overview))
            button type="submit" aria-describedby=(format!("grant-{name}")) { "Refresh now" }
        }
    }
}

/// Signing in and out, each behind a door that opens without a script.
fn doors(overview: &Overview, name: &GrantName) -> Markup {
    html! {
        details.door id=(format!("{name}-sign-in")) {
            summary { "Sign in again" }
            div {
                p { "Signing in needs a browser, so a command does it. Run it on the machine where bearerd keeps this \
                     grant; with " code { "--device" } " the browser may be anywhere else. bearerd takes the new sign-in \
                     up without a restart." }
                (words::command(&sign_in(overview, name)))
            }
        }
        details.door id=(format!("{name}-sign-out")) {
            summary { "Sign out" }
            div {
                p { "The authorization server is asked to revoke the refresh token, and it is erased here. Requests get \
                     503 from then on, until somebody signs in again." }
                form method="post" action=(format!("/api/v1/grants/{name}/sign_out")) {
                    (form_token(overview))
                    button.danger type="submit" { "Sign out of " (name) }
                }
            }
        }
    }
}

fn form_token(overview: &Overview) -> Markup {
    html! { input type="hidden" name="token" value=(overview.actions.token()); }
}

/// The command that signs this grant in, from any folder: a proxy.toml there would come before the file that is meant.
fn sign_in(overview: &Overview, name: &GrantName) -> String {
    let mut line = "bearerd login".to_owned();
    if name.as_str() != GrantName::DEFAULT {
        line.push_str(&format!(" {}", words::quoted(name.as_str())));
    }
    if let Some(file) = &overview.config_file {
        line.push_str(&format!(" -c {}", words::quoted(&file.display().to_string())));
    }
    line
}

fn history(name: &GrantName, status: &Status, now: Moment) -> Markup {
    let labelled = format!("{name}-refreshes");
    let all: Vec<&Attempt> = status.history.iter().collect();
    let (first, earlier) = all.split_at(all.len().min(SHOWN));
    html! {
        @if all.is_empty() { p.more { "None yet." } } @else { (attempts(first, &labelled, now)) }
        @if !earlier.is_empty() {
            details.earlier id=(format!("{name}-earlier")) {
                summary { (earlier.len()) " earlier" }
                (attempts(earlier, &labelled, now))
            }
        }
    }
}

fn attempts(attempts: &[&Attempt], labelled: &str, now: Moment) -> Markup {
    let names = ["Time", "Why", "Outcome", "HTTP", "Took"];
    let mut above: Option<&Problem> = None;
    let rows = attempts.iter().map(move |attempt| {
        // The same again needs no words.
        let is_known = above == attempt.problem.as_ref();
        above = attempt.problem.as_ref();
        let has_failed = attempt.problem.is_some();
        let outcome = html! {
            span.outcome.failed[has_failed] { (words::outcome(attempt.outcome, attempt.rotated)) }
            @if let Some(problem) = attempt.problem.as_ref().filter(|_| !is_known) { div.why { (told(problem)) } }
        };
        let http = attempt.http_status.map_or("–".to_owned(), |status| status.to_string());
        [
            words::time(attempt.at, now),
            html! { (words::cause(attempt.cause)) },
            outcome,
            html! { (http) },
            html! { (words::took(attempt.took)) },
        ]
    });
    super::table("attempts", labelled, names, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_brought_below_its_mark() {
        for (share, classes) in [
            (Some(0.0), "tens-0 ones-0"),
            (Some(7.4), "tens-0 ones-7"),
            (Some(80.4), "tens-8 ones-0"),
            (Some(99.9), "tens-9 ones-9"),
            (None, ""),
        ] {
            assert_eq!(below(share), classes);
        }
        let style = include_str!("page.css");
        for digit in 0..10 {
            assert!(
                style.contains(&format!(".tens-{digit} {{")) && style.contains(&format!(".ones-{digit} {{"))
            );
        }
    }
}
