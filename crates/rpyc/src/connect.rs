//! Making connections.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_socket, socket_with,
    sockopt,
};

use crate::address::Address;
use crate::auth::ClientAuthenticator;
use crate::config::Config;
use crate::connection::Connection;
use crate::error::{ConnectError, Exception};
use crate::object::{Object, Void};
use crate::opening::{Entrance, Opening};
use crate::resolve;
#[cfg(feature = "tls")]
use crate::tls::TlsClient;
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
    authenticator: Option<Arc<dyn ClientAuthenticator>>,
    #[cfg(feature = "tls")]
    tls: TlsClient,
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
            authenticator: None,
            #[cfg(feature = "tls")]
            tls: TlsClient::new(),
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
    pub(crate) const fn client_authenticator(&self) -> Option<&Arc<dyn ClientAuthenticator>> {
        self.authenticator.as_ref()
    }

    #[cfg(all(feature = "tokio", feature = "tls"))]
    pub(crate) const fn tls_client(&self) -> &TlsClient {
        &self.tls
    }

    #[cfg(feature = "tokio")]
    pub(crate) const fn settings(&self) -> &Config {
        &self.config
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn root(&self) -> Arc<dyn Object> {
        Arc::clone(&self.root)
    }

    /// Introduces this side by this, before the first message; inside TLS if there is TLS.
    pub fn authenticator(mut self, authenticator: impl ClientAuthenticator) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Sets how connections to `ssl://` addresses are secured.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: TlsClient) -> Self {
        self.tls = tls;
        self
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
        .map_err(|exception| refused_here(name, &exception))
    }

    fn open(&self, name: &str, deadline: Instant) -> Result<Stream, ConnectError> {
        let waited = self.config.connect_timeout;
        let failed = |source| ConnectError::from_io(name, source, waited);
        let socket: OwnedFd = match &self.address {
            Address::Tcp { host, port } | Address::Ssl { host, port } => {
                open_tcp(name, host, *port, deadline, waited)?.into()
            }
            Address::Unix(path) => open_unix(path, deadline).map_err(failed)?,
        };
        let mut opening = Entrance::new(socket, waited, deadline);
        if let Address::Ssl { host, .. } = &self.address {
            self.secure(name, host, &mut opening)?;
        }
        if let Some(authenticator) = &self.authenticator {
            authenticator
                .introduce(&mut Opening::over(&mut opening))
                .map_err(|error| self.unsuccessful(name, &error))?;
        }
        opening.into_stream(&self.config).map_err(failed)
    }

    #[cfg(feature = "tls")]
    fn secure(&self, name: &str, host: &str, opening: &mut Entrance) -> Result<(), ConnectError> {
        let session = self
            .tls
            .session(host)
            .map_err(|error| ConnectError::Handshake {
                address: name.to_owned(),
                reason: error.to_string(),
            })?;
        let secured = opening.secure(session);
        secured.map_err(|error| self.unsuccessful(name, &error))
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with TLS it has settings")]
    fn secure(&self, name: &str, _: &str, _: &mut Entrance) -> Result<(), ConnectError> {
        Err(no_tls(name))
    }

    /// The error for a handshake that failed.
    pub(crate) fn unsuccessful(&self, name: &str, error: &io::Error) -> ConnectError {
        let address = name.to_owned();
        match error.kind() {
            io::ErrorKind::TimedOut => ConnectError::TimedOut {
                address,
                waited: self.config.connect_timeout,
                accepted: true,
            },
            io::ErrorKind::UnexpectedEof => ConnectError::Handshake {
                address,
                reason: "the server hung up during the handshake".to_owned(),
            },
            _ => ConnectError::Handshake {
                address,
                reason: error.to_string(),
            },
        }
    }
}

/// The error if the own service does not want the connection.
pub(crate) fn refused_here(name: String, exception: &Exception) -> ConnectError {
    ConnectError::Handshake {
        address: name,
        reason: format!("on_connect of the own service raised {exception}"),
    }
}

/// The error for an address with TLS where there is none.
#[cfg(not(feature = "tls"))]
pub(crate) fn no_tls(name: &str) -> ConnectError {
    ConnectError::Address {
        address: name.to_owned(),
        reason: "TLS is not compiled in: it is the feature \"tls\" of the crate".to_owned(),
    }
}

/// Connects to a socket file.
fn open_unix(path: &Path, deadline: Instant) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux waits for room in the listener's queue for as long as a send may take.
    let left = deadline.saturating_duration_since(Instant::now());
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left))?;
    connect_socket(&socket, &address)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    Ok(socket)
}

/// Tries each address of a host until one accepts.
fn open_tcp(
    name: &str,
    host: &str,
    port: u16,
    deadline: Instant,
    waited: Duration,
) -> Result<TcpStream, ConnectError> {
    let addresses = resolve::addresses(name, host, port, deadline, waited)?;
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
