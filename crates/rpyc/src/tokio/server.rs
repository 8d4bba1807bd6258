//! Serving with a runtime.
//!
//! # Theory of operation
//!
//! One task, the one in [`AsyncServer::serve`], accepts. Whatever a peer can draw out is not its concern:
//! a handshake is a task of a set that it owns, with a time limit, and ends with it. A connection that is
//! open is driven by a task of its own, which keeps it, and outlives the server.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use ::tokio::net::{TcpListener, UnixListener};
use ::tokio::task::{JoinSet, spawn_blocking};

use super::AsyncConnection;
use super::opening::{Limit, in_thread};
use super::stream::{Socket, Stream};
use crate::address::Address;
use crate::connection::{Connection, Peer, guarded};
use crate::convert::IntoValue;
use crate::error::{BindError, Exception};
use crate::server::{
    Listener, PeerInfo, Registration, Server, ServerBuilder, Settings, is_of_one_connection,
    is_passing,
};

/// How long accepting rests when the process has no descriptor or memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// A server whose connections are tasks of a tokio runtime; see [`AsyncConnection`].
///
/// It is made by [`bind`](Self::bind), or with more settings by
/// [`ServerBuilder::bind_async`]: TLS, authentication, limits.
///
/// ```
/// use rpyc::{AsyncServer, Connector, Server, TokenAuthenticator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let token = TokenAuthenticator::new(TokenAuthenticator::make_token()?)?;
/// let server: AsyncServer = Server::builder()
///     .authenticator(token.clone())
///     .service(|_| rpyc::function(|a: i64, b: i64| a + b))
///     .bind_async("127.0.0.1:0")
///     .await?;
/// let connector = Connector::to(server.address().clone()).authenticator(token);
/// tokio::spawn(server.serve());
///
/// let conn = connector.connect_async().await?;
/// let sum = conn.root_async().await?.call_async((1, 2)).await?;
/// assert_eq!(sum.extract::<i64>()?, 3);
/// # Ok(())
/// # }
/// ```
pub struct AsyncServer {
    listener: Listener,
    settings: Arc<Settings>,
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
        Server::builder().service(root).bind_async(address).await
    }

    /// Where it listens. A port 0 was replaced by the one that the system chose.
    #[must_use]
    pub const fn address(&self) -> &Address {
        self.listener.address()
    }

    /// Accepts connections, for ever. Dropping the future ends that, and handshakes that are not done;
    /// connections go on.
    ///
    /// # Errors
    /// The listening socket failed.
    pub async fn serve(self) -> io::Result<()> {
        self.run(&mut Guests::default()).await
    }

    /// Accepts connections until `stop` is ready; then closes those that are left.
    ///
    /// # Errors
    /// The listening socket failed; connections are closed then, too.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let mut guests = Guests::default();
        let outcome = {
            let mut run = pin!(self.run(&mut guests));
            let mut stop = pin!(stop);
            poll_fn(|context| match stop.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => run.as_mut().poll(context),
            })
            .await
        };
        self.listener.close();
        guests.close().await;
        if let Some(registration) = self.settings.registration.clone() {
            let address = self.address().clone();
            // A registry that can't be told will find out by itself.
            let _ = spawn_blocking(move || registration.end(&address)).await;
        }
        outcome
    }

    async fn run(&self, guests: &mut Guests) -> io::Result<()> {
        let Some(registration) = &self.settings.registration else {
            return self.accept(guests).await;
        };
        let mut accept = pin!(self.accept(guests));
        let mut register = pin!(keep_registered(registration, self.address()));
        poll_fn(|context| {
            let _: Poll<()> = register.as_mut().poll(context);
            accept.as_mut().poll(context)
        })
        .await
    }

    async fn accept(&self, guests: &mut Guests) -> io::Result<()> {
        let incoming = Incoming::of(&self.listener)?;
        loop {
            let accepted = poll_fn(|context| {
                guests.poll_handshakes(context);
                incoming.poll_accept(&self.listener, context)
            });
            let (socket, peer) = match accepted.await {
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
            if guests.count(self.settings.max_connections) >= self.settings.max_connections {
                log::warn!(
                    "{}: {} was turned away: {} connections are open \
                     (ServerBuilder::max_connections)",
                    self.address(),
                    peer.name(),
                    self.settings.max_connections
                );
                continue;
            }
            let door = Door {
                settings: Arc::clone(&self.settings),
                address: self.address().clone(),
            };
            if self.settings.has_handshake() {
                guests.opening.spawn(door.open(socket, peer));
            } else {
                guests.open.extend(door.begin(Stream::Plain(socket), &peer));
            }
        }
    }
}

impl ServerBuilder {
    /// As [`bind`](Self::bind), but a runtime drives the connections. It needs none of the ways to get
    /// threads: [`pool`](Self::pool) and [`one_shot`](Self::one_shot) are for [`Server`]s only.
    ///
    /// The factory of root objects and their [`on_connect`](crate::Object::on_connect) run inside the runtime,
    /// so they must not block. Handshakes are tasks; authenticators other than tokens have threads.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind_async(self, address: &str) -> Result<AsyncServer, BindError> {
        let address: Address = address.parse()?;
        let failed = BindError::from_io(&address, io::ErrorKind::Interrupted.into());
        // There are files to read, and the host's name may have to be looked up.
        let bound = spawn_blocking(move || {
            let (settings, address) = self.prepare(&address)?;
            if !settings.is_threaded() {
                let text = "ServerBuilder::pool and one_shot are for servers with threads";
                return Err(BindError::bad(&address, text));
            }
            Ok((settings, Listener::bind(&address)?))
        });
        let (settings, listener) = bound.await.unwrap_or(Err(failed))?;
        Ok(AsyncServer {
            listener,
            settings: Arc::new(settings),
        })
    }
}

/// The connections of a server.
#[derive(Default)]
struct Guests {
    /// Those that are being opened.
    opening: JoinSet<Option<Weak<Peer>>>,
    /// Those that are open, or were.
    open: Vec<Weak<Peer>>,
}

impl Guests {
    /// How many there are. Those that have left are looked for only if it matters.
    fn count(&mut self, max: usize) -> usize {
        if self.opening.len() + self.open.len() >= max || self.open.len() == self.open.capacity() {
            self.open.retain(|peer| peer.strong_count() > 0);
        }
        self.opening.len() + self.open.len()
    }

    /// Notes the ends of handshakes. The task is woken by the next one.
    fn poll_handshakes(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(done)) = self.opening.poll_join_next(context) {
            self.open.extend(done.ok().flatten());
        }
    }

    /// Closes all.
    async fn close(mut self) {
        self.opening.abort_all();
        while let Some(done) = self.opening.join_next().await {
            self.open.extend(done.ok().flatten());
        }
        for peer in self.open.iter().filter_map(Weak::upgrade) {
            Connection::of(peer).close();
        }
    }
}

/// What a connection has to pass.
struct Door {
    settings: Arc<Settings>,
    address: Address,
}

impl Door {
    /// Opens a connection, in a task. `None`: it is not served.
    async fn open(self, socket: Socket, mut peer: PeerInfo) -> Option<Weak<Peer>> {
        match self.shake_hands(socket, &mut peer).await {
            Ok(stream) => self.begin(stream, &peer),
            Err(error) => {
                log::warn!("{}: {} was turned away: {error}", self.address, peer.name());
                None
            }
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

    /// Makes the root object and the connection, which its task keeps. `None`: there is none.
    fn begin(&self, stream: Stream, peer: &PeerInfo) -> Option<Weak<Peer>> {
        let config = self.settings.config.clone();
        // The factory is the user's code.
        let begun =
            guarded(|| (self.settings.service)(peer).map_err(Exception::from)).and_then(|root| {
                AsyncConnection::begin(stream, peer.name().into(), config, root, true)
            });
        match begun {
            Ok(conn) => Some(Arc::downgrade(conn.peer())),
            Err(exception) => {
                log::error!("{}: {}: {exception}", self.address, peer.name());
                None
            }
        }
    }
}

/// Registers again and again.
async fn keep_registered(registration: &Registration, address: &Address) {
    let mut complained = false;
    loop {
        let (registration, address) = (registration.clone(), address.clone());
        let round = spawn_blocking(move || registration.renew(&address, complained));
        let Ok((pause, failed)) = round.await else {
            return;
        };
        complained = failed;
        ::tokio::time::sleep(pause).await;
    }
}

/// The listener as the runtime watches it.
enum Incoming {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Incoming {
    fn of(listener: &Listener) -> io::Result<Self> {
        let socket = listener.non_blocking()?;
        Ok(match listener.address() {
            Address::Unix(_) => Self::Unix(UnixListener::from_std(socket.into())?),
            _ => Self::Tcp(TcpListener::from_std(socket.into())?),
        })
    }

    fn poll_accept(
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
