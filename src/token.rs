//! The seam: `grant/` publishes access tokens here and `proxy/` reads them; it is all they know of each other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{Notify, watch};

use crate::clock::{Clock, Moment};
use crate::dpop::{ProofKey, Rapport, TokenHash};
use crate::jose::KeyError;
use crate::secret::{AccessTokenText, Secrets};

/// How many requests may wait for one grant's token; more are answered at once (R17).
pub const MAX_WAITERS: usize = 1024;

/// The name of a grant, as in `[grant.NAME]`; `default` for `[oauth]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantName(Arc<str>);

impl GrantName {
    /// The grant of `[oauth]`.
    pub const DEFAULT: &str = "default";

    /// Takes a name that the configuration has checked.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GrantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An access token, ready to be put on requests.
#[derive(Clone)]
pub struct AccessToken {
    generation: u64,
    text: AccessTokenText,
    /// The credential with the token's own scheme before it.
    value: HeaderValue,
    expires: Moment,
    bound: Option<Bound>,
}

/// What the proofs beside a bound token are made with.
#[derive(Clone)]
struct Bound {
    key: Arc<ProofKey>,
    hash: TokenHash,
}

/// Whether a token needs a proof of possession beside it.
#[derive(Clone, Debug)]
pub enum Binding {
    /// A bearer token (RFC 6750).
    None,
    /// A token that is bound to a key (RFC 9449).
    Dpop(Arc<ProofKey>),
}

impl Binding {
    /// The scheme of such a token's credentials.
    fn scheme(&self) -> &'static str {
        match self {
            Self::None => "Bearer",
            Self::Dpop(_) => "DPoP",
        }
    }
}

/// The token's text cannot stand in a header: it is empty, or holds a byte outside visible ASCII (R35).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalTokenText;

impl fmt::Display for IllegalTokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the access token is empty or holds bytes that a header may not carry")
    }
}

impl std::error::Error for IllegalTokenText {}

impl AccessToken {
    /// A token that counts as expired from `expires` on; the header value is built here, once.
    ///
    /// # Errors
    /// When the text is not one or more visible ASCII characters.
    pub fn new(
        text: AccessTokenText,
        binding: Binding,
        generation: u64,
        expires: Moment,
    ) -> Result<Self, IllegalTokenText> {
        let value = sensitive(binding.scheme(), text.expose()).ok_or(IllegalTokenText)?;
        let bound = match binding {
            Binding::None => None,
            Binding::Dpop(key) => Some(Bound { key, hash: TokenHash::of(&text) }),
        };
        Ok(Self { generation, text, value, expires, bound })
    }

    /// A bearer token.
    ///
    /// # Errors
    /// As [`AccessToken::new`].
    pub fn bearer(text: AccessTokenText, generation: u64, expires: Moment) -> Result<Self, IllegalTokenText> {
        Self::new(text, Binding::None, generation, expires)
    }

    /// Counts up with each token that this grant publishes in this process; tells a doubted token from its successor.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Its text, for a person who asks for it.
    #[must_use]
    pub fn text(&self) -> &AccessTokenText {
        &self.text
    }

    /// From when on the token is not to be sent.
    #[must_use]
    pub fn expires(&self) -> Moment {
        self.expires
    }

    /// A text of an upstream's as it may be shown (R65): without this token, which it may quote.
    #[must_use]
    pub fn kept_out_of(&self, text: &str) -> String {
        Secrets::of([(self.text.expose(), "[access token]")]).shown(text)
    }

    /// Whether the token needs a proof beside it.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.bound.is_some()
    }

    /// The proof that has to stand beside this token on one request to `target`; none for a bearer token.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn prove(
        &self,
        method: &Method,
        target: &str,
        rapport: &Rapport,
        now: Moment,
    ) -> Result<Option<HeaderValue>, KeyError> {
        let Some(Bound { key, hash }) = &self.bound else { return Ok(None) };
        key.prove(method, target, Some(hash), rapport, now).map(Some)
    }

    /// Replaces whatever the caller sent in the credential's field with this token: the last step before sending.
    pub fn authorize(&self, headers: &mut HeaderMap, credential: &Credential) {
        let value = match &credential.scheme {
            Scheme::OfToken => Some(self.value.clone()),
            Scheme::Other(scheme) if self.is_bound() && scheme.eq_ignore_ascii_case("bearer") => {
                Some(self.value.clone())
            }
            Scheme::Other(scheme) => sensitive(scheme, self.text.expose()),
        };
        // `sensitive` fails only on a text that `new` has refused, or a scheme that `Credential::new` has.
        match value {
            Some(value) => drop(headers.insert(&credential.header, value)),
            None => drop(headers.remove(&credential.header)),
        }
        if credential.header != AUTHORIZATION {
            headers.remove(AUTHORIZATION);
        }
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("generation", &self.generation)
            .field("fingerprint", &self.text.fingerprint())
            .field("expires", &self.expires.rfc3339())
            .finish_non_exhaustive()
    }
}

/// `scheme text`, or `text` alone for an empty scheme; sensitive, so that HPACK never indexes it and `Debug` hides it.
fn sensitive(scheme: &str, text: &str) -> Option<HeaderValue> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let joined = if scheme.is_empty() { text.to_owned() } else { format!("{scheme} {text}") };
    let mut value = HeaderValue::try_from(joined).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where a route puts the token: a header and a scheme (`header`, `scheme` in proxy.toml).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    header: HeaderName,
    scheme: Scheme,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    /// `Bearer`, or `DPoP` for a token that is bound to a key (RFC 9449 §7.1).
    OfToken,
    Other(Box<str>),
}

impl Credential {
    /// The field `header` with `scheme` before the token; an empty scheme sends the token alone. `None` when the scheme
    /// is not made of visible ASCII characters.
    #[must_use]
    pub fn new(header: HeaderName, scheme: &str) -> Option<Self> {
        let legal = scheme.bytes().all(|byte| byte.is_ascii_graphic());
        let scheme = if scheme == "Bearer" { Scheme::OfToken } else { Scheme::Other(scheme.into()) };
        legal.then_some(Self { header, scheme })
    }

    /// The field that carries the token.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        &self.header
    }
}

impl Default for Credential {
    fn default() -> Self {
        Self { header: AUTHORIZATION, scheme: Scheme::OfToken }
    }
}

/// Why there is no token, and when to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Why.
    pub reason: AbsentReason,
    /// When the caller may try again; becomes `Retry-After`.
    pub retry_after: Duration,
}

/// Why there is no usable token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsentReason {
    /// None yet, or the last has expired; a refresh is being tried, so waiting makes sense.
    Unavailable,
    /// The authorization server refused the grant, or there is none: a person has to sign in.
    SignInRequired,
    /// The authorization server or its address is configured wrongly: a person has to mend it.
    Misconfigured,
    /// Too many requests wait already.
    TooManyWaiters,
}

impl AbsentReason {
    /// Whether a request may hope for a token within seconds.
    #[must_use]
    pub fn is_worth_waiting(self) -> bool {
        self == Self::Unavailable
    }
}

/// What the publisher has said last.
#[derive(Clone)]
struct Published {
    token: Option<Arc<AccessToken>>,
    /// What holds when the token is none, or expired.
    otherwise: Absent,
    /// From when on a doubt about the token is looked into; `None` while nothing would come of one.
    doubts_heeded_from: Option<Moment>,
}

impl Published {
    fn heeds_doubts(&self, now: Moment) -> bool {
        self.doubts_heeded_from.is_some_and(|from| from.has_come(now))
    }
}

struct Shared {
    clock: Clock,
    published: ArcSwap<Published>,
    changed: watch::Sender<u64>,
    /// The generation that an upstream has doubted last; 0 for none.
    doubted: AtomicU64,
    /// The generation that was doubted last while that led to a refresh; 0 for none.
    heeded: AtomicU64,
    /// Somebody waits for a token.
    wanted: AtomicUsize,
    attention: Notify,
}

/// Opens the seam for one grant: one end that writes, and one that may be cloned to every route.
#[must_use]
pub fn seam(clock: Clock) -> (Publisher, Reader) {
    let otherwise = Absent { reason: AbsentReason::Unavailable, retry_after: Duration::from_secs(1) };
    let shared = Arc::new(Shared {
        clock,
        published: ArcSwap::from_pointee(Published { token: None, otherwise, doubts_heeded_from: None }),
        changed: watch::Sender::new(0),
        doubted: AtomicU64::new(0),
        heeded: AtomicU64::new(0),
        wanted: AtomicUsize::new(0),
        attention: Notify::new(),
    });
    (Publisher { shared: Arc::clone(&shared) }, Reader { shared })
}

/// The writing end, held by the one refresher of the grant. Not `Clone`: a second writer would be a second owner.
pub struct Publisher {
    shared: Arc<Shared>,
}

impl Publisher {
    /// Gives readers this token from now on. What holds of doubts about it is still to be said: nothing comes of one before.
    pub fn publish(&mut self, token: AccessToken) {
        self.set(|published| Published {
            token: Some(Arc::new(token)),
            doubts_heeded_from: None,
            ..published
        });
    }

    /// Takes the token from readers: the grant that it came from has ended here.
    pub fn withdraw(&mut self) {
        self.set(|published| Published { token: None, ..published });
    }

    /// Says what readers are to be told once there is no usable token; a token that is still good stays.
    pub fn explain_absence(&mut self, otherwise: Absent) {
        if self.shared.published.load().otherwise != otherwise {
            self.set(|published| Published { otherwise, ..published });
        }
    }

    /// Says from when on a doubt about the published token leads to a refresh, as it also does while that refresh lasts;
    /// `None` when it leads to nothing.
    pub fn heed_doubts(&mut self, from: Option<Moment>) {
        if self.shared.published.load().doubts_heeded_from != from {
            self.set(|published| Published { doubts_heeded_from: from, ..published });
        }
    }

    /// Waits until a reader doubts the published token or waits for one; cancelling it loses nothing.
    pub async fn wanted(&self) -> Wanted {
        loop {
            let attention = self.shared.attention.notified();
            if let Some(wanted) = self.look() {
                return wanted;
            }
            attention.await;
        }
    }

    /// How many requests wait for a token.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.shared.wanted.load(Ordering::Relaxed)
    }

    fn look(&self) -> Option<Wanted> {
        let now = self.shared.clock.now();
        let published = self.shared.published.load();
        let usable = published.token.as_ref().filter(|token| !token.expires.has_come(now));
        let doubted = self.shared.doubted.swap(0, Ordering::AcqRel);
        if doubted != 0 && usable.is_some_and(|token| token.generation == doubted) {
            return Some(Wanted::Doubt(doubted));
        }
        (self.waiters() > 0 && usable.is_none()).then_some(Wanted::Demand)
    }

    fn set(&mut self, change: impl FnOnce(Published) -> Published) {
        let published = Published::clone(&self.shared.published.load());
        self.shared.published.store(Arc::new(change(published)));
        self.shared.changed.send_modify(|count| *count += 1);
    }
}

/// What readers want of the refresher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An upstream answered 401 to the published token of this generation.
    Doubt(u64),
    /// A request waits and there is no usable token.
    Demand,
}

/// A route's view of its grant.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    /// The token to use at this moment: a pointer load and an expiry check.
    ///
    /// # Errors
    /// When there is no token, or it has expired by either clock.
    pub fn current(&self, now: Moment) -> Result<Arc<AccessToken>, Absent> {
        let published = self.shared.published.load();
        match &published.token {
            Some(token) if !token.expires.has_come(now) => Ok(Arc::clone(token)),
            _ => Err(published.otherwise),
        }
    }

    /// The same by this reader's own clock.
    ///
    /// # Errors
    /// As [`Reader::current`].
    pub fn now(&self) -> Result<Arc<AccessToken>, Absent> {
        self.current(self.shared.clock.now())
    }

    /// The token, waiting up to `patience` for one. Cancelling it cancels no refresh.
    ///
    /// # Errors
    /// When there is still none at the deadline, when waiting is of no use, or when too many wait already (R17, R18).
    pub async fn ready(&self, patience: Duration) -> Result<Arc<AccessToken>, Absent> {
        let mut changed = self.shared.changed.subscribe();
        let absent = match self.now() {
            Ok(token) => return Ok(token),
            Err(absent) if !absent.reason.is_worth_waiting() => return Err(absent),
            Err(absent) => absent,
        };
        let Some(_waiting) = Waiting::enter(&self.shared) else {
            return Err(Absent { reason: AbsentReason::TooManyWaiters, ..absent });
        };
        let released = async {
            loop {
                match self.now() {
                    Err(absent) if absent.reason.is_worth_waiting() => {}
                    settled => return settled,
                }
                // The sender lives in `shared`, which we hold, so this cannot fail.
                let _ = changed.changed().await;
            }
        };
        match tokio::time::timeout(patience, released).await {
            Ok(settled) => settled,
            Err(_elapsed) => self.now(),
        }
    }

    /// The token that comes after the doubted one of this generation, waiting up to `patience` while a refresh is expected
    /// to bring it. Many that doubt the same token share that refresh. Cancelling it cancels none.
    pub async fn successor(&self, generation: u64, patience: Duration) -> Option<Arc<AccessToken>> {
        let mut changed = self.shared.changed.subscribe();
        if let Poll::Ready(settled) = self.succession(generation) {
            return settled;
        }
        let _waiting = Waiting::enter(&self.shared)?;
        let came = async {
            loop {
                if let Poll::Ready(settled) = self.succession(generation) {
                    return settled;
                }
                // The sender lives in `shared`, which we hold, so this cannot fail.
                let _ = changed.changed().await;
            }
        };
        tokio::time::timeout(patience, came).await.ok().flatten()
    }

    /// Pending while a successor is expected.
    fn succession(&self, generation: u64) -> Poll<Option<Arc<AccessToken>>> {
        let now = self.shared.clock.now();
        let published = self.shared.published.load();
        match &published.token {
            Some(token) if token.generation > generation && !token.expires.has_come(now) => {
                Poll::Ready(Some(Arc::clone(token)))
            }
            _ if published.heeds_doubts(now) => Poll::Pending,
            _ => Poll::Ready(None),
        }
    }

    /// Says that an upstream answered 401 to the token of this generation; a doubt about an older one changes nothing.
    /// Whether it is the first about this token that leads to a refresh: as rare as these are (R60).
    pub fn doubt(&self, generation: u64) -> bool {
        let is_heeded = self.heeds_doubt(generation);
        self.shared.doubted.fetch_max(generation, Ordering::AcqRel);
        self.shared.attention.notify_one();
        is_heeded && self.shared.heeded.fetch_max(generation, Ordering::AcqRel) < generation
    }

    /// Whether a doubt about the token of this generation leads to a refresh.
    fn heeds_doubt(&self, generation: u64) -> bool {
        let now = self.shared.clock.now();
        let published = self.shared.published.load();
        let usable = published.token.as_ref().filter(|token| !token.expires.has_come(now));
        usable.is_some_and(|token| token.generation == generation) && published.heeds_doubts(now)
    }
}

/// Counts one waiting request, and tells the refresher.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn enter(shared: &'a Shared) -> Option<Self> {
        let waiting = Self(shared);
        let before = shared.wanted.fetch_add(1, Ordering::AcqRel);
        if before >= MAX_WAITERS {
            return None; // dropping `waiting` takes it off the count again
        }
        shared.attention.notify_one();
        Some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TestClock;

    const START: Moment = Moment { boot: Duration::from_secs(100), wall: Duration::from_secs(1_800_000_000) };
    const MINUTE: Duration = Duration::from_secs(60);

    fn bench() -> (Publisher, Reader, TestClock) {
        let clock = TestClock::starting_at(START);
        let (publisher, reader) = seam(Clock::Test(clock.clone()));
        (publisher, reader, clock)
    }

    fn token(generation: u64) -> AccessToken {
        let text = AccessTokenText::new(format!("at-{generation}"));
        AccessToken::bearer(text, generation, START.plus(MINUTE)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_doubt_that_leads_to_a_refresh_is_told_from_all_others() {
        let (mut publisher, reader, _clock) = bench();
        publisher.publish(token(1));
        assert!(!reader.doubt(1), "nothing comes of it");
        publisher.heed_doubts(Some(START));
        assert_eq!([1, 1, 0].map(|generation| reader.doubt(generation)), [true, false, false]);
        publisher.publish(token(2));
        assert!(!reader.doubt(2), "what holds of the new token has not been said");
        publisher.heed_doubts(Some(START));
        assert_eq!([1, 2, 2].map(|generation| reader.doubt(generation)), [false, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_token_is_never_handed_out() {
        let (mut publisher, reader, clock) = bench();
        publisher.publish(token(1));
        assert!(reader.now().is_ok());
        clock.step_wall(60);
        assert_eq!(reader.now().unwrap_err().reason, AbsentReason::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_is_released_by_the_next_token() {
        let (mut publisher, reader, _clock) = bench();
        let waiting = tokio::spawn(async move { reader.ready(MINUTE).await.map(|token| token.generation()) });
        assert_eq!(publisher.wanted().await, Wanted::Demand);
        publisher.publish(token(1));
        assert_eq!(waiting.await.unwrap(), Ok(1));
        assert_eq!(publisher.waiters(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_person_to_sign_in() {
        let (mut publisher, reader, _clock) = bench();
        let required = Absent { reason: AbsentReason::SignInRequired, retry_after: MINUTE };
        publisher.explain_absence(required);
        assert_eq!(reader.ready(MINUTE).await.unwrap_err(), required);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_no_longer_than_its_patience() {
        let (publisher, reader, _clock) = bench();
        let absent = reader.ready(Duration::from_secs(10)).await.unwrap_err();
        assert_eq!((absent.reason, publisher.waiters()), (AbsentReason::Unavailable, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_than_the_most_waiters_is_answered_at_once() {
        let (publisher, reader, _clock) = bench();
        let waiting: Vec<_> = (0..MAX_WAITERS)
            .map(|_| {
                let reader = reader.clone();
                tokio::spawn(async move { reader.ready(MINUTE).await.is_ok() })
            })
            .collect();
        while publisher.waiters() < MAX_WAITERS {
            tokio::task::yield_now().await;
        }
        assert_eq!(reader.ready(MINUTE).await.unwrap_err().reason, AbsentReason::TooManyWaiters);
        assert_eq!(publisher.waiters(), MAX_WAITERS);
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_doubt_about_the_published_token_counts() {
        let (mut publisher, reader, _clock) = bench();
        publisher.publish(token(2));
        reader.doubt(1);
        let idle = tokio::time::timeout(MINUTE / 2, publisher.wanted()).await;
        assert!(idle.is_err(), "generation 1 is gone already");
        reader.doubt(2);
        assert_eq!(publisher.wanted().await, Wanted::Doubt(2));
    }

    #[test]
    fn authorize_replaces_every_value_of_the_caller() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic one"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic two"));
        token(7).authorize(&mut headers, &Credential::default());
        let all: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
        assert_eq!(all, ["Bearer at-7"]);
        assert!(all.iter().all(|value| value.is_sensitive()));
    }

    #[test]
    fn a_token_can_go_under_another_header_and_scheme() {
        for (scheme, expected) in [("", "at-1"), ("Token", "Token at-1")] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic caller"));
            let credential = Credential::new(HeaderName::from_static("x-api-key"), scheme).unwrap();
            token(1).authorize(&mut headers, &credential);
            assert_eq!(headers.get("x-api-key").unwrap(), expected);
            assert!(!headers.contains_key(AUTHORIZATION), "the caller's own credential goes nowhere");
        }
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_and_not_shown() {
        for text in ["", "a b", "a\r\nX: y", "ä", "a\u{7f}"] {
            assert!(AccessToken::bearer(AccessTokenText::new(text), 1, START).is_err(), "{text:?}");
        }
        assert!(!format!("{:?}", token(4711)).contains("at-4711"));
    }
}
