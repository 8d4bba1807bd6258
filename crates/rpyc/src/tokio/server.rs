//! Serving with a runtime.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use ::tokio::io::{AsyncRead, AsyncWrite};
use ::tokio::net::{TcpListener, UnixListener};

use super::{AsyncConnection, Local};
use crate::address::Address;
use crate::config::Config;
use crate::connection::{Connection, Peer};
use crate::convert::{FromValue, IntoValue};
use crate::error::{ConnectError, Exception};
use crate::object::Object;

/// How long accepting rests after an error, such as too many open files.
const REST: Duration = Duration::from_millis(50);

type Factory = Arc<dyn Fn(&str) -> Arc<dyn Object> + Send + Sync>;

/// A server whose connections are tasks of a tokio runtime; see [`AsyncConnection`].
pub struct AsyncServer {
    listener: Listener,
    address: Address,
    config: Config,
    factory: Factory,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl AsyncServer {
    /// Listens at an address. `root` makes the root object of each connection; it is told where the
    /// connection comes from.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn bind<O: IntoValue>(
        address: &str,
        root: impl Fn(&str) -> O + Send + Sync + 'static,
    ) -> Result<Self, ConnectError> {
        let parsed: Address = address.parse()?;
        let failed = |source| ConnectError::from_io(address, source, Duration::ZERO);
        let (listener, bound) = match parsed {
            Address::Tcp { host, port } => {
                let listener = TcpListener::bind((host.as_str(), port))
                    .await
                    .map_err(failed)?;
                let port = listener.local_addr().map_err(failed)?.port();
                (Listener::Tcp(listener), Address::Tcp { host, port })
            }
            Address::Unix(path) => {
                let listener = UnixListener::bind(&path).map_err(failed)?;
                (Listener::Unix(listener, path.clone()), Address::Unix(path))
            }
            Address::Ssl { .. } => {
                return Err(ConnectError::Address {
                    address: address.to_owned(),
                    reason: "serve TLS with AsyncConnection::over".to_owned(),
                });
            }
        };
        let factory = move |peer: &str| -> Arc<dyn Object> {
            <Arc<dyn Object>>::from_value(root(peer).into_value())
                .unwrap_or_else(|_| Arc::new(crate::object::Void))
        };
        Ok(Self {
            listener,
            address: bound,
            config: Config::default(),
            factory: Arc::new(factory),
        })
    }

    /// Sets the configuration of the connections.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where it listens. A port 0 was replaced by the one that the system chose.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts connections, for ever. Dropping the future ends that; connections go on.
    pub async fn serve(self) {
        self.accept(|_| ()).await;
    }

    /// Accepts connections until `stop` is ready; then closes those that are left.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) {
        let mut begun: Vec<Weak<Peer>> = Vec::new();
        {
            let mut accept = pin!(self.accept(|conn| {
                if begun.len() == begun.capacity() {
                    begun.retain(|peer| peer.strong_count() > 0);
                }
                begun.push(Arc::downgrade(conn.peer()));
            }));
            let mut stop = pin!(stop);
            poll_fn(|context| match accept.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => stop.as_mut().poll(context),
            })
            .await;
        }
        for peer in begun.iter().filter_map(Weak::upgrade) {
            Connection::of(peer).close();
        }
    }

    async fn accept(&self, mut begun: impl FnMut(AsyncConnection)) {
        loop {
            let accepted = match &self.listener {
                Listener::Tcp(listener) => listener.accept().await.and_then(|(socket, from)| {
                    socket.set_nodelay(true)?;
                    let local = Local::of(&socket);
                    Ok(self.begin(socket, from.to_string(), local))
                }),
                Listener::Unix(listener, path) => listener.accept().await.map(|(socket, _)| {
                    let name = format!("a client of unix:{}", path.display());
                    self.begin(socket, name, Local(true))
                }),
            };
            match accepted {
                Ok(Ok(conn)) => begun(conn),
                // `on_connect` of the root raised, so the connection is closed already.
                Ok(Err(_)) => {}
                // The connection is gone already, or resources are short: others may still come.
                Err(_) => ::tokio::time::sleep(REST).await,
            }
        }
    }

    /// The task keeps the connection.
    fn begin(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: String,
        local: Local,
    ) -> Result<AsyncConnection, Exception> {
        let root = (self.factory)(&peer);
        AsyncConnection::begin(stream, peer, self.config.clone(), root, local, true)
    }
}

/// A Unix socket leaves its file behind.
impl Drop for AsyncServer {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = &self.listener {
            // It may have been removed already.
            let _ = std::fs::remove_file(path);
        }
    }
}
