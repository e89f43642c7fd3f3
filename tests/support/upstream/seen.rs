//! What the upstream remembers of each request, and how it judges its token.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use bearerd::clock::Moment;

use crate::support::authorization_server::{AuthorizationServer, TokenState};
use crate::support::http::Head;
use crate::support::proofs::{Proofs, Refused};

/// What came of the token on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was good when the request arrived.
    Good,
    /// There was none.
    Missing,
    /// There were several.
    Several,
    /// It was not good.
    Bad(TokenState),
    /// It was good, and is bound to a key of which there was no good proof (RFC 9449).
    Unproven(Refused),
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Counts up from 0.
    pub(crate) number: usize,
    /// Which connection it came on.
    pub(crate) connection: usize,
    /// When its head was read.
    pub(crate) received: Moment,
    /// The protocol.
    pub(crate) version: http::Version,
    /// The method.
    pub(crate) method: String,
    /// The target: as written under HTTP/1.1, `:path` under HTTP/2.
    pub(crate) target: String,
    /// The authority: `Host`, or `:authority`.
    pub(crate) authority: Option<String>,
    /// The fields: as written and in order under HTTP/1.1, grouped by name under HTTP/2.
    pub(crate) headers: Vec<(String, String)>,
    /// The head's bytes; none under HTTP/2.
    pub(crate) head: Option<Vec<u8>>,
    /// What came of its token.
    pub(crate) verdict: Verdict,
    /// How many bytes of its body have been read.
    pub(crate) body_length: u64,
    /// SHA-256 of the body in hex, once it has been read whole.
    pub(crate) body_sha256: Option<String>,
    /// The body's trailers.
    pub(crate) trailers: Vec<(String, String)>,
    /// The body broke off.
    pub(crate) broken: bool,
}

impl Seen {
    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let matching = self.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.as_str()).collect()
    }
}

/// How many requests had which token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// All requests.
    pub(crate) requests: usize,
    /// With a good token.
    pub(crate) good: usize,
    /// With one that had expired.
    pub(crate) expired_tokens: usize,
    /// With one that was revoked.
    pub(crate) revoked_tokens: usize,
    /// With one that was never issued.
    pub(crate) unknown_tokens: usize,
    /// With one that is bound to a key, and no good proof of that.
    pub(crate) unproven: usize,
    /// With one that is bound to another certificate.
    pub(crate) misplaced_tokens: usize,
    /// Without one.
    pub(crate) missing: usize,
    /// With several.
    pub(crate) several: usize,
}

impl Tally {
    pub(super) fn count(&mut self, verdict: Verdict) {
        self.requests += 1;
        *match verdict {
            Verdict::Good | Verdict::Bad(TokenState::Active) => &mut self.good,
            Verdict::Missing => &mut self.missing,
            Verdict::Several => &mut self.several,
            Verdict::Unproven(_) => &mut self.unproven,
            Verdict::Bad(TokenState::Expired) => &mut self.expired_tokens,
            Verdict::Bad(TokenState::Revoked) => &mut self.revoked_tokens,
            Verdict::Bad(TokenState::Misplaced) => &mut self.misplaced_tokens,
            Verdict::Bad(TokenState::Unknown) => &mut self.unknown_tokens,
        } += 1;
    }
}

/// Where tokens come, and who says what they are worth.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// The field.
    pub(crate) header: String,
    /// The scheme before the token; empty for none.
    pub(crate) scheme: String,
    /// Whom to ask.
    pub(crate) server: AuthorizationServer,
}

impl Check {
    /// `Authorization: Bearer`.
    pub(crate) fn by(server: &AuthorizationServer) -> Self {
        Self { header: "authorization".to_owned(), scheme: "Bearer".to_owned(), server: server.clone() }
    }

    /// What the token of a request is worth, and the proof beside it. `certificate` is what the connection's client has
    /// shown.
    pub(super) fn verdict(
        &self,
        seen: &Seen,
        scheme: &str,
        certificate: Option<&[u8]>,
        proofs: &mut Proofs,
    ) -> Verdict {
        match seen.all(&self.header).as_slice() {
            [] => Verdict::Missing,
            [value] => {
                if let Some(token) = value.strip_prefix("DPoP ")
                    && let Some(key) = self.server.key_of(token)
                    && self.server.use_of(token, certificate) == TokenState::Active
                {
                    let path = seen.target.split('?').next().unwrap_or_default();
                    let target =
                        format!("{scheme}://{}{path}", seen.authority.as_deref().unwrap_or_default());
                    return match proofs.check(&seen.all("dpop"), &seen.method, &target, Some(token)) {
                        Ok(shown) if shown == key => Verdict::Good,
                        Ok(_) => Verdict::Unproven(Refused::Invalid("it is of another key")),
                        Err(refused) => Verdict::Unproven(refused),
                    };
                }
                let token = match self.scheme.as_str() {
                    "" => Some(*value),
                    scheme => value.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(' ')),
                };
                if let Some(token) = token
                    && self.server.key_of(token).is_some()
                {
                    return Verdict::Unproven(Refused::Invalid("a bound token came as another"));
                }
                match token.map_or(TokenState::Unknown, |token| self.server.use_of(token, certificate)) {
                    TokenState::Active => Verdict::Good,
                    state => Verdict::Bad(state),
                }
            }
            _ => Verdict::Several,
        }
    }
}

/// Finds the heads in the bytes of an HTTP/1.1 connection, for a server that does not tell what it read.
#[derive(Clone, Default)]
pub(super) struct Heads(Arc<Mutex<Scanner>>);

#[derive(Default)]
struct Scanner {
    pending: Vec<u8>,
    found: VecDeque<Head>,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Head,
    /// This many bytes belong to a body.
    Skip(usize),
    ChunkSize,
    /// A chunk's bytes and the line end after them.
    Chunk(usize),
    Trailers,
}

impl Heads {
    /// Takes more bytes of the connection.
    pub(super) fn feed(&self, bytes: &[u8]) {
        let mut scanner = self.0.lock().unwrap();
        scanner.pending.extend_from_slice(bytes);
        while scanner.step() {}
    }

    /// The next head.
    pub(super) fn next(&self) -> Option<Head> {
        self.0.lock().unwrap().found.pop_front()
    }
}

impl Scanner {
    /// Whether it came any further.
    fn step(&mut self) -> bool {
        match self.state {
            State::Skip(0) => self.state = State::Head,
            State::Chunk(0) => self.state = State::ChunkSize,
            State::Skip(left) | State::Chunk(left) => {
                let skipped = left.min(self.pending.len());
                self.pending.drain(..skipped);
                let left = left - skipped;
                let chunk = matches!(self.state, State::Chunk(_));
                self.state = if chunk { State::Chunk(left) } else { State::Skip(left) };
                return skipped > 0;
            }
            State::Head => {
                let Some(bytes) = self.until(b"\r\n\r\n") else { return false };
                let head = Head::parse(&bytes);
                let length = head.header("content-length").and_then(|length| length.parse().ok());
                let chunked = head.has_token("transfer-encoding", "chunked");
                self.state = if chunked { State::ChunkSize } else { State::Skip(length.unwrap_or(0)) };
                self.found.push_back(head);
            }
            State::ChunkSize => {
                let Some(line) = self.until(b"\r\n") else { return false };
                let line = String::from_utf8_lossy(&line);
                let size = line.split(';').next().unwrap_or_default().trim();
                self.state = match usize::from_str_radix(size, 16).unwrap_or(0) {
                    0 => State::Trailers,
                    size => State::Chunk(size + 2),
                };
            }
            State::Trailers => {
                let Some(line) = self.until(b"\r\n") else { return false };
                if line == b"\r\n" {
                    self.state = State::Head;
                }
            }
        }
        true
    }

    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let at = self.pending.windows(end.len()).position(|window| window == end)?;
        Some(self.pending.drain(..at + end.len()).collect())
    }
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heads")
    }
}
