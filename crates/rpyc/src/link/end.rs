//! Why a link ended.

use std::fmt;
use std::io;
use std::time::Duration;

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
    /// The peer gave no sign of life for this long, although it was asked for one.
    Silent(Duration),
    /// The peer took none of what is to be sent for this long.
    Stuck(Duration),
    /// What arrived are no frames.
    Frame(FrameError),
    /// What arrived is no message.
    Message(MessageError),
    /// What a message holds can't be read, for this reason.
    Malformed(String),
    /// The face gave up, for this reason.
    Face(String),
}

impl EndCause {
    /// The kind of cause in a word or two, for programs: the text is for people.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::PeerClosed => "peer closed",
            Self::Cut => "cut",
            Self::Io(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe, _) => "reset",
            Self::Io(io::ErrorKind::TimedOut, _) => "timed out",
            Self::Io(io::ErrorKind::InvalidData, _) => "malformed",
            Self::Io(..) => "io error",
            Self::Silent(_) => "silent",
            Self::Stuck(_) => "stuck",
            Self::Frame(_) | Self::Message(_) | Self::Malformed(_) => "malformed",
            Self::Face(_) => "given up",
        }
    }
}

impl End {
    /// An end with this cause.
    #[must_use]
    pub const fn new(cause: EndCause) -> Self {
        Self { cause }
    }

    /// The end that has this cause.
    pub(crate) const fn of(cause: EndCause) -> Self {
        Self::new(cause)
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
            Self::Silent(time) => write!(
                f,
                "the connection was lost: the peer gave no sign of life for {} seconds \
                 (config key heartbeat)",
                time.as_secs_f64()
            ),
            Self::Stuck(time) => write!(
                f,
                "the connection was lost: the peer took no byte of what was to be sent for {} \
                 seconds (config key send_timeout)",
                time.as_secs_f64()
            ),
            Self::Frame(error) => write!(f, "the peer sent a malformed frame: {error}"),
            Self::Message(error) => write!(f, "the peer sent a malformed message: {error}"),
            Self::Malformed(reason) => {
                write!(f, "the peer sent a malformed message: {reason}")
            }
            Self::Face(reason) => f.write_str(reason),
        }
    }
}
