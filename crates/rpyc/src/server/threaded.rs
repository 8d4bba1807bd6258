//! From a socket to a connection, and a thread that serves it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::builder::Kind;
use super::peer::PeerInfo;
use super::{Arc, Shared};
use crate::connection::Connection;
use crate::opening::{Entrance, Opening};

/// Opens a connection and serves it to its end, in this thread.
pub(super) fn serve(shared: &Arc<Shared>, key: u64, opening: Entrance, peer: PeerInfo) {
    if let Some((opening, peer)) = shared.shake_hands(key, opening, peer)
        && let Some(conn) = shared.begin(key, opening, &peer)
    {
        match conn.serve_all() {
            Ok(()) => log::debug!("{}: {} has left", shared.address(), peer.name()),
            Err(error) => log::info!("{}: {error}", shared.address()),
        }
    }
    shared.connections.remove(key);
}

impl Shared {
    /// Makes sure who the peer is. `None`: it is not served.
    pub(super) fn shake_hands(
        &self,
        key: u64,
        mut opening: Entrance,
        mut peer: PeerInfo,
    ) -> Option<(Entrance, PeerInfo)> {
        // An authenticator is the user's code.
        let shaken = catch_unwind(AssertUnwindSafe(|| self.identify(&mut opening, &mut peer)));
        let error = match shaken {
            Ok(Ok(())) => return Some((opening, peer)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the authenticator panicked".to_owned(),
        };
        log::warn!(
            "{}: {} was turned away: {error}",
            self.address(),
            peer.name()
        );
        self.connections.remove(key);
        None
    }

    fn identify(&self, opening: &mut Entrance, peer: &mut PeerInfo) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(config) = &self.settings.tls {
            let session = crate::tls::server_session(config).map_err(io::Error::other)?;
            opening.secure(session)?;
            peer.set_certificate(opening.peer_certificate());
        }
        match &self.settings.authenticator {
            Some(authenticator) => authenticator.admit(&mut Opening::over(opening), peer),
            None => Ok(()),
        }
    }

    /// Makes the root object and the connection. `None`: there is none.
    pub(super) fn begin(&self, key: u64, opening: Entrance, peer: &PeerInfo) -> Option<Connection> {
        let address = self.address();
        if self.settings.kind == Kind::OneShot {
            if !self.connections.take() {
                return None;
            }
            self.connections.refuse();
            self.listener.close();
        }
        // The factory is the user's code.
        let root = catch_unwind(AssertUnwindSafe(|| (self.settings.service)(peer)));
        let root = match root {
            Ok(Ok(root)) => root,
            Ok(Err(error)) => {
                log::error!("{address}: the factory made no root object: {error}");
                return None;
            }
            Err(_) => {
                log::error!("{address}: the factory of root objects panicked");
                return None;
            }
        };
        let stream = match opening.into_stream(&self.settings.config) {
            Ok(stream) => stream,
            Err(error) => {
                log::info!("{address}: {} is gone: {error}", peer.name());
                return None;
            }
        };
        match Connection::over(stream, peer.name(), self.settings.config.clone(), root) {
            Ok(conn) if self.connections.opened(key, &conn) => Some(conn),
            Ok(conn) => {
                conn.hang_up();
                None
            }
            Err(exception) => {
                log::info!(
                    "{address}: on_connect turned {} away: {exception}",
                    peer.name()
                );
                None
            }
        }
    }
}
