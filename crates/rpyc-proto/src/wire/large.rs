//! A frame that does not fit the window.
//!
//! # Theory of operation
//!
//! Its memory grows as its bytes arrive. If it is not compressed, a [`Scanner`] walks along, and
//! large `bytes` values are received straight into their final [buffer](BulkBuffer).
//!
//! Where there is no memory for it, its remaining bytes are received and dropped, and its payload is
//! yielded [cut](Payload::cut): whoever it concerns is told, and the stream goes on.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::frame::FrameError;
use super::scan::{Found, Scanner};
use super::{BulkBuffer, Payload, zlib};

/// So much is received at a time while what follows may belong into a buffer of its own, and of what
/// is dropped.
const CHUNK: usize = 64 * 1024;
/// Memory for a large value is taken for so many times the bytes that are here: where taking it
/// costs, and where only using it does.
const STEPS: usize = 4;
const LAZY_STEPS: usize = 16;
/// How much memory a large value gets before any of its bytes arrived.
const FIRST_GRANT: usize = 1024 * 1024;

/// A frame that is being received into memory of its own.
#[derive(Debug)]
pub(super) struct LargeFrame<B> {
    compressed: bool,
    /// Bytes of the body and the trailer in all.
    total: usize,
    /// Bytes of the body and the trailer that are not here yet.
    missing: usize,
    /// The contiguous part; `filled` bytes of it are valid.
    head: Vec<u8>,
    filled: usize,
    scanner: Scanner,
    scanning: bool,
    bulk: Vec<(usize, B)>,
    /// The last bulk part is still arriving: bytes that are here, bytes in all.
    arriving: Option<(usize, usize)>,
    /// There was no memory: what still comes is received here, and dropped.
    sink: Option<Box<[u8]>>,
}

impl<B: BulkBuffer> LargeFrame<B> {
    /// A frame whose body is `length` bytes long, the first `prefix` of which are no brine.
    pub(super) fn new(compressed: bool, length: usize, prefix: usize) -> Self {
        Self {
            compressed,
            total: length + 1,
            missing: length + 1,
            head: Vec::new(),
            filled: 0,
            scanner: Scanner::new(prefix),
            scanning: !compressed,
            bulk: Vec::new(),
            arriving: None,
            sink: None,
        }
    }

    /// Where the next bytes go: the value that is arriving, or the contiguous part.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if !self.make_room() {
            self.give_up();
        }
        if let Some(sink) = &mut self.sink {
            let len = sink.len().min(self.missing);
            return sink.get_mut(..len).unwrap_or_default();
        }
        match (self.arriving, self.bulk.last_mut()) {
            (Some((here, _)), Some((_, part))) => {
                part.as_mut_slice().get_mut(here..).unwrap_or_default()
            }
            _ => self.head.get_mut(self.filled..).unwrap_or_default(),
        }
    }

    /// See [`Deframer::unwritten`](super::Deframer::unwritten).
    pub(super) fn unwritten(&mut self) -> Option<&mut Vec<u8>> {
        let (here, _) = self.arriving?;
        if !self.make_room() {
            // The last part is another one now.
            self.give_up();
            return None;
        }
        let (_, part) = self.bulk.last_mut()?;
        part.unwritten().filter(|memory| memory.len() == here)
    }

    /// Notes that `count` bytes were put at the start of [`space`](Self::space).
    pub(super) fn filled(&mut self, count: usize) {
        self.missing = self.missing.saturating_sub(count);
        if self.sink.is_some() {
            return;
        }
        match self.arriving {
            Some((here, all)) if here + count < all => self.arriving = Some((here + count, all)),
            Some(_) => {
                self.arriving = None;
                self.scan();
            }
            None => {
                self.filled += count;
                self.scan();
            }
        }
    }

    /// Bytes that are here.
    pub(super) const fn buffered(&self) -> usize {
        self.total - self.missing
    }

    /// Whether all bytes are here.
    pub(super) const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The payload, once all bytes are here; `inflated` bytes at most if it is compressed.
    pub(super) fn finish(self, inflated: usize) -> Result<Payload<B::Done>, FrameError> {
        let Self {
            compressed,
            total,
            mut head,
            filled,
            bulk,
            sink,
            ..
        } = self;
        head.truncate(filled);
        let cut = sink.is_some();
        if !cut {
            head.pop(); // the trailer
        }
        if compressed && cut {
            // Not even the sequence number can be read.
            return Err(FrameError::NoMemory { length: total - 1 });
        }
        if compressed {
            let head = zlib::inflate(&head, inflated).map_err(FrameError::Inflate)?;
            return Ok(Payload::plain(head));
        }
        let bulk = bulk
            .into_iter()
            .map(|(at, part)| (at, part.finish()))
            .collect();
        Ok(Payload { head, bulk, cut })
    }

    /// Makes room for more bytes. `false`: there is no memory.
    fn make_room(&mut self) -> bool {
        if self.sink.is_some() {
            return true;
        }
        if let Some((here, all)) = self.arriving {
            let Some((at, mut part)) = self.bulk.pop() else {
                return false;
            };
            if part.room() == here && here < all {
                let steps = if B::LAZY { LAZY_STEPS } else { STEPS };
                match part.grow(all.min(here.saturating_mul(steps))) {
                    Some(grown) => part = grown,
                    None => return false,
                }
            }
            self.bulk.push((at, part));
            return true;
        }
        if self.filled == self.head.len() {
            // While scanning, small steps: what follows may belong into a buffer of its own.
            let step = if self.scanning {
                CHUNK
            } else {
                self.head.len().max(FIRST_GRANT)
            };
            let step = step.min(self.missing);
            if self.head.try_reserve(step).is_err() {
                return false;
            }
            self.head.resize(self.filled + step, 0);
        }
        true
    }

    /// There is no memory for the rest. The value that was arriving is gone.
    fn give_up(&mut self) {
        self.arriving = None;
        self.scanning = false;
        self.head.truncate(self.filled);
        self.sink = Some(alloc::vec![0; CHUNK].into_boxed_slice());
    }

    /// Looks for the next bulk part in what the contiguous part holds.
    fn scan(&mut self) {
        while self.scanning && self.arriving.is_none() {
            match self
                .scanner
                .scan(self.head.get(..self.filled).unwrap_or_default())
            {
                Found::NeedMore => return,
                Found::Lost => self.scanning = false,
                Found::Bulk { at, len } => self.begin_bulk(at, len),
            }
        }
    }

    /// Moves what is here of a bulk part into a buffer of its own.
    fn begin_bulk(&mut self, at: usize, len: usize) {
        let here = self.filled - at;
        // The trailer is part of `missing`, and never part of a value.
        if len >= here + self.missing {
            self.scanning = false;
            return;
        }
        let Some(mut part) = B::allocate(len.min(FIRST_GRANT.max(here))) else {
            // Its bytes that came already are no part of what is read.
            self.filled = at;
            self.give_up();
            return;
        };
        let moved = here.min(len);
        let source = self.head.get(at..at + moved).unwrap_or_default();
        if let Some(memory) = part.unwritten() {
            memory.extend_from_slice(source);
        } else if let Some(target) = part.as_mut_slice().get_mut(..moved) {
            target.copy_from_slice(source);
        }
        self.head.truncate(self.filled);
        self.head.drain(at..at + moved);
        self.filled -= moved;
        self.bulk.push((at, part));
        if moved < len {
            self.arriving = Some((moved, len));
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
    use crate::wire::frame::TRAILER;
    use crate::wire::{Token, Writer};

    /// What a frame of `body` gives that arrives in pieces of `step` bytes.
    fn receive(body: &[u8], step: usize) -> Payload<Vec<u8>> {
        let mut frame = LargeFrame::<Vec<u8>>::new(false, body.len(), 1);
        for piece in [body, &[TRAILER]].concat().chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                let space = frame.space();
                let count = space.len().min(rest.len());
                space[..count].copy_from_slice(&rest[..count]);
                frame.filled(count);
                rest = &rest[count..];
            }
        }
        assert!(frame.is_complete());
        assert_eq!(frame.buffered(), body.len() + 1);
        frame.finish(usize::MAX).unwrap()
    }

    #[test]
    fn a_large_value_is_held_apart_and_read_as_bulk() {
        let mut writer = Writer::new();
        writer.put_byte(1);
        writer.put_tuple(1);
        writer.put_bytes(&[7; 100_000]);
        let sent: Payload<Vec<u8>> = writer.into_payload();
        let found = receive(&sent.to_vec(), 1000);
        assert_eq!(found.bulk.len(), 1);
        assert!(found.head.len() < 20);
        let mut reader = found.reader_at(1);
        assert_eq!(reader.token(), Ok(Token::Tuple(1)));
        assert_eq!(reader.token(), Ok(Token::Bulk(0)));
        assert!(reader.at_end());
        assert_eq!(reader.bulk(0).unwrap().len(), 100_000);
    }

    #[test]
    fn an_announced_length_alone_costs_little() {
        let mut frame = LargeFrame::<Vec<u8>>::new(false, 0x7fff_0000, 1);
        let start = [1, 0x0f, 0x7f, 0, 0, 0];
        frame.space()[..start.len()].copy_from_slice(&start);
        frame.filled(start.len());
        assert!(!frame.is_complete());
        assert!(frame.space().len() <= FIRST_GRANT);
    }

    #[test]
    fn a_value_that_claims_more_than_its_frame_stays_in_the_head() {
        let mut body = alloc::vec![1u8, 0x0f, 0, 2, 0, 0];
        body.resize(100_000, 7);
        let found = receive(&body, 5000);
        assert_eq!(found.head, body);
        assert!(found.bulk.is_empty());
    }
}
