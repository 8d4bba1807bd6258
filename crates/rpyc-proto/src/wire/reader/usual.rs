//! What nearly every message consists of, in the encodings that it usually has: read without the detour
//! over a token. If anything else is there, the caller takes the detour.

use super::super::tag;
use super::Reader;

/// The tag of a tuple of two.
const PAIR: u8 = tag::TUP1 + 1;

/// So many digits fit an `i64`, whatever they are.
pub(super) const SAFE_DIGITS: usize = 18;

impl<'a, B> Reader<'a, B> {
    /// Reads an int that is its own tag, as most small ones are. If anything else is there, nothing was
    /// read.
    #[inline(always)]
    pub(crate) fn immediate(&mut self) -> Option<i64> {
        let first @ tag::IMM_FIRST..=tag::IMM_LAST = *self.data.get(self.at)? else {
            return None;
        };
        self.at += 1;
        Some(i64::from(first) - tag::IMM_BIAS)
    }

    /// Reads an int of at most 18 digits, not a negative one, in its usual encoding. If anything else is
    /// there, nothing was read.
    #[inline]
    pub fn short_int(&mut self) -> Option<i64> {
        if let Some(value) = self.immediate() {
            return Some(value);
        }
        let [tag::INT_L1, length, rest @ ..] = self.data.get(self.at..)? else {
            return None;
        };
        let digits = rest.get(..usize::from(*length))?;
        let value = short_decimal(digits)?;
        self.at += 2 + digits.len();
        Some(value)
    }

    /// Steps over the head of a pair and the small int that comes first, if both have their usual
    /// encodings. If not, nothing was read.
    #[inline(always)]
    pub(crate) fn step_into_pair(&mut self) -> Option<i64> {
        let head = self.data.get(self.at..)?.first_chunk()?;
        let &[PAIR, first @ tag::IMM_FIRST..=tag::IMM_LAST] = head else {
            return None;
        };
        self.at += head.len();
        Some(i64::from(first) - tag::IMM_BIAS)
    }

    /// Steps over an int of some digits, whatever these are. If it is none, the reader may stand anywhere.
    #[inline]
    pub(crate) fn step_over_int(&mut self) -> Option<()> {
        match self.byte().ok()? {
            tag::IMM_FIRST..=tag::IMM_LAST => Some(()),
            tag::INT_L1 => {
                let digits = usize::from(self.byte().ok()?);
                self.take(digits).ok().map(|_| ())
            }
            _ => None,
        }
    }

    /// Steps over a triple of a text and two ints in their usual encodings, without a look at what
    /// the text and the digits are. If it is one: its encoding. If not, nothing was read.
    #[inline]
    pub(crate) fn step_over_id(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let stepped = self.step_over_id_parts();
        if stepped.is_none() {
            self.at = start;
            return None;
        }
        Some(self.since(start))
    }

    fn step_over_id_parts(&mut self) -> Option<()> {
        const HEAD: [u8; 3] = [tag::TUP1 + 2, tag::UNICODE, tag::STR_L1];
        if *self.take(HEAD.len()).ok()? != HEAD {
            return None;
        }
        let length = usize::from(self.byte().ok()?);
        self.take(length).ok()?;
        self.step_over_int()?;
        self.step_over_int()
    }
}

/// The number that some digits are, if they are digits, and few enough to fit.
#[inline]
pub(super) fn short_decimal(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > SAFE_DIGITS {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}
