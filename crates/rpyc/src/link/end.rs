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

    /// What ended the link.
    #[must_use]
    pub const fn cause(&self) -> &EndCause {
        &self.cause
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            EndCause::Closed => f.write_str("stream has been closed"),
            EndCause::PeerClosed => f.write_str("connection closed by peer"),
            EndCause::Cut => f.write_str("connection closed by peer in the middle of a message"),
            EndCause::Io(_, text) => write!(f, "the connection was lost: {text}"),
            EndCause::Frame(error) => write!(f, "the peer sent a malformed frame: {error}"),
            EndCause::Message(error) => write!(f, "the peer sent a malformed message: {error}"),
            EndCause::Face(reason) => f.write_str(reason),
        }
    }
}
