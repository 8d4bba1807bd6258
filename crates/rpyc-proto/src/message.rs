//! One payload: what kind of message it is, its sequence number and its body.

use core::{fmt, ops::Range};

use crate::consts::MessageKind;
use crate::wire::{DecodeError, Payload, Token, Writer};

/// Where the parts of a message are in its payload.
///
/// The responder treats the sequence number as opaque and echoes it, so it is kept as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What kind of message it is.
    pub kind: MessageKind,
    /// The encoded sequence number.
    pub seq: Range<usize>,
    /// The sequence number, if it is one that this engine could have given.
    pub number: Option<u64>,
    /// Where the body starts.
    pub body: usize,
}

/// Why a payload is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageError {
    /// No message has this number.
    Kind(u8),
    /// The payload is not brine, or has another shape.
    Decode(DecodeError),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(number) => write!(f, "invalid message type: {number}"),
            Self::Decode(error) => write!(f, "malformed message: {error}"),
        }
    }
}

impl core::error::Error for MessageError {}

impl From<DecodeError> for MessageError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl Message {
    /// Finds the parts of a message.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse<B>(payload: &Payload<B>) -> Result<Self, MessageError> {
        let number = payload.head.first().copied().unwrap_or(0);
        let kind = MessageKind::from_wire(i64::from(number)).ok_or(MessageError::Kind(number))?;
        let mut reader = payload.reader_at(1);
        reader.tuple_of(2, "a pair of sequence number and body")?;
        let start = reader.position();
        let number = match reader.token()? {
            Token::Int(value) => u64::try_from(value).ok(),
            Token::Tuple(count) | Token::FrozenSet(count) => {
                for _ in 0..count {
                    reader.skip()?;
                }
                None
            }
            Token::Slice => {
                for _ in 0..3 {
                    reader.skip()?;
                }
                None
            }
            _ => None,
        };
        let body = reader.position();
        if payload.bulk.first().is_some_and(|(at, _)| *at <= body) {
            // It would have to be echoed from memory held apart. No peer counts in such numbers.
            return Err(DecodeError::Unexpected {
                expected: "a sequence number",
                found: "a large bytes value",
                at: start,
            }
            .into());
        }
        Ok(Self {
            kind,
            seq: start..body,
            number,
            body,
        })
    }
}

/// Starts a message: the body must follow.
pub fn put_head<B>(out: &mut Writer<B>, kind: MessageKind, encoded_seq: &[u8]) {
    out.put_byte(kind.number());
    out.put_tuple(2);
    out.put_raw(encoded_seq);
}

/// Starts a message with a sequence number of our own: the body must follow.
pub fn put_numbered_head<B>(out: &mut Writer<B>, kind: MessageKind, seq: u64) {
    out.put_byte(kind.number());
    out.put_tuple(2);
    // A connection does not live for 2**63 requests.
    out.put_int(seq.cast_signed());
}
