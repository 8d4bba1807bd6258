//! One payload: what kind of message it is, its sequence number and its body.

use core::{fmt, ops::Range};

use crate::consts::MessageKind;
use crate::wire::{DecodeError, Payload, Reader, Token, Writer, tag};

/// How a payload is laid out around its body.
///
/// Both layouts can be told apart by their first byte: 0x12, the tag of a triple, is no kind of
/// message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Dialect {
    /// RPyC up to 5.3: the encoded triple `(kind, seq, body)`.
    V5 = 5,
    /// RPyC 6.0: a raw byte for the kind, then the encoded pair `(seq, body)`.
    V6 = 6,
}

impl Dialect {
    /// The dialect of a payload, by its first byte.
    #[must_use]
    pub fn of<B>(payload: &Payload<B>) -> Self {
        if payload.head.first() == Some(&TRIPLE) {
            Self::V5
        } else {
            Self::V6
        }
    }
}

/// Where the parts of a message are in its payload.
///
/// The responder treats the sequence number as opaque and echoes it, so it is kept as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// How the payload is laid out.
    pub dialect: Dialect,
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
        let mut reader = payload.reader_at(1);
        let (dialect, kind) = Self::read_kind(payload, &mut reader)?;
        let start = reader.position();
        let number = match reader.short_int() {
            Some(value) => u64::try_from(value).ok(),
            None => read_unusual_number(&mut reader)?,
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
            dialect,
            kind,
            seq: start..body,
            number,
            body,
        })
    }
}

impl Message {
    /// Whether a payload is the answer to a request, by its kind.
    #[must_use]
    pub fn is_answer<B>(payload: &Payload<B>) -> bool {
        match payload.head.first() {
            None => false,
            Some(&TRIPLE) => {
                let kind = Self::read_kind(payload, &mut payload.reader_at(1));
                kind.is_ok_and(|(_, kind)| kind != MessageKind::Request)
            }
            Some(&first) => MessageKind::from_wire(i64::from(first))
                .is_some_and(|kind| kind != MessageKind::Request),
        }
    }

    /// The body of a request with a number, if the payload is one. Much less work than to
    /// [`parse`](Self::parse) it, for who looks through many.
    #[inline]
    pub(crate) fn request_body<B>(payload: &Payload<B>) -> Option<Reader<'_, B>> {
        let mut reader = payload.reader_at(1);
        let (_, kind) = Self::read_kind(payload, &mut reader).ok()?;
        if kind != MessageKind::Request {
            return None;
        }
        reader.step_over_int()?;
        Some(reader)
    }

    /// Reads up to the sequence number, with a reader behind the first byte. It stays where it is: to
    /// move what was just written is slow.
    #[inline(always)]
    fn read_kind<B>(
        payload: &Payload<B>,
        reader: &mut Reader<'_, B>,
    ) -> Result<(Dialect, MessageKind), MessageError> {
        let first = payload.head.first().copied().unwrap_or(0);
        if first == TRIPLE {
            let number = reader.small_int("the kind of a message")?;
            // A number beyond a byte is as wrong as any.
            let shown = u8::try_from(number).unwrap_or(u8::MAX);
            let kind = MessageKind::from_wire(number).ok_or(MessageError::Kind(shown))?;
            return Ok((Dialect::V5, kind));
        }
        let kind = MessageKind::from_wire(i64::from(first)).ok_or(MessageError::Kind(first))?;
        reader.tuple_of(2, "a pair of sequence number and body")?;
        Ok((Dialect::V6, kind))
    }
}

/// Reads a sequence number in whatever form. It is nothing that we count in, but for an int.
#[cold]
fn read_unusual_number<B>(reader: &mut Reader<'_, B>) -> Result<Option<u64>, DecodeError> {
    let parts = match reader.token()? {
        Token::Int(value) => return Ok(u64::try_from(value).ok()),
        Token::Tuple(count) | Token::FrozenSet(count) => count,
        Token::Slice => 3,
        _ => 0,
    };
    for _ in 0..parts {
        reader.skip()?;
    }
    Ok(None)
}

/// The sequence number in its encoding, if it is one that this engine could have given.
#[must_use]
pub fn number(encoded: &[u8]) -> Option<u64> {
    match Reader::<()>::with_bulk(encoded, 0, &[]).token() {
        Ok(Token::Int(value)) => u64::try_from(value).ok(),
        _ => None,
    }
}

/// The tag that messages of [`Dialect::V5`] start with.
const TRIPLE: u8 = tag::TUP4 - 1;

/// Starts a message: the body must follow.
pub fn put_head<B>(out: &mut Writer<B>, dialect: Dialect, kind: MessageKind, encoded_seq: &[u8]) {
    match dialect {
        Dialect::V5 => {
            out.put_tuple(3);
            out.put_int(i64::from(kind.number()));
        }
        Dialect::V6 => {
            out.put_byte(kind.number());
            out.put_tuple(2);
        }
    }
    out.put_raw(encoded_seq);
}

/// Starts a message with a sequence number of our own: the body must follow.
pub fn put_numbered_head<B>(out: &mut Writer<B>, dialect: Dialect, kind: MessageKind, seq: u64) {
    put_head(out, dialect, kind, &[]);
    // A connection does not live for 2**63 requests.
    out.put_int(seq.cast_signed());
}
