//! zlib, bounded.

use alloc::vec::Vec;
use core::fmt;

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

const WINDOW_BITS: u8 = 15;
/// Level 1, as RPyC uses: speed matters more than the last few percent.
const LEVEL: i32 = 1;
/// Output up to this size is kept while inflating; beyond it the size is found out first.
const OPTIMISTIC: usize = 16 * 1024 * 1024;
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

/// Compresses `pieces` as one zlib stream.
///
/// Returns `None` if the result would not be shorter than the input.
#[must_use]
pub fn deflate<'a>(pieces: impl Iterator<Item = &'a [u8]>, total: usize) -> Option<Vec<u8>> {
    let mut stream = Deflate::new(LEVEL, true, WINDOW_BITS);
    let mut out = alloc::vec![0; total];
    let mut written = 0;
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            let before = (stream.total_in(), stream.total_out());
            stream
                .compress(rest, out.get_mut(written..)?, DeflateFlush::NoFlush)
                .ok()?;
            let consumed = usize::try_from(stream.total_in() - before.0).ok()?;
            written += usize::try_from(stream.total_out() - before.1).ok()?;
            if consumed == 0 && written == total {
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

/// Whether compressing data that starts with `sample` looks worth its time.
#[must_use]
pub fn pays(sample: &[u8]) -> bool {
    deflate(core::iter::once(sample), sample.len())
        .is_some_and(|out| out.len() < sample.len() / 10 * 9)
}

/// Inflates a complete zlib stream of at most `limit` bytes.
///
/// Beyond 16 MiB the true size is found first, in constant memory, so that a small bomb never
/// makes a large allocation.
///
/// # Errors
/// See [`InflateError`].
pub fn inflate(body: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let optimistic = limit.min(OPTIMISTIC);
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
            let packed = deflate(data.chunks(1000), data.len());
            if size > 100 {
                assert_eq!(inflate(&packed.unwrap(), size).unwrap(), data);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_at_its_limit() {
        let data = alloc::vec![0; 4 * OPTIMISTIC];
        let bomb = deflate(core::iter::once(data.as_slice()), data.len()).unwrap();
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
        let packed = deflate(core::iter::once(data.as_slice()), data.len()).unwrap();
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
        assert!(!pays(&noise));
        assert!(pays(&alloc::vec![7; 4096]));
    }
}
