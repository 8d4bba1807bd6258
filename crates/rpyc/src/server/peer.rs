//! Who connected.

use std::net::SocketAddr;

/// What a server knows of the peer when a connection is open, before the first message.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    name: String,
    address: Option<SocketAddr>,
    identity: Option<String>,
    certificate: Option<Vec<u8>>,
}

impl PeerInfo {
    pub(crate) const fn new(name: String, address: Option<SocketAddr>) -> Self {
        Self {
            name,
            address,
            identity: None,
            certificate: None,
        }
    }

    /// Who it is, for texts: `127.0.0.1:40312`, or `a client of unix:/path`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address it connected from; `None` for Unix sockets.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whom the authenticator found it to be.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// Sets whom the peer was found to be. For authenticators.
    pub fn set_identity(&mut self, identity: impl Into<String>) {
        self.identity = Some(identity.into());
    }

    /// The certificate that it showed, in DER. A server that asks for none gets none.
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_certificate(&mut self, certificate: Option<Vec<u8>>) {
        self.certificate = certificate;
    }
}
