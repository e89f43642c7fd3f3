//! The last step before a request is sent: its route's token, as it is at that moment.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::error::{Code, ProxyError};
use crate::clock::{Clock, Moment};
use crate::dpop::{DPOP, Rapport};
use crate::token::{AccessToken, Credential, GrantName, Reader};

/// Authorizes the sendings of one request, of which there may be several.
pub(super) struct Authorizer<'a> {
    pub(super) grant: &'a GrantName,
    pub(super) reader: &'a Reader,
    pub(super) credential: &'a Credential,
    pub(super) clock: &'a Clock,
    /// The token sent last, or to be sent first.
    pub(super) token: RefCell<Arc<AccessToken>>,
    /// How many seconds ahead of our clock the proof beside it was dated.
    pub(super) ahead: Cell<i64>,
}

impl Authorizer<'_> {
    /// Puts the token on a request that has a connection now. Making one may have outlasted the token that the request
    /// was given, and none is ever sent expired: its successor then takes its place.
    ///
    /// # Errors
    /// When it has no successor yet.
    pub(super) fn authorize(&self, headers: &mut HeaderMap) -> Result<(), ProxyError> {
        let now = self.clock.now();
        let mut token = self.token.borrow_mut();
        if token.expires().has_come(now) {
            *token = self.reader.current(now).map_err(|absent| ProxyError::absent(self.grant, absent))?;
        }
        token.authorize(headers, self.credential);
        Ok(())
    }

    /// Whether the token needs a proof beside it (RFC 9449).
    pub(super) fn is_bound(&self) -> bool {
        self.token.borrow().is_bound()
    }

    /// Puts a proof beside the bound token of a request to `target`.
    ///
    /// # Errors
    /// When its key does not sign: without a proof the token is of no use, and is not sent.
    #[cold]
    pub(super) fn prove(
        &self,
        method: &Method,
        target: &str,
        rapport: &Rapport,
        headers: &mut HeaderMap,
    ) -> Result<(), ProxyError> {
        let proof = self.token.borrow().prove(method, target, rapport, self.clock.now());
        let unsigned = |_| ProxyError::new(Code::Internal, "The token's key signed no proof of possession.");
        if let Some(proof) = proof.map_err(unsigned)? {
            headers.insert(DPOP, proof);
            self.ahead.set(rapport.ahead());
        }
        Ok(())
    }

    /// Now, and how many seconds ahead of that the proof that was sent last was dated.
    pub(super) fn proved(&self) -> (Moment, i64) {
        (self.clock.now(), self.ahead.get())
    }

    /// Sends this token from now on.
    pub(super) fn replace(&self, token: Arc<AccessToken>) {
        *self.token.borrow_mut() = token;
    }

    /// Which token was sent: to be doubted, if that is what its answer says.
    pub(super) fn generation(&self) -> u64 {
        self.token.borrow().generation()
    }
}
