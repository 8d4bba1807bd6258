//! What can go wrong, and the number that says so.

use std::io::Write;
use std::{fmt, io};

use rpyc::{ConnectError, Error, Exception, RegistryError};

/// Why a command failed. The exit codes are part of the command's interface (docs/cli.md): they don't
/// change.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: the other side performed the request, and it raised.
    Remote(Exception),
    /// 2: the command line, an address or an expression makes no sense.
    Usage(String),
    /// 3: there is no connection.
    NoConnection(String),
    /// 4: no answer in time.
    TimedOut(String),
    /// 5: the connection was lost.
    Lost(String),
    /// 6: the answer is not what it should be.
    Unexpected(String),
    /// 7: something on this side: a file, a port to listen at.
    Local(String),
}

impl Failure {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Remote(_) => 1,
            Self::Usage(_) => 2,
            Self::NoConnection(_) => 3,
            Self::TimedOut(_) => 4,
            Self::Lost(_) => 5,
            Self::Unexpected(_) => 6,
            Self::Local(_) => 7,
        }
    }

    /// Says it on standard error, in one line; with `traceback`, the traceback of a remote exception
    /// follows.
    pub(crate) fn report(&self, traceback: bool) {
        let line = self.to_string().replace('\n', "\\n");
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "rpyc: {line}");
        if let Self::Remote(exception) = self
            && traceback
            && let Some(text) = exception.traceback()
        {
            let _ = writeln!(io::stderr(), "{}", text.trim_end());
        }
    }

    pub(crate) fn local(what: &str, error: impl fmt::Display) -> Self {
        Self::Local(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(exception) => exception.fmt(f),
            Self::Usage(text)
            | Self::NoConnection(text)
            | Self::TimedOut(text)
            | Self::Lost(text)
            | Self::Unexpected(text)
            | Self::Local(text) => f.write_str(text),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Remote(exception) => Self::Remote(exception),
            Error::TimedOut(_) => Self::TimedOut(text.replace("Config::timeout", "--timeout")),
            Error::ConnectionLost(_) => Self::Lost(text),
            _ => Self::Unexpected(text),
        }
    }
}

impl From<rpyc::ConversionError> for Failure {
    fn from(error: rpyc::ConversionError) -> Self {
        Self::Unexpected(format!("the answer is not what it should be: {error}"))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let text = error
            .to_string()
            .replace("Config::connect_timeout", "--connect-timeout");
        match error {
            ConnectError::Address { .. } => Self::Usage(text),
            ConnectError::TimedOut { .. } => Self::TimedOut(text),
            ConnectError::Resolve { ref source, .. }
                if source.kind() == io::ErrorKind::TimedOut =>
            {
                Self::TimedOut(text)
            }
            _ => Self::NoConnection(text),
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let text = error.to_string();
        match error {
            RegistryError::Address { .. } => Self::Usage(text),
            RegistryError::NoAnswer { .. } => Self::TimedOut(text),
            RegistryError::Forbidden { .. } => Self::Unexpected(text),
            _ => Self::NoConnection(text),
        }
    }
}
