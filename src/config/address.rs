//! Addresses and URLs: where to listen, where to connect, and whose pages may ask.

use std::path::PathBuf;

use http::Uri;
use rustls_pki_types::ServerName;

use super::error::Code;
use super::value::{Fault, FromText};
use crate::net::{Listen, is_loopback};
use crate::proxy::upstream::Target;

/// `admin.listen` and `probes.listen`: an address, or `"off"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListenOrOff(pub(super) Option<Listen>);

impl FromText for ListenOrOff {
    const WHAT: &str = "an address such as \"127.0.0.1:9901\", or \"off\"";

    fn from_text(text: &str) -> Result<Self, Fault> {
        if text == "off" { Ok(Self(None)) } else { Listen::from_text(text).map(|listen| Self(Some(listen))) }
    }
}

impl FromText for Listen {
    const WHAT: &str = "an address such as \"localhost:8080\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        match text.strip_prefix("fd:") {
            Some("") => {
                Err(Fault::new(Code::BadAddress, "lacks the socket's name").help("write it as \"fd:NAME\""))
            }
            Some(name) => Ok(Self::Inherited(name.to_owned())),
            None => host_port(text).map(|(host, port)| Self::Tcp { host, port }),
        }
    }

    fn instead_of(number: i64) -> Option<String> {
        u16::try_from(number).ok().map(|port| format!("\"localhost:{port}\""))
    }
}

/// Relative paths would mean another socket after each `cd`.
fn unix_path(path: &str) -> Result<PathBuf, Fault> {
    if path.starts_with('/') && path.len() > 1 {
        return Ok(path.into());
    }
    let fault = Fault::new(Code::BadAddress, "needs the absolute path of a socket");
    Err(fault.help("write it as \"unix:/run/bearerd/proxy.sock\""))
}

/// `host:port`, with an IPv6 address in brackets.
fn host_port(text: &str) -> Result<(String, u16), Fault> {
    let not = |why: &str| Fault::new(Code::BadAddress, why);
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Err(not("has a port and no host").help(format!("write \"localhost:{port}\"")));
    }
    let example = "write it as \"localhost:8080\", \"[::1]:8080\" or \"unix:/run/bearerd/proxy.sock\"";
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| not("is not an address with a port").help(example))?;
    let port =
        port.parse().map_err(|_| not("has a port that is not a number from 0 to 65535").help(example))?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
        None if !host.contains(':') && is_name(host) => host,
        _ => return Err(not("has a host that is neither a name nor an address").help(example)),
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// Whether `host` is a name or an address, as a certificate could name it.
fn is_name(host: &str) -> bool {
    ServerName::try_from(host).is_ok()
}

/// `connect_to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dial(pub(super) String, pub(super) u16);

impl FromText for Dial {
    const WHAT: &str = "an address such as \"10.0.0.7:443\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        match host_port(text)? {
            (_, 0) => Err(Fault::new(Code::BadAddress, "cannot be port 0, which nobody listens on")),
            (host, port) => Ok(Self(host, port)),
        }
    }
}

/// `upstream`: a target and the path that replaces a route's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) target: Target,
    /// As written; `/` and nothing are told apart.
    pub(super) path: String,
}

impl Upstream {
    /// Whether what is sent there crosses a network in plain text.
    pub(super) fn is_exposed(&self) -> bool {
        matches!(&self.target, Target::Plain { host, .. } if !is_loopback(host))
    }
}

impl FromText for Upstream {
    const WHAT: &str = "a URL such as \"https://api.example.com\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(|path| Self { target: Target::Unix(path), path: String::new() });
        }
        let Url { https, host, port, path, query } = Url::parse(text)?;
        if query {
            return Err(Fault::new(Code::BadUrl, "must not have a query").help("remove `?` and what follows"));
        }
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(Fault::new(Code::BadUrl, "must not have `.` or `..` in its path"));
        }
        let target = if https { Target::Tls { host, port } } else { Target::Plain { host, port } };
        Ok(Self { target, path })
    }
}

/// `issuer`: kept as written, because it is compared byte for byte (RFC 8414 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issuer(pub(super) String);

impl FromText for Issuer {
    const WHAT: &str = "a URL such as \"https://id.example.com\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        if server(text)?.query {
            return Err(Fault::new(Code::BadUrl, "must not have a query (RFC 8414 §2)"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// `token_endpoint`: may have a query (RFC 6749 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint(pub(super) String);

impl FromText for Endpoint {
    const WHAT: &str = "a URL such as \"https://id.example.com/token\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        server(text).map(|_| Self(text.to_owned()))
    }
}

/// An authorization server's URL: https, or http on this very machine.
fn server(text: &str) -> Result<Url, Fault> {
    let url = Url::parse(text)?;
    if !url.https && !is_loopback(&url.host) {
        let why = "would send secrets in plain text across a network";
        return Err(Fault::new(Code::PlaintextServer, why)
            .help("write https://; http:// is for authorization servers on this machine"));
    }
    Ok(url)
}

/// The parts of an `http://` or `https://` URL.
struct Url {
    https: bool,
    /// Lower case, without brackets.
    host: String,
    port: u16,
    path: String,
    query: bool,
}

impl Url {
    fn parse(text: &str) -> Result<Self, Fault> {
        let not = |why: &str| Fault::new(Code::BadUrl, why);
        if text.contains('#') {
            return Err(not("must not have a fragment").help("remove `#` and what follows"));
        }
        let uri: Uri =
            text.parse().map_err(|_| not("is not a URL").help("write it as \"https://host/path\""))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(not("must begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| not("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(not("must not hold a user name or password").help("remove what stands before `@`"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if !is_name(&host) {
            return Err(not("has a host that is neither a name nor an address"));
        }
        let port = match authority.port_u16() {
            Some(0) => return Err(not("has port 0, which nobody listens on")),
            Some(port) => port,
            None if authority.as_str().len() > authority.host().len() => {
                return Err(not("has a port that is not a number from 1 to 65535"));
            }
            None => {
                if https {
                    443
                } else {
                    80
                }
            }
        };
        let explicit = text.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let path = if explicit { uri.path().to_owned() } else { String::new() };
        Ok(Self { https, host, port, path, query: uri.query().is_some() })
    }
}

/// The name of a host: lower case, without a port, IPv6 addresses in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host(pub(super) String);

impl FromText for Host {
    const WHAT: &str = "the name of a host such as \"api.example.com\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let not = |why: &str| Fault::new(Code::BadHost, why);
        if text.contains('*') {
            return Err(not("cannot have a wildcard")
                .help("name every host: a pattern would also fit names of others"));
        }
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(not("needs brackets around an IPv6 address").help(format!("write \"[{text}]\"")));
        }
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bracketed {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => {}
            None if is_name(text) => {}
            _ => {
                return Err(not("is not the name of a host")
                    .help("write it as \"api.example.com\", without scheme or port"));
            }
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// The origin of a web page: `scheme://host[:port]`, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WebOrigin(pub(super) String);

impl FromText for WebOrigin {
    const WHAT: &str = "an origin such as \"https://app.example.com\", in quotes";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let not = |why: &str| Fault::new(Code::BadOrigin, why);
        if matches!(text, "*" | "null") {
            return Err(
                not("would let any web page ask").help("name the origins, as in \"https://app.example.com\"")
            );
        }
        let url = Url::parse(text).map_err(|fault| Fault { code: Code::BadOrigin, ..fault })?;
        if !url.path.is_empty() || url.query {
            return Err(not("must not have a path").help("write it as \"https://app.example.com\""));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_in_all_their_forms() {
        let tcp = |host: &str, port| Listen::Tcp { host: host.to_owned(), port };
        let read = |text| Listen::from_text(text).unwrap();
        assert_eq!(read("localhost:8080"), tcp("localhost", 8080));
        assert_eq!(read("[::1]:0"), tcp("::1", 0));
        assert_eq!(read("unix:/run/p.sock"), Listen::Unix("/run/p.sock".into()));
        assert_eq!(read("fd:web"), Listen::Inherited("web".to_owned()));
        for wrong in [
            "",
            ":",
            "8080",
            ":8080",
            "localhost",
            "::1:80",
            "[::1",
            "h:65536",
            "h:-1",
            "unix:p",
            "unix:/",
            "fd:",
            "a b:1",
        ] {
            assert!(Listen::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn upstreams_have_a_target_and_perhaps_a_path() {
        let read = |text| Upstream::from_text(text).unwrap();
        let tls = |host: &str, port| Target::Tls { host: host.to_owned(), port };
        assert_eq!(
            read("https://API.example.com"),
            Upstream { target: tls("api.example.com", 443), path: String::new() }
        );
        assert_eq!(
            read("https://[::1]:8443/v2/"),
            Upstream { target: tls("::1", 8443), path: "/v2/".to_owned() }
        );
        assert_eq!(read("unix:/run/app.sock").target, Target::Unix("/run/app.sock".into()));
        for wrong in [
            "",
            "example.com",
            "ftp://h",
            "https://",
            "https://u:p@h",
            "https://h?q",
            "https://h/#f",
            "https://h:0",
            "https://h:",
            "https://h:70000",
            "https://h/../x",
            "https://ü.de",
        ] {
            assert!(Upstream::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn plain_text_is_exposed_only_beyond_this_machine() {
        let exposed = |text| Upstream::from_text(text).unwrap().is_exposed();
        assert!(exposed("http://10.0.0.7") && exposed("http://localhost.example.com"));
        assert!(
            !exposed("http://127.0.0.1:80")
                && !exposed("http://[::1]")
                && !exposed("unix:/a")
                && !exposed("https://h")
        );
        assert!(Issuer::from_text("http://localhost:9000/realm").is_ok());
        assert!(
            Issuer::from_text("http://id.example.com").is_err() && Issuer::from_text("https://h/?q").is_err()
        );
        assert!(Endpoint::from_text("https://h/token?tenant=1").is_ok());
    }

    #[test]
    fn hosts_and_origins_are_exact() {
        assert_eq!(Host::from_text("API.local").unwrap().0, "api.local");
        assert_eq!(Host::from_text("[::1]").unwrap().0, "[::1]");
        for wrong in ["", "*.example.com", "h:80", "::1", "https://h", "a/b"] {
            assert!(Host::from_text(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            WebOrigin::from_text("https://App.example.com:8443").unwrap().0,
            "https://app.example.com:8443"
        );
        for wrong in ["*", "null", "app.example.com", "https://h/", "https://h/p", "https://u@h"] {
            assert!(WebOrigin::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
