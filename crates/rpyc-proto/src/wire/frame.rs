//! Frames: a length, a flag, a body and a newline.
//!
//! ```text
//! offset 0    4 bytes   length L of the body, big-endian
//! offset 4    1 byte    0: the body is the payload; else: zlib
//! offset 5    L bytes   body
//! offset 5+L  1 byte    newline, not checked
//! ```

use alloc::vec::Vec;
use core::fmt;

use super::Payload;
use super::zlib::{self, InflateError};

/// Bytes before the body.
pub const HEADER: usize = 5;
/// The byte after the body.
pub const TRAILER: u8 = b'\n';
/// A frame without a body.
pub const EMPTY: [u8; HEADER + 1] = [0, 0, 0, 0, 0, TRAILER];

/// Why the stream of frames can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A frame announces a body longer than the limit, in bytes.
    TooLong {
        /// The announced length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A compressed body was refused.
    Inflate(InflateError),
    /// There is no memory for a compressed body of this length, in bytes.
    NoMemory {
        /// The length.
        length: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, limit } => {
                write!(
                    f,
                    "a frame of {length} bytes is longer than the allowed {limit}"
                )
            }
            Self::Inflate(error) => error.fmt(f),
            Self::NoMemory { length } => {
                write!(f, "there is no memory for a frame of {length} bytes")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// The header of a frame whose body has this length, if a frame can hold it.
#[must_use]
pub fn header(length: usize, compressed: bool) -> Option<[u8; HEADER]> {
    let [a, b, c, d] = u32::try_from(length).ok()?.to_be_bytes();
    Some([a, b, c, d, u8::from(compressed)])
}

/// The payload is longer than a frame can be: 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadTooLong;

impl fmt::Display for PayloadTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is longer than the 4 GiB that a frame can hold")
    }
}

impl core::error::Error for PayloadTooLong {}

/// A frame on its way out: header, payload and trailer, bulk parts held apart. A
/// [`Writer`](super::Writer) makes it.
///
/// It stays where it was written, and whoever queues it copies it if it is small: to move what was
/// just written is slow.
#[derive(Debug)]
pub struct Frame<B> {
    pub(super) bytes: Payload<B>,
}

impl<B: AsRef<[u8]>> Frame<B> {
    /// The frame, to be kept elsewhere.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let nothing = Payload::plain(Vec::new());
        Self {
            bytes: core::mem::replace(&mut self.bytes, nothing),
        }
    }

    /// The same frame with a compressed body, if that makes it shorter.
    #[must_use]
    pub fn compressed(self) -> Self {
        let total = self.len() - HEADER - 1;
        // All pieces together, less the header at the start and the trailer at the end.
        let (mut skip, mut left) = (HEADER, total);
        let pieces = self.pieces().map(|piece| {
            let here = skip.min(piece.len());
            skip -= here;
            let piece = piece.get(here..).unwrap_or_default();
            let piece = piece.get(..left).unwrap_or(piece);
            left -= piece.len();
            piece
        });
        let Some(mut head) = zlib::deflate(pieces, total, HEADER) else {
            return self;
        };
        let Some(header) = header(head.len() - HEADER, true) else {
            return self;
        };
        if let Some(room) = head.first_chunk_mut::<HEADER>() {
            *room = header;
        }
        head.push(TRAILER);
        Self {
            bytes: Payload::plain(head),
        }
    }

    /// Whether samples of the payload say that compressing it pays.
    #[must_use]
    pub fn compressible(&self) -> bool {
        const SAMPLE: usize = 4096;
        /// A sample for each so many bytes, from one to eight in all.
        const EVERY: usize = 64 * 1024;
        // The largest piece says more than the first one: that one is mostly ids.
        let largest = self
            .bytes
            .pieces()
            .max_by_key(|piece| piece.len())
            .unwrap_or_default();
        let count = (largest.len() / EVERY).clamp(1, 8);
        // From the middle of as many equal parts.
        zlib::pays((0..count).map(|i| {
            let middle = largest.len() / (2 * count) * (2 * i + 1);
            let sample = largest.get(middle.saturating_sub(SAMPLE / 2)..);
            let sample = sample.unwrap_or_default();
            sample.get(..SAMPLE).unwrap_or(sample)
        }))
    }

    /// The length in bytes, header and trailer included.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A frame is never empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Appends another frame, if both are in one piece and have at most `limit` bytes together. Tells
    /// whether it did. What results is several frames in a row: bytes to send, and no more.
    pub fn join(&mut self, next: &Self, limit: usize) -> bool {
        let (true, Some(bytes)) = (self.bytes.bulk.is_empty(), next.contiguous()) else {
            return false;
        };
        if self.bytes.head.len() + bytes.len() > limit {
            return false;
        }
        self.bytes.head.extend_from_slice(bytes);
        true
    }

    /// `count` frames without a body, in a row. They mean nothing, and are passed over.
    #[must_use]
    pub fn empty(count: usize) -> Self {
        Self {
            bytes: Payload::plain(EMPTY.repeat(count)),
        }
    }

    /// The first part that is held apart, and how many bytes come before it.
    #[must_use]
    pub fn first_part(&self) -> Option<(usize, &[u8])> {
        let (at, part) = self.bytes.bulk.first()?;
        Some((*at, part.as_ref()))
    }

    /// The payload in one piece, for transports that make frames themselves.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut all = self.bytes.to_vec();
        all.pop();
        all.drain(..HEADER.min(all.len()));
        all
    }

    /// The frame in one piece, header and trailer included, if no bulk parts are held apart.
    #[must_use]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.bytes.bulk.is_empty().then_some(&self.bytes.head)
    }

    /// The pieces in order, header and trailer included.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.pieces()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;

    fn sealed(mut writer: Writer<Vec<u8>>) -> Frame<Vec<u8>> {
        let frame = writer.seal().unwrap_or_else(|error| panic!("{error}"));
        frame.take()
    }

    /// A frame around one value of these parts.
    fn frame(parts: &[&[u8]]) -> Frame<Vec<u8>> {
        let value = parts.concat();
        let mut writer = Writer::new_frame();
        writer.put_byte(1);
        writer.put_bulk(value.len(), value);
        sealed(writer)
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn small_frames_join_and_come_apart_again() {
        let small = |text: &str| {
            let mut writer = Writer::<Vec<u8>>::new_frame();
            writer.put_str(text);
            sealed(writer)
        };
        let mut all = small("first");
        assert!(all.join(&small("second"), 64));
        assert!(all.join(&small(""), 64));
        // Neither beyond the limit, nor with a part that is held apart.
        assert!(!all.join(&small(&"x".repeat(64)), 64));
        assert!(!all.join(&frame(&[&noise(50_000)]), usize::MAX));
        assert!(!frame(&[&noise(50_000)]).join(&all, usize::MAX));
        let bytes: Vec<u8> = all.pieces().flatten().copied().collect();
        assert_eq!(bytes.len(), all.len());
        let apart = [small("first"), small("second"), small("")];
        let apart = apart.iter().flat_map(Frame::pieces).flatten();
        assert!(apart.eq(bytes.iter()));
    }

    #[test]
    fn empty_frames_are_frames_without_a_body() {
        let empty = Frame::<Vec<u8>>::empty(3);
        let bytes: Vec<u8> = empty.pieces().flatten().copied().collect();
        assert_eq!(bytes, EMPTY.repeat(3));
        assert_eq!(empty.len(), bytes.len());
        assert_eq!(empty.first_part(), None);
        let one = sealed(Writer::new_frame());
        assert_eq!(one.contiguous(), Some(&EMPTY[..]));
        let data = noise(50_000);
        let large = frame(&[&data]);
        let (before, part) = large.first_part().unwrap_or_default();
        assert_eq!(part, data);
        assert_eq!(large.pieces().next().map(<[u8]>::len), Some(before));
    }

    #[test]
    fn compression_is_decided_by_samples_of_all_parts() {
        let (noise, flat) = (noise(1_000_000), alloc::vec![7; 1_000_000]);
        let little = alloc::vec![7; 30_000];
        assert!(!frame(&[&noise]).compressible());
        assert!(frame(&[&flat]).compressible());
        // Half of it is worth it, wherever it is.
        assert!(frame(&[&noise, &flat]).compressible());
        assert!(frame(&[&flat, &noise]).compressible());
        assert!(!frame(&[&noise, &noise, &little, &noise]).compressible());
    }

    #[test]
    fn a_compressed_frame_holds_the_same_payload() {
        let plain = frame(&[&noise(50_000), &alloc::vec![1; 200_000]]);
        let payload = plain.payload();
        let packed = plain.compressed();
        assert!(packed.len() < 60_000);
        let bytes: Vec<u8> = packed.pieces().flatten().copied().collect();
        assert_eq!(bytes.len(), packed.len());
        let body = bytes.get(HEADER..bytes.len() - 1).unwrap_or_default();
        assert_eq!(header(body.len(), true).as_ref(), bytes.first_chunk());
        assert_eq!(bytes.last(), Some(&TRAILER));
        assert_eq!(zlib::inflate(body, payload.len()), Ok(payload));
    }
}
