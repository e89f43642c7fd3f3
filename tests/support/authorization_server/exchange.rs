//! What the server remembers of each request.

use bearerd::clock::Moment;

use super::fault::{Fault, Phase};
use crate::support::http::Head;

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    /// Either metadata document.
    Discovery,
    /// The token endpoint.
    Token,
    /// Where browsers are sent.
    Authorization,
    /// Where authorization requests are pushed to.
    Pushed,
    /// Where a device begins to sign in.
    Device,
    /// Where tokens are given back.
    Revocation,
    /// Anything else.
    Other,
}

/// How the client said who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    /// Not at all.
    Absent,
    /// `client_id` alone.
    Public(String),
    /// HTTP Basic: identifier and secret, decoded.
    Basic(String, String),
    /// Identifier and secret among the form parameters.
    Post(String, String),
    /// An assertion.
    Assertion(String),
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Read; being worked on.
    Received,
    /// Held back by [`Fault::Hang`].
    Held,
    /// The client left before it had an answer.
    Abandoned,
    /// A fault ended it before the last byte of its answer.
    Broken,
    /// The last byte of an answer has been written.
    Answered,
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// Counts up from 0.
    pub(crate) number: usize,
    /// Which connection it came on.
    pub(crate) connection: usize,
    /// When its last byte was read.
    pub(crate) received: Moment,
    /// Its head.
    pub(crate) head: Head,
    /// Its body.
    pub(crate) body: Vec<u8>,
    /// The form parameters in its body, in order.
    pub(crate) form: Vec<(String, String)>,
    /// How the client said who it is.
    pub(crate) client_auth: ClientAuth,
    /// What it was for.
    pub(crate) endpoint: Endpoint,
    /// The fault that it met.
    pub(crate) fault: Option<(Fault, Phase)>,
    /// How far it has come.
    pub(crate) stage: Stage,
    /// The status that was, or would have been, answered.
    pub(crate) status: Option<u16>,
    /// The body that was, or would have been, answered.
    pub(crate) answer: Vec<u8>,
    /// The access token that was issued, whether or not it arrived.
    pub(crate) access_token: Option<String>,
    /// The refresh token that was issued, whether or not it arrived.
    pub(crate) refresh_token: Option<String>,
    /// When the refresh token was replaced; it may have been without an answer that says so.
    pub(crate) rotated_at: Option<Moment>,
    /// How many bytes of the answer were written.
    pub(crate) written: usize,
    /// When the last of them was.
    pub(crate) last_byte_at: Option<Moment>,
}

impl Exchange {
    /// A form parameter; the first, where it came twice.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The refresh token that was presented.
    pub(crate) fn presented(&self) -> Option<&str> {
        self.parameter("refresh_token")
    }

    /// One line for people.
    pub(crate) fn summary(&self) -> String {
        let status = self.status.map_or("no answer yet".to_owned(), |status| status.to_string());
        format!("{} {}: {status}, {:?}, fault {:?}", self.number, self.head.start, self.stage, self.fault)
    }

    /// Whether nothing more will happen to it.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Answered | Stage::Broken | Stage::Abandoned)
    }

    /// Whether it gave a token up.
    #[cfg(test)]
    pub(crate) fn is_revocation(&self) -> bool {
        self.endpoint == Endpoint::Revocation && self.head.method() == "POST"
    }

    /// Whether it asked the token endpoint for a token.
    pub(crate) fn is_redeem(&self) -> bool {
        self.endpoint == Endpoint::Token && self.head.method() == "POST"
    }
}
