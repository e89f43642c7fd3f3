//! Whether a server is to be reached: its name, a connection, its certificate.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use http::Uri;
use rustls::{AlertDescription, CertificateError};
use rustls_pki_types::ServerName;

use super::{Blame, Code, Findings, certificate};
use crate::admin;
use crate::clock::{self, Clock, Moment};
use crate::grant::error;
use crate::net;
use crate::proxy::route;
use crate::proxy::upstream::{HttpVersion, Target};
use crate::tls::{Alpn, Tls};

/// How long each step may take.
const STEP: Duration = Duration::from_secs(5);

/// How long before its end a certificate is worth a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// A server that something depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Server {
    /// What people call it, as in `the upstream https://api.example.com`.
    pub(super) called: String,
    /// Name or address, without brackets; what its certificate must name.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_secure: bool,
    /// Where it is dialled instead (`connect_to`).
    pub(super) dialled: Option<(String, u16)>,
}

impl Server {
    /// The server of a URL.
    pub(super) fn of(called: &str, uri: &Uri, dialled: Option<&(String, u16)>) -> Self {
        let (host, port) = net::place(uri);
        Self {
            called: called.to_owned(),
            host,
            port,
            is_secure: uri.scheme_str() == Some("https"),
            dialled: dialled.cloned(),
        }
    }

    /// Whether it is reached by the same way: what is true of one is true of the other.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let way =
            |server: &Self| (server.host.clone(), server.port, server.is_secure, server.dialled.clone());
        way(self) == way(other)
    }

    /// Whether it was reached, and trusted.
    pub(super) async fn reach(&self, tls: &Tls, offers: &[Alpn], findings: &mut Findings) -> bool {
        let Self { called, .. } = self;
        let (host, port) = self.dialled.clone().unwrap_or_else(|| (self.host.clone(), self.port));
        if host.parse::<std::net::IpAddr>().is_err() && !self.is_known(&host, findings).await {
            let because = format!("the name {host} is not known");
            findings.not_tried("connection", called, &because);
            if self.is_secure {
                findings.not_tried("certificate", called, &because);
            }
            return false;
        }
        let stream = match net::dial(&host, port, STEP).await {
            Ok(stream) => stream,
            Err(error) => {
                findings.bad(
                    "connection",
                    Blame::World,
                    Code::ConnectionFailed.word(),
                    unreached(called, &host, port, &error),
                );
                if self.is_secure {
                    findings.not_tried("certificate", called, "there is no connection");
                }
                return false;
            }
        };
        findings.good("connection", format!("{} is reached at {host} port {port}.", capital(called)));
        if !self.is_secure {
            return true;
        }
        let mut refused = self.trusts(stream, tls, offers, findings).await;
        // As the proxy does: what does not speak the one may speak the other, on a connection of its own.
        if let (Err(Refused), [_, others @ ..]) = (&refused, offers)
            && !others.is_empty()
            && let Ok(stream) = net::dial(&host, port, STEP).await
        {
            refused = self.trusts(stream, tls, others, findings).await;
        }
        refused.unwrap_or_else(|Refused| {
            let spoken = if offers == [Alpn::Http2] { "HTTP/2" } else { "HTTP/1.1" };
            let sentence = format!(
                "{} does not speak {spoken}, which is asked of it: let its `http` say otherwise, or have it speak that.",
                capital(called)
            );
            findings.bad("certificate", Blame::Setup, Code::TlsFailed.word(), sentence);
            false
        })
    }

    async fn is_known(&self, host: &str, findings: &mut Findings) -> bool {
        let lookup = tokio::net::lookup_host((host, self.port));
        let found = match tokio::time::timeout_at(clock::in_(STEP), lookup).await {
            Ok(Ok(addresses)) => Ok(addresses.map(|address| address.ip()).collect::<BTreeSet<_>>()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("no answer in time".to_owned()),
        };
        let Self { called, .. } = self;
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                findings.good("name", format!("The name {host} stands for {}.", addresses.join(" and ")));
                true
            }
            found => {
                let why = found.err().unwrap_or_else(|| "it has no address".to_owned());
                let sentence = format!(
                    "The name {host} of {called} is not known here: {why}. Check how it is written, and this machine's DNS."
                );
                findings.bad("name", Blame::World, Code::NameUnknown.word(), sentence);
                false
            }
        }
    }

    /// Whether its certificate is good, if it speaks the first of the `offers`.
    async fn trusts(
        &self,
        stream: tokio::net::TcpStream,
        tls: &Tls,
        offers: &[Alpn],
        findings: &mut Findings,
    ) -> Result<bool, Refused> {
        let Self { called, host, .. } = self;
        let Ok(name) = ServerName::try_from(host.clone()) else {
            let sentence = format!("`{host}` cannot be in a certificate; check the address of {called}.");
            findings.bad("certificate", Blame::Setup, error::Code::TlsVerify.word(), sentence);
            return Ok(false);
        };
        let alpn = offers.first().copied().unwrap_or(Alpn::Http1);
        let handshake = tls.connector(alpn).connect(name, stream);
        let error = match tokio::time::timeout_at(clock::in_(STEP), handshake).await {
            Ok(Ok(stream)) => {
                let (_, connection) = stream.get_ref();
                if alpn == Alpn::Http2 && connection.alpn_protocol() != Some(b"h2") {
                    return Err(Refused);
                }
                let end = connection.peer_certificates().and_then(|chain| chain.first());
                self.certified(end.and_then(|end| certificate::not_after(end)), findings);
                return Ok(true);
            }
            Ok(Err(error)) => error,
            Err(_elapsed) => io::Error::new(io::ErrorKind::TimedOut, "no end in time"),
        };
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        if cause == Some(&rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) {
            return Err(Refused);
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = cause {
            let why = untrusted(host, why);
            findings.bad(
                "certificate",
                Blame::Setup,
                error::Code::TlsVerify.word(),
                format!("The certificate of {called} {why}"),
            );
        } else {
            let sentence = format!(
                "TLS with {called} fails: {error}. Is that the right port, and does something in between answer in its place?"
            );
            findings.bad("certificate", Blame::World, Code::TlsFailed.word(), sentence);
        }
        Ok(false)
    }

    fn certified(&self, ends: Option<Duration>, findings: &mut Findings) {
        let Self { called, host, .. } = self;
        let now = Clock::System.now();
        let good = format!("The certificate of {called} is good for {host}");
        match ends {
            Some(at) if at.saturating_sub(now.wall) < SOON => {
                let left = admin::in_words(at.saturating_sub(now.wall));
                let sentence = format!("{good}, and ends in {left}: have it renewed.");
                findings.warning("certificate", Code::CertificateEndsSoon.word(), sentence);
            }
            Some(at) => {
                let at = Moment { wall: at, ..now }.rfc3339();
                findings.good("certificate", format!("{good}, until {at}."));
            }
            None => findings.good("certificate", format!("{good}.")),
        }
    }
}

/// The server does not speak the protocol that was offered.
struct Refused;

fn unreached(called: &str, host: &str, port: u16, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::ConnectionRefused => "Nothing listens there: is it down, or is the port another?",
        io::ErrorKind::TimedOut => "Nothing answers there: is it down, or does a firewall drop what is sent?",
        _ => "Is this machine on the network, and is there a way to that one?",
    };
    format!("{} is not reached at {host} port {port}: {error}. {cure}", capital(called))
}

/// Which of the reasons it is, and what helps.
fn untrusted(host: &str, why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "was issued by nobody who is trusted here. If it is your own authority's, name \
             that one's certificate in [tls] ca_file; if not, something in between may be answering in its place."
            .to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = match why {
                CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                    format!(" but for {}", crate::grant::wire::printable(&presented.join(", ")))
                }
                _ => String::new(),
            };
            format!("is not for {host}{names}. Use a name that it is for, or have it issued for this one.")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired. Have it renewed; if it is good elsewhere, look at this machine's clock.".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet. Look at this machine's clock.".to_owned()
        }
        other => format!("is not to be trusted: {other}. Have it issued anew."),
    }
}

/// With its first letter large, to begin a sentence with.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Every server that routes lead to, once.
pub(super) async fn upstreams(routes: &[route::Params], tls: &Tls, findings: &mut Findings) {
    let mut seen = Vec::new();
    for route in routes {
        let target = &route.upstream.target;
        if seen.contains(&target) {
            continue;
        }
        seen.push(target);
        let called = format!("the upstream {target}");
        let server = |host: &String, port: u16, is_secure| Server {
            called: called.clone(),
            host: host.clone(),
            port,
            is_secure,
            dialled: None,
        };
        let offers: &[Alpn] = match route.upstream.http {
            HttpVersion::One => &[Alpn::Http1],
            HttpVersion::Two => &[Alpn::Http2],
            HttpVersion::Match => &[Alpn::Http1, Alpn::Http2],
        };
        match target {
            Target::Plain { host, port } => {
                let _told = server(host, *port, false).reach(tls, offers, findings).await;
            }
            Target::Tls { host, port } => {
                let _told = server(host, *port, true).reach(tls, offers, findings).await;
            }
            #[cfg(unix)]
            Target::Unix(path) => match tokio::net::UnixStream::connect(path).await {
                Ok(_) => findings.good("connection", format!("{} is reached.", capital(&called))),
                Err(error) => {
                    let sentence = format!("{} is not reached: {error}. Is it running?", capital(&called));
                    findings.bad("connection", Blame::World, Code::ConnectionFailed.word(), sentence);
                }
            },
            #[cfg(not(unix))]
            Target::Unix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_server_and_connect_to_where_it_is_dialled() {
        let server = |url: &'static str| Server::of("it", &Uri::from_static(url), None);
        let told = |url| (server(url).host, server(url).port, server(url).is_secure);
        assert_eq!(told("https://id.test/a"), ("id.test".to_owned(), 443, true));
        assert_eq!(told("http://[::1]:81"), ("::1".to_owned(), 81, false));
        let dialled = Some(("10.0.0.1".to_owned(), 8443));
        assert_eq!(Server::of("it", &Uri::from_static("https://a"), dialled.as_ref()).dialled, dialled);
    }
}
