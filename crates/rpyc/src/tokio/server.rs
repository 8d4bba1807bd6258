//! Serving with a runtime.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use ::tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use ::tokio::task::spawn_blocking;

use super::{AsyncConnection, Local};
use crate::address::Address;
use crate::config::Config;
use crate::connection::{Connection, Peer, guarded};
use crate::convert::{FromValue, IntoValue};
use crate::error::{BindError, Exception};
use crate::object::Object;
use crate::server::{Listener, PeerInfo, is_of_one_connection, is_passing};

/// How long accepting rests when the process has no descriptor or memory left.
const PAUSE: Duration = Duration::from_millis(100);

type Factory = Arc<dyn Fn(&PeerInfo) -> Result<Arc<dyn Object>, Exception> + Send + Sync>;

/// A server whose connections are tasks of a tokio runtime; see [`AsyncConnection`].
///
/// It has no door of its own: for TLS or authentication, accept the streams yourself and hand them
/// to [`AsyncConnection::over`], or use a [`Server`](crate::Server).
pub struct AsyncServer {
    listener: Listener,
    config: Config,
    max_connections: usize,
    factory: Factory,
}

impl AsyncServer {
    /// Listens at an address: `host:port`, with port 0 for any that is free, or `unix:/path`.
    /// `root` makes the root object of each connection. One that panics, or makes something else
    /// than an object, costs its connection.
    ///
    /// A socket file that is left from a server that is gone is replaced.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind<O: IntoValue>(
        address: &str,
        root: impl Fn(&PeerInfo) -> O + Send + Sync + 'static,
    ) -> Result<Self, BindError> {
        let address: Address = address.parse()?;
        if matches!(address, Address::Ssl { .. }) {
            let text = "make TLS streams yourself, and hand them to AsyncConnection::over";
            return Err(BindError::bad(&address, text));
        }
        let failed = BindError::from_io(&address, io::ErrorKind::Interrupted.into());
        // The host's name may have to be looked up.
        let bound = spawn_blocking(move || Listener::bind(&address)).await;
        let factory = move |peer: &PeerInfo| {
            let root = guarded(|| Ok(root(peer).into_value()))?;
            <Arc<dyn Object>>::from_value(root).map_err(Exception::from)
        };
        Ok(Self {
            listener: bound.unwrap_or(Err(failed))?,
            config: Config::default(),
            max_connections: 10_000,
            factory: Arc::new(factory),
        })
    }

    /// Sets the configuration of the connections.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How many connections there may be at once: 10,000 by default. Others are accepted and closed
    /// at once.
    #[must_use]
    pub const fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    /// Where it listens. A port 0 was replaced by the one that the system chose.
    #[must_use]
    pub const fn address(&self) -> &Address {
        self.listener.address()
    }

    /// Accepts connections, for ever. Dropping the future ends that; connections go on.
    ///
    /// # Errors
    /// The listening socket failed.
    pub async fn serve(self) -> io::Result<()> {
        self.accept(&mut Vec::new()).await
    }

    /// Accepts connections until `stop` is ready; then closes those that are left.
    ///
    /// # Errors
    /// The listening socket failed; connections are closed then, too.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let mut begun = Vec::new();
        let outcome = {
            let mut accept = pin!(self.accept(&mut begun));
            let mut stop = pin!(stop);
            poll_fn(|context| match stop.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => accept.as_mut().poll(context),
            })
            .await
        };
        self.listener.close();
        for peer in begun.iter().filter_map(Weak::upgrade) {
            Connection::of(peer).close();
        }
        outcome
    }

    /// Lists the connections in `begun`.
    async fn accept(&self, begun: &mut Vec<Weak<Peer>>) -> io::Result<()> {
        let incoming = Incoming::of(&self.listener)?;
        loop {
            let (stream, peer) = match incoming.accept(&self.listener).await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                // The socket stays in the queue: without a pause this would spin.
                Err(error) if is_passing(&error) => {
                    log::error!("{}: can't accept for now: {error}", self.address());
                    ::tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if begun.len() >= self.max_connections || begun.len() == begun.capacity() {
                begun.retain(|peer| peer.strong_count() > 0);
            }
            if begun.len() >= self.max_connections {
                log::warn!(
                    "{}: {} was turned away: {} connections are open \
                     (AsyncServer::max_connections)",
                    self.address(),
                    peer.name(),
                    begun.len()
                );
                continue;
            }
            match self.begin(stream, &peer) {
                Ok(conn) => begun.push(Arc::downgrade(conn.peer())),
                Err(exception) => {
                    log::error!("{}: {}: {exception}", self.address(), peer.name());
                }
            }
        }
    }

    /// The task keeps the connection.
    fn begin(&self, stream: Stream, peer: &PeerInfo) -> Result<AsyncConnection, Exception> {
        let root = (self.factory)(peer)?;
        let (name, config) = (peer.name().to_owned(), self.config.clone());
        match stream {
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                let local = Local::of(&stream);
                AsyncConnection::begin(stream, name, config, root, local, true)
            }
            Stream::Unix(stream) => {
                AsyncConnection::begin(stream, name, config, root, Local(true), true)
            }
        }
    }
}

/// The listener as the runtime watches it.
enum Incoming {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Incoming {
    fn of(listener: &Listener) -> io::Result<Self> {
        let socket = listener.non_blocking()?;
        Ok(match listener.address() {
            Address::Unix(_) => Self::Unix(UnixListener::from_std(socket.into())?),
            _ => Self::Tcp(TcpListener::from_std(socket.into())?),
        })
    }

    async fn accept(&self, listener: &Listener) -> io::Result<(Stream, PeerInfo)> {
        Ok(match self {
            Self::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                (Stream::Tcp(stream), listener.peer(Some(address)))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                (Stream::Unix(stream), listener.peer(None))
            }
        })
    }
}

/// Stops listening. Connections go on.
impl Drop for AsyncServer {
    fn drop(&mut self) {
        self.listener.close();
    }
}

impl fmt::Debug for AsyncServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncServer")
            .field("address", self.address())
            .finish_non_exhaustive()
    }
}
