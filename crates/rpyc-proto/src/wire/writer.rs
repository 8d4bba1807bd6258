//! Writing brine, value by value.
//!
//! Encoding is optimistic: take a [`mark`](Writer::mark), write a value, and
//! [`roll back`](Writer::rollback) if a part of it turns out not to be writable.

use alloc::vec::Vec;

use super::frame::{self, Frame, HEADER, PayloadTooLong, TRAILER};
use super::{BULK_MIN, Payload, tag};

/// A push encoder of brine values, with bulk parts held apart.
#[derive(Debug)]
pub struct Writer<B = ()> {
    frame: Frame<B>,
}

/// A place in a [`Writer`] to roll back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    head: usize,
    bulk: usize,
}

impl<B> Default for Writer<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Writer<B> {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            frame: Frame {
                bytes: Payload::plain(Vec::with_capacity(128)),
            },
        }
    }

    /// A writer that starts a frame: room for the header is left, see [`seal`](Self::seal).
    #[must_use]
    pub fn new_frame() -> Self {
        let mut writer = Self::new();
        writer.put_raw(&[0; HEADER]);
        writer
    }

    /// Completes the frame that [`new_frame`](Self::new_frame) started. The body is sent plain.
    ///
    /// # Errors
    /// [`PayloadTooLong`].
    #[inline]
    pub fn seal(&mut self) -> Result<&mut Frame<B>, PayloadTooLong>
    where
        B: AsRef<[u8]>,
    {
        let body = self.frame.len().saturating_sub(HEADER);
        let header = frame::header(body, false).ok_or(PayloadTooLong)?;
        let head = &mut self.frame.bytes.head;
        if let Some(room) = head.first_chunk_mut::<HEADER>() {
            *room = header;
        }
        head.push(TRAILER);
        Ok(&mut self.frame)
    }

    /// The payload written so far.
    #[must_use]
    pub fn into_payload(self) -> Payload<B> {
        self.frame.bytes
    }

    /// The place reached.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            head: self.frame.bytes.head.len(),
            bulk: self.frame.bytes.bulk.len(),
        }
    }

    /// Forgets what was written since `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        self.frame.bytes.head.truncate(mark.head);
        self.frame.bytes.bulk.truncate(mark.bulk);
    }

    /// Rolls back, and returns what was written since the mark.
    pub fn split_off(&mut self, mark: Mark) -> Payload<B> {
        let Payload { head, bulk, .. } = &mut self.frame.bytes;
        let start = mark.head.min(head.len());
        let mut bulk = bulk.split_off(mark.bulk.min(bulk.len()));
        for (position, _) in &mut bulk {
            *position -= start;
        }
        Payload {
            head: head.split_off(start),
            bulk,
            cut: false,
        }
    }

    /// Bytes that are encoded already.
    pub fn put_raw(&mut self, encoded: &[u8]) {
        self.frame.bytes.head.extend_from_slice(encoded);
    }

    /// A single byte, such as a message's kind.
    pub fn put_byte(&mut self, byte: u8) {
        self.frame.bytes.head.push(byte);
    }

    /// `None`.
    pub fn put_none(&mut self) {
        self.put_byte(tag::NONE);
    }

    /// `True` or `False`.
    pub fn put_bool(&mut self, value: bool) {
        self.put_byte(if value { tag::TRUE } else { tag::FALSE });
    }

    /// `NotImplemented`.
    pub fn put_not_implemented(&mut self) {
        self.put_byte(tag::NOT_IMPLEMENTED);
    }

    /// `...`.
    pub fn put_ellipsis(&mut self) {
        self.put_byte(tag::ELLIPSIS);
    }

    /// An int of 64 bits.
    #[inline]
    pub fn put_int(&mut self, value: i64) {
        if (tag::IMM_MIN..=tag::IMM_MAX).contains(&value) {
            // In range by the check above.
            self.put_byte((value + tag::IMM_BIAS) as u8);
        } else {
            self.put_int_text(itoa::Buffer::new().format(value));
        }
    }

    /// An int beyond 64 bits: its decimal text, with a leading `-` if negative.
    pub fn put_int_text(&mut self, decimal: &str) {
        self.put_len(decimal.len(), tag::INT_L1, tag::INT_L4);
        self.put_raw(decimal.as_bytes());
    }

    /// A float.
    pub fn put_float(&mut self, value: f64) {
        self.put_byte(tag::FLOAT);
        self.put_raw(&value.to_be_bytes());
    }

    /// A complex number.
    pub fn put_complex(&mut self, real: f64, imag: f64) {
        self.put_byte(tag::COMPLEX);
        self.put_raw(&real.to_be_bytes());
        self.put_raw(&imag.to_be_bytes());
    }

    /// Bytes, copied.
    #[inline]
    pub fn put_bytes(&mut self, value: &[u8]) {
        match value.len() {
            0 => self.put_byte(tag::EMPTY_STR),
            len @ 1..=4 => {
                self.put_byte(tag::STR1 + len as u8 - 1);
                self.put_raw(value);
            }
            len => {
                self.put_len(len, tag::STR_L1, tag::STR_L4);
                self.put_raw(value);
            }
        }
    }

    /// Bytes held apart: `part` must be `len` bytes long, at least [`BULK_MIN`].
    pub fn put_bulk(&mut self, len: usize, part: B) {
        debug_assert!(len >= BULK_MIN);
        self.put_len(len, tag::STR_L1, tag::STR_L4);
        let Payload { head, bulk, .. } = &mut self.frame.bytes;
        bulk.push((head.len(), part));
    }

    /// Text.
    #[inline]
    pub fn put_str(&mut self, value: &str) {
        self.put_byte(tag::UNICODE);
        self.put_bytes(value.as_bytes());
    }

    /// The head of a tuple; `count` values must follow.
    #[inline]
    pub fn put_tuple(&mut self, count: usize) {
        match count {
            0 => self.put_byte(tag::EMPTY_TUPLE),
            1..=4 => self.put_byte(tag::TUP1 + count as u8 - 1),
            _ => self.put_len(count, tag::TUP_L1, tag::TUP_L4),
        }
    }

    /// The head of a slice; start, stop and step must follow.
    pub fn put_slice(&mut self) {
        self.put_byte(tag::SLICE);
        self.put_tuple(3);
    }

    /// The head of a frozenset; `count` values must follow.
    pub fn put_frozenset(&mut self, count: usize) {
        self.put_byte(tag::FSET);
        self.put_tuple(count);
    }

    fn put_len(&mut self, len: usize, short: u8, long: u8) {
        if let Ok(len) = u8::try_from(len) {
            self.frame.bytes.head.extend_from_slice(&[short, len]);
        } else {
            self.put_byte(long);
            // Longer values are refused where the frame is made: its length has 32 bits too.
            self.put_raw(&(len as u32).to_be_bytes());
        }
    }
}
