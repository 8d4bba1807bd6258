//! TLS by files: who we are, and whom we trust.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection as Session, DigitallySignedStruct, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme,
};

/// How a client secures its connection, and whom it trusts.
///
/// By default it trusts the certificate authorities of the system, and asks for a certificate that
/// names the host that it connects to. All files are PEM.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = rpyc::TlsClient::new()
///     .ca_file("lab-ca.pem")
///     .certificate("me.pem", "me.key");
/// let conn = rpyc::Connector::new("ssl://lab:18821")?.tls(tls).connect()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "it is for a Connector"]
pub struct TlsClient {
    ca_file: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
    insecure: bool,
}

/// How a server secures its connections, and which clients it lets in.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = rpyc::TlsServer::new("server.pem", "server.key").client_ca_file("lab-ca.pem");
/// let server = rpyc::Server::builder().tls(tls).bind("ssl://0.0.0.0:18821")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "it is for a ServerBuilder"]
pub struct TlsServer {
    certificate: (PathBuf, PathBuf),
    client_ca_file: Option<PathBuf>,
}

/// What is wrong with the files or names for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError(String);

impl TlsClient {
    /// Trusts the certificate authorities of the system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificate authorities in this file, and no others.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Shows this certificate to servers that ask for one: the file of the certificate, with those
    /// that vouch for it after it, and the file of its key.
    pub fn certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Expects the server's certificate to name this host, instead of the one connected to.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// **Insecure.** Takes any server for the right one: the connection is encrypted, but anybody on
    /// the way can read and change what is said.
    pub const fn insecure_accept_any_server(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// The session with a host. Reads the files.
    pub(crate) fn session(&self, host: &str) -> Result<Session, TlsError> {
        let (config, name) = (self.load()?, self.name(host)?);
        let session = ClientConnection::new(config, name).map_err(TlsError::of)?;
        Ok(Session::Client(session))
    }

    /// The name that the server's certificate is to have.
    pub(crate) fn name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError(format!("{name:?} is no name of a host")))
    }

    /// Reads the files.
    pub(crate) fn load(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::of)?;
        let builder = if self.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        } else {
            let roots = match &self.ca_file {
                Some(path) => read_roots(path)?,
                None => system_roots()?,
            };
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(TlsError::of)?;
            builder.with_webpki_verifier(verifier)
        };
        let config = match &self.certificate {
            Some((certificate, key)) => builder
                .with_client_auth_cert(read_certificates(certificate)?, read_key(key)?)
                .map_err(|error| TlsError::in_file(certificate, &error))?,
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

impl TlsServer {
    /// Shows this certificate: the file of the certificate, with those that vouch for it after it, and
    /// the file of its key.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: (certificate.into(), key.into()),
            client_ca_file: None,
        }
    }

    /// Lets only those clients in that show a certificate of an authority in this file.
    pub fn client_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.client_ca_file = Some(path.into());
        self
    }

    /// Reads the files.
    pub(crate) fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::of)?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(read_roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| TlsError::in_file(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (certificate, key) = &self.certificate;
        let config = builder
            .with_single_cert(read_certificates(certificate)?, read_key(key)?)
            .map_err(|error| TlsError::in_file(certificate, &error))?;
        Ok(Arc::new(config))
    }
}

/// The session with a client.
pub(crate) fn server_session(config: &Arc<ServerConfig>) -> Result<Session, TlsError> {
    let session = ServerConnection::new(Arc::clone(config)).map_err(TlsError::of)?;
    Ok(Session::Server(session))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsError(
            "the system has no certificate authorities: name a file of those to trust".to_owned(),
        ));
    }
    Ok(roots)
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::in_file(path, &error))?;
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::in_file(path, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::in_file(path, &"no certificate is in it"));
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::in_file(path, &error))
}

/// Checks that the server has the key of the certificate that it shows, and not whose it is.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl TlsError {
    fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }

    fn in_file(path: &Path, error: &impl fmt::Display) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.0)
    }
}

impl std::error::Error for TlsError {}
