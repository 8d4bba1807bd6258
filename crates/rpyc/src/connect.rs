//! Making connections.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::config::Config;
use crate::connection::Connection;
use crate::error::ConnectError;
use crate::object::{Object, Void};
use crate::transport::Stream;

/// Connects to a server, with the default configuration and nothing to offer back.
///
/// See [`Address`] for how addresses are written. [`Connector`] has settings.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let conn = rpyc::connect("localhost:18861")?;
/// let sum: i64 = conn.root()?.call_method("add", (1, 2))?.extract()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// See [`ConnectError`].
pub fn connect(address: &str) -> Result<Connection, ConnectError> {
    Connector::new(address)?.connect()
}

/// What a connection is to be like.
#[derive(Clone)]
#[must_use = "it connects when told to"]
pub struct Connector {
    address: Address,
    config: Config,
    root: Arc<dyn Object>,
}

impl Connector {
    /// A connector to this address; see [`Address`].
    ///
    /// # Errors
    /// [`ConnectError::Address`].
    pub fn new(address: &str) -> Result<Self, ConnectError> {
        Ok(Self::to(address.parse()?))
    }

    /// A connector to this address.
    pub fn to(address: Address) -> Self {
        Self {
            address,
            config: Config::default(),
            root: Arc::new(Void),
        }
    }

    /// Sets the configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the root object that the server can use.
    pub fn service(mut self, root: Arc<dyn Object>) -> Self {
        self.root = root;
        self
    }

    /// Where it connects to.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    #[cfg(feature = "tokio")]
    pub(crate) const fn settings(&self) -> &Config {
        &self.config
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn root(&self) -> Arc<dyn Object> {
        Arc::clone(&self.root)
    }

    /// Connects.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(&self) -> Result<Connection, ConnectError> {
        let name = self.address.to_string();
        let deadline = Instant::now() + self.config.connect_timeout;
        let stream = self.open(&name, deadline)?;
        Connection::over(
            stream,
            name.clone(),
            self.config.clone(),
            Arc::clone(&self.root),
        )
        .map_err(|exception| ConnectError::Handshake {
            address: name,
            reason: format!("on_connect of the own service raised {exception}"),
        })
    }

    fn open(&self, name: &str, deadline: Instant) -> Result<Stream, ConnectError> {
        let waited = self.config.connect_timeout;
        let failed = |source| ConnectError::from_io(name, source, waited);
        match &self.address {
            Address::Tcp { host, port } => {
                let socket = open_tcp(name, host, *port, deadline, waited)?;
                Stream::socket(socket, &self.config)
            }
            Address::Ssl { .. } => {
                return Err(ConnectError::Address {
                    address: name.to_owned(),
                    reason: "TLS is not compiled in".to_owned(),
                });
            }
            Address::Unix(path) => {
                UnixStream::connect(path).and_then(|socket| Stream::socket(socket, &self.config))
            }
        }
        .map_err(failed)
    }
}

/// Tries each address of a host until one accepts.
fn open_tcp(
    name: &str,
    host: &str,
    port: u16,
    deadline: Instant,
    waited: Duration,
) -> Result<TcpStream, ConnectError> {
    let resolved = (host, port).to_socket_addrs();
    let addresses = resolved.map_err(|source| ConnectError::Resolve {
        address: name.to_owned(),
        source,
    })?;
    let mut last = None;
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => return Ok(socket),
            Err(source) => last = Some(ConnectError::from_io(name, source, waited)),
        }
    }
    Err(last.unwrap_or_else(|| ConnectError::TimedOut {
        address: name.to_owned(),
        waited,
        accepted: false,
    }))
}
