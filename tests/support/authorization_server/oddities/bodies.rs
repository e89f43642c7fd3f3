//! Odd wrappings of good members: encodings, rubbish before and after, nesting, size.

use super::Class::{Unanswered, Unusable};
use super::Next::{Lost, Successor};
use super::{Issued, Oddity, harmless, ok, sent, unusable};

/// The longest body that is read (R27).
const LONGEST: usize = 1 << 20;

/// No JSON as a whole: the refresh token is found all the same, and nothing else is taken.
const fn broken(name: &'static str, answer: fn(&Issued<'_>) -> Vec<u8>) -> Oddity {
    unusable(name, Unanswered, Successor, answer)
}

/// Nobody could find the refresh token in it.
const fn unreadable(name: &'static str, answer: fn(&Issued<'_>) -> Vec<u8>) -> Oddity {
    unusable(name, Unanswered, Lost, answer)
}

fn form(issued: &Issued<'_>) -> String {
    let escaped = issued.refresh_token.replace('.', "%2E").replace('-', "%2d");
    format!(
        "access_token={}&token_type=bearer&expires_in=3600&refresh_token={escaped}&scope=read+write",
        issued.access_token
    )
}

fn as_form(kind: &str, body: &str) -> Vec<u8> {
    sent("HTTP/1.1 200 OK", &format!("Content-Type: {kind}\r\n"), body)
}

/// A member that nobody knows, of lists in lists.
fn nested(issued: &Issued<'_>, depth: usize) -> Vec<u8> {
    ok(issued.members().and("x", &format!("{}{}", "[".repeat(depth), "]".repeat(depth))).json())
}

/// A plain body behind padding inside the JSON, so that all of it has this length.
fn padded(body: &str, length: usize) -> String {
    format!("{{{}{}", " ".repeat(length - body.len()), &body[1..])
}

/// Padding between the first member and the rest.
fn padded_inside(body: &str, length: usize) -> String {
    body.replacen(',', &format!(",{}", " ".repeat(length - body.len())), 1)
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

pub(super) static ALL: &[Oddity] = &[
    unreadable("no body", |_| ok("")),
    unreadable("no body but a line end", |_| ok("\r\n")),
    harmless("a form (GitHub, Facebook)", |issued| {
        as_form("application/x-www-form-urlencoded", &form(issued))
    }),
    harmless("a form that says that it is text", |issued| {
        as_form("text/plain; charset=utf-8", &form(issued))
    }),
    harmless("a form that says that it is JSON", |issued| ok(form(issued))),
    harmless("a form with a line end after it", |issued| {
        as_form("application/x-www-form-urlencoded", &format!("{}\r\n", form(issued)))
    }),
    harmless("a byte order mark before it", |issued| ok(format!("\u{feff}{}", issued.json()))),
    harmless("space around it", |issued| ok(format!(" \r\n\t{}\r\n\r\n", issued.json()))),
    harmless("lists in lists, 100 deep", |issued| nested(issued, 100)),
    harmless("just as long as is read", |issued| ok(padded(&issued.json(), LONGEST))),
    broken("UTF-16 with its mark", |issued| {
        ok(utf16(&format!("\u{feff}{}", issued.json()), u16::to_le_bytes))
    }),
    broken("UTF-16 the other way round, unmarked", |issued| ok(utf16(&issued.json(), u16::to_be_bytes))),
    broken("NUL after it", |issued| ok(format!("{}\0", issued.json()))),
    broken("NUL before it", |issued| ok(format!("\0\0{}", issued.json()))),
    broken("NUL inside it", |issued| ok(issued.members().and("x", "\"a\0b\"").json())),
    broken("Latin-1 inside it", |issued| {
        let body = issued.members().and("user", "\"Ren?\"").json();
        ok(body.bytes().map(|byte| if byte == b'?' { 0xe9 } else { byte }).collect::<Vec<_>>())
    }),
    broken("a comment after it", |issued| ok(format!("{}\n<!-- served in=7 ms -->", issued.json()))),
    broken("the same again after it", |issued| ok(format!("{0}\n{0}", issued.json()))),
    broken("a warning before it (PHP)", |issued| {
        ok(format!("<br />\n<b>Warning</b>: Undefined index: user in <b>token.php</b>\n{}", issued.json()))
    }),
    broken("a guard before it", |issued| ok(format!(")]}}',\n{}", issued.json()))),
    broken("a call around it", |issued| ok(format!("callback({});", issued.json()))),
    broken("a comma too many", |issued| ok(issued.json().replace('}', ",}"))),
    broken("in a list", |issued| ok(format!("[{}]", issued.json()))),
    broken("lists in lists, 1000 deep", |issued| nested(issued, 1000)),
    broken("cut off by the server behind the refresh token", |issued| {
        let body = issued.json_refresh_token_first();
        ok(&body[..body.len() - 5])
    }),
    broken("a byte longer than is read, the refresh token first", |issued| {
        ok(padded_inside(&issued.json_refresh_token_first(), LONGEST + 1))
    }),
    unreadable("a byte longer than is read, the refresh token last", |issued| {
        let body = issued.members().with("expires_in", "3600");
        let value = format!("\"{}\"", issued.refresh_token);
        ok(padded(&body.without("refresh_token").and("refresh_token", &value).json(), LONGEST + 1))
    }),
    unreadable("in quotes", |issued| ok(format!("\"{}\"", issued.json().replace('"', "\\\"")))),
    unreadable("with quotes that are none", |issued| ok(issued.json().replace('"', "'"))),
    unreadable("cut off by the server in the refresh token", |issued| {
        let body = issued.json();
        ok(&body[..body.len() - 5])
    }),
    unreadable("empty", |_| ok("")),
    unreadable("a page", |_| ok("<!DOCTYPE html><title>Welcome</title>")),
    unreadable("null", |_| ok("null")),
    unusable("an empty object", Unusable, Lost, |_| ok("{}")),
    // Whose the inner tokens are nobody can tell: Slack puts the user's own beside those of the app.
    unusable("in a member", Unusable, Lost, |issued| ok(format!("{{\"data\":{}}}", issued.json()))),
];
