//! TLS towards servers: which roots are trusted, which certificate is shown, and the client configurations made of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsConnector;

use crate::secret::{ClientSecret, Secret};

/// What `[tls]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// `ca_file`: PEM certificates that are trusted beside the roots, or alone with `roots = "file"`.
    pub ca_file: Option<PathBuf>,
    /// `roots`.
    pub roots: Roots,
    /// `client_cert` and `client_key`: what is shown to servers that ask for a certificate.
    pub client: Option<Certificate>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM: the certificate, and those between it and a root.
    pub chain: PathBuf,
    /// PEM.
    pub key: Secret,
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

/// Client configurations, one for each protocol; cheap to clone, and all clones follow their files.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    params: Params,
    connectors: ArcSwap<Connectors>,
    /// What the files held when the configurations were made of them.
    made_of: Mutex<Files>,
    /// What was last told of files that cannot be used.
    told: Mutex<String>,
}

struct Connectors {
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Tls {
    /// Loads the roots and the certificate, and builds the configurations. Blocking: reads files.
    ///
    /// # Errors
    /// When a file cannot be read or does not hold what it is for, or the TLS library lacks every protocol version. That
    /// `roots = "file"` has a `ca_file` is seen to by the configuration.
    pub fn load(params: &Params) -> Result<Self, TlsError> {
        let files = Files::read(params)?;
        let connectors = ArcSwap::from_pointee(Connectors::build(params, &files)?);
        Ok(Self(Arc::new(Shared {
            params: params.clone(),
            connectors,
            made_of: Mutex::new(files),
            told: Mutex::default(),
        })))
    }

    /// Whether there are files that can be watched: a command is run for a token request alone.
    #[must_use]
    pub fn has_files(&self) -> bool {
        let Params { ca_file, client, .. } = &self.0.params;
        client.as_ref().map_or(ca_file.is_some(), |certificate| certificate.key.can_be_watched())
    }

    /// Follows the files: what they hold now is used for new connections. If that cannot be used, it is told once, and
    /// what was good before goes on. Blocking.
    pub fn follow(&self) {
        let reread = self.reread();
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        match reread {
            Ok(changed) => {
                told.clear();
                if changed {
                    tracing::info!(
                        event = "tls_files_read",
                        "New connections use the TLS files as they are now"
                    );
                }
            }
            Err(error) => {
                let error = error.to_string();
                if *told != error {
                    tracing::error!(
                        event = "tls_files_unusable",
                        "The TLS files have changed and cannot be used; those before go on: {error}"
                    );
                    *told = error;
                }
            }
        }
    }

    /// Reads the files again; says whether new connections use something else from now on. Blocking.
    ///
    /// # Errors
    /// As [`Tls::load`]: what was good before goes on then.
    pub fn reread(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.0.params)?;
        let mut made_of = self.0.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        if *made_of == files {
            return Ok(false);
        }
        // Whole configurations: a session that an earlier certificate began is not resumed for this one.
        self.0.connectors.store(Arc::new(Connectors::build(&self.0.params, &files)?));
        *made_of = files;
        Ok(true)
    }

    /// The connector that offers `alpn` alone.
    #[must_use]
    pub fn connector(&self, alpn: Alpn) -> TlsConnector {
        let connectors = self.0.connectors.load();
        match alpn {
            Alpn::Http1 => connectors.http1.clone(),
            Alpn::Http2 => connectors.http2.clone(),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// What the files hold.
#[derive(PartialEq)]
struct Files {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, ClientSecret)>,
}

impl Files {
    fn read(params: &Params) -> Result<Self, TlsError> {
        let authorities = params.ca_file.as_deref().map(read_certificates).transpose()?;
        let client = match &params.client {
            Some(Certificate { chain, key }) => {
                Some((read_certificates(chain)?, key.read().map_err(TlsError::KeyUnreadable)?))
            }
            None => None,
        };
        Ok(Self { authorities: authorities.unwrap_or_default(), client })
    }
}

impl Connectors {
    fn build(params: &Params, files: &Files) -> Result<Self, TlsError> {
        let roots = Arc::new(roots(params, &files.authorities)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let identity = match (&params.client, &files.client) {
            (Some(certificate), Some((chain, key))) => {
                Some(Arc::new(identity(certificate, chain, key, &provider)?))
            }
            _ => None,
        };
        let connector = |alpn: &[u8]| -> Result<TlsConnector, TlsError> {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Provider)?
                .with_root_certificates(Arc::clone(&roots));
            let mut config = match &identity {
                Some(identity) => {
                    let resolver = rustls::sign::SingleCertAndKey::from(Arc::clone(identity));
                    builder.with_client_cert_resolver(Arc::new(resolver))
                }
                None => builder.with_no_client_auth(),
            };
            config.alpn_protocols = vec![alpn.to_vec()];
            // 0-RTT data can be replayed by anyone who saw it (DESIGN §4); off is also rustls' default.
            config.enable_early_data = false;
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self { http1: connector(b"http/1.1")?, http2: connector(b"h2")? })
    }
}

/// The certificate with its key, which must be its own.
fn identity(
    certificate: &Certificate,
    chain: &[CertificateDer<'static>],
    key: &ClientSecret,
    provider: &rustls::crypto::CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = match chain {
        [] => return Err(TlsError::NoCertificate(certificate.chain.clone())),
        chain => chain.to_vec(),
    };
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(TlsError::Key)?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| TlsError::Pair(certificate.chain.clone(), error))
}

/// Why TLS cannot be set up.
#[derive(Debug)]
pub enum TlsError {
    /// The file cannot be read or is not PEM.
    Certificates(PathBuf, rustls_pki_types::pem::Error),
    /// The file holds no certificate, or none that can be a root.
    NoCertificate(PathBuf),
    /// The certificate's key cannot be read: says why.
    KeyUnreadable(String),
    /// What was read is no private key.
    Key(rustls_pki_types::pem::Error),
    /// The certificate in this file and the key do not belong together, or cannot be used.
    Pair(PathBuf, rustls::Error),
    /// The cryptography lacks a protocol version; a fault of the build.
    Provider(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificates(path, error) => {
                write!(f, "cannot read certificates from {}: {error}", path.display())
            }
            Self::NoCertificate(path) => write!(f, "{} holds no PEM certificate", path.display()),
            Self::KeyUnreadable(why) => write!(f, "the client certificate's key is not there: {why}"),
            Self::Key(error) => write!(f, "the client certificate's key is no private key in PEM: {error}"),
            Self::Pair(path, error) => {
                write!(f, "the client certificate in {} does not go with its key: {error}", path.display())
            }
            Self::Provider(error) => write!(f, "the TLS library offers no usable protocol version: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// Whether a handshake failed because the other side could not prove who it is.
#[must_use]
pub fn is_about_certificate(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

/// The platform's roots, Mozilla's where there are none, and `ca_file`'s in addition or alone.
fn roots(params: &Params, authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if params.roots == Roots::Platform {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
    }
    if let Some(path) = &params.ca_file {
        let (added, _ignored) = store.add_parsable_certificates(authorities.iter().cloned());
        if added == 0 {
            return Err(TlsError::NoCertificate(path.clone()));
        }
    }
    Ok(store)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::Certificates(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_without_a_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.pem");
        std::fs::write(&path, "no PEM here\n").unwrap();
        let error = Tls::load(&Params { ca_file: Some(path), roots: Roots::File, client: None }).unwrap_err();
        assert!(error.to_string().ends_with("empty.pem holds no PEM certificate"), "{error}");
        let missing =
            Tls::load(&Params { ca_file: Some("/nowhere.pem".into()), roots: Roots::File, client: None })
                .unwrap_err();
        assert!(missing.to_string().contains("/nowhere.pem"), "{missing}");
    }

    #[test]
    fn platform_roots_are_never_empty() {
        assert!(!roots(&Params::default(), &[]).unwrap().is_empty());
    }

    /// A certificate and its key in two files.
    fn pair(folder: &Path) -> Certificate {
        let made = rcgen::generate_simple_self_signed(["billing".to_owned()]).unwrap();
        let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Certificate { chain, key: Secret::File(key) }
    }

    #[test]
    fn a_certificate_that_was_renewed_is_shown_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let params = Params { client: Some(pair(folder.path())), ..Params::default() };
        let tls = Tls::load(&params).unwrap();
        let clone = tls.clone();
        assert!(!tls.reread().unwrap(), "the files are the same");
        let before = clone.0.connectors.load_full();
        pair(folder.path());
        assert!(tls.reread().unwrap());
        assert!(!Arc::ptr_eq(&before, &clone.0.connectors.load_full()), "every clone follows");
    }

    #[test]
    fn a_certificate_without_its_key_is_told_and_the_one_before_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let params = Params { client: Some(pair(folder.path())), ..Params::default() };
        let tls = Tls::load(&params).unwrap();
        let other = tempfile::tempdir().unwrap();
        pair(other.path());
        std::fs::copy(other.path().join("key.pem"), folder.path().join("key.pem")).unwrap();
        let error = tls.reread().unwrap_err().to_string();
        assert!(error.contains("cert.pem does not go with its key"), "{error}");
        assert!(Tls::load(&params).is_err() && tls.reread().is_err(), "until both are new");
        pair(folder.path());
        assert!(tls.reread().unwrap());
    }
}
