//! Asking a registry.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use super::messages::{ACKNOWLEDGED, Command, MAX_REPLY, Port, decode, read_addresses, read_names};
use crate::address::Address;
use crate::value::Value;

/// A way to a registry.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = rpyc::RegistryClient::udp("255.255.255.255:18811")?;
/// for address in registry.discover("calculator")? {
///     let conn = rpyc::connect(&address.to_string())?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RegistryClient {
    name: String,
    address: SocketAddr,
    over: Over,
    timeout: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Over {
    Udp,
    Tcp,
}

/// Why a registry was asked in vain.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegistryError {
    /// The address makes no sense, or its host is not known.
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Nothing that makes sense came back in time.
    NoAnswer {
        /// The registry.
        registry: String,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The registry does not list what it knows.
    Forbidden {
        /// The registry.
        registry: String,
    },
    /// The operating system says so.
    Io {
        /// The registry.
        registry: String,
        /// What it says.
        source: io::Error,
    },
}

impl RegistryClient {
    /// Asks by datagrams: `host:port`. `255.255.255.255` asks everybody in the local network.
    ///
    /// # Errors
    /// [`RegistryError::Address`].
    pub fn udp(address: &str) -> Result<Self, RegistryError> {
        Self::new(address, Over::Udp)
    }

    /// Asks over a TCP connection per question.
    ///
    /// # Errors
    /// [`RegistryError::Address`].
    pub fn tcp(address: &str) -> Result<Self, RegistryError> {
        Self::new(address, Over::Tcp)
    }

    fn new(address: &str, over: Over) -> Result<Self, RegistryError> {
        let resolved = address.to_socket_addrs().and_then(|mut addresses| {
            addresses
                .next()
                .ok_or_else(|| io::Error::other("the host has no address"))
        });
        let kind = match over {
            Over::Udp => "udp",
            Over::Tcp => "tcp",
        };
        Ok(Self {
            name: format!("{kind}://{address}"),
            address: resolved.map_err(|source| RegistryError::Address {
                address: address.to_owned(),
                source,
            })?,
            over,
            timeout: Duration::from_secs(2),
        })
    }

    /// Sets how long an answer is waited for: 2 seconds by default.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Where servers are that offer a service, those that registered first first. None is no error.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn discover(&self, name: &str) -> Result<Vec<Address>, RegistryError> {
        self.ask(&Command::Query(name.to_owned()), read_addresses)
    }

    /// The names of all services; with `host`, only of those on this host.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn list(&self, host: Option<&str>) -> Result<Vec<String>, RegistryError> {
        let names = self.ask(
            &Command::List(host.map(str::to_owned)),
            |reply| match reply {
                Value::None => Some(None),
                reply => read_names(&reply).map(Some),
            },
        )?;
        names.ok_or_else(|| RegistryError::Forbidden {
            registry: self.name.clone(),
        })
    }

    /// Says that this host offers services at an address. Registries forget it after some minutes:
    /// say so again every minute.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn register(&self, names: &[String], address: &Address) -> Result<(), RegistryError> {
        let command = Command::Register(names.to_vec(), Port::of(address));
        self.ask(&command, acknowledged)
    }

    /// Says that this host offers nothing more at an address.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn unregister(&self, address: &Address) -> Result<(), RegistryError> {
        self.ask(&Command::Unregister(Port::of(address)), acknowledged)
    }

    /// Asks, and takes the first reply that `read` understands.
    fn ask<T>(
        &self,
        command: &Command,
        read: impl Fn(Value) -> Option<T>,
    ) -> Result<T, RegistryError> {
        let request = command.encode();
        let deadline = Instant::now() + self.timeout;
        let answer = match self.over {
            Over::Udp => self.ask_by_datagram(&request, deadline, &read),
            Over::Tcp => self.ask_by_stream(&request, deadline, &read),
        };
        let silent = || RegistryError::NoAnswer {
            registry: self.name.clone(),
            waited: self.timeout,
        };
        match answer {
            Ok(answer) => answer.ok_or_else(silent),
            Err(error) if is_timeout(&error) => Err(silent()),
            Err(source) => Err(RegistryError::Io {
                registry: self.name.clone(),
                source,
            }),
        }
    }

    fn ask_by_datagram<T>(
        &self,
        request: &[u8],
        deadline: Instant,
        read: &impl Fn(Value) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let any = if self.address.is_ipv6() {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let socket = UdpSocket::bind(any)?;
        let everybody =
            matches!(self.address, SocketAddr::V4(v4) if v4.ip().octets().contains(&255));
        socket.set_broadcast(everybody)?;
        socket.send_to(request, self.address)?;
        let mut reply = vec![0; MAX_REPLY];
        while let Some(left) = left_until(deadline) {
            socket.set_read_timeout(Some(left))?;
            let (count, sender) = socket.recv_from(&mut reply)?;
            // Anybody can send to this port; who does so from the registry's is likely to be it.
            if sender.port() != self.address.port() {
                continue;
            }
            if let Some(answer) = decode(&reply[..count]).and_then(read) {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    fn ask_by_stream<T>(
        &self,
        request: &[u8],
        deadline: Instant,
        read: &impl Fn(Value) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let mut socket = TcpStream::connect_timeout(&self.address, self.timeout)?;
        socket.set_write_timeout(Some(self.timeout))?;
        socket.write_all(request)?;
        let mut reply = Vec::new();
        let mut chunk = [0; 4096];
        while let Some(left) = left_until(deadline) {
            socket.set_read_timeout(Some(left))?;
            let count = socket.read(&mut chunk)?;
            reply.extend_from_slice(&chunk[..count]);
            // There is no framing: bad and incomplete look alike.
            if let Some(answer) = decode(&reply).and_then(read) {
                return Ok(Some(answer));
            }
            if count == 0 || reply.len() > MAX_REPLY {
                break;
            }
        }
        Ok(None)
    }
}

fn acknowledged(reply: Value) -> Option<()> {
    matches!(reply, Value::Str(text) if text == ACKNOWLEDGED).then_some(())
}

fn left_until(deadline: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, source } => {
                write!(f, "{address:?} is no address of a registry: {source}")
            }
            Self::NoAnswer { registry, waited } => {
                write!(
                    f,
                    "the registry {registry} did not answer within {waited:?}"
                )
            }
            Self::Forbidden { registry } => write!(
                f,
                "the registry {registry} does not list its services; ask for one by name"
            ),
            Self::Io { registry, source } => {
                write!(f, "can't ask the registry {registry}: {source}")
            }
        }
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address { source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
