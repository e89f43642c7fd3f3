//! The failure table: every fault of a token endpoint, before it has processed the refresh and after, against every
//! profile. The whole table is asserted as it is printed, and each of its cells drives the real engine over real sockets.

mod cell;
mod profile;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::cell::cell;
use self::profile::Profile;
use crate::support::authorization_server::{Fault, Oddity, Phase};

/// What must come out, as it is printed.
const EXPECTED: &str = include_str!("failures/expected.txt");

/// How many cells are worked on at a time; nearly all of their time is waiting.
const SIDE_BY_SIDE: usize = 64;

/// What goes wrong, from the moment on at which a refresh is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// A fault at the token endpoint, for as long as the access token lives and longer.
    Fault(Fault, Phase),
    /// Nobody listens.
    Unreachable,
    /// The grant is revoked, for good.
    Revoked,
    /// The user is disabled, and enabled again later.
    Disabled,
    /// The server knows the client by another secret or key, and by the former again later.
    ClientChanged,
}

/// Every trouble, what the table calls it, and when it strikes.
fn rows() -> Vec<(String, &'static str, Trouble)> {
    use Phase::{AfterProcessing, BeforeProcessing};
    let faults = [
        ("500 with an OAuth error", Fault::ServerError),
        ("500 with an error that is an object", Fault::ErrorAsObject),
        ("500 with a page", Fault::ErrorPage),
        ("400 with server_error", Fault::HookVeto),
        ("403 with a page", Fault::Forbidden),
        ("429", Fault::TooManyRequests(None)),
        ("429 with Retry-After", Fault::TooManyRequests(Some(1))),
        ("503", Fault::Unavailable(None)),
        ("503 with Retry-After", Fault::Unavailable(Some(1))),
        ("no answer", Fault::Hang),
        ("a byte an hour", Fault::Dribble(Duration::from_secs(3600))),
        ("closed", Fault::Close),
        ("reset", Fault::Reset),
        ("no HTTP", Fault::Garbage),
        ("cut off behind the head", Fault::Truncate(0)),
        ("cut off in the body", Fault::Truncate(20)),
    ];
    let mut rows = Vec::new();
    for (name, fault) in faults {
        rows.push((name.to_owned(), "before", Trouble::Fault(fault, BeforeProcessing)));
        rows.push((name.to_owned(), "after", Trouble::Fault(fault, AfterProcessing)));
    }
    for name in ["access_token with a space", "token_type mac", "expires_in zero", "a comment after it", "{}"]
    {
        let oddity = Oddity::named(if name == "{}" { "an empty object" } else { name });
        rows.push((format!("200: {name}"), "after", Trouble::Fault(Fault::Odd(oddity), AfterProcessing)));
    }
    rows.push(("nobody listens".to_owned(), "before", Trouble::Unreachable));
    rows.push(("the user is disabled".to_owned(), "verdict", Trouble::Disabled));
    rows.push(("the grant is revoked".to_owned(), "verdict", Trouble::Revoked));
    rows.push(("the client is known otherwise".to_owned(), "verdict", Trouble::ClientChanged));
    rows
}

/// Why there is no such cell, for those of which there is none.
fn does_not_apply(trouble: Trouble, profile: Profile) -> Option<&'static str> {
    let authgear = matches!(profile, Profile::Authgear | Profile::AuthgearStill);
    (trouble == Trouble::ClientChanged && authgear).then_some("-")
}

const NOTES: &str = "\
In every cell readers had the access token for as long as it lived, and not after; and the server was asked seven times at
most meanwhile.
recovers: once the server was well there was another token, and the refresh token that rests is the server's current one.
Anything else is the code of sign_in_required; the refresh token that was presented rests.
-: does not apply. Authgear checks no secret on refresh.
What is not here: an answer that is odd but whole exists after processing alone, and nobody can listen to nobody after it.
";

#[tokio::test]
async fn every_fault_ends_as_the_table_says_at_every_profile() {
    let permits = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut cells = JoinSet::new();
    for (row, (.., trouble)) in rows().into_iter().enumerate() {
        for (column, profile) in Profile::ALL.into_iter().enumerate() {
            let permits = Arc::clone(&permits);
            cells.spawn(async move {
                let _permit = permits.acquire_owned().await.unwrap();
                let text = match does_not_apply(trouble, profile) {
                    Some(mark) => (String::new(), mark.to_owned()),
                    // In a task of its own: one that fails is to leave the others to theirs.
                    None => match tokio::spawn(cell(trouble, profile)).await {
                        Ok(ended) => (ended.told_as, ended.end),
                        Err(_panicked) => (String::new(), "FAILED".to_owned()),
                    },
                };
                (row, column, text)
            });
        }
    }
    let mut found = vec![vec![(String::new(), String::new()); Profile::ALL.len()]; rows().len()];
    while let Some(done) = cells.join_next().await {
        let (row, column, text) = done.unwrap();
        found[row][column] = text;
    }
    let table = printed(&found);
    println!("{table}");
    let (now, then): (Vec<_>, Vec<_>) = (table.lines().collect(), EXPECTED.lines().collect());
    for (now, then) in now.iter().zip(&then).filter(|(now, then)| now != then) {
        println!("is    {now}\nnot   {then}");
    }
    assert_eq!(table, EXPECTED);
}

/// Before the server has processed anything no profile costs the grant, and afterwards none that forgives.
#[test]
fn only_what_was_rotated_without_forgiveness_is_lost() {
    let lost: Vec<&str> = EXPECTED.lines().filter(|line| line.contains("lost_rotation")).collect();
    assert_eq!(lost.len(), 17, "sixteen faults, and the answer that holds nothing");
    for line in lost {
        assert!(line.contains(" after "), "{line}");
        assert_eq!(line.matches("lost_rotation").count(), 2, "strict and Authgear with rotation: {line}");
        assert_eq!(line.matches("recovers").count(), Profile::ALL.len() - 2, "{line}");
    }
}

fn printed(found: &[Vec<(String, String)>]) -> String {
    let mut table = format!("{:37} {:8} {:26}", "what goes wrong", "when", "told as");
    for profile in Profile::ALL {
        write!(table, " {:14}", profile.name()).unwrap();
    }
    table = format!("{}\n", table.trim_end());
    for ((name, when, _), cells) in rows().iter().zip(found) {
        // What a failure is told as depends on the answer alone.
        let mut told: Vec<&str> =
            cells.iter().map(|(told, _)| told.as_str()).filter(|told| !told.is_empty()).collect();
        told.dedup();
        let mut line = format!("{name:37} {when:8} {:26}", told.join(", "));
        for (_, end) in cells {
            write!(line, " {end:14}").unwrap();
        }
        writeln!(table, "{}", line.trim_end()).unwrap();
    }
    format!("{table}\n{NOTES}")
}
