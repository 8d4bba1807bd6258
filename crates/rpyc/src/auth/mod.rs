//! Who may talk to whom, decided before the first message.

mod token;

use std::io;

pub use token::TokenAuthenticator;

use crate::opening::Opening;
use crate::server::PeerInfo;

/// A server's way to make sure who a client is. It runs before the first message, inside TLS if there
/// is TLS, in a thread of its own, and must be done by the server's handshake timeout.
pub trait Authenticator: Send + Sync + 'static {
    /// Makes sure who is at the other end, and may note it with [`PeerInfo::set_identity`]. It must
    /// not read more than the client sends for it.
    ///
    /// # Errors
    /// The client is turned away.
    fn admit(&self, opening: &mut Opening, peer: &mut PeerInfo) -> io::Result<()>;
}

/// A client's part in it.
pub trait ClientAuthenticator: Send + Sync + 'static {
    /// Introduces this side, and makes sure of the server. It must not read more than the server
    /// sends for it.
    ///
    /// # Errors
    /// There is no connection.
    fn introduce(&self, opening: &mut Opening) -> io::Result<()>;
}
