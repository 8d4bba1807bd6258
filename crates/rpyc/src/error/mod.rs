//! What can go wrong: with connecting, and with what is done over a connection.

mod bind;
mod builtins;
mod connect;
mod exception;
mod reconnect;

use std::fmt;
use std::time::Duration;

use rpyc_proto::model::ProtocolError;

pub use bind::BindError;
pub use connect::ConnectError;
pub use exception::Exception;
pub use reconnect::ReconnectError;

use crate::convert::ConversionError;
use crate::link::EndCause;

/// The result of what is done over a connection.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a remote object failed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The peer performed it, and it raised.
    Remote(Exception),
    /// No answer came in time. The peer is told, and does not begin it if it understands and has not yet;
    /// else it may still perform it.
    TimedOut(Box<TimedOut>),
    /// The connection is gone. Whether the peer performed the operation is not known.
    ConnectionLost(Box<ConnectionLost>),
    /// A value is not what was expected.
    Conversion(ConversionError),
    /// The request can't be sent, or the answer makes no sense.
    Protocol(Box<ProtocolError>),
    /// A limit of the configuration is reached; nothing was sent.
    Limit(String),
    /// A blocking wait was tried where it would stop others: inside an async runtime.
    WouldBlockRuntime(&'static str),
}

/// A wait that was too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    /// What was asked for, such as `CALL`.
    pub operation: String,
    /// Whom.
    pub peer: String,
    /// How long the answer was waited for.
    pub waited: Duration,
    /// Whether the request had left this process.
    pub sent: bool,
    /// What sets the limit, such as `Config::timeout`.
    pub option: &'static str,
}

/// A connection that ended while something was to be done over it.
#[derive(Debug, Clone)]
pub struct ConnectionLost {
    /// What was asked for, such as `CALL`.
    pub operation: String,
    /// Whom.
    pub peer: String,
    /// Why the connection ended.
    pub cause: EndCause,
    /// Whether a [`ReconnectingClient`](crate::ReconnectingClient) has left it behind.
    pub replaced: bool,
}

impl Error {
    /// The exception, if the peer raised one.
    #[must_use]
    pub fn exception(&self) -> Option<&Exception> {
        match self {
            Self::Remote(exception) => Some(exception),
            _ => None,
        }
    }

    /// Whether the peer raised an instance of this class; see [`Exception::is`].
    #[must_use]
    pub fn is(&self, class: &str) -> bool {
        self.exception()
            .is_some_and(|exception| exception.is(class))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(exception) => exception.fmt(f),
            Self::TimedOut(timeout) => timeout.fmt(f),
            Self::ConnectionLost(lost) => lost.fmt(f),
            Self::Conversion(error) => error.fmt(f),
            Self::Protocol(error) => write!(f, "protocol violation: {error}"),
            Self::Limit(text) => f.write_str(text),
            Self::WouldBlockRuntime(instead) => write!(
                f,
                "a blocking call inside an async runtime would stop it; use {instead}"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Remote(exception) => Some(exception),
            Self::Conversion(error) => Some(error),
            Self::Protocol(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            peer,
            waited,
            sent,
            option,
        } = self;
        let state = if *sent {
            ""
        } else {
            ", and the request has not left yet"
        };
        write!(
            f,
            "{operation}: no answer from {peer} within {waited:?}{state} ({option})"
        )
    }
}

impl fmt::Display for ConnectionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            peer,
            cause,
            replaced,
        } = self;
        write!(f, "{operation}: the connection to {peer} is lost: {cause}")?;
        if *replaced {
            f.write_str(
                "; the object belongs to an earlier connection of a ReconnectingClient: get it again \
                 from the client's root",
            )?;
        }
        Ok(())
    }
}

impl From<Exception> for Error {
    fn from(exception: Exception) -> Self {
        Self::Remote(exception)
    }
}

impl From<ConversionError> for Error {
    fn from(error: ConversionError) -> Self {
        Self::Conversion(error)
    }
}

impl From<ProtocolError> for Error {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(Box::new(error))
    }
}

/// What a method raises when something that it did over a connection failed: a remote exception
/// goes on as it is, with its traceback.
impl From<Error> for Exception {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Remote(exception) => exception,
            Error::TimedOut(_) => Self::new("TimeoutError", text),
            Error::ConnectionLost(_) => Self::new("EOFError", text),
            Error::Conversion(_) => Self::type_error(text),
            Error::Protocol(_) => Self::new("ValueError", text),
            Error::Limit(_) | Error::WouldBlockRuntime(_) => Self::new("RuntimeError", text),
        }
    }
}

impl From<ConversionError> for Exception {
    fn from(error: ConversionError) -> Self {
        Self::type_error(error.to_string())
    }
}

impl From<ProtocolError> for Exception {
    fn from(error: ProtocolError) -> Self {
        let class = match error {
            ProtocolError::Arity { .. } => "TypeError",
            ProtocolError::Label(_) | ProtocolError::Decode(_) => "ValueError",
            ProtocolError::Unsupported(_) => "KeyError",
        };
        Self::new(class, error.to_string())
    }
}

impl From<std::io::Error> for Exception {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let class = match error.kind() {
            ErrorKind::NotFound => "FileNotFoundError",
            ErrorKind::AlreadyExists => "FileExistsError",
            ErrorKind::PermissionDenied => "PermissionError",
            ErrorKind::TimedOut => "TimeoutError",
            ErrorKind::BrokenPipe => "BrokenPipeError",
            ErrorKind::ConnectionRefused => "ConnectionRefusedError",
            ErrorKind::ConnectionReset => "ConnectionResetError",
            _ => "OSError",
        };
        Self::new(class, error.to_string())
    }
}
