//! Good answers in odd clothes: each way in which servers have been seen, or could be seen, to write a successful token
//! answer, and what a client has to make of it.
//!
//! | where | what is odd |
//! |---|---|
//! | [`members`] | types and values of `expires_in`, `token_type`, `access_token` and `refresh_token` |
//! | [`bodies`] | what the members are wrapped in: encodings, rubbish, nesting, size |
//! | [`wires`] | status, header fields and framing |

mod bodies;
mod gzip;
mod members;
mod wires;

use std::fmt;

/// An odd answer.
pub(crate) struct Oddity {
    /// What is odd.
    pub(crate) name: &'static str,
    /// What becomes of the access token in it.
    pub(crate) token: Token,
    /// Which refresh token is to be presented after it, and to rest until then.
    pub(crate) next: Next,
    /// The answer, to the byte.
    pub(super) answer: fn(&Issued<'_>) -> Vec<u8>,
}

/// What becomes of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// It is used, for a life of so many seconds.
    Used(u64),
    /// It is not, and the answer is of this class (engine.md §5).
    Not(Class),
}

/// What an answer that holds no usable token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Whole, and without anything to use.
    Unusable,
    /// Not to be read to its end: what the server did we do not know.
    Unanswered,
    /// "Not now".
    Busy,
    /// A verdict on the grant.
    Refused,
}

/// Which refresh token goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The new one, however broken the rest.
    Successor,
    /// The one that was presented: the server did not replace it.
    Presented,
    /// The one that was presented, though the server has replaced it: nobody could read the new one.
    Lost,
}

/// What was issued, for the answer to tell.
pub(super) struct Issued<'a> {
    pub(super) access_token: &'a str,
    /// The new one, or the presented one where there is none.
    pub(super) refresh_token: &'a str,
}

impl Oddity {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        members::ALL.iter().chain(bodies::ALL).chain(wires::ALL)
    }

    /// The one of this name.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn named(name: &str) -> &'static Self {
        Self::all().find(|oddity| oddity.name == name).unwrap_or_else(|| panic!("no oddity is called {name}"))
    }
}

/// Two are the same if they are called the same.
impl PartialEq for Oddity {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Oddity {}

impl fmt::Debug for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One that costs nothing: the access token is used for an hour, and the new refresh token goes on.
const fn harmless(name: &'static str, answer: fn(&Issued<'_>) -> Vec<u8>) -> Oddity {
    Oddity { name, token: Token::Used(3600), next: Next::Successor, answer }
}

/// One whose access token is not used.
const fn unusable(
    name: &'static str,
    class: Class,
    next: Next,
    answer: fn(&Issued<'_>) -> Vec<u8>,
) -> Oddity {
    Oddity { name, token: Token::Not(class), next, answer }
}

impl Issued<'_> {
    /// The members of a plain answer.
    fn members(&self) -> Members {
        let quoted = |text: &str| format!("\"{text}\"");
        Members(vec![
            ("access_token", quoted(self.access_token)),
            ("token_type", quoted("Bearer")),
            ("expires_in", "3600".to_owned()),
            ("refresh_token", quoted(self.refresh_token)),
        ])
    }

    /// A plain answer but for this member, whose value is JSON.
    fn with(&self, name: &'static str, value: &str) -> Vec<u8> {
        ok(self.members().with(name, value).json())
    }

    /// A plain answer without this member.
    fn without(&self, name: &'static str) -> Vec<u8> {
        ok(self.members().without(name).json())
    }

    /// The body of a plain answer.
    fn json(&self) -> String {
        self.members().json()
    }

    /// The body of a plain answer, with the refresh token at its beginning: what comes after it may be cut off.
    fn json_refresh_token_first(&self) -> String {
        let value = format!("\"{}\"", self.refresh_token);
        self.members().without("refresh_token").before("refresh_token", &value).json()
    }
}

/// Names and values as JSON has them, in order.
struct Members(Vec<(&'static str, String)>);

impl Members {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        for (given, there) in &mut self.0 {
            if *given == name {
                value.clone_into(there);
            }
        }
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.0.retain(|(given, _)| *given != name);
        self
    }

    fn and(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, value.to_owned()));
        self
    }

    fn before(mut self, name: &'static str, value: &str) -> Self {
        self.0.insert(0, (name, value.to_owned()));
        self
    }

    fn json(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", pairs.join(","))
    }
}

/// An answer whose body alone is odd.
fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    sent("HTTP/1.1 200 OK", "Content-Type: application/json\r\n", body)
}

/// An answer with this first line and these header lines, and its length.
fn sent(start: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n", body.as_ref().len());
    framed(start, &format!("{headers}{length}"), body)
}

/// An answer with nothing between head and body but what is given.
fn framed(start: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = format!("{start}\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body.as_ref());
    bytes
}
