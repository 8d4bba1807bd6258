//! Finding bulk parts in a payload that is still arriving.

use super::{BULK_MIN, tag};
use crate::consts::MessageKind;

/// What a [`Scanner`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The bytes end inside a token; come back with more.
    NeedMore,
    /// A large `bytes` value of `len` bytes starts at offset `at`.
    Bulk {
        /// The offset of its first byte.
        at: usize,
        /// Its length.
        len: usize,
    },
    /// The bytes are not brine. The reader will say so; nothing is held apart any more.
    Lost,
}

/// Steps over tokens without looking at what they mean.
///
/// Brine is a flat sequence of tokens, so nesting does not matter here.
#[derive(Debug, Default)]
pub struct Scanner {
    at: usize,
    /// Whether nothing was looked at yet.
    fresh: bool,
    /// The next bytes value is the content of a text, which must stay contiguous.
    in_text: bool,
    lost: bool,
}

impl Scanner {
    /// A scanner of a payload whose first `skip` bytes are no brine.
    #[must_use]
    pub const fn new(skip: usize) -> Self {
        Self {
            at: skip,
            fresh: true,
            in_text: false,
            lost: false,
        }
    }

    /// Continues over `head`, the contiguous part of the payload so far.
    pub fn scan(&mut self, head: &[u8]) -> Found {
        // Serialized exceptions are read in one piece; they are rarely large.
        if self.fresh && self.at > 0 {
            match head.get(self.at - 1) {
                None => return Found::NeedMore,
                Some(kind) => self.lost = *kind == MessageKind::Exception.number(),
            }
            self.fresh = false;
        }
        while !self.lost {
            let Some(&first) = head.get(self.at) else {
                return Found::NeedMore;
            };
            let fixed = match first {
                tag::STR1..=tag::STR4 => 2 + usize::from(first - tag::STR1),
                tag::TUP_L1 => 2,
                tag::TUP_L4 => 5,
                tag::FLOAT => 9,
                tag::COMPLEX => 17,
                tag::STR_L1 | tag::INT_L1 => {
                    let Some(&len) = head.get(self.at + 1) else {
                        return Found::NeedMore;
                    };
                    2 + usize::from(len)
                }
                tag::STR_L4 | tag::INT_L4 => {
                    let Some(&[a, b, c, d]) =
                        head.get(self.at + 1..).and_then(|rest| rest.first_chunk())
                    else {
                        return Found::NeedMore;
                    };
                    let len = u32::from_be_bytes([a, b, c, d]) as usize;
                    if first == tag::STR_L4 && !self.in_text && len >= BULK_MIN {
                        self.at += 5;
                        return Found::Bulk { at: self.at, len };
                    }
                    5 + len
                }
                tag::UNICODE => {
                    self.in_text = true;
                    self.at += 1;
                    continue;
                }
                0x07 | 0x09 | 0x1c..=0x1f | 0xf0..=0xff => {
                    self.lost = true;
                    break;
                }
                _ => 1,
            };
            if head.len() - self.at < fixed {
                return Found::NeedMore;
            }
            self.in_text = false;
            self.at += fixed;
        }
        Found::Lost
    }
}
