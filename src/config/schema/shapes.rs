//! What each type of a value looks like, as JSON Schema: patterns that let pass all that the type reads, and stop what they
//! can of the rest.
//!
//! Patterns keep to what the regular expressions of every language share: no look-around, no classes by name.

use std::path::PathBuf;

use http::{HeaderName, Method};
use serde_json::{Value, json};

use crate::config::address::{Dial, Endpoint, Host, Issuer, ListenOrOff, Upstream, WebOrigin};
use crate::config::quantity::{Size, Span, SpanOrNone, SpanOrZero};
use crate::config::reference::{Command, SecretReference, Secrets};
use crate::config::value::{
    Count, Extra, ExtraHeaders, List, OneOrMore, RESERVED, RESERVED_HEADERS, Workers,
};
use crate::config::word::{
    FRAMING, RedirectPath, Resource, RoutePath, Scheme, Scope, TOKEN_TYPES, Text, TokenType,
};
use crate::grant::{Dpop, Margin};
use crate::net::Listen;
use crate::token::GrantName;

/// A type that a key may have, as JSON Schema.
pub(in crate::config) trait Shape {
    fn shape() -> Value;
}

/// A port, of which TCP has 65,536.
const PORT: &str = "0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
/// A name or an address, the latter in brackets if it has colons.
const HOST: &str = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)";
/// This very machine.
pub(super) const LOOPBACK: &str = r"([Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]|127(\.[0-9]{1,3}){3}|\[::1\])";
/// What a name of HTTP is made of.
const TOKEN: &str = "[!#$%&'*+.^_`|~0-9A-Za-z-]";
/// Hours to nanoseconds, as `jiff` reads them.
const UNITS: &str = "(h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?|ms|msecs?|millis?|milliseconds?|[uµμ]s|[uµμ]secs?|micros?|microseconds?|ns|nsecs?|nanos?|nanoseconds?)";

pub(super) fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^({pattern})$") })
}

/// A text that has this pattern and not that one anywhere.
fn text_without(pattern: &str, without: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^({pattern})$"), "not": { "pattern": without } })
}

/// A word in capitals and small letters alike.
fn any_case(word: &str) -> String {
    let either = |c: char| match c {
        c if c.is_ascii_alphabetic() => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        c => c.to_string(),
    };
    word.chars().map(either).collect()
}

fn any_case_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    format!("^({})$", words.into_iter().map(any_case).collect::<Vec<_>>().join("|"))
}

fn span() -> String {
    format!(
        r"\+?([0-9]+([.,][0-9]+)? *{UNITS}([ ,] *)*)+|\+?[0-9]+:[0-9]{{2}}:[0-9]{{2}}([.,][0-9]+)?|\+?[Pp][Tt][0-9.,HMShms]+"
    )
}

fn host_port() -> String {
    format!("{HOST}:{PORT}")
}

/// Sockets that are no TCP port.
const SOCKET: &str = r"unix:/[^\x00]+|fd:[^\x00]+";

/// Addresses that only this machine can reach.
pub(super) fn local() -> String {
    format!("{LOOPBACK}:{PORT}|{SOCKET}")
}

/// A URL of a server that secrets are sent to.
fn server(rest: &str) -> Value {
    text(&format!("(https://{HOST}|http://{LOOPBACK})(:{PORT})?({rest})?"))
}

impl Shape for bool {
    fn shape() -> Value {
        json!({ "type": "boolean" })
    }
}

impl<const LEAST: i64, const MOST: i64> Shape for Count<LEAST, MOST> {
    fn shape() -> Value {
        json!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }
}

impl Shape for Workers {
    fn shape() -> Value {
        json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": Self::MOST }] })
    }
}

impl<T: Shape> Shape for List<T> {
    fn shape() -> Value {
        json!({ "type": "array", "items": T::shape() })
    }
}

impl<T: Shape> Shape for OneOrMore<T> {
    fn shape() -> Value {
        json!({ "anyOf": [T::shape(), { "type": "array", "items": T::shape(), "minItems": 1 }] })
    }
}

impl Shape for SecretReference {
    fn shape() -> Value {
        json!({ "$ref": "#/$defs/secret" })
    }
}

impl Shape for Secrets {
    fn shape() -> Value {
        let one = SecretReference::shape();
        json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

impl Shape for Command {
    fn shape() -> Value {
        json!({ "type": "array", "items": Text::shape(), "minItems": 1 })
    }
}

impl Shape for Extra {
    fn shape() -> Value {
        json!({
            "type": "object",
            "additionalProperties": { "type": "string" },
            "propertyNames": { "not": { "enum": RESERVED } },
        })
    }
}

impl Shape for ExtraHeaders {
    fn shape() -> Value {
        json!({
            "type": "object",
            "additionalProperties": { "type": "string" },
            "propertyNames": text_without(&format!("{TOKEN}+"), &any_case_of(RESERVED_HEADERS)),
        })
    }
}

impl Shape for Dpop {
    fn shape() -> Value {
        json!({ "enum": [true, false, "required"] })
    }
}

impl Shape for Span {
    fn shape() -> Value {
        // Longer than none: some digit is not 0.
        json!({ "allOf": [text(&span()), { "pattern": "[1-9]" }] })
    }
}

impl Shape for SpanOrZero {
    fn shape() -> Value {
        text(&span())
    }
}

impl Shape for SpanOrNone {
    fn shape() -> Value {
        text(&span())
    }
}

impl Shape for Margin {
    fn shape() -> Value {
        json!({ "anyOf": [text(r"[0-9]*[.]?[0-9]+ *%"), Span::shape()] })
    }
}

impl<const LEAST: u64, const MOST: u64> Shape for Size<LEAST, MOST> {
    fn shape() -> Value {
        text("[0-9]+([.][0-9]+)? *([Bb]|[KkMmGg][Ii]?[Bb]?)")
    }
}

impl Shape for Listen {
    fn shape() -> Value {
        text(&format!("{}|{SOCKET}", host_port()))
    }
}

impl Shape for ListenOrOff {
    fn shape() -> Value {
        text(&format!("off|{}|{SOCKET}", host_port()))
    }
}

impl Shape for Dial {
    fn shape() -> Value {
        text_without(&host_port(), ":0+$")
    }
}

impl Shape for Upstream {
    fn shape() -> Value {
        text_without(&format!("unix:/[^\\x00]+|https?://{HOST}(:{PORT})?(/[^?#]*)?"), r"/\.\.?(/|$)")
    }
}

impl Shape for Issuer {
    fn shape() -> Value {
        server("/[^?#]*")
    }
}

impl Shape for Endpoint {
    fn shape() -> Value {
        server("[/?][^#]*")
    }
}

impl Shape for Host {
    fn shape() -> Value {
        text(HOST)
    }
}

impl Shape for WebOrigin {
    fn shape() -> Value {
        text(&format!("[Hh][Tt][Tt][Pp][Ss]?://{HOST}(:{PORT})?"))
    }
}

impl Shape for Text {
    fn shape() -> Value {
        text(r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*")
    }
}

impl Shape for Scope {
    fn shape() -> Value {
        text(r"[!#-\[\]-~]+")
    }
}

impl Shape for TokenType {
    fn shape() -> Value {
        json!({ "anyOf": [{ "enum": TOKEN_TYPES }, text("[!-~]*:[!-~]*")] })
    }
}

impl Shape for Resource {
    fn shape() -> Value {
        text("[!\"$-9;-~]+:[!\"$-~]+")
    }
}

impl Shape for PathBuf {
    fn shape() -> Value {
        text(r"[^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f]")
    }
}

impl Shape for HeaderName {
    fn shape() -> Value {
        let framing = FRAMING;
        let unusable = framing.iter().map(HeaderName::as_str).chain(["dpop"]);
        text_without(&format!("{TOKEN}+"), &any_case_of(unusable))
    }
}

impl Shape for Scheme {
    fn shape() -> Value {
        text(&format!("{TOKEN}*"))
    }
}

impl Shape for Method {
    fn shape() -> Value {
        text_without("[!#$%&'*+.^_`|~0-9A-Z-]+", "^(TRACE|CONNECT)$")
    }
}

impl Shape for RoutePath {
    fn shape() -> Value {
        let never_matches = r"/(\.|%2[Ee]){1,2}(/|$)|%2[Ff]|%5[Cc]";
        text_without(r"/[!\x22$-)+->@-\[\]-~]*", never_matches)
    }
}

impl Shape for RedirectPath {
    fn shape() -> Value {
        text_without(r"/[0-9A-Za-z/._~-]*", r"/\.{1,2}(/|$)")
    }
}

impl Shape for GrantName {
    fn shape() -> Value {
        text("[a-z0-9_-]{1,64}")
    }
}
