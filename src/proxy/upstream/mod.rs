//! One server behind us: its connections, kept by each worker in a pool of its own.

use std::path::PathBuf;

/// Where a route leads. Two routes with equal values share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    /// Where to connect.
    pub target: Target,
    /// The path of `upstream`, without a trailing slash; it replaces the route's prefix. Empty: the target passes unchanged.
    pub path: String,
    /// `http`.
    pub http: HttpVersion,
}

/// Where to connect, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `http://host[:port]`.
    Plain {
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `https://host[:port]`; the host is also what the certificate must name.
    Tls {
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:/path`: plaintext over a Unix socket; `Host` is `localhost`.
    Unix(PathBuf),
}

/// `http`: which protocol the upstream is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// The caller's protocol towards https, HTTP/1.1 towards plaintext.
    #[default]
    Match,
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}
