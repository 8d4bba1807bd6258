//! Why a link ended.

use std::fmt;
use std::io;

use rpyc_proto::message::MessageError;
use rpyc_proto::wire::FrameError;

/// The end of a link.
#[derive(Debug, Clone)]
pub struct End {
    cause: EndCause,
}

/// What ended a link.
#[derive(Debug, Clone)]
pub enum EndCause {
    /// This side closed it.
    Closed,
    /// The peer closed its side.
    PeerClosed,
    /// The peer closed its side in the middle of a message.
    Cut,
    /// The transport failed.
    Io(io::ErrorKind, String),
    /// What arrived are no frames.
    Frame(FrameError),
    /// What arrived is no message.
    Message(MessageError),
    /// The face gave up, for this reason.
    Face(String),
}

impl End {
    pub(super) const fn new(cause: EndCause) -> Self {
        Self { cause }
    }

    /// The end that this side brought about.
    pub(crate) const fn closed() -> Self {
        Self::new(EndCause::Closed)
    }

    /// What ended the link.
    #[must_use]
    pub const fn cause(&self) -> &EndCause {
        &self.cause
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("stream has been closed"),
            Self::PeerClosed => f.write_str("connection closed by peer"),
            Self::Cut => f.write_str("connection closed by peer in the middle of a message"),
            Self::Io(_, text) => write!(f, "the connection was lost: {text}"),
            Self::Frame(error) => write!(f, "the peer sent a malformed frame: {error}"),
            Self::Message(error) => write!(f, "the peer sent a malformed message: {error}"),
            Self::Face(reason) => f.write_str(reason),
        }
    }
}
