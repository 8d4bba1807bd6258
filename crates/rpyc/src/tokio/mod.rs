//! Connections that a tokio runtime drives.

mod connect;
mod door;
mod drive;
mod incoming;
mod opening;
mod place;
mod result;
mod server;
mod stream;
mod wire;

use std::borrow::Borrow;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;
use std::task::Poll;

use ::tokio::io::{AsyncRead, AsyncWrite};
use rpyc_proto::consts::Handler;

pub use server::AsyncServer;
pub(crate) use wire::RuntimeWire;

use self::drive::Driver;
use self::place::Place;
use self::stream::{Socket, Stream};
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
/// A connection with settings, TLS or a token is made by [`Connector::connect_async`].
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
        let wire = RuntimeWire::new(&config.limits, false, false);
        Self::drive(stream, wire, peer.into(), config, root, None)
    }

    /// A connection over a socket that was opened. `place`: it is a server's, and its task keeps it alive.
    fn begin(
        stream: Stream,
        peer: String,
        config: Config,
        root: Arc<dyn Object>,
        place: Option<Place>,
    ) -> Result<Self, Exception> {
        let fills_pages = matches!(stream, Stream::Plain(Socket::Tcp(_)));
        let wire = RuntimeWire::new(&config.limits, stream.is_local(), fills_pages);
        match stream {
            // Nothing to ask at each turn.
            Stream::Plain(Socket::Tcp(socket)) => {
                Self::drive(socket, wire, peer, config, root, place)
            }
            other => Self::drive(other, wire, peer, config, root, place),
        }
    }

    fn drive(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        wire: RuntimeWire,
        peer: String,
        config: Config,
        root: Arc<dyn Object>,
        place: Option<Place>,
    ) -> Result<Self, Exception> {
        let conn = Connection::begin(Wire::Runtime(wire), peer, config, root)?;
        let driver = Driver::new(stream, conn.peer());
        let guest = place.map(|place| (Arc::clone(conn.peer()), place));
        ::tokio::spawn(driver.run(guest));
        Ok(Self(conn))
    }

    /// The peer's root object.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error).
    pub async fn root_async(&self) -> Result<Netref> {
        self.0.root_in(self.0.request_root().send().await?)
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

/// The same connection, for what works with those of both kinds.
impl Borrow<Connection> for AsyncConnection {
    fn borrow(&self) -> &Connection {
        &self.0
    }
}

/// What is not asynchronous: what is known here, and closing, which does not wait.
impl Deref for AsyncConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}
