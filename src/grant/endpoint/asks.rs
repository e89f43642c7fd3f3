//! What is asked of an authorization server beside refreshes: sign-ins, sign-outs and checks share this way to it.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri, header};

use super::request::Asked;
use super::{Exchange, HttpEndpoint, Prepared, Presents, Redeemed, TokenEndpoint as _};
use crate::dpop::ProofKey;
use crate::grant::Server;
use crate::grant::error::{Class, Code, RefreshError};
use crate::grant::wire::{Answer, Endpoints, Form, Metadata, printable};

/// What there is to know of a server before anything is asked of it.
#[derive(Debug)]
pub struct Known {
    /// What it says of itself, with the configured endpoints over it.
    pub metadata: Metadata,
    /// Where token requests go, and as whom; what was read for that.
    pub prepared: Prepared,
    /// Why it could not be asked what it says of itself, where that was not needed to refresh.
    pub undiscovered: Option<RefreshError>,
}

/// A form for one of its endpoints.
pub struct Question<'a> {
    /// What people call the endpoint, as in `token endpoint`.
    pub what: &'a str,
    /// Where it is.
    pub to: Uri,
    /// The form; who asks is added to it.
    pub form: Form,
    /// Whether what `extra` adds belongs into it.
    pub takes_extra: bool,
}

/// What browsers want, as far as it matters here.
const PAGE: HeaderValue = HeaderValue::from_static("text/html,application/xhtml+xml,*/*;q=0.8");

/// How long one page may take that nothing depends on.
const LOOK: Duration = Duration::from_secs(10);

impl HttpEndpoint {
    /// Finds out all that there is to know. Where an issuer is configured it is asked, also if the token endpoint is named
    /// beside it; then it is no fault when it cannot be.
    ///
    /// # Errors
    /// When what a refresh needs is not to be had either.
    pub async fn know(&self) -> Result<Known, RefreshError> {
        let prepared = self.prepare().await?;
        let (mut metadata, _) = self.metadata().await?;
        let mut undiscovered = None;
        if let Server::Issuer { issuer, token_endpoint: Some(_) } = &self.params.server {
            match self.discover(issuer).await {
                Ok(found) => metadata = Metadata { token_endpoint: metadata.token_endpoint, ..found },
                Err(error) => undiscovered = Some(error),
            }
        }
        let of_certificate = std::mem::take(&mut metadata.mtls_endpoints);
        let of_certificate =
            if self.params.credentials.certificate { of_certificate } else { Endpoints::default() };
        let configured = Endpoints::from(&self.params.sign_in);
        metadata.endpoints = configured.or(of_certificate).or(std::mem::take(&mut metadata.endpoints));
        Ok(Known { metadata, prepared, undiscovered })
    }

    /// Posts a form, as this client, with a proof of `key` where one is to be shown. Redirects are not followed.
    ///
    /// # Errors
    /// When no answer came: [`Class::NotSent`], or [`Class::Unanswered`] when something had been sent.
    pub async fn post(
        &self,
        prepared: &Prepared,
        question: Question<'_>,
        key: Option<&ProofKey>,
    ) -> Result<Answer, RefreshError> {
        let Question { what, to, form, takes_extra } = question;
        let asked = Asked { to, form, presents: Presents::Nothing, takes_extra };
        answered(what, self.exchanged(prepared, &asked, key).await)
    }

    /// Looks at a page as a browser would that nobody has signed in with: no cookies, and redirects are not followed.
    ///
    /// # Errors
    /// As [`HttpEndpoint::post`].
    pub async fn look_at(&self, what: &str, page: Uri) -> Result<Answer, RefreshError> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, PAGE)]);
        let exchange = self.exchange(page, Method::GET, headers, zeroize::Zeroizing::default());
        let timeout = exchange.timeout.min(LOOK);
        answered(what, Exchange { timeout, ..exchange }.run().await)
    }
}

fn answered(what: &str, redeemed: Redeemed) -> Result<Answer, RefreshError> {
    let unreached = |class, why: &str, word| {
        let sentence = format!("The {what} {word}: {}.", printable(why));
        RefreshError::new(class, Code::ServerUnreachable, sentence)
    };
    match redeemed {
        Redeemed::Answer(answer) => Ok(answer),
        Redeemed::Untrusted(why) => Err(RefreshError::untrusted(&why)),
        Redeemed::NotSent(why) => Err(unreached(Class::NotSent, &why, "was not reached")),
        Redeemed::Unanswered(why) => Err(unreached(Class::Unanswered, &why, "did not answer")),
    }
}
