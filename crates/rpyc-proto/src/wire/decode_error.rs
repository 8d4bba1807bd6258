//! What can be wrong with brine.

use core::fmt;

/// Why bytes are not a brine value. Offsets count from the start of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a value.
    UnexpectedEnd {
        /// Where the missing part should start.
        at: usize,
        /// How many bytes are missing at least.
        missing: usize,
    },
    /// No value starts with this byte.
    BadTag {
        /// The byte.
        tag: u8,
        /// Where it stands.
        at: usize,
    },
    /// A count that the rest of the payload can't hold.
    BadCount {
        /// The count.
        count: usize,
        /// Where it stands.
        at: usize,
    },
    /// Text that is not UTF-8, or not made of bytes.
    BadText {
        /// Where it stands.
        at: usize,
    },
    /// An int whose text is no decimal number, or longer than 4300 digits.
    BadInt {
        /// Where it stands.
        at: usize,
    },
    /// A slice or frozenset without its tuple.
    BadComposite {
        /// Where it stands.
        at: usize,
    },
    /// Another kind of value than the protocol has in this place.
    Unexpected {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
        /// Where it stands.
        at: usize,
    },
    /// Values nested more deeply than [`MAX_DEPTH`](crate::limits::MAX_DEPTH).
    TooDeep,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd { at, missing } => {
                write!(
                    f,
                    "the data ends at offset {at}, at least {missing} bytes too early"
                )
            }
            Self::BadTag { tag, at } => write!(f, "unknown tag 0x{tag:02x} at offset {at}"),
            Self::BadCount { count, at } => {
                write!(
                    f,
                    "a count of {count} at offset {at} is more than the data can hold"
                )
            }
            Self::BadText { at } => write!(f, "the text at offset {at} is not UTF-8"),
            Self::BadInt { at } => {
                write!(
                    f,
                    "the int at offset {at} is not a decimal number of at most 4300 digits"
                )
            }
            Self::BadComposite { at } => {
                write!(
                    f,
                    "the slice or frozenset at offset {at} holds no fitting tuple"
                )
            }
            Self::Unexpected {
                expected,
                found,
                at,
            } => {
                write!(f, "expected {expected} at offset {at}, found {found}")
            }
            Self::TooDeep => f.write_str("values are nested too deeply"),
        }
    }
}

impl core::error::Error for DecodeError {}
