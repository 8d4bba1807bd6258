//! What a server is to be like.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use super::listener::Listener;
use super::peer::PeerInfo;
use super::registration::Registration;
use crate::address::Address;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::convert::{ConversionError, FromValue, IntoValue};
use crate::error::BindError;
use crate::object::{Object, Void};
use crate::registry::RegistryClient;
#[cfg(feature = "tls")]
use crate::tls::TlsServer;

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
pub(crate) struct Settings {
    pub(super) kind: Kind,
    pub(crate) service: Factory,
    pub(crate) config: Config,
    pub(crate) max_connections: usize,
    pub(crate) handshake_timeout: Duration,
    pub(crate) registration: Option<Registration>,
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

impl Settings {
    /// Whether anything is exchanged before the first message.
    pub(crate) const fn has_handshake(&self) -> bool {
        self.authenticator.is_some() || self.has_tls()
    }

    /// Whether no other way to get threads was asked for.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_threaded(&self) -> bool {
        self.kind == Kind::Threaded
    }

    const fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }
}

/// What a server is to be like; made by [`Server::builder`].
#[derive(Clone)]
#[must_use = "it listens when bound"]
pub struct ServerBuilder {
    settings: Settings,
    #[cfg(feature = "tls")]
    tls: Option<TlsServer>,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        let settings = Settings {
            kind: Kind::Threaded,
            service: Arc::new(|_| Ok(Arc::new(Void))),
            config: Config::default(),
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            registration: None,
            authenticator: None,
            #[cfg(feature = "tls")]
            tls: None,
        };
        Self {
            settings,
            #[cfg(feature = "tls")]
            tls: None,
        }
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
        self.settings.service =
            Arc::new(move |peer| <Arc<dyn Object>>::from_value(factory(peer).into_value()));
        self
    }

    /// Sets one root object for all connections.
    pub fn shared(mut self, root: Arc<dyn Object>) -> Self {
        self.settings.service = Arc::new(move |_| Ok(Arc::clone(&root)));
        self
    }

    /// Sets the configuration of the connections.
    pub fn config(mut self, config: Config) -> Self {
        self.settings.config = config;
        self
    }

    /// One thread for each connection. This is the default.
    pub fn threaded(mut self) -> Self {
        self.settings.kind = Kind::Threaded;
        self
    }

    /// This many threads for all connections. An idle connection costs no thread; requests beyond
    /// the number of threads wait.
    ///
    /// A method that waits for something holds its thread. One that calls back is fine: its thread
    /// serves the connection meanwhile.
    pub fn pool(mut self, threads: usize) -> Self {
        self.settings.kind = Kind::Pool(threads);
        self
    }

    /// One connection: after it, [`Server::serve`] returns. Those whose handshake fails don't count.
    pub fn one_shot(mut self) -> Self {
        self.settings.kind = Kind::OneShot;
        self
    }

    /// How many connections there may be at once, those included that are being opened: 10,000 by
    /// default. Others are accepted and closed at once.
    pub fn max_connections(mut self, count: usize) -> Self {
        self.settings.max_connections = count;
        self
    }

    /// How long a peer may take from connecting to its first message: TLS and authentication, all in
    /// all. 10 seconds by default.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// Asks each client who it is, before its first message; inside TLS if there is TLS.
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.settings.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Serves over TLS. The files are read when the server is bound.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: TlsServer) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Registers the server under these names while it serves: at once, and every minute again.
    pub fn register<I: IntoIterator<Item: Into<String>>>(
        mut self,
        registry: RegistryClient,
        names: I,
    ) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.settings.registration = Some(Registration { registry, names });
        self
    }

    /// Listens at an address: `host:port`, with port 0 for any that is free,
    /// `ssl://host:port` with TLS, or `unix:/path`.
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
        let (settings, address) = self.prepare(address)?;
        let listener = Listener::bind(&address)?;
        Server::new(settings, listener).map_err(|source| BindError::from_io(&address, source))
    }

    /// Reads the files, and finds out what the address means with them.
    pub(crate) fn prepare(self, address: &Address) -> Result<(Settings, Address), BindError> {
        let settings = self.load(address)?;
        let address = match address.clone() {
            Address::Tcp { host, port } if settings.has_tls() => Address::Ssl { host, port },
            Address::Ssl { .. } if !settings.has_tls() => {
                return Err(BindError::bad(
                    address,
                    "a server over TLS needs a certificate: ServerBuilder::tls, with the feature \
                     \"tls\" of the crate",
                ));
            }
            other => other,
        };
        Ok((settings, address))
    }

    /// Reads the files for TLS.
    #[cfg(feature = "tls")]
    fn load(self, address: &Address) -> Result<Settings, BindError> {
        let mut settings = self.settings;
        if let Some(tls) = &self.tls {
            let config = tls.load();
            let config = config.map_err(|error| BindError::bad(address, error.to_string()))?;
            settings.tls = Some(config);
        }
        Ok(settings)
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unnecessary_wraps, reason = "with TLS there are files to read")]
    fn load(self, _: &Address) -> Result<Settings, BindError> {
        Ok(self.settings)
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("kind", &self.settings.kind)
            .field("max_connections", &self.settings.max_connections)
            .field("handshake_timeout", &self.settings.handshake_timeout)
            .finish_non_exhaustive()
    }
}
