//! What a client that connects again has to tell.

use std::borrow::Borrow;
use std::fmt;
use std::time::Duration;

use crate::connection::Connection;
use crate::error::{ConnectError, ConnectionLost, ReconnectError};

/// What happened to a [`ReconnectingClient`](crate::ReconnectingClient), or to an `AsyncReconnectingClient`,
/// whose connections are of another type.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReconnectEvent<'a, C = Connection> {
    /// There is a new connection.
    Connected {
        /// The connection.
        connection: &'a C,
        /// How many attempts it took, from 1.
        attempt: u32,
    },
    /// The connection is lost.
    Lost(&'a ConnectionLost),
    /// An attempt to connect failed; there will be another one.
    Failed {
        /// Which one, from 1.
        attempt: u32,
        /// When the next one follows.
        delay: Duration,
        /// Why it failed.
        error: &'a ConnectError,
    },
    /// The client has given up, until it is used again.
    GaveUp(&'a ReconnectError),
}

impl<C: Borrow<Connection>> fmt::Display for ReconnectEvent<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected {
                connection,
                attempt,
            } => {
                let connection: &Connection = (*connection).borrow();
                let peer = connection.peer_name();
                write!(f, "connected to {peer} (attempt {attempt})")
            }
            Self::Lost(lost) => lost.fmt(f),
            Self::Failed {
                attempt,
                delay,
                error,
            } => write!(
                f,
                "{error} (attempt {attempt}, the next one in {} ms)",
                delay.as_millis()
            ),
            Self::GaveUp(error) => error.fmt(f),
        }
    }
}
