//! Why there is no connection.

use std::time::Duration;
use std::{fmt, io};

/// Why a connection could not be made. Each variant names the address.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address makes no sense.
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The name of the host is not known, or looking it up took too long.
    Resolve {
        /// The address.
        address: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// Nobody listens there.
    Refused {
        /// The address.
        address: String,
    },
    /// It took too long.
    TimedOut {
        /// The address.
        address: String,
        /// How long it was tried.
        waited: Duration,
        /// Whether the peer had accepted the connection, and then did not answer.
        accepted: bool,
    },
    /// The peer can't be trusted, or does not trust us: TLS or authentication failed.
    Handshake {
        /// The address.
        address: String,
        /// What failed.
        reason: String,
    },
    /// Anything else that the operating system says.
    Io {
        /// The address.
        address: String,
        /// What it says.
        source: io::Error,
    },
}

impl ConnectError {
    /// The error for what the operating system says about connecting.
    pub(crate) fn from_io(address: &str, source: io::Error, waited: Duration) -> Self {
        let address = address.to_owned();
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { address },
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut {
                address,
                waited,
                accepted: false,
            },
            _ => Self::Io { address, source },
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, reason } => write!(f, "{address:?} is no address: {reason}"),
            Self::Resolve { address, source } => {
                write!(f, "can't resolve the host of {address}: {source}")
            }
            Self::Refused { address } => write!(f, "nobody listens at {address}"),
            Self::TimedOut {
                address,
                waited,
                accepted: false,
            } => write!(
                f,
                "{address} did not accept a connection within {waited:?} (Config::connect_timeout)"
            ),
            Self::TimedOut {
                address,
                waited,
                accepted: true,
            } => write!(
                f,
                "{address} accepted the connection and then did not answer within {waited:?} \
                 (Config::connect_timeout)"
            ),
            Self::Handshake { address, reason } => write!(f, "{address}: {reason}"),
            Self::Io { address, source } => write!(f, "can't connect to {address}: {source}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
