//! Who may talk to whom, decided before the first message.

pub(crate) mod line;
mod token;

use std::io;

pub use token::TokenAuthenticator;

use crate::opening::Opening;
use crate::server::PeerInfo;

/// A server's way to make sure who a client is. It runs before the first message, inside TLS if there
/// is TLS, in a thread of its own (a [`TokenAuthenticator`] needs none in servers that a runtime drives),
/// and must be done by the server's handshake timeout.
pub trait Authenticator: Send + Sync + 'static {
    /// Makes sure who is at the other end, and may note it with [`PeerInfo::set_identity`]. It must
    /// not read more than the client sends for it.
    ///
    /// # Errors
    /// The client is turned away.
    fn admit(&self, opening: &mut Opening<'_>, peer: &mut PeerInfo) -> io::Result<()>;

    /// If it is this one, a task performs it without a thread.
    #[doc(hidden)]
    fn as_token(&self) -> Option<&TokenAuthenticator> {
        None
    }
}

/// A client's part in it. Where a runtime drives the connection it has a thread of its own, too.
pub trait ClientAuthenticator: Send + Sync + 'static {
    /// Introduces this side, and makes sure of the server. It must not read more than the server
    /// sends for it.
    ///
    /// # Errors
    /// There is no connection.
    fn introduce(&self, opening: &mut Opening<'_>) -> io::Result<()>;

    /// If it is this one, a task performs it without a thread.
    #[doc(hidden)]
    fn as_token(&self) -> Option<&TokenAuthenticator> {
        None
    }
}
