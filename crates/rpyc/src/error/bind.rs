//! Why there is no server.

use std::{fmt, io};

use super::ConnectError;
use crate::address::Address;

/// Why a server can't listen. Each variant names the address.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The address makes no sense.
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another server listens there.
    InUse {
        /// The address.
        address: String,
    },
    /// Anything else that the operating system says.
    Io {
        /// The address.
        address: String,
        /// What it says.
        source: io::Error,
    },
}

impl BindError {
    pub(crate) fn from_io(address: &Address, source: io::Error) -> Self {
        let address = address.to_string();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            _ => Self::Io { address, source },
        }
    }

    pub(crate) fn bad(address: &Address, reason: impl Into<String>) -> Self {
        Self::Address {
            address: address.to_string(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, reason } => {
                write!(f, "can't listen at {address:?}: {reason}")
            }
            Self::InUse { address } => write!(f, "another server listens at {address}"),
            Self::Io { address, source } => write!(f, "can't listen at {address}: {source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// An address that can't be read is the same trouble for servers and clients.
impl From<ConnectError> for BindError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Address { address, reason } => Self::Address { address, reason },
            other => Self::Address {
                address: String::new(),
                reason: other.to_string(),
            },
        }
    }
}
