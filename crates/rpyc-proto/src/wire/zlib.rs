//! zlib, bounded.

use alloc::vec::Vec;
use core::fmt;

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

const WINDOW_BITS: u8 = 15;
/// The quickest level with Huffman trees of the data's own. It is quicker than level 1 of the zlib
/// that RPyC uses, and packs more tightly; this library's level 1 does not.
const LEVEL: i32 = 2;
/// Output up to this size, or up to [`MODEST`] times the input, is kept while inflating; beyond it
/// the size is found out first.
const OPTIMISTIC: usize = 32 * 1024 * 1024;
/// A peer may make us take so many times the memory that it sends.
const MODEST: usize = 8;
const STEP: usize = 64 * 1024;

/// Why a compressed body was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// It is not a complete zlib stream.
    Corrupt,
    /// It would grow beyond this limit, in bytes.
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// There is no memory for what it holds.
    NoMemory,
}

/// Whether these can be the first two bytes of a zlib stream (RFC 1950, section 2.2).
#[must_use]
pub const fn is_header(first: u8, second: u8) -> bool {
    let deflate = first & 0x0f == 8 && first >> 4 <= 7;
    deflate && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => f.write_str("the compressed data is corrupt"),
            Self::NoMemory => f.write_str("there is no memory for the decompressed data"),
            Self::TooLarge { limit } => {
                write!(
                    f,
                    "the compressed data holds more than the allowed {limit} bytes"
                )
            }
        }
    }
}

/// Compresses `pieces`, `total` bytes in all, as one zlib stream. The result starts with `room` zero
/// bytes, for a header.
///
/// Returns `None` if the stream would not be shorter than the input.
#[must_use]
pub fn deflate<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    total: usize,
    room: usize,
) -> Option<Vec<u8>> {
    let mut stream = Deflate::new(LEVEL, true, WINDOW_BITS);
    let mut out = alloc::vec![0; room + total];
    let mut written = room;
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            let before = (stream.total_in(), stream.total_out());
            stream
                .compress(rest, out.get_mut(written..)?, DeflateFlush::NoFlush)
                .ok()?;
            let consumed = usize::try_from(stream.total_in() - before.0).ok()?;
            written += usize::try_from(stream.total_out() - before.1).ok()?;
            if consumed == 0 && written == room + total {
                return None;
            }
            rest = rest.get(consumed..)?;
        }
    }
    let before = stream.total_out();
    match stream.compress(&[], out.get_mut(written..)?, DeflateFlush::Finish) {
        Ok(Status::StreamEnd) => {
            written += usize::try_from(stream.total_out() - before).ok()?;
            out.truncate(written);
            Some(out)
        }
        _ => None,
    }
}

/// Whether compressing looks worth its time, going by samples of the data: they must lose a tenth.
#[must_use]
pub fn pays<'a>(samples: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut before, mut after) = (0, 0);
    for sample in samples {
        before += sample.len();
        // One that does not get shorter stays as it is.
        after += deflate(core::iter::once(sample), sample.len(), 0)
            .map_or(sample.len(), |out| out.len());
    }
    after < before / 10 * 9
}

/// Inflates a complete zlib stream of at most `limit` bytes.
///
/// Beyond 32 MiB, and eight times the size of `body`, the true size is found first, in constant
/// memory, so that a small bomb never makes a large allocation.
///
/// # Errors
/// See [`InflateError`].
pub fn inflate(body: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let optimistic = limit.min(OPTIMISTIC.max(body.len().saturating_mul(MODEST)));
    let guess = body
        .len()
        .saturating_mul(4)
        .clamp(STEP.min(optimistic), optimistic);
    match inflate_into(body, zeros(guess)?, optimistic)? {
        Some(done) => Ok(done),
        None if limit > optimistic => {
            let size = inflated_size(body, limit)?;
            inflate_into(body, zeros(size)?, size)?.ok_or(InflateError::Corrupt)
        }
        None => Err(InflateError::TooLarge { limit }),
    }
}

/// Inflates into `out`, which grows up to `limit`. `None`: more than that.
fn inflate_into(
    body: &[u8],
    mut out: Vec<u8>,
    limit: usize,
) -> Result<Option<Vec<u8>>, InflateError> {
    let mut stream = Inflate::new(true, WINDOW_BITS);
    loop {
        let consumed = stream.total_in() as usize;
        let written = stream.total_out() as usize;
        if written == out.len() && written < limit {
            let len = written.saturating_mul(2).clamp(STEP.min(limit), limit);
            out.try_reserve_exact(len - out.len())
                .map_err(|_| InflateError::NoMemory)?;
            out.resize(len, 0);
        }
        let input = body.get(consumed..).unwrap_or_default();
        let space = out.get_mut(written..).unwrap_or_default();
        let status = stream
            .decompress(input, space, InflateFlush::NoFlush)
            .map_err(|_| InflateError::Corrupt)?;
        let progress =
            stream.total_in() as usize > consumed || stream.total_out() as usize > written;
        if status == Status::StreamEnd {
            out.truncate(stream.total_out() as usize);
            return Ok(Some(out));
        }
        if !progress {
            // Nothing moved: either the output is full at its limit or the input ended early.
            return if written >= limit {
                Ok(None)
            } else {
                Err(InflateError::Corrupt)
            };
        }
    }
}

fn zeros(len: usize) -> Result<Vec<u8>, InflateError> {
    let mut zeros = Vec::new();
    zeros
        .try_reserve_exact(len)
        .map_err(|_| InflateError::NoMemory)?;
    zeros.resize(len, 0);
    Ok(zeros)
}

/// The size that `body` inflates to, found in constant memory.
fn inflated_size(body: &[u8], limit: usize) -> Result<usize, InflateError> {
    let mut stream = Inflate::new(true, WINDOW_BITS);
    let mut scratch = alloc::vec![0; STEP];
    loop {
        let (consumed, written) = (stream.total_in(), stream.total_out());
        let input = body.get(consumed as usize..).unwrap_or_default();
        let status = stream
            .decompress(input, &mut scratch, InflateFlush::NoFlush)
            .map_err(|_| InflateError::Corrupt)?;
        let size = usize::try_from(stream.total_out()).unwrap_or(usize::MAX);
        if size > limit {
            return Err(InflateError::TooLarge { limit });
        }
        if status == Status::StreamEnd {
            return Ok(size);
        }
        if (stream.total_in(), stream.total_out()) == (consumed, written) {
            return Err(InflateError::Corrupt);
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_gives_the_same_bytes() {
        for size in [10, 5_000, STEP * 5, OPTIMISTIC + 77] {
            let data: Vec<u8> = (0..size).map(|i| (i % 7) as u8).collect();
            let packed = deflate(data.chunks(1000), data.len(), 0);
            if size > 100 {
                assert_eq!(inflate(&packed.unwrap(), size).unwrap(), data);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_at_its_limit() {
        let data = alloc::vec![0; 4 * OPTIMISTIC];
        let bomb = deflate(core::iter::once(data.as_slice()), data.len(), 0).unwrap();
        assert_eq!(inflate(&bomb, data.len()).unwrap().len(), data.len());
        let limit = data.len() - 1;
        assert_eq!(inflate(&bomb, limit), Err(InflateError::TooLarge { limit }));
        assert_eq!(
            inflate(&bomb, 1000),
            Err(InflateError::TooLarge { limit: 1000 })
        );
    }

    #[test]
    fn a_cut_stream_is_corrupt() {
        let data = alloc::vec![1; 9000];
        let packed = deflate(core::iter::once(data.as_slice()), data.len(), 0).unwrap();
        assert_eq!(
            inflate(&packed[..packed.len() - 3], 10_000),
            Err(InflateError::Corrupt)
        );
        assert_eq!(inflate(b"garbage", 10_000), Err(InflateError::Corrupt));
        assert_eq!(inflate(b"", 10_000), Err(InflateError::Corrupt));
    }

    #[test]
    fn random_looking_data_does_not_pay() {
        let mut state = 1u64;
        let noise: Vec<u8> = (0..10_000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            })
            .collect();
        let flat = alloc::vec![7; 4096];
        assert!(!pays([noise.as_slice()].into_iter()));
        assert!(pays([flat.as_slice()].into_iter()));
        assert!(pays([&noise[..4096], &flat].into_iter()));
        assert!(!pays([&noise[..], &flat[..100]].into_iter()));
    }

    #[test]
    fn letters_pay_even_without_repetitions() {
        let mut state = 1u32;
        let letters: Vec<u8> = (0..4096)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"abcdefghijklmnop"[(state >> 28) as usize]
            })
            .collect();
        assert!(pays([letters.as_slice()].into_iter()));
    }
}
