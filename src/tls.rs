//! TLS towards servers: which roots are trusted, and the client configurations made from them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::TlsConnector;

/// What `[tls]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// `ca_file`: PEM certificates that are trusted beside the roots, or alone with `roots = "file"`.
    pub ca_file: Option<PathBuf>,
    /// `roots`.
    pub roots: Roots,
}

/// `roots`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// The platform's, or Mozilla's where the platform has none.
    #[default]
    Platform,
    /// Those of `ca_file` alone.
    File,
}

/// Which protocol is offered by ALPN; only one ever is, so that what was negotiated is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
}

/// Client configurations, one for each protocol; cheap to clone.
#[derive(Clone)]
pub struct Tls {
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Tls {
    /// Loads the roots and builds the configurations. Blocking: reads files.
    ///
    /// # Errors
    /// When `ca_file` cannot be read or holds no certificate, or the TLS library lacks every protocol version. That
    /// `roots = "file"` has a `ca_file` is seen to by the configuration.
    pub fn load(params: &Params) -> Result<Self, TlsError> {
        let roots = Arc::new(roots(params)?);
        let connector = |alpn: &[u8]| -> Result<TlsConnector, TlsError> {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Provider)?
                .with_root_certificates(Arc::clone(&roots))
                .with_no_client_auth();
            config.alpn_protocols = vec![alpn.to_vec()];
            // 0-RTT data can be replayed by anyone who saw it (DESIGN §4); off is also rustls' default.
            config.enable_early_data = false;
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self { http1: connector(b"http/1.1")?, http2: connector(b"h2")? })
    }

    /// The connector that offers `alpn` alone.
    #[must_use]
    pub fn connector(&self, alpn: Alpn) -> &TlsConnector {
        match alpn {
            Alpn::Http1 => &self.http1,
            Alpn::Http2 => &self.http2,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Why TLS cannot be set up.
#[derive(Debug)]
pub enum TlsError {
    /// The file cannot be read or is not PEM.
    CaFile(PathBuf, rustls_pki_types::pem::Error),
    /// The file holds no certificate that can be a root.
    NoCertificate(PathBuf),
    /// The cryptography lacks a protocol version; a fault of the build.
    Provider(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CaFile(path, error) => {
                write!(f, "cannot read certificates from {}: {error}", path.display())
            }
            Self::NoCertificate(path) => write!(f, "{} holds no PEM certificate", path.display()),
            Self::Provider(error) => write!(f, "the TLS library offers no usable protocol version: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// The platform's roots, Mozilla's where there are none, and `ca_file`'s in addition or alone.
fn roots(params: &Params) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if params.roots == Roots::Platform {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
    }
    if let Some(path) = &params.ca_file {
        let (added, _ignored) = store.add_parsable_certificates(read_certificates(path)?);
        if added == 0 {
            return Err(TlsError::NoCertificate(path.clone()));
        }
    }
    Ok(store)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::CaFile(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.pem");
        std::fs::write(&path, "no PEM here\n").unwrap();
        let error = Tls::load(&Params { ca_file: Some(path), roots: Roots::File }).unwrap_err();
        assert!(error.to_string().ends_with("empty.pem holds no PEM certificate"), "{error}");
        let missing =
            Tls::load(&Params { ca_file: Some("/nowhere.pem".into()), roots: Roots::File }).unwrap_err();
        assert!(missing.to_string().contains("/nowhere.pem"), "{missing}");
    }

    #[test]
    fn platform_roots_are_never_empty() {
        assert!(!roots(&Params::default()).unwrap().is_empty());
    }
}
