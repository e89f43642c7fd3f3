//! What a server's metadata said, kept between token requests, and what they may not change unasked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Uri;

use crate::grant::error::{Class, Code, RefreshError};
use crate::grant::wire::Metadata;
use crate::net;

/// The metadata of one issuer.
#[derive(Default)]
pub(super) struct Discovered(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    metadata: Option<Metadata>,
    /// They are to be asked for again.
    outdated: bool,
    /// Where a token request brought a token.
    good_at: Option<Uri>,
}

impl Discovered {
    /// The metadata, unless they are to be asked for again.
    pub(super) fn current(&self) -> Option<Metadata> {
        let kept = self.kept();
        kept.metadata.clone().filter(|_| !kept.outdated)
    }

    /// The metadata as they were last read: where they cannot be read anew, they do (R73).
    pub(super) fn last(&self) -> Option<Metadata> {
        self.kept().metadata.clone()
    }

    /// These are the metadata now.
    pub(super) fn learn(&self, found: &Metadata) {
        let mut kept = self.kept();
        kept.metadata = Some(found.clone());
        kept.outdated = false;
    }

    /// Has them asked for again.
    pub(super) fn outdate(&self) {
        self.kept().outdated = true;
    }

    /// A token request was answered with success there.
    pub(super) fn good_at(&self, endpoint: &Uri) {
        self.kept().good_at = Some(endpoint.clone());
    }

    /// Refuses a token endpoint on another host than the one that gave tokens so far: whoever can write the metadata
    /// could otherwise have the refresh token sent anywhere (R73).
    pub(super) fn still_at(&self, issuer: &str, endpoint: &Uri) -> Result<(), RefreshError> {
        let Some(before) = self.kept().good_at.clone() else { return Ok(()) };
        if net::place(&before) == net::place(endpoint) {
            return Ok(());
        }
        let named = |url: &Uri| url.authority().map_or_else(String::new, ToString::to_string);
        let (before, now) = (named(&before), named(endpoint));
        let sentence = format!(
            "The metadata of {issuer} name a token endpoint on `{now}` now, and the one that gave tokens so far is on \
             `{before}`. Nothing was sent. If the server has moved, name the new address as `token_endpoint`, or restart \
             bearerd."
        );
        Err(RefreshError::new(Class::Misconfigured, Code::TokenEndpointMoved, sentence))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
