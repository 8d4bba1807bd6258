//! What a server is to be like.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use super::listener::Listener;
use super::peer::PeerInfo;
use crate::address::Address;
use crate::config::Config;
use crate::convert::{ConversionError, FromValue, IntoValue};
use crate::error::BindError;
use crate::object::{Object, Void};

/// Makes the root object of a connection.
type Factory = Arc<dyn Fn(&PeerInfo) -> Result<Arc<dyn Object>, ConversionError> + Send + Sync>;

/// How connections get their threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One thread for each.
    Threaded,
    /// So many threads for all.
    Pool(usize),
    /// One connection, and that is all.
    OneShot,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) kind: Kind,
    pub(super) service: Factory,
    pub(super) config: Config,
    pub(super) max_connections: usize,
    pub(super) handshake_timeout: Duration,
}

impl Settings {
    /// Whether anything is exchanged before the first message.
    pub(super) const fn has_handshake(&self) -> bool {
        false
    }
}

/// What a server is to be like; made by [`Server::builder`].
#[derive(Clone)]
#[must_use = "it listens when bound"]
pub struct ServerBuilder(Settings);

impl Default for ServerBuilder {
    fn default() -> Self {
        Self(Settings {
            kind: Kind::Threaded,
            service: Arc::new(|_| Ok(Arc::new(Void))),
            config: Config::default(),
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
        })
    }
}

impl ServerBuilder {
    /// Sets what makes the root object of each connection, so that it can have a state of its own.
    ///
    /// A factory that panics, or makes something else than an object, costs its connection.
    pub fn service<O: IntoValue>(
        mut self,
        factory: impl Fn(&PeerInfo) -> O + Send + Sync + 'static,
    ) -> Self {
        self.0.service =
            Arc::new(move |peer| <Arc<dyn Object>>::from_value(factory(peer).into_value()));
        self
    }

    /// Sets one root object for all connections.
    pub fn shared(mut self, root: Arc<dyn Object>) -> Self {
        self.0.service = Arc::new(move |_| Ok(Arc::clone(&root)));
        self
    }

    /// Sets the configuration of the connections.
    pub fn config(mut self, config: Config) -> Self {
        self.0.config = config;
        self
    }

    /// One thread for each connection. This is the default.
    pub fn threaded(mut self) -> Self {
        self.0.kind = Kind::Threaded;
        self
    }

    /// This many threads for all connections. An idle connection costs no thread; requests beyond
    /// the number of threads wait.
    ///
    /// A method that waits for something holds its thread. One that calls back is fine: its thread
    /// serves the connection meanwhile.
    pub fn pool(mut self, threads: usize) -> Self {
        self.0.kind = Kind::Pool(threads);
        self
    }

    /// One connection: after it, [`Server::serve`] returns. Those whose handshake fails don't count.
    pub fn one_shot(mut self) -> Self {
        self.0.kind = Kind::OneShot;
        self
    }

    /// How many connections there may be at once, those included that are being opened: 10,000 by
    /// default. Others are accepted and closed at once.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.0.max_connections = count;
        self
    }

    /// How long a peer may take from connecting to its first message: TLS and authentication, all in
    /// all. 10 seconds by default.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.0.handshake_timeout = timeout;
        self
    }

    /// Listens at an address: `host:port`, with port 0 for any that is free, or `unix:/path`.
    ///
    /// A socket file that is left from a server that is gone is replaced.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(self, address: &str) -> Result<Server, BindError> {
        self.bind_to(&address.parse()?)
    }

    /// As [`bind`](Self::bind).
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind_to(self, address: &Address) -> Result<Server, BindError> {
        if matches!(address, Address::Ssl { .. }) {
            return Err(BindError::bad(address, "TLS is not compiled in"));
        }
        let listener = Listener::bind(address)?;
        Server::new(self.0, listener).map_err(|source| BindError::from_io(address, source))
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("kind", &self.0.kind)
            .field("max_connections", &self.0.max_connections)
            .field("handshake_timeout", &self.0.handshake_timeout)
            .finish_non_exhaustive()
    }
}
