//! A new connection to an upstream: dial, TLS, and what went wrong in a sentence.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Target;
use super::heard::Heard;
use crate::clock;
use crate::net;
use crate::proxy::Limits;
use crate::proxy::error::{Code, ProxyError};
use crate::secret;
use crate::tls::{Alpn, Tls};

/// Whom to connect to, and how; shared by all that connect to one upstream.
pub(super) struct Dialer {
    pub(super) target: Target,
    pub(super) limits: Limits,
    /// Replaced by a reload, which may have read other certificates.
    pub(super) tls: RefCell<Tls>,
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) enum NoConnection {
    /// The server does not speak the protocol that was offered.
    Unspoken(Alpn),
    Failed(ProxyError),
}

impl NoConnection {
    /// What the caller is told.
    pub(super) fn into_error(self, target: &Target) -> ProxyError {
        match self {
            Self::Unspoken(Alpn::Http1) => unreachable(target, "it does not speak HTTP/1.1"),
            Self::Unspoken(Alpn::Http2) => unreachable(target, "it does not speak HTTP/2"),
            Self::Failed(error) => error,
        }
    }
}

impl Dialer {
    /// Connects, within the limits. TLS offers `alpn` alone.
    pub(super) async fn dial(&self, alpn: Alpn) -> Result<(Stream, Rc<Heard>), NoConnection> {
        let wire = match &self.target {
            Target::Plain { host, port } => Wire::Plain(self.dial_tcp(host, *port).await?),
            Target::Tls { host, port } => {
                let socket = self.dial_tcp(host, *port).await?;
                Wire::Tls(Box::new(self.secure(host, socket, alpn).await?))
            }
            Target::Unix(path) => self.dial_unix(path).await?,
        };
        let heard = Rc::new(Heard::default());
        Ok((Stream { wire, heard: Rc::clone(&heard) }, heard))
    }

    /// How long a connection that is made now may live: `upstream_age`, and a tenth of it more or less, so that many do
    /// not end at once (P62).
    pub(super) fn age(&self) -> Duration {
        self.limits.upstream_age.mul_f64(0.9 + 0.2 * secret::dice())
    }

    async fn dial_tcp(&self, host: &str, port: u16) -> Result<TcpStream, NoConnection> {
        let dialled = net::dial(host, port, self.limits.connect_timeout).await;
        dialled.map_err(|error| self.failed(&said(&error)))
    }

    #[cfg(unix)]
    async fn dial_unix(&self, path: &std::path::Path) -> Result<Wire, NoConnection> {
        let dialling = tokio::net::UnixStream::connect(path);
        match tokio::time::timeout_at(clock::in_(self.limits.connect_timeout), dialling).await {
            Ok(dialled) => dialled.map(Wire::Unix).map_err(|error| self.failed(&said(&error))),
            Err(_elapsed) => Err(self.failed("no answer in time")),
        }
    }

    #[cfg(not(unix))]
    async fn dial_unix(&self, _path: &std::path::Path) -> Result<Wire, NoConnection> {
        Err(self.failed("there are no Unix sockets here"))
    }

    async fn secure(
        &self,
        host: &str,
        socket: TcpStream,
        alpn: Alpn,
    ) -> Result<TlsStream<TcpStream>, NoConnection> {
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return Err(self.failed("no certificate can name it"));
        };
        let connector = self.tls.borrow().connector(alpn);
        let handshake = connector.connect(name, socket);
        let stream = match tokio::time::timeout_at(clock::in_(self.limits.tls_timeout), handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if is_refused_protocol(&error) => return Err(NoConnection::Unspoken(alpn)),
            Ok(Err(error)) => return Err(self.failed(&format!("TLS failed: {}", said(&error)))),
            Err(_elapsed) => return Err(self.failed("the TLS handshake did not end in time")),
        };
        // A server without ALPN speaks HTTP/1.1 (RFC 9113 §3.2: HTTP/2 over TLS is negotiated).
        match (alpn, stream.get_ref().1.alpn_protocol()) {
            (Alpn::Http2, Some(b"h2")) | (Alpn::Http1, _) => Ok(stream),
            (Alpn::Http2, _) => Err(NoConnection::Unspoken(alpn)),
        }
    }

    pub(super) fn failed(&self, why: &str) -> NoConnection {
        NoConnection::Failed(unreachable(&self.target, why))
    }
}

fn unreachable(target: &Target, why: &str) -> ProxyError {
    let whom = match target {
        Target::Plain { host, port } | Target::Tls { host, port } => format!("{host} port {port}"),
        Target::Unix(path) => path.display().to_string(),
    };
    ProxyError::new(Code::UpstreamUnreachable, format!("The upstream {whom} cannot be reached: {why}."))
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn is_refused_protocol(error: &io::Error) -> bool {
    let refused = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    tls_error(error).is_some_and(|error| *error == refused)
}

/// The cause in words; what is wrong with a certificate most of all, since a person has to mend it.
fn said(error: &io::Error) -> String {
    let Some(rustls::Error::InvalidCertificate(wrong)) = tls_error(error) else {
        return error.to_string().trim_end_matches('.').to_owned();
    };
    match wrong {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody that is trusted here (see `tls.ca_file`)".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate names another host".to_owned()
        }
        other => format!("its certificate is refused: {other:?}"),
    }
}

/// A connection that tells when something is heard.
#[derive(Debug)]
pub(crate) struct Stream {
    wire: Wire,
    heard: Rc<Heard>,
}

#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// One call on whichever kind of connection it is.
macro_rules! on {
    ($stream:expr, $wire:ident => $call:expr) => {
        match &mut $stream.wire {
            Wire::Plain($wire) => $call,
            Wire::Tls($wire) => $call,
            #[cfg(unix)]
            Wire::Unix($wire) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = on!(self, wire => Pin::new(wire).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.heard.set();
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on!(self, wire => Pin::new(wire).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on!(self, wire => Pin::new(wire).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, wire => Pin::new(wire).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, wire => Pin::new(wire).poll_shutdown(cx))
    }
}
