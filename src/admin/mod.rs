//! The control plane's listeners: people on `[admin]`, machines on `[probes]`.

use crate::net::Listen;

/// What `[admin]` and `[probes]` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// `admin.listen`; none for `"off"`.
    pub listen: Option<Listen>,
    /// Whether `admin.listen` was written: a default port that is taken is only a warning.
    pub listen_is_default: bool,
    /// `probes.listen`; none when off.
    pub probes: Option<Listen>,
}
