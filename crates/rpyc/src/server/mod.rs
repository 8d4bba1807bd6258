//! Servers: they accept connections and serve a root object to each.
//!
//! # Theory of operation
//!
//! One thread, the one in [`Server::serve`], accepts. It does nothing else: handshakes and the
//! service's own code run in other threads, so no peer can make another one wait at the door.
//!
//! A connection is listed from the moment it is accepted (`connections`), first as a bare socket
//! that is being opened, then as a [`Connection`]. The list is what limits their number, and what
//! [`Server::stop`] goes through. A socket that is accepted while the server stops finds the list
//! closed.
//!
//! *Threaded* (`threaded`): each connection has a thread, which opens it and serves it to its end.
//! *Pool* (`pool`): connections that are open lie in an `epoll` set, at no cost; a fixed number of
//! workers serves those that have something to say.
//! *One-shot*: threaded; the first connection that is open closes the door behind it.

mod builder;
mod connections;
mod drain;
mod listener;
mod peer;
mod pool;
mod registration;
mod threaded;
mod threads;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use builder::Kind;
pub use builder::ServerBuilder;
pub(crate) use builder::Settings;
pub(crate) use connections::{Connections, Entry};
pub(crate) use drain::Drain;
use listener::Accepted;
#[cfg(feature = "tokio")]
pub(crate) use listener::is_of_one_connection;
pub(crate) use listener::{Listener, is_passing};
pub use peer::PeerInfo;
use pool::Pool;
#[cfg(feature = "tokio")]
pub(crate) use registration::Registration;
use threads::Threads;

use crate::address::Address;
use crate::opening::Entrance;

/// How long [`Server::serve`] waits, after a stop, for threads that are still in a method.
pub(crate) const LINGER: Duration = Duration::from_secs(5);
/// How long accepting pauses when the process has no descriptor or thread left.
const PAUSE: Duration = Duration::from_millis(100);

/// A server: it listens at an address, and serves a root object to each connection.
///
/// Clones are the same server. It listens from [`ServerBuilder::bind`] on, so a client can connect
/// at once; connections are served once [`serve`](Self::serve) runs.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = rpyc::Server::builder()
///     .service(|peer| {
///         println!("{} is here", peer.name());
///         rpyc::function(|a: i64, b: i64| a + b)
///     })
///     .bind("127.0.0.1:0")?;
/// let serving = server.serve_in_thread()?;
///
/// let conn = rpyc::connect(&server.address().to_string())?;
/// assert_eq!(conn.root()?.call((1, 2))?.extract::<i64>()?, 3);
///
/// server.drain(Duration::from_secs(1));
/// serving.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Server(Arc<Shared>);

/// What the threads of a server share.
struct Shared {
    settings: Settings,
    listener: Listener,
    connections: Connections,
    threads: Threads,
    pool: Option<Pool>,
    serving: AtomicBool,
}

impl Server {
    /// What a server is to be like.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    fn new(settings: Settings, listener: Listener) -> io::Result<Self> {
        let pool = match settings.kind {
            Kind::Pool(_) => Some(Pool::new()?),
            Kind::Threaded | Kind::OneShot => None,
        };
        Ok(Self(Arc::new(Shared {
            connections: Connections::new(settings.max_connections),
            threads: Threads::default(),
            serving: AtomicBool::new(false),
            settings,
            listener,
            pool,
        })))
    }

    /// The address that it listens at: with the port that was chosen, if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.0.listener.address()
    }

    /// How many connections there are, those that are still being opened included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.connections.count()
    }

    /// Serves, in the calling thread and others, until [`stop`](Self::stop) or
    /// [`drain`](Self::drain) is called; a one-shot server until its connection has ended.
    ///
    /// After that it waits for methods that are still running, for five seconds at most.
    ///
    /// # Errors
    /// The server serves already, or has been stopped; its first thread can't be started; the
    /// listening socket failed.
    pub fn serve(&self) -> io::Result<()> {
        if self.0.serving.swap(true, Ordering::AcqRel) {
            return Err(io::Error::other("the server serves already, or has served"));
        }
        let accepted = self
            .0
            .start_workers()
            .and_then(|()| self.0.start_registration())
            .and_then(|()| self.0.accept_connections());
        if self.0.connections.is_taken() {
            self.0.connections.wait_until_empty();
            self.stop();
        } else if accepted.is_err() {
            self.stop();
        }
        self.0.connections.wait_until_closed();
        self.0.threads.wait_until_idle(Instant::now() + LINGER);
        accepted
    }

    /// [`serve`](Self::serve) in a thread of its own.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn serve_in_thread(&self) -> io::Result<JoinHandle<io::Result<()>>> {
        let server = self.clone();
        std::thread::Builder::new()
            .name("rpyc-accept".to_owned())
            .spawn(move || server.serve())
    }

    /// Stops: no new connections, and all connections are closed. Methods that are running go on,
    /// but nobody gets their results. A socket file is removed.
    pub fn stop(&self) {
        self.0.listener.close();
        for entry in self.0.connections.close() {
            entry.hang_up();
        }
        if let Some(pool) = &self.0.pool {
            pool.stop();
        }
    }

    /// Stops gently: no new connections; requests that are running, or have arrived, are finished
    /// and answered; each connection is closed once it is quiet. After `timeout`,
    /// [`stop`](Self::stop). Tells whether all was finished in time; what was not is named in the log.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.0.listener.close();
        let mut drain = Drain::begin(&self.0.connections, timeout);
        let drained = loop {
            if let Some(drained) = drain.look(self.address()) {
                break drained;
            }
            self.0.connections.wait_for_change(drain.pause());
        };
        self.stop();
        drained
    }
}

impl Shared {
    fn start_workers(self: &Arc<Self>) -> io::Result<()> {
        let Kind::Pool(workers) = self.settings.kind else {
            return Ok(());
        };
        for _ in 0..workers.max(1) {
            let shared = Arc::clone(self);
            self.threads
                .start("rpyc-pool", move || pool::work(&shared))?;
        }
        Ok(())
    }

    fn start_registration(self: &Arc<Self>) -> io::Result<()> {
        let Some(registration) = self.settings.registration.clone() else {
            return Ok(());
        };
        let shared = Arc::clone(self);
        self.threads.start("rpyc-register", move || {
            registration::keep(&shared, &registration);
        })
    }

    /// Until the listener is closed.
    fn accept_connections(self: &Arc<Self>) -> io::Result<()> {
        let mut troubled = false;
        loop {
            match self.listener.accept() {
                Ok(Accepted::Socket(socket, peer)) => {
                    troubled = false;
                    if let Err(error) = self.welcome(socket, peer) {
                        log::error!("{}: a connection was dropped: {error}", self.address());
                        self.connections.wait_for_close(PAUSE);
                    }
                }
                Ok(Accepted::Closed) => return Ok(()),
                Err(error) if is_passing(&error) => {
                    // Descriptors or memory are short. The socket stays in the queue, so the next
                    // attempt fails at once: without a pause this would spin.
                    if !std::mem::replace(&mut troubled, true) {
                        log::error!("{}: can't accept for now: {error}", self.address());
                    }
                    self.connections.wait_for_close(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lists a socket and hands it to whoever is going to open it.
    fn welcome(self: &Arc<Self>, socket: OwnedFd, peer: PeerInfo) -> io::Result<()> {
        let timeout = self.settings.handshake_timeout;
        let opening = Entrance::new(socket, timeout, Instant::now() + timeout);
        let Some(key) = self.connections.admit(Entry::Opening(opening.socket())) else {
            log::warn!(
                "{}: {} was turned away: {} connections are open (ServerBuilder::max_connections)",
                self.address(),
                peer.name(),
                self.connections.count()
            );
            return Ok(());
        };
        let shared = Arc::clone(self);
        let started = match self.settings.kind {
            Kind::Pool(_) if !self.settings.has_handshake() => {
                self.begin_in_pool(key, opening, peer);
                return Ok(());
            }
            Kind::Pool(_) => self.threads.start("rpyc-handshake", move || {
                if let Some(opening) = shared.shake_hands(key, opening, peer) {
                    shared.begin_in_pool(key, opening.0, opening.1);
                }
            }),
            Kind::Threaded | Kind::OneShot => self.threads.start("rpyc-server", move || {
                threaded::serve(&shared, key, opening, peer);
            }),
        };
        if started.is_err() {
            self.connections.remove(key);
        }
        started
    }

    fn begin_in_pool(self: &Arc<Self>, key: u64, opening: Entrance, peer: PeerInfo) {
        if let Some(pool) = &self.pool {
            pool.begin(key, opening, peer);
        }
    }

    fn address(&self) -> &Address {
        self.listener.address()
    }
}

/// The listening socket and its file go with the server.
impl Drop for Shared {
    fn drop(&mut self) {
        self.listener.close();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address().to_string())
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
