//! How an attempt to send a request failed, and whether it may be sent once more.
//!
//! On three grounds alone (P54): it came back unsent; an HTTP/2 server said that it did not look at it; or it asks for
//! nothing that could be done twice and met a used connection that closed before any byte of an answer.

use http::{Method, Request};

use crate::dpop::DPOP;
use crate::proxy::body::{RequestBody, Upload};
use crate::proxy::error::{Code, ProxyError};

/// Why no head of a response came.
pub(super) enum Failure {
    /// The request came back whole.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended, and the server took nothing of it, or may be taken to have.
    Untouched(ProxyError),
    /// The server said that it took nothing of it; the connection goes on.
    Refused(ProxyError),
    /// Nothing came in time.
    Late,
    /// Nobody knows what the server did with it.
    Final(ProxyError),
}

/// What it takes to send a request again: its head, and its body if that is still to be had.
pub(in crate::proxy) struct Spare {
    head: Request<()>,
    upload: Upload,
}

impl Spare {
    pub(super) fn of(request: &Request<RequestBody>) -> Self {
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.version_mut() = request.version();
        *head.headers_mut() = request.headers().clone();
        let upload = request.body().upload();
        upload.remember();
        Self { head, upload }
    }

    /// The method.
    pub(in crate::proxy) fn method(&self) -> &Method {
        self.head.method()
    }

    /// Whether the body was sent to its end and is held in full: one that is still under way is not begun again for a
    /// token's sake (P57).
    pub(in crate::proxy) fn is_held(&self) -> bool {
        self.upload.is_done() && self.upload.is_held()
    }

    /// The request once more, if its body is still to be had; the one before gets no more of it.
    pub(in crate::proxy) fn again(self) -> Option<Request<RequestBody>> {
        let body = self.upload.again()?;
        Some(self.head.map(|()| body))
    }
}

impl Failure {
    /// The request to send once more, or what the caller is told.
    pub(super) fn repeat(self, spare: Option<Spare>) -> Result<Request<RequestBody>, ProxyError> {
        let (error, spare) = match (self, spare) {
            (Self::Unsent(mut request), _) => {
                // It may go out with a token of another kind.
                request.headers_mut().remove(DPOP);
                return Ok(*request);
            }
            (Self::Untouched(error) | Self::Refused(error), Some(spare)) => (error, spare),
            (failure, _) => return Err(failure.into_error()),
        };
        spare.again().ok_or(error)
    }

    /// What the caller is told when it is not sent once more.
    pub(super) fn into_error(self) -> ProxyError {
        match self {
            Self::Unsent(_) => closed(),
            Self::Untouched(error) | Self::Refused(error) | Self::Final(error) => error,
            Self::Late => ProxyError::new(
                Code::UpstreamTimeout,
                "The upstream sent no answer within `response_timeout`.",
            ),
        }
    }
}

/// The connection ended where an answer should have begun.
pub(super) fn closed() -> ProxyError {
    ProxyError::new(Code::UpstreamProtocol, "The upstream closed the connection without an answer.")
}

/// What an HTTP/1.1 connection made of a request; `heard` tells whether any byte of an answer came.
pub(super) fn over_http1(error: &hyper::Error, upload: &Upload, heard: bool) -> Failure {
    let sentence = match error {
        _ if upload.fault().is_some() => return faulty(upload),
        error if error.is_parse() => "The upstream's answer is not HTTP/1.1.",
        _ if heard => "The upstream broke off in the head of its answer.",
        _ => return Failure::Untouched(closed()),
    };
    Failure::Final(ProxyError::new(Code::UpstreamProtocol, sentence))
}

/// What an HTTP/2 connection made of a request.
pub(super) fn over_http2(error: &hyper::Error, upload: &Upload) -> Failure {
    if upload.fault().is_some() {
        return faulty(upload);
    }
    if error.is_timeout() {
        let sentence = "The upstream's connection died: it answers no PING.";
        return Failure::Final(ProxyError::new(Code::UpstreamTimeout, sentence));
    }
    let Some(said) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>())
    else {
        return Failure::Final(closed());
    };
    let reason = said.reason().map_or_else(|| said.to_string(), |reason| format!("{reason:?}"));
    let error = ProxyError::new(
        Code::UpstreamProtocol,
        format!("The upstream ended the request's stream: {reason}."),
    );
    let refused = said.is_reset() && said.reason() == Some(h2::Reason::REFUSED_STREAM);
    match said.is_remote() {
        true if refused => Failure::Refused(error),
        // A stream fails with the server's GOAWAY only when its number is above the last that was looked at.
        true if said.is_go_away() => Failure::Untouched(error),
        _ => Failure::Final(error),
    }
}

fn faulty(upload: &Upload) -> Failure {
    Failure::Final(upload.fault().unwrap_or_else(closed))
}
