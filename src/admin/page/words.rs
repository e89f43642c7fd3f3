//! The page's words: how things are, and how that came, said so that nobody has to look anything up.

use std::time::Duration;

use maud::{Markup, html};

use super::super::{Overview, in_words};
use crate::clock::Moment;
use crate::grant::status::{State, Status};

/// How good or bad something is: each has a colour and a shape of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Waiting,
    Trouble,
    Broken,
}

impl Tone {
    pub(super) fn of(state: State) -> Self {
        match state {
            State::Active => Self::Good,
            State::Starting => Self::Waiting,
            State::Degraded | State::Unavailable => Self::Trouble,
            State::SignInRequired | State::Misconfigured => Self::Broken,
        }
    }

    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "waiting",
            Self::Trouble => "trouble",
            Self::Broken => "broken",
        }
    }

    /// A shape, so that nobody has to tell the colours apart.
    pub(super) fn icon(self) -> Markup {
        let shape = match self {
            Self::Good => "M5 10.5l3.2 3.2L15 7",
            Self::Waiting => "M10 5.5V10l3 2",
            Self::Trouble => "M10 5.5v5.5M10 14.2v.1",
            Self::Broken => "M6.5 6.5l7 7M13.5 6.5l-7 7",
        };
        html! {
            svg.icon viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" {
                circle cx="10" cy="10" r="9" {}
                path d=(shape) {}
            }
        }
    }
}

/// The state as requests meet it: a token that has run out before its refresher woke up, as after a suspend, is none.
pub(super) fn met(status: &Status, now: Moment) -> State {
    match status.state {
        State::Active | State::Degraded if !status.is_usable(now) => State::Unavailable,
        state => state,
    }
}

/// How much is amiss: what requests meet counts, then whether a person has to help.
fn severity(state: State) -> u8 {
    match state {
        State::Active => 0,
        State::Degraded => 1,
        State::Starting => 2,
        State::Unavailable => 3,
        State::SignInRequired => 4,
        State::Misconfigured => 5,
    }
}

/// A grant's state in a few words.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Starting => "Starting",
        State::Active => "Active",
        State::Degraded => "Works, with a problem",
        State::Unavailable => "No usable token",
        State::SignInRequired => "Sign-in needed",
        State::Misconfigured => "Misconfigured",
    }
}

/// How all of it is, in a sentence.
pub(super) fn verdict(overview: &Overview, now: Moment) -> (Tone, String) {
    if overview.is_draining() {
        return (Tone::Waiting, "Stopping".to_owned());
    }
    let used = overview.grants.iter().filter(|grant| grant.used);
    let states: Vec<_> = used.map(|grant| (grant.name.as_str(), met(&grant.board.look(), now))).collect();
    of_all(&states)
}

/// How grants in these states are together.
fn of_all(states: &[(&str, State)]) -> (Tone, String) {
    let Some((_, worst)) = states.iter().max_by_key(|(_, state)| severity(*state)) else {
        return (Tone::Waiting, "No route uses a grant".to_owned());
    };
    let said = match worst {
        State::Active => return (Tone::Good, "Requests get a token".to_owned()),
        State::Starting => "Getting the first token",
        State::Degraded => "Works, with a problem",
        State::Unavailable => "No usable token",
        State::SignInRequired => "Sign-in needed",
        State::Misconfigured => "The configuration does not work",
    };
    let like: Vec<_> = states.iter().filter(|(_, state)| state == worst).map(|(name, _)| *name).collect();
    let whose = match like.as_slice() {
        _ if states.len() == 1 => String::new(),
        [one] => format!(": {one}"),
        many => format!(": {} of {} grants", many.len(), states.len()),
    };
    (Tone::of(*worst), format!("{said}{whose}"))
}

/// What follows from a grant's state, in a sentence.
pub(super) fn outlook(status: &Status, now: Moment) -> String {
    let next = status.next_attempt.map(|at| in_words(at.remaining(now)));
    let next = |what: &str| match &next {
        Some(_) if status.next_attempt.is_some_and(|at| at.has_come(now)) => format!(" {what} is due now."),
        Some(next) => format!(" {what} is in {next}."),
        None => String::new(),
    };
    let left = status.expires.filter(|at| !at.has_come(now)).map(|at| in_words(at.remaining(now)));
    match (left, met(status, now)) {
        (Some(left), State::Active) => {
            format!("The access token is good for {left}.{}", next("The next refresh"))
        }
        (Some(left), State::Degraded) => {
            format!("The access token is still good for {left}.{}", next("The next try"))
        }
        (Some(left), _) => format!("Requests still get a token, for {left}."),
        (None, State::Starting) => "The first token is being asked for.".to_owned(),
        (None, State::Unavailable) => format!("Requests wait, then get 503.{}", next("The next try")),
        (None, _) => "Requests get 503 until a person has helped.".to_owned(),
    }
}

/// Why a refresh was made.
pub(super) fn cause(cause: &str) -> &str {
    match cause {
        "startup" => "At the start",
        "schedule" => "On schedule",
        "on_demand" => "A request waited",
        "upstream_401" => "An upstream said 401",
        "retry" => "Another try",
        "manual" => "Asked for",
        other => other,
    }
}

/// What came of a refresh, by its metric's label.
pub(super) fn outcome(outcome: &str, rotated: bool) -> &str {
    match outcome {
        "success" if rotated => "New token, and a new refresh token",
        "success" => "New token",
        "adopted" => "Took up a token that was in the store",
        "network" => "The authorization server was not reached",
        "rate_limited" => "The server was busy",
        "server_error" => "The server had an error",
        "timeout" => "The server did not answer in time",
        "malformed" => "The answer could not be used",
        "invalid_grant" => "The server refused the refresh token",
        "invalid_client" => "The configuration does not work",
        "store_error" => "The store could not be used",
        other => other,
    }
}

/// A moment, in the reader's own time once the script has seen it.
pub(super) fn time(at: Moment, now: Moment) -> Markup {
    let stamp = at.rfc3339();
    let is_today = stamp.get(..10) == now.rfc3339().get(..10);
    let clock = stamp.get(11..19).unwrap_or(&stamp);
    let day = stamp.get(..10).unwrap_or_default();
    html! {
        time datetime=(stamp) {
            @if is_today { (clock) " UTC" } @else { (day) " " (clock) " UTC" }
        }
    }
}

/// A span of a request or a refresh.
pub(super) fn took(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match span.as_millis() {
        0 => "< 1 ms".to_owned(),
        1..1000 => format!("{} ms", span.as_millis()),
        1000..100_000 => format!("{seconds:.1} s"),
        _ => in_words(span),
    }
}

/// A sentence in which backticks mark what is typed or said letter by letter.
pub(super) fn sentence(text: &str) -> Markup {
    html! {
        @for (index, piece) in text.split('`').enumerate() {
            @if index % 2 == 0 { (piece) } @else { code { (piece) } }
        }
    }
}

/// A command for people to copy: whole in the text, and a button beside it where there is a script.
pub(super) fn command(line: &str) -> Markup {
    html! {
        div.command { code { (line) } }
    }
}

/// A word of a command line, quoted where a shell would take it apart.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_word_as_it_is() {
        assert_eq!(quoted("/etc/bearerd/proxy.toml"), "/etc/bearerd/proxy.toml");
        assert_eq!(quoted("/my files/it's.toml"), r"'/my files/it'\''s.toml'");
        assert_eq!(quoted("$HOME"), "'$HOME'");
    }

    #[test]
    fn of_two_grants_the_worse_one_makes_the_headline_whichever_comes_first() {
        // From the best to the worst.
        let order = [
            (State::Active, "Requests get a token"),
            (State::Degraded, "Works, with a problem"),
            (State::Starting, "Getting the first token"),
            (State::Unavailable, "No usable token"),
            (State::SignInRequired, "Sign-in needed"),
            (State::Misconfigured, "The configuration does not work"),
        ];
        for (at, (better, _)) in order.iter().enumerate() {
            for (worse, said) in order.iter().skip(at + 1) {
                let told = (Tone::of(*worse), format!("{said}: b"));
                assert_eq!(of_all(&[("a", *better), ("b", *worse)]), told);
                assert_eq!(of_all(&[("b", *worse), ("a", *better)]), told);
                let two = [("b", *worse), ("a", *better), ("c", *worse)];
                assert_eq!(of_all(&two).1, format!("{said}: 2 of 3 grants"));
            }
            assert_eq!(of_all(&[("a", *better)]).1, order[at].1);
        }
    }

    #[test]
    fn a_token_that_ran_out_unseen_is_none() {
        let now = Moment { boot: Duration::from_secs(1000), wall: Duration::from_secs(1_800_000_000) };
        let past = |state| Status { state, expires: Some(now), ..Status::starting(now, String::new()) };
        for (state, is_met) in [
            (State::Active, State::Unavailable),
            (State::Degraded, State::Unavailable),
            (State::Unavailable, State::Unavailable),
            (State::SignInRequired, State::SignInRequired),
            (State::Starting, State::Starting),
        ] {
            assert_eq!(met(&past(state), now), is_met);
            assert_eq!(met(&past(state), now.minus(Duration::from_secs(1))), state, "while it is good");
        }
        let due = Status { next_attempt: Some(now), ..past(State::Active) };
        assert_eq!(outlook(&due, now), "Requests wait, then get 503. The next try is due now.");
    }

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        let told = [0, 3, 999, 1500, 20_000].map(|millis| took(Duration::from_millis(millis)));
        assert_eq!(told, ["< 1 ms", "3 ms", "999 ms", "1.5 s", "20.0 s"]);
    }
}
