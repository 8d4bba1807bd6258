//! A listening socket in a runtime.

use std::io;
use std::task::{Context, Poll};

use ::tokio::net::{TcpListener, UnixListener};

use super::stream::Socket;
use crate::address::Address;
use crate::server::{Listener, PeerInfo};

/// The listener as the runtime watches it.
pub(super) enum Incoming {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Incoming {
    pub(super) fn of(listener: &Listener) -> io::Result<Self> {
        let socket = listener.non_blocking()?;
        Ok(match listener.address() {
            Address::Unix(_) => Self::Unix(UnixListener::from_std(socket.into())?),
            _ => Self::Tcp(TcpListener::from_std(socket.into())?),
        })
    }

    /// The next connection, and who it is.
    pub(super) fn poll_accept(
        &self,
        listener: &Listener,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, PeerInfo)>> {
        match self {
            Self::Tcp(socket) => socket.poll_accept(context).map(|accepted| {
                let (socket, address) = accepted?;
                Ok((Socket::tcp(socket)?, listener.peer(Some(address))))
            }),
            Self::Unix(socket) => socket
                .poll_accept(context)
                .map_ok(|(socket, _)| (Socket::Unix(socket), listener.peer(None))),
        }
    }
}
