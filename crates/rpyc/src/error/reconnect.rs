//! Why there is no connection any more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{ConnectError, Error};

/// Why a [`ReconnectingClient`](crate::ReconnectingClient), or an `AsyncReconnectingClient`, has no connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReconnectError {
    /// It has given up. The next use tries again.
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        elapsed: Duration,
        /// Why the last attempt failed.
        last: Arc<ConnectError>,
    },
    /// The client was closed.
    Closed,
    /// The client is used by what it calls to connect.
    Connecting,
    /// There is a connection, and asking for the root failed.
    Root(Error),
}

impl fmt::Display for ReconnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable {
                attempts,
                elapsed,
                last,
            } => write!(
                f,
                "the reconnecting client could not connect: {attempts} attempts in {:.1} seconds \
                 (its attempts and time_limit); the last one: {last}",
                elapsed.as_secs_f64()
            ),
            Self::Closed => f.write_str("the reconnecting client has been closed"),
            Self::Connecting => {
                f.write_str("the reconnecting client is used by what it calls to connect")
            }
            Self::Root(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReconnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { last, .. } => Some(&**last),
            Self::Root(error) => Some(error),
            Self::Closed | Self::Connecting => None,
        }
    }
}

impl From<Error> for ReconnectError {
    fn from(error: Error) -> Self {
        Self::Root(error)
    }
}
