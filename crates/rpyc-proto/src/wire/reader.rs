//! Reading brine, token by token.
//!
//! A [`Reader`] yields one [`Token`] at a time; composite tokens say how many values follow. It
//! holds no stack: whoever builds nested values bounds the depth by
//! [`MAX_DEPTH`](crate::limits::MAX_DEPTH).
//!
//! Canonical encodings are accepted, and the lossless deviations that RPyC accepts too (a length in
//! more bytes than needed, an immediate int as text). Short reads, odd slice payloads and odd
//! number texts are refused: RPyC never produces them.

mod usual;

use alloc::vec::Vec;

use super::{DecodeError, tag};
use usual::{SAFE_DIGITS, short_decimal};

/// The most digits of an int: CPython's own limit for conversions.
pub const MAX_INT_DIGITS: usize = 4300;

/// So many items have room from the start.
const FIRST_ITEMS: usize = 4;

/// One step of a brine value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// `NotImplemented`.
    NotImplemented,
    /// `...`.
    Ellipsis,
    /// An int that fits.
    Int(i64),
    /// An int that does not fit: its decimal text, a valid one.
    BigInt(&'a str),
    /// A float.
    Float(f64),
    /// A complex number: real and imaginary part.
    Complex(f64, f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Bytes that are held apart: the index among the payload's bulk parts.
    Bulk(usize),
    /// Text.
    Str(&'a str),
    /// A tuple: this many values follow.
    Tuple(usize),
    /// A frozenset: this many values follow.
    FrozenSet(usize),
    /// A slice: start, stop and step follow.
    Slice,
}

impl Token<'_> {
    /// A word for error messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::NotImplemented => "NotImplemented",
            Self::Ellipsis => "Ellipsis",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Complex(..) => "complex",
            Self::Bytes(_) | Self::Bulk(_) => "bytes",
            Self::Str(_) => "str",
            Self::Tuple(_) => "tuple",
            Self::FrozenSet(_) => "frozenset",
            Self::Slice => "slice",
        }
    }
}

/// A pull parser of brine values.
#[derive(Debug)]
pub struct Reader<'a, B = ()> {
    data: &'a [u8],
    at: usize,
    bulk: &'a [(usize, B)],
    next_bulk: usize,
}

impl<'a> Reader<'a> {
    /// A reader of contiguous bytes.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            at: 0,
            bulk: &[],
            next_bulk: 0,
        }
    }
}

impl<'a, B> Reader<'a, B> {
    /// A reader of bytes with bulk parts held apart, starting at `at`.
    #[must_use]
    pub fn with_bulk(data: &'a [u8], at: usize, bulk: &'a [(usize, B)]) -> Self {
        let next_bulk = bulk.iter().take_while(|(offset, _)| *offset < at).count();
        Self {
            data,
            at,
            bulk,
            next_bulk,
        }
    }

    /// The offset of the next token.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Goes back to an offset that [`position`](Self::position) gave.
    pub fn rewind(&mut self, at: usize) {
        self.at = at;
        self.next_bulk = self
            .bulk
            .iter()
            .take_while(|(offset, _)| *offset < at)
            .count();
    }

    /// What was read since an offset that [`position`](Self::position) gave, without the content of
    /// bulk parts.
    #[must_use]
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.data.get(start..self.at).unwrap_or_default()
    }

    /// Whether all bytes were read.
    #[must_use]
    pub const fn at_end(&self) -> bool {
        self.at >= self.data.len()
    }

    /// The bulk part that a [`Token::Bulk`] names.
    #[must_use]
    pub fn bulk(&self, index: usize) -> Option<&'a B> {
        self.bulk.get(index).map(|(_, part)| part)
    }

    /// The next token.
    ///
    /// # Errors
    /// Any [`DecodeError`] but `Unexpected` and `TooDeep`.
    #[inline]
    pub fn token(&mut self) -> Result<Token<'a>, DecodeError> {
        let at = self.at;
        let first = self.byte()?;
        if (tag::IMM_FIRST..=tag::IMM_LAST).contains(&first) {
            return Ok(Token::Int(i64::from(first) - tag::IMM_BIAS));
        }
        match first {
            tag::NONE => Ok(Token::None),
            tag::TRUE => Ok(Token::Bool(true)),
            tag::FALSE => Ok(Token::Bool(false)),
            tag::NOT_IMPLEMENTED => Ok(Token::NotImplemented),
            tag::ELLIPSIS => Ok(Token::Ellipsis),
            tag::EMPTY_TUPLE => Ok(Token::Tuple(0)),
            tag::TUP1..=tag::TUP4 => self.counted(usize::from(first - tag::TUP1) + 1, at),
            tag::TUP_L1 => {
                let count = usize::from(self.byte()?);
                self.counted(count, at)
            }
            tag::TUP_L4 => {
                let count = self.length()?;
                self.counted(count, at)
            }
            tag::EMPTY_STR | tag::STR1..=tag::STR_L4 => self.bytes(first),
            tag::UNICODE => self.text(at),
            tag::INT_L1 => {
                let len = usize::from(self.byte()?);
                self.int(len, at)
            }
            tag::INT_L4 => {
                let len = self.length()?;
                self.int(len, at)
            }
            tag::FLOAT => self.double().map(Token::Float),
            tag::COMPLEX => Ok(Token::Complex(self.double()?, self.double()?)),
            tag::SLICE => match self.members(at)? {
                Token::Tuple(3) => Ok(Token::Slice),
                _ => Err(DecodeError::BadComposite { at }),
            },
            tag::FSET => match self.members(at)? {
                Token::Tuple(count) => Ok(Token::FrozenSet(count)),
                _ => Err(DecodeError::BadComposite { at }),
            },
            tag => Err(DecodeError::BadTag { tag, at }),
        }
    }

    /// Steps over one whole value and returns its encoding.
    ///
    /// The encoding lacks the content of bulk parts.
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub fn skip(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        let mut values = 1usize;
        while values > 0 {
            values -= 1;
            values += match self.token()? {
                Token::Tuple(count) | Token::FrozenSet(count) => count,
                Token::Slice => 3,
                _ => 0,
            };
        }
        Ok(self.since(start))
    }

    /// Reads the head of a tuple of exactly `count` items.
    ///
    /// # Errors
    /// `Unexpected` if anything else is there.
    #[inline]
    pub fn tuple_of(&mut self, count: usize, expected: &'static str) -> Result<(), DecodeError> {
        let at = self.at;
        // The usual form of a short one, without the detour over a token.
        if let Some(first @ tag::TUP1..=tag::TUP4) = self.data.get(at)
            && usize::from(first - tag::TUP1) + 1 == count
            && self.data.len() - at > count
        {
            self.at += 1;
            return Ok(());
        }
        match self.token()? {
            Token::Tuple(found) if found == count => Ok(()),
            other => Err(DecodeError::Unexpected {
                expected,
                found: other.kind(),
                at,
            }),
        }
    }

    /// Reads an int that fits 64 bits. `True` and `False` count, as they do in Python.
    ///
    /// # Errors
    /// `Unexpected` if anything else is there.
    #[inline]
    pub fn small_int(&mut self, expected: &'static str) -> Result<i64, DecodeError> {
        if let Some(value) = self.immediate() {
            return Ok(value);
        }
        let at = self.at;
        match self.token()? {
            Token::Int(value) => Ok(value),
            Token::Bool(value) => Ok(i64::from(value)),
            other => Err(DecodeError::Unexpected {
                expected,
                found: other.kind(),
                at,
            }),
        }
    }

    /// Reads `count` values; `read` appends one. Room is made as they come: a count is believed only as
    /// far as the bytes go.
    ///
    /// # Errors
    /// Those of `read`.
    #[inline]
    pub fn items<T, E>(
        &mut self,
        count: usize,
        read: impl FnMut(&mut Self, &mut Vec<T>) -> Result<(), E>,
    ) -> Result<Vec<T>, E> {
        let mut items = Vec::new();
        self.items_into(&mut items, count, read)?;
        Ok(items)
    }

    /// As [`items`](Self::items), into a vector that is there.
    ///
    /// # Errors
    /// Those of `read`.
    #[inline]
    pub fn items_into<T, E>(
        &mut self,
        items: &mut Vec<T>,
        count: usize,
        mut read: impl FnMut(&mut Self, &mut Vec<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        items.reserve_exact(count.min(FIRST_ITEMS));
        for _ in 0..count {
            read(self, items)?;
        }
        Ok(())
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let Some(&byte) = self.data.get(self.at) else {
            return Err(DecodeError::UnexpectedEnd {
                at: self.at,
                missing: 1,
            });
        };
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let Some(taken) = rest.get(..len) else {
            return Err(DecodeError::UnexpectedEnd {
                at: self.data.len(),
                missing: len - rest.len(),
            });
        };
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        // usize has at least 32 bits wherever this crate runs; a narrower one can't hold the data.
        Ok(usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX))
    }

    fn double(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    /// Checks a count against the bytes that are left: each item needs one at least.
    #[inline]
    fn counted(&self, count: usize, at: usize) -> Result<Token<'a>, DecodeError> {
        if count > self.data.len() - self.at {
            return Err(DecodeError::BadCount { count, at });
        }
        Ok(Token::Tuple(count))
    }

    #[inline]
    fn bytes(&mut self, first: u8) -> Result<Token<'a>, DecodeError> {
        let len = match first {
            tag::EMPTY_STR => 0,
            tag::STR1..=tag::STR4 => usize::from(first - tag::STR1) + 1,
            tag::STR_L1 => usize::from(self.byte()?),
            _ => {
                let len = self.length()?;
                if self
                    .bulk
                    .get(self.next_bulk)
                    .is_some_and(|(offset, _)| *offset == self.at)
                {
                    self.next_bulk += 1;
                    return Ok(Token::Bulk(self.next_bulk - 1));
                }
                len
            }
        };
        self.take(len).map(Token::Bytes)
    }

    #[inline]
    fn text(&mut self, at: usize) -> Result<Token<'a>, DecodeError> {
        let first = self.byte()?;
        if !matches!(first, tag::EMPTY_STR | tag::STR1..=tag::STR_L4) {
            return Err(DecodeError::BadText { at });
        }
        match self.bytes(first)? {
            Token::Bytes(utf8) => core::str::from_utf8(utf8)
                .map(Token::Str)
                .map_err(|_| DecodeError::BadText { at }),
            _ => Err(DecodeError::BadText { at }),
        }
    }

    /// The tuple inside a slice or frozenset. Only a tuple's tag is followed: a peer could nest the
    /// others a million deep.
    fn members(&mut self, at: usize) -> Result<Token<'a>, DecodeError> {
        match self.data.get(self.at) {
            None | Some(&(tag::EMPTY_TUPLE | tag::TUP1..=tag::TUP_L4)) => self.token(),
            Some(_) => Err(DecodeError::BadComposite { at }),
        }
    }

    fn int(&mut self, len: usize, at: usize) -> Result<Token<'a>, DecodeError> {
        if len > MAX_INT_DIGITS + 1 {
            return Err(DecodeError::BadInt { at });
        }
        let text = self.take(len)?;
        let (digits, negative) = text
            .strip_prefix(b"-")
            .map_or((text, false), |digits| (digits, true));
        if digits.is_empty() || digits.len() > MAX_INT_DIGITS {
            return Err(DecodeError::BadInt { at });
        }
        if digits.len() <= SAFE_DIGITS {
            let value = short_decimal(digits).ok_or(DecodeError::BadInt { at })?;
            return Ok(Token::Int(if negative { -value } else { value }));
        }
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(DecodeError::BadInt { at });
        }
        let text = core::str::from_utf8(text).map_err(|_| DecodeError::BadInt { at })?;
        Ok(text.parse().map_or(Token::BigInt(text), Token::Int))
    }
}
