//! Connecting from a task.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ::tokio::net::{TcpStream, UnixStream};
use ::tokio::time::timeout_at;

use super::AsyncConnection;
use super::opening::{Limit, in_thread};
use super::stream::{Socket, Stream};
use crate::address::Address;
use crate::connect::{Connector, refused_here};
use crate::error::ConnectError;
use crate::resolve;

impl Connector {
    /// Connects, and has a task of the current runtime drive the connection. TLS and authentication are
    /// as with [`connect`](Self::connect).
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_async(&self) -> Result<AsyncConnection, ConnectError> {
        let name = self.address().to_string();
        let config = self.settings().clone();
        let limit = Limit::from_now(config.connect_timeout);
        let socket = self.reach(&name, limit).await?;
        let mut stream = self.secure_async(&name, socket, limit).await?;
        if let Some(authenticator) = self.client_authenticator() {
            let introduced = match authenticator.as_token() {
                Some(token) => {
                    let introduced = limit.hold(token.introduce_over(&mut stream)).await;
                    introduced.map(|()| stream)
                }
                None => {
                    let authenticator = Arc::clone(authenticator);
                    in_thread(stream, limit, move |opening| {
                        authenticator.introduce(opening)
                    })
                    .await
                    .map(|(stream, ())| stream)
                }
            };
            stream = introduced.map_err(|error| self.unsuccessful(&name, &error))?;
        }
        AsyncConnection::begin(stream, name.clone(), config, self.root(), None)
            .map_err(|exception| refused_here(name, &exception))
    }

    /// A connected socket.
    async fn reach(&self, name: &str, limit: Limit) -> Result<Socket, ConnectError> {
        let Limit { timeout, deadline } = limit;
        let connected = match self.address() {
            Address::Tcp { host, port } | Address::Ssl { host, port } => {
                let addresses =
                    resolve::addresses_async(name, host, *port, deadline, timeout).await?;
                timeout_at(deadline.into(), connect_tcp(&addresses)).await
            }
            Address::Unix(path) => timeout_at(deadline.into(), connect_unix(path)).await,
        };
        // Whatever else was the matter before, the time is over.
        connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| ConnectError::from_io(name, source, timeout))
    }

    #[cfg(feature = "tls")]
    async fn secure_async(
        &self,
        name: &str,
        socket: Socket,
        limit: Limit,
    ) -> Result<Stream, ConnectError> {
        let Address::Ssl { host, .. } = self.address() else {
            return Ok(Stream::Plain(socket));
        };
        let (tls, host) = (self.tls_client().clone(), host.clone());
        let secured = limit.hold(async move {
            let load = move || Ok((tls.load()?, tls.name(&host)?));
            // It reads files.
            let loaded = ::tokio::task::spawn_blocking(load).await;
            let (config, host) =
                loaded?.map_err(|error: crate::TlsError| io::Error::other(error))?;
            let connector = tokio_rustls::TlsConnector::from(config);
            connector.connect(host, socket).await
        });
        match secured.await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream.into()))),
            Err(error) => Err(self.unsuccessful(name, &error)),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secure_async(
        &self,
        name: &str,
        socket: Socket,
        _: Limit,
    ) -> Result<Stream, ConnectError> {
        match self.address() {
            Address::Ssl { .. } => Err(crate::connect::no_tls(name)),
            _ => Ok(Stream::Plain(socket)),
        }
    }
}

/// Tries each address until one accepts.
async fn connect_tcp(addresses: &[SocketAddr]) -> io::Result<Socket> {
    Socket::tcp(TcpStream::connect(addresses).await?)
}

async fn connect_unix(path: &Path) -> io::Result<Socket> {
    Ok(Socket::Unix(UnixStream::connect(path).await?))
}
