//! The tags of brine: the first byte of each value.

/// `None`.
pub const NONE: u8 = 0x00;
/// `b""`.
pub const EMPTY_STR: u8 = 0x01;
/// `()`.
pub const EMPTY_TUPLE: u8 = 0x02;
/// `True`.
pub const TRUE: u8 = 0x03;
/// `False`.
pub const FALSE: u8 = 0x04;
/// `NotImplemented`.
pub const NOT_IMPLEMENTED: u8 = 0x05;
/// `...`.
pub const ELLIPSIS: u8 = 0x06;
/// Text; a bytes value with its UTF-8 form follows.
pub const UNICODE: u8 = 0x08;
/// Bytes of length 1; lengths 2, 3 and 4 have the next three tags.
pub const STR1: u8 = 0x0a;
/// Bytes of length 4.
pub const STR4: u8 = 0x0d;
/// Bytes; a length of one byte follows.
pub const STR_L1: u8 = 0x0e;
/// Bytes; a length of four bytes follows.
pub const STR_L4: u8 = 0x0f;
/// A tuple of one item; 2, 3 and 4 items have the next three tags.
pub const TUP1: u8 = 0x10;
/// A tuple of four items.
pub const TUP4: u8 = 0x13;
/// A tuple; a count of one byte follows.
pub const TUP_L1: u8 = 0x14;
/// A tuple; a count of four bytes follows.
pub const TUP_L4: u8 = 0x15;
/// An int as decimal text; a length of one byte follows.
pub const INT_L1: u8 = 0x16;
/// An int as decimal text; a length of four bytes follows.
pub const INT_L4: u8 = 0x17;
/// A float; eight bytes follow.
pub const FLOAT: u8 = 0x18;
/// A slice; a tuple of three items follows.
pub const SLICE: u8 = 0x19;
/// A frozenset; a tuple of its members follows.
pub const FSET: u8 = 0x1a;
/// A complex number; sixteen bytes follow.
pub const COMPLEX: u8 = 0x1b;
/// The tag of the smallest immediate int.
pub const IMM_FIRST: u8 = 0x20;
/// The tag of the largest immediate int.
pub const IMM_LAST: u8 = 0xef;
/// An immediate int is its tag less this.
pub const IMM_BIAS: i64 = 0x50;
/// The smallest int with a tag of its own.
pub const IMM_MIN: i64 = IMM_FIRST as i64 - IMM_BIAS;
/// The largest int with a tag of its own.
pub const IMM_MAX: i64 = IMM_LAST as i64 - IMM_BIAS;
