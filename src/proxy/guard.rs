//! Who may ask: Host, Origin and Sec-Fetch-Site are looked at before any token is. Pure.

/// What `[guard]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// `allowed_hosts`: exact, lower case, without port; IPv6 addresses in brackets.
    pub allowed_hosts: Vec<String>,
    /// `allowed_origins`: exact `scheme://host[:port]`, lower case.
    pub allowed_origins: Vec<String>,
    /// `browser`.
    pub browser: Browser,
}

/// `browser`: what a web page may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    /// Nothing, unless its origin is in `allowed_origins`.
    Deny,
    /// A page of this very origin may ask.
    SameOrigin,
    /// Origin and Sec-Fetch-Site are not looked at; Host still is.
    Off,
}

impl Default for Params {
    fn default() -> Self {
        let hosts = ["localhost", "127.0.0.1", "[::1]"];
        Self {
            allowed_hosts: hosts.map(str::to_owned).into(),
            allowed_origins: Vec::new(),
            browser: Browser::Deny,
        }
    }
}
