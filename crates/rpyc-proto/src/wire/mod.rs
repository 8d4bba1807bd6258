//! Bytes: frames and brine.

pub mod decode_error;
pub mod deframer;
pub mod frame;
mod large;
pub mod reader;
pub mod scan;
pub mod tag;
pub mod writer;
pub mod zlib;

use alloc::vec::Vec;

use thin_vec::ThinVec;

pub use decode_error::DecodeError;
pub use deframer::Deframer;
pub use frame::FrameError;
pub use reader::{Reader, Token};
pub use writer::Writer;

/// A `bytes` value at least this long travels as bulk: it is never copied into a payload.
pub const BULK_MIN: usize = 32 * 1024;

/// Memory that a large `bytes` value is received into.
///
/// The memory grows as bytes arrive, so a peer that announces a gigabyte and sends nothing costs
/// nothing.
pub trait BulkBuffer: Sized {
    /// The finished value.
    type Done;

    /// Whether memory that nothing was written to costs next to nothing. Then more of it is taken
    /// at a time.
    const LAZY: bool = false;

    /// A buffer of `len` bytes with any content. `None`: there is no memory for it.
    fn allocate(len: usize) -> Option<Self>;

    /// Makes the buffer `len` bytes long; what was there stays. `None`: there is no memory for it.
    fn grow(self, len: usize) -> Option<Self>;

    /// The length of the buffer.
    fn room(&self) -> usize;

    /// The whole buffer.
    fn as_mut_slice(&mut self) -> &mut [u8];

    /// The buffer up to where it was written to, if it need not be made a slice first, which takes time: what
    /// is appended, as far as there is capacity, is written.
    fn unwritten(&mut self) -> Option<&mut Vec<u8>> {
        None
    }

    /// The value, once all bytes are there.
    fn finish(self) -> Self::Done;
}

impl BulkBuffer for Vec<u8> {
    type Done = Self;

    fn allocate(len: usize) -> Option<Self> {
        Self::new().grow(len)
    }

    fn grow(mut self, len: usize) -> Option<Self> {
        self.try_reserve_exact(len.saturating_sub(self.len()))
            .ok()?;
        self.resize(len, 0);
        Some(self)
    }

    fn room(&self) -> usize {
        self.len()
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self
    }

    fn finish(self) -> Self::Done {
        self
    }
}

/// A payload whose large `bytes` values are held apart.
///
/// `head` is the payload without the content of those values; each bulk part belongs at its offset
/// in `head`.
#[derive(Debug, Clone, Default)]
pub struct Payload<B> {
    /// The contiguous part.
    pub head: Vec<u8>,
    /// The parts that belong into it, by rising offset.
    pub bulk: ThinVec<(usize, B)>,
    /// There was no memory for the rest, which is missing. So reading it to its end fails, for that
    /// reason.
    pub cut: bool,
}

impl<B> Payload<B> {
    /// A payload without bulk parts.
    #[must_use]
    pub const fn plain(head: Vec<u8>) -> Self {
        Self {
            head,
            bulk: ThinVec::new(),
            cut: false,
        }
    }

    /// A reader of this payload from `offset` on.
    #[must_use]
    pub fn reader_at(&self, offset: usize) -> Reader<'_, B> {
        Reader::with_bulk(&self.head, offset, &self.bulk)
    }
}

impl<B: AsRef<[u8]>> Payload<B> {
    /// The length in bytes, bulk parts included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len()
            + self
                .bulk
                .iter()
                .map(|(_, part)| part.as_ref().len())
                .sum::<usize>()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.bulk.is_empty()
    }

    /// The pieces in order: contiguous, bulk, contiguous, ...
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        let tail_from = self.bulk.last().map_or(0, |(offset, _)| *offset);
        self.bulk
            .iter()
            .flat_map(move |(offset, part)| {
                let piece = self.head.get(at..*offset).unwrap_or_default();
                at = *offset;
                [piece, part.as_ref()]
            })
            .chain(core::iter::once(
                self.head.get(tail_from..).unwrap_or_default(),
            ))
    }

    /// All bytes in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        self.pieces().for_each(|piece| all.extend_from_slice(piece));
        all
    }
}
