//! From a socket to a connection that a task drives.

use std::io;
use std::sync::Arc;

use super::AsyncConnection;
use super::opening::{Limit, in_thread};
use super::place::Place;
use super::stream::{Socket, Stream};
use crate::address::Address;
use crate::connection::guarded;
use crate::error::Exception;
use crate::server::{PeerInfo, Settings};

/// What a connection has to pass.
pub(super) struct Door {
    pub(super) settings: Arc<Settings>,
    pub(super) address: Address,
}

impl Door {
    /// Opens a connection, in a task.
    pub(super) async fn open(self, socket: Socket, mut peer: PeerInfo, place: Place) {
        match self.shake_hands(socket, &mut peer).await {
            Ok(stream) => self.begin(stream, &peer, place),
            Err(error) => {
                log::warn!("{}: {} was turned away: {error}", self.address, peer.name());
            }
        }
    }

    /// Makes the root object and the connection, which its task keeps.
    pub(super) fn begin(&self, stream: Stream, peer: &PeerInfo, place: Place) {
        let config = self.settings.config.clone();
        let (connections, key) = place.entry();
        // The factory is the user's code.
        let begun =
            guarded(|| (self.settings.service)(peer).map_err(Exception::from)).and_then(|root| {
                AsyncConnection::begin(stream, peer.name().into(), config, root, Some(place))
            });
        match begun {
            // The server may have been stopped meanwhile.
            Ok(conn) if connections.opened(key, &conn) => {}
            Ok(conn) => conn.hang_up(),
            Err(exception) => log::error!("{}: {}: {exception}", self.address, peer.name()),
        }
    }

    /// Makes sure who the peer is.
    async fn shake_hands(&self, socket: Socket, peer: &mut PeerInfo) -> io::Result<Stream> {
        let limit = Limit::from_now(self.settings.handshake_timeout);
        let mut stream = self.secure(socket, peer, limit).await?;
        let Some(authenticator) = &self.settings.authenticator else {
            return Ok(stream);
        };
        if let Some(token) = authenticator.as_token() {
            limit.hold(token.admit_over(&mut stream, peer)).await?;
            return Ok(stream);
        }
        let (authenticator, mut known) = (Arc::clone(authenticator), peer.clone());
        let (stream, known) = in_thread(stream, limit, move |opening| {
            authenticator.admit(opening, &mut known)?;
            Ok(known)
        })
        .await?;
        *peer = known;
        Ok(stream)
    }

    #[cfg(feature = "tls")]
    async fn secure(
        &self,
        socket: Socket,
        peer: &mut PeerInfo,
        limit: Limit,
    ) -> io::Result<Stream> {
        let Some(config) = &self.settings.tls else {
            return Ok(Stream::Plain(socket));
        };
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(config));
        let secured = limit.hold(acceptor.accept(socket)).await?;
        let stream = Stream::Tls(Box::new(secured.into()));
        peer.set_certificate(stream.peer_certificate());
        Ok(stream)
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with TLS there is a handshake")]
    async fn secure(&self, socket: Socket, _: &mut PeerInfo, _: Limit) -> io::Result<Stream> {
        Ok(Stream::Plain(socket))
    }
}
