//! Connections that a tokio runtime drives.

mod drive;
mod result;
mod server;
mod wire;

use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ::tokio::io::{AsyncRead, AsyncWrite};
use ::tokio::net::{TcpStream, UnixStream};
use ::tokio::time::timeout_at;
use rpyc_proto::consts::Handler;

pub use server::AsyncServer;
pub(crate) use wire::RuntimeWire;

use self::drive::Driver;
use crate::address::Address;
use crate::config::Config;
use crate::connect::Connector;
use crate::connection::{Connection, Wire};
use crate::error::{ConnectError, ConnectionLost, Exception, Result};
use crate::netref::Netref;
use crate::object::Object;

/// A [`Connection`] that a task of the runtime drives: thousands of them need a few threads.
///
/// The task serves the peer by itself. Methods of served objects run inside it, so they must not
/// block; what takes long is written as `async fn`. Calls are awaited: use the methods of [`Netref`]
/// whose names end in `_async`. The blocking ones work from threads outside of the runtime only.
///
/// Dropping a future that was not awaited to its end gives its answer up.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = rpyc::AsyncServer::bind("127.0.0.1:0", |_| rpyc::function(|x: i64| 2 * x)).await?;
/// let address = server.address().to_string();
/// tokio::spawn(server.serve());
///
/// let conn = rpyc::AsyncConnection::connect(&address).await?;
/// let double = conn.root_async().await?;
/// assert_eq!(double.call_async((21,)).await?.extract::<i64>()?, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AsyncConnection(Connection);

impl AsyncConnection {
    /// Connects to a server, with the default configuration and nothing to offer back.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(address: &str) -> Result<Self, ConnectError> {
        Connector::new(address)?.connect_async().await
    }

    /// A connection over any stream of bytes that is connected. `peer` names the other end in error
    /// texts. Its task is spawned on the current runtime.
    ///
    /// # Errors
    /// What [`Object::on_connect`] of the root raises; the connection is closed then.
    pub fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: impl Into<String>,
        config: Config,
        root: Arc<dyn Object>,
    ) -> Result<Self, Exception> {
        Self::begin(stream, peer.into(), config, root, Local(false), false)
    }

    fn begin(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: String,
        config: Config,
        root: Arc<dyn Object>,
        local: Local,
        keep: bool,
    ) -> Result<Self, Exception> {
        let wire = RuntimeWire::new(&config.limits, local.0);
        let conn = Connection::begin(Wire::Runtime(wire), peer, config, root)?;
        let driver = Driver::new(stream, conn.peer());
        let kept = keep.then(|| Arc::clone(conn.peer()));
        ::tokio::spawn(driver.run(kept));
        Ok(Self(conn))
    }

    /// The peer's root object.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error).
    pub async fn root_async(&self) -> Result<Netref> {
        let root = self.0.request(Handler::GetRoot, Vec::new()).send().await?;
        Ok(root.extract()?)
    }

    /// Asks the peer for a sign of life.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error).
    pub async fn ping_async(&self) -> Result<()> {
        let data = crate::Value::Str("ping".to_owned());
        let ping = self.0.request(Handler::Ping, vec![data]);
        ping.send().await.map(drop)
    }

    /// Waits until the connection has ended, and tells why.
    pub async fn closed(&self) -> ConnectionLost {
        poll_fn(|context| {
            // First the waker, then the look: the end may come in between.
            if let Wire::Runtime(wire) = self.0.peer().wire() {
                wire.watch_end(context.waker());
            }
            self.0.end().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// What is not asynchronous: what is known here, and closing, which does not wait.
impl Deref for AsyncConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

/// Whether a peer is on this machine.
#[derive(Clone, Copy)]
struct Local(bool);

impl Local {
    fn of(socket: &TcpStream) -> Self {
        let peer = socket.peer_addr();
        Self(peer.is_ok_and(|address| address.ip().to_canonical().is_loopback()))
    }
}

impl Connector {
    /// Connects, and has a task of the current runtime drive the connection.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_async(&self) -> Result<AsyncConnection, ConnectError> {
        let name = self.address().to_string();
        if self.has_authenticator() {
            return Err(ConnectError::Handshake {
                address: name,
                reason: "authenticators are for blocking connections: use Connector::connect, or \
                         authenticate on a stream and use AsyncConnection::over"
                    .to_owned(),
            });
        }
        let waited = self.settings().connect_timeout;
        let deadline = Instant::now() + waited;
        let opened = timeout_at(deadline.into(), self.open_async(&name, waited)).await;
        opened.unwrap_or(Err(ConnectError::TimedOut {
            address: name,
            waited,
            accepted: false,
        }))
    }

    async fn open_async(
        &self,
        name: &str,
        waited: Duration,
    ) -> Result<AsyncConnection, ConnectError> {
        let failed = |source| ConnectError::from_io(name, source, waited);
        let (config, root) = (self.settings().clone(), self.root());
        let begun = match self.address() {
            Address::Tcp { host, port } => {
                let socket = TcpStream::connect((host.as_str(), *port))
                    .await
                    .map_err(failed)?;
                socket.set_nodelay(true).map_err(failed)?;
                let local = Local::of(&socket);
                AsyncConnection::begin(socket, name.to_owned(), config, root, local, false)
            }
            Address::Unix(path) => {
                let socket = UnixStream::connect(path).await.map_err(failed)?;
                AsyncConnection::begin(socket, name.to_owned(), config, root, Local(true), false)
            }
            Address::Ssl { .. } => {
                return Err(ConnectError::Address {
                    address: name.to_owned(),
                    reason: "TLS is for blocking connections; make a TLS stream and use \
                             AsyncConnection::over"
                        .to_owned(),
                });
            }
        };
        begun.map_err(|exception| ConnectError::Handshake {
            address: name.to_owned(),
            reason: format!("on_connect of the own service raised {exception}"),
        })
    }
}
