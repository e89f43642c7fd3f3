//! Which route a request takes. Pure.

use std::time::Duration;

use http::Method;

use super::upstream;
use crate::token::{Credential, GrantName};

/// One `[[route]]`, or the one that a top-level `upstream` is short for.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// `path`: begins with `/`; matches on segment boundaries.
    pub path: String,
    /// `host`: lower case, without port.
    pub host: Option<String>,
    /// Where it leads.
    pub upstream: upstream::Params,
    /// Whose token it takes.
    pub grant: GrantName,
    /// `header` and `scheme`.
    pub credential: Credential,
    /// `response_timeout`: until the upstream's head.
    pub response_timeout: Option<Duration>,
    /// `methods`: others get 405; none allows any.
    pub methods: Option<Vec<Method>>,
}
