//! The token endpoint: what is asked of it, and the real one behind HTTP.

mod asks;
mod discovered;
mod exchange;
mod io;
mod request;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, Uri};

pub use self::asks::{Known, Question};
use self::discovered::Discovered;
pub use self::exchange::{Exchange, Redeemed};
pub use self::request::Presents;
use self::request::{Asked, Material};
use super::client_auth::Proof;
use super::error::{Class, Code, RefreshError};
use super::wire::{self, Answer, Metadata, Told};
use super::{Dpop, Params, Server};
use crate::clock::{self, Clock, Stopwatch};
use crate::dpop::{ProofKey, Rapport, Refusal};
use crate::secret::{ClientSecret, Fingerprint, RefreshToken};
use crate::tls::Tls;

/// What these methods return: boxed, because there is a real endpoint and a scripted one.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A token endpoint.
pub trait TokenEndpoint: Send + Sync {
    /// Finds out where and as whom to ask, presenting no refresh token: discovery, and the client's secret.
    ///
    /// # Errors
    /// When either is not to be had.
    fn prepare(&self) -> Pending<'_, Result<Prepared, RefreshError>>;

    /// The one exchange: presents `presented`, or asks without (`client_credentials`), and shows a proof of `key` if tokens
    /// are to be bound to one. Not cancelled by anybody.
    fn redeem<'a>(
        &'a self,
        prepared: &'a Prepared,
        presented: Option<&'a RefreshToken>,
        key: Option<&'a ProofKey>,
    ) -> Pending<'a, Redeemed>;

    /// Has what was found out of the server found out again, because it may have changed.
    fn forget(&self);

    /// The same, and nothing that was found out before is gone by any more: it was for another line of refresh tokens.
    fn disown(&self);
}

/// Where and as whom to ask.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The token endpoint.
    pub endpoint: Uri,
    /// Who says that it is there.
    pub source: Source,
    /// Ways to prove who asks. Another than the first is tried only where the server refuses the client (R29).
    pub proofs: Vec<Proof>,
    /// What the flow presents if it is no refresh token.
    pub presents: Presents,
    /// Every secret that was read for this, in a fixed order: an answer may quote one.
    pub told: Vec<ClientSecret>,
}

/// Where the address of the token endpoint is from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The configuration.
    Configuration,
    /// The metadata, which were read for this.
    Metadata,
    /// The metadata, as they were read earlier.
    Kept,
    /// The metadata by which tokens came earlier, or else were read last: for this reason they could not be read again.
    Instead(RefreshError),
}

impl Prepared {
    /// Names what the operator gives beside the seed, all of it; `None` where that is nothing.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        Fingerprint::of_all(&self.told)
    }
}

/// The real one: every exchange on a connection of its own (R24).
pub struct HttpEndpoint {
    params: Params,
    tls: Tls,
    clock: Clock,
    discovered: Discovered,
    /// Which of the client's secrets the server took last, counted from the first.
    accepted: AtomicUsize,
    /// What the server said of the proofs that it takes (RFC 9449 §8).
    rapport: Mutex<Rapport>,
}

impl HttpEndpoint {
    /// The endpoint that `params` names.
    #[must_use]
    pub fn new(params: Params, tls: Tls, clock: Clock) -> Self {
        Self {
            params,
            tls,
            clock,
            discovered: Discovered::default(),
            accepted: AtomicUsize::new(0),
            rapport: Mutex::default(),
        }
    }

    async fn metadata(&self) -> Result<(Metadata, Source), RefreshError> {
        let configured = |url| Ok((named_endpoint(url)?, Source::Configuration));
        let (issuer, named) = match &self.params.server {
            Server::Endpoint { token_endpoint } => return configured(token_endpoint),
            Server::Issuer { issuer, token_endpoint } => (issuer, token_endpoint),
        };
        if let Some(token_endpoint) = named {
            return configured(token_endpoint);
        }
        if let Some(kept) = self.discovered.current() {
            return Ok((kept, Source::Kept));
        }
        let discovered = async {
            if !self.discovered.is_hurried() {
                return self.discover(issuer).await;
            }
            let read = tokio::time::timeout_at(clock::in_(ANEW), self.discover(issuer));
            read.await.unwrap_or_else(|_elapsed| {
                self.discovered.takes_its_time();
                let sentence =
                    format!("The metadata of {issuer} cannot be read again: no answer within {ANEW:?}.");
                Err(RefreshError::new(Class::NotSent, Code::DiscoveryFailed, sentence))
            })
        };
        match discovered.await {
            Ok(found) => {
                self.discovered.learn(&found);
                Ok((found, Source::Metadata))
            }
            Err(error) => {
                let Some(good) = self.discovered.fall_back() else { return Err(error) };
                tracing::warn!(event = "metadata_unread", grant = %self.params.name, code = %error.code, "{}", error.sentence);
                Ok((good, Source::Instead(error)))
            }
        }
    }

    /// OpenID Connect's document first, then RFC 8414's: more servers have the former.
    async fn discover(&self, issuer: &str) -> Result<Metadata, RefreshError> {
        let mut answer = self.fetch(&openid_document(issuer)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            answer = self.fetch(&oauth_document(issuer)).await?;
        }
        if answer.status == StatusCode::OK {
            return wire::read_metadata(issuer, &answer.body);
        }
        Err(discovery_refused(issuer, &answer))
    }

    async fn fetch(&self, document: &str) -> Result<Answer, RefreshError> {
        let unreachable = |why: &str| {
            RefreshError::new(
                Class::NotSent,
                Code::DiscoveryFailed,
                format!("{document} cannot be fetched: {why}."),
            )
        };
        let uri: Uri = document.parse().map_err(|_| unreachable("it is not a URL"))?;
        let exchange = self.exchange(uri, Method::GET, HeaderMap::new(), zeroize::Zeroizing::default());
        match exchange.run().await {
            Redeemed::Answer(answer) if answer.complete => Ok(answer),
            Redeemed::Answer(_) => Err(unreachable("the answer was cut off")),
            Redeemed::Untrusted(why) => Err(RefreshError::untrusted(&why)),
            Redeemed::NotSent(why) | Redeemed::Unanswered(why) => Err(unreachable(&why)),
        }
    }

    /// One exchange, in as many requests as it takes until the server knows who asks.
    async fn exchanged(&self, prepared: &Prepared, asked: &Asked, key: Option<&ProofKey>) -> Redeemed {
        let watch = Stopwatch::start();
        let mut tried = 0;
        // A nonce, and the server's clock, each cost one more request and count as no failure (R55).
        let mut heeded = Vec::new();
        loop {
            let rapport = self.rapport().clone();
            let shown = key.map(|key| (key, &rapport));
            let redeemed = match prepared.proofs.get(tried) {
                Some(proof) => self.ask(asked, proof, shown, watch.elapsed()).await,
                None => Redeemed::NotSent("there is no way to prove who asks".to_owned()),
            };
            if let (Some(_), Redeemed::Answer(answer)) = (key, &redeemed)
                && let Some(refusal) = self.heeds(answer, &rapport)
                && !heeded.contains(&refusal)
            {
                heeded.push(refusal);
                continue;
            }
            tried += 1;
            let refused = matches!(&redeemed, Redeemed::Answer(answer) if wire::refuses_client(answer));
            if !refused || tried >= prepared.proofs.len() {
                // Which one the server takes is remembered, so that the next refresh begins with it.
                self.accepted.fetch_add(tried - 1, Ordering::Relaxed);
                return redeemed;
            }
        }
    }

    /// Takes up what an answer says of the next proof; why this one was refused, if it was and the next will be another
    /// than the one that was made by what `sent` says.
    fn heeds(&self, answer: &Answer, sent: &Rapport) -> Option<Refusal> {
        let mut rapport = self.rapport();
        rapport.hear(&answer.headers);
        wire::refuses_proof(answer)
            .filter(|refusal| rapport.heed(*refusal, &answer.headers, self.clock.now(), sent.ahead()))
    }

    fn rapport(&self) -> MutexGuard<'_, Rapport> {
        self.rapport.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exchange(
        &self,
        uri: Uri,
        method: Method,
        headers: HeaderMap,
        body: zeroize::Zeroizing<String>,
    ) -> Exchange<'_> {
        Exchange {
            uri,
            method,
            headers,
            body,
            tls: &self.tls,
            clock: &self.clock,
            connect_to: self.params.connect_to.as_ref(),
            timeout: self.params.timeout,
        }
    }
}

impl TokenEndpoint for HttpEndpoint {
    fn forget(&self) {
        self.discovered.forget();
    }

    fn disown(&self) {
        self.discovered.disown();
    }

    fn prepare(&self) -> Pending<'_, Result<Prepared, RefreshError>> {
        Box::pin(async {
            let params = self.params.clone();
            let tls = self.tls.clone();
            let read = tokio::task::spawn_blocking(move || {
                tls.follow();
                Material::read(&params)
            });
            let material =
                read.await.unwrap_or_else(|fault| Err(request::unreadable("secret", &fault.to_string())))?;
            let (metadata, source) = self.metadata().await?;
            let mut prepared = material.prepare(&self.params, metadata, source)?;
            let accepted = self.accepted.load(Ordering::Relaxed);
            let ways = prepared.proofs.len();
            prepared.proofs.rotate_left(accepted.checked_rem(ways).unwrap_or(0));
            Ok(prepared)
        })
    }

    fn redeem<'a>(
        &'a self,
        prepared: &'a Prepared,
        presented: Option<&'a RefreshToken>,
        key: Option<&'a ProofKey>,
    ) -> Pending<'a, Redeemed> {
        let (to, form, presents) =
            (prepared.endpoint.clone(), self.form(presented), prepared.presents.clone());
        let asked = Asked { to, form, presents, takes_extra: true };
        Box::pin(async move {
            let redeemed = self.exchanged(prepared, &asked, key).await;
            if matches!(&redeemed, Redeemed::Answer(answer) if answer.status.is_success()) {
                self.discovered.were_good();
            }
            redeemed
        })
    }
}

fn named_endpoint(token_endpoint: &str) -> Result<Metadata, RefreshError> {
    let uri = token_endpoint.parse::<Uri>().ok().filter(wire::is_trustworthy).ok_or_else(|| {
        RefreshError::new(
            Class::Misconfigured,
            Code::TokenEndpointWrong,
            "`token_endpoint` must be an https URL, or http on loopback.",
        )
    })?;
    Ok(Metadata::of_endpoint(uri))
}

fn openid_document(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

/// The well-known part goes between host and path (RFC 8414 §3.1).
fn oauth_document(issuer: &str) -> String {
    const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
    let authority = issuer.find("://").map_or(0, |at| at + 3);
    let path =
        issuer.get(authority..).and_then(|rest| rest.find('/')).map_or(issuer.len(), |at| authority + at);
    let (origin, path) = issuer.split_at(path);
    format!("{origin}{WELL_KNOWN}{}", path.trim_end_matches('/'))
}

fn discovery_refused(issuer: &str, answer: &Answer) -> RefreshError {
    let status = answer.status;
    if status.is_redirection() {
        let mut error = wire::read(answer, Told::default(), Dpop::Off).err().unwrap_or_else(|| {
            RefreshError::new(
                Class::Misconfigured,
                Code::DiscoveryFailed,
                format!("Discovery of {issuer} redirects."),
            )
        });
        error.sentence = format!("Discovery of {issuer}: {}", error.sentence);
        return error;
    }
    // What says plainly that there is no document here; the rest may be anybody's in between, and pass.
    let plainly = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::GONE];
    let class = if plainly.contains(&status) { Class::Misconfigured } else { Class::Blocked };
    RefreshError::new(
        class,
        Code::DiscoveryFailed,
        format!("Discovery of {issuer} was answered {status}; check `issuer`, or name `token_endpoint`."),
    )
    .answered(status)
}

/// How long metadata that are known are waited for when they are read again, and every other time if it takes them longer:
/// the refresh that waits with them is to come within 5 s of the server's recovery (DESIGN §4).
const ANEW: Duration = Duration::from_secs(3);

/// The longest answer that is read (R27).
pub(crate) const LARGEST_ANSWER: usize = 1024 * 1024;

/// Bounds of the parts of one exchange; `timeout` bounds the whole (R27).
const CONNECT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_documents_stand_where_the_specifications_say() {
        for (issuer, openid, oauth) in [
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.example/realms/x",
                "https://a.example/realms/x/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server/realms/x",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ),
        ] {
            assert_eq!(openid_document(issuer), openid);
            assert_eq!(oauth_document(issuer), oauth);
        }
    }
}
