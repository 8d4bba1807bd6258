//! Serving with a runtime.
//!
//! # Theory of operation
//!
//! One task, the one in [`AsyncServer::serve`], accepts. Whatever a peer can draw out is not its concern:
//! a handshake is a task of a set that it owns, with a time limit, and ends with it. A connection that is
//! open is driven by a task of its own, which keeps it, and outlives the server.
//!
//! A connection is listed from being accepted to the end of its task, in the list that servers with threads
//! have, too: what limits their number, what a stop goes through and what a drain waits for is the same.
//! A drain learns from the task whether a connection is quiet (`RuntimeWire::is_quiet`): it has it look once
//! more, and the task says so by going to sleep.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use ::tokio::sync::mpsc;
use ::tokio::task::{JoinSet, spawn_blocking};
use ::tokio::time::{sleep, timeout};

use super::door::Door;
use super::incoming::Incoming;
use super::place::Place;
use super::stream::Stream;
use crate::address::Address;
use crate::convert::IntoValue;
use crate::error::BindError;
use crate::server::{
    Connections, Drain, Entry, LINGER, Listener, PeerInfo, Registration, Server, ServerBuilder,
    Settings, is_of_one_connection, is_passing,
};

/// How long accepting rests when the process has no descriptor or memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// A server whose connections are tasks of a tokio runtime; see [`AsyncConnection`](super::AsyncConnection).
///
/// Clones are the same server. It listens from being bound on, so a client can connect at once; connections
/// are served once [`serve`](Self::serve) runs.
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
#[derive(Clone)]
pub struct AsyncServer(Arc<Shared>);

/// What the tasks of a server share.
struct Shared {
    settings: Arc<Settings>,
    listener: Listener,
    connections: Arc<Connections>,
    serving: AtomicBool,
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
    pub fn address(&self) -> &Address {
        self.0.listener.address()
    }

    /// How many connections there are, those that are still being opened included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.connections.count()
    }

    /// Accepts connections until [`stop`](Self::stop) or [`drain`](Self::drain) is called; then waits until
    /// the connections' tasks have ended, for five seconds at most.
    ///
    /// Dropping the future closes the door, and ends handshakes that are not done; connections go on.
    ///
    /// # Errors
    /// The server serves already, or has served; the listening socket failed, and the server has stopped.
    pub async fn serve(self) -> io::Result<()> {
        let shared = &*self.0;
        if shared.serving.swap(true, Ordering::AcqRel) {
            return Err(io::Error::other("the server serves already, or has served"));
        }
        let door = OpenDoor(shared);
        // Each connection has a sender, and nothing is ever sent: when the last one is gone, so are they.
        let (here, mut all_gone) = mpsc::channel(1);
        let accepted = shared.run(here).await;
        drop(door);
        if accepted.is_err() {
            self.stop();
        }
        if let Some(registration) = shared.settings.registration.clone() {
            let address = self.address().clone();
            // A registry that can't be told will find out by itself.
            let _ = spawn_blocking(move || registration.end(&address)).await;
        }
        shared.connections.closed().await;
        let _ = timeout(LINGER, all_gone.recv()).await;
        accepted
    }

    /// [`serve`](Self::serve), and [`stop`](Self::stop) when `stop` is ready. For a gentle end, have it wait for
    /// a [`drain`](Self::drain) of a clone.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let server = self.clone();
        let mut serve = pin!(self.serve());
        let mut stop = pin!(stop);
        let mut stopped = false;
        poll_fn(|context| {
            if !stopped && stop.as_mut().poll(context).is_ready() {
                stopped = true;
                server.stop();
            }
            serve.as_mut().poll(context)
        })
        .await
    }

    /// Stops: no new connections, and all connections are closed. Methods that are running go on,
    /// but nobody gets their results. A socket file is removed.
    pub fn stop(&self) {
        self.0.listener.close();
        for entry in self.0.connections.close() {
            entry.hang_up();
        }
    }

    /// Stops gently: no new connections; requests that are running, or have arrived, are finished
    /// and answered; each connection is closed once it is quiet. After `timeout`,
    /// [`stop`](Self::stop). Tells whether all was finished in time; what was not is named in the log.
    ///
    /// Asynchronous methods count as running until they are done. After it, [`serve`](Self::serve) returns:
    /// whoever shuts the runtime down awaits that first. Dropping the future leaves the door closed, and the
    /// connections to themselves.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = rpyc::AsyncServer::bind("127.0.0.1:0", |_| rpyc::function(|x: i64| 2 * x)).await?;
    /// let serving = tokio::spawn(server.clone().serve());
    ///
    /// let conn = rpyc::AsyncConnection::connect(&server.address().to_string()).await?;
    /// let double = conn.root_async().await?;
    /// let call = double.call_async((21,));
    /// let drained = server.drain(Duration::from_secs(10)).await;
    /// serving.await??;
    ///
    /// assert!(drained);
    /// assert_eq!(call.await?.extract::<i64>()?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drain(&self, timeout: Duration) -> bool {
        self.0.listener.close();
        let mut drain = Drain::begin(&self.0.connections, timeout);
        let drained = loop {
            // Before the first look, too: it is when the runtime sleeps that it learns what has arrived.
            sleep(drain.pause()).await;
            if let Some(drained) = drain.look(self.address()) {
                break drained;
            }
        };
        self.stop();
        drained
    }
}

impl Shared {
    /// Until the door is closed.
    async fn run(&self, here: mpsc::Sender<Infallible>) -> io::Result<()> {
        let accept = async {
            match self.accept(here).await {
                // It was closed under who accepts.
                Err(_) if self.listener.is_closed() => Ok(()),
                outcome => outcome,
            }
        };
        let register = async {
            match &self.settings.registration {
                Some(registration) => keep_registered(registration, self.address()).await,
                None => pending().await,
            }
        };
        let (mut accept, mut register) = (pin!(accept), pin!(register));
        let mut refused = pin!(self.connections.refused());
        poll_fn(|context| {
            if refused.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let _: Poll<Infallible> = register.as_mut().poll(context);
            accept.as_mut().poll(context)
        })
        .await
    }

    async fn accept(&self, here: mpsc::Sender<Infallible>) -> io::Result<()> {
        let incoming = Incoming::of(&self.listener)?;
        // They end with this future.
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = poll_fn(|context| {
                while let Poll::Ready(Some(_)) = handshakes.poll_join_next(context) {}
                incoming.poll_accept(&self.listener, context)
            });
            let (socket, peer) = match accepted.await {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                // The socket stays in the queue: without a pause this would spin.
                Err(error) if is_passing(&error) => {
                    log::error!("{}: can't accept for now: {error}", self.address());
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(key) = self.connections.admit(Entry::InTask) else {
                log::warn!(
                    "{}: {} was turned away: {} connections are open \
                     (ServerBuilder::max_connections)",
                    self.address(),
                    peer.name(),
                    self.connections.count()
                );
                continue;
            };
            let place = Place::new(Arc::clone(&self.connections), key, here.clone());
            let door = Door {
                settings: Arc::clone(&self.settings),
                address: self.address().clone(),
            };
            if self.settings.has_handshake() {
                handshakes.spawn(door.open(socket, peer, place));
            } else {
                door.begin(Stream::Plain(socket), &peer, place);
            }
        }
    }

    fn address(&self) -> &Address {
        self.listener.address()
    }
}

/// Closed when the server is not served any more, for whatever reason.
struct OpenDoor<'a>(&'a Shared);

impl Drop for OpenDoor<'_> {
    fn drop(&mut self) {
        self.0.listener.close();
        self.0.connections.refuse();
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
        Ok(AsyncServer(Arc::new(Shared {
            connections: Arc::new(Connections::new(settings.max_connections)),
            settings: Arc::new(settings),
            listener,
            serving: AtomicBool::new(false),
        })))
    }
}

/// Registers again and again.
async fn keep_registered(registration: &Registration, address: &Address) -> Infallible {
    let mut complained = false;
    loop {
        let (registration, address) = (registration.clone(), address.clone());
        let round = spawn_blocking(move || registration.renew(&address, complained));
        let Ok((pause, failed)) = round.await else {
            // The runtime is being shut down.
            return pending().await;
        };
        complained = failed;
        sleep(pause).await;
    }
}

/// The listening socket and its file go with the server.
impl Drop for Shared {
    fn drop(&mut self) {
        self.listener.close();
    }
}

impl fmt::Debug for AsyncServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncServer")
            .field("address", self.address())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
