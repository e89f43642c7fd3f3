//! What goes wrong at a server on a test's word.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::exchange::Endpoint;
use super::oddities::Oddity;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 500 with an OAuth error.
    ServerError,
    /// 500 with an `error` that is an object.
    ErrorAsObject,
    /// 500 with a page.
    ErrorPage,
    /// 400 with `server_error`: a hook refused the access token.
    HookVeto,
    /// 400 with `use_dpop_nonce`, and another nonce each time.
    NonceWanted,
    /// 400 with `invalid_dpop_proof`.
    ProofRefused,
    /// 400 with `slow_down` (RFC 8628 §3.5).
    SlowDown,
    /// 429, with `Retry-After` in seconds or without.
    TooManyRequests(Option<u64>),
    /// 503 with `temporarily_unavailable`, with `Retry-After` in seconds or without.
    Unavailable(Option<u64>),
    /// 403 with a page: something in between answers in the server's place.
    Forbidden,
    /// Nothing, until the test releases it.
    Hang,
    /// The connection is closed (FIN).
    Close,
    /// The connection is reset (RST).
    Reset,
    /// Bytes that are not HTTP, then FIN.
    Garbage,
    /// The head and this many bytes of the body, then FIN.
    Truncate(usize),
    /// A byte at a time with this pause between.
    Dribble(Duration),
    /// A good answer in odd clothes; the tokens in it are those that were issued. After processing only.
    Odd(&'static Oddity),
}

/// When it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The server has done nothing yet: the refresh token is as good as before.
    BeforeProcessing,
    /// The server has done everything but answer: the refresh token may have been replaced.
    AfterProcessing,
}

/// The faults that are due.
#[derive(Debug, Default)]
pub(super) struct Faults {
    once: VecDeque<(Fault, Phase)>,
    lasting: Option<(Fault, Phase)>,
    elsewhere: HashMap<Endpoint, (Fault, Phase)>,
}

impl Faults {
    pub(super) fn once(&mut self, fault: Fault, phase: Phase) {
        self.once.push_back((fault, phase));
    }

    pub(super) fn lasting(&mut self, fault: Fault, phase: Phase) {
        self.lasting = Some((fault, phase));
    }

    pub(super) fn elsewhere(&mut self, endpoint: Endpoint, fault: Fault, phase: Phase) {
        self.elsewhere.insert(endpoint, (fault, phase));
    }

    /// The fault for the next request; one that is due once goes first.
    pub(super) fn next(&mut self, endpoint: Endpoint) -> Option<(Fault, Phase)> {
        match endpoint {
            Endpoint::Token => self.once.pop_front().or(self.lasting),
            _ => self.elsewhere.get(&endpoint).copied(),
        }
    }
}
