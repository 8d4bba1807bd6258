//! Received bytes to payloads.
//!
//! # Theory of operation
//!
//! The [`Deframer`] owns the memory that bytes are received into and tells the driver where the
//! next ones go ([`space`](Deframer::space)), so nothing is moved on arrival. Small frames collect
//! in one window. A frame that does not fit the window is received as a `LargeFrame`, with memory
//! of its own.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::frame::{FrameError, HEADER};
use super::large::LargeFrame;
use super::{BulkBuffer, Payload, zlib};
use crate::limits::Limits;

/// Frames up to this size are received in one window.
const WINDOW: usize = 64 * 1024;

/// Turns received bytes into payloads.
#[derive(Debug)]
pub struct Deframer<B: BulkBuffer> {
    /// Small frames and headers collect here; allocated at the first byte.
    window: Box<[u8]>,
    /// The part of the window that is filled and not taken.
    start: usize,
    end: usize,
    large: Option<LargeFrame<B>>,
    limits: Limits,
    /// Leading payload bytes that are no brine: the message's kind, say.
    prefix: usize,
}

impl<B: BulkBuffer> Deframer<B> {
    /// A deframer for payloads whose first `prefix` bytes are no brine.
    #[must_use]
    pub fn new(limits: Limits, prefix: usize) -> Self {
        Self {
            window: Box::default(),
            start: 0,
            end: 0,
            large: None,
            limits,
            prefix,
        }
    }

    /// Whether the next bytes need memory that is not there yet: the window is allocated by
    /// [`space`](Self::space) unless one is lent.
    #[must_use]
    pub fn wants_window(&self) -> bool {
        self.window.is_empty() && self.large.is_none()
    }

    /// Lends memory that [`return_window`](Self::return_window) of another deframer gave.
    pub fn lend_window(&mut self, window: Box<[u8]>) {
        if self.wants_window() && window.len() == WINDOW {
            self.window = window;
        }
    }

    /// Takes the memory for small frames away, if no bytes are in it: a connection at rest needs
    /// none.
    pub fn return_window(&mut self) -> Option<Box<[u8]>> {
        if self.window.is_empty() || self.start != self.end {
            return None;
        }
        self.start = 0;
        self.end = 0;
        Some(core::mem::take(&mut self.window))
    }

    /// Where the next received bytes go. Never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if let Some(large) = &mut self.large {
            return large.space();
        }
        if self.window.is_empty() {
            self.window = alloc::vec![0; WINDOW].into_boxed_slice();
        }
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.window.len() {
            self.window.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.window.get_mut(self.end..).unwrap_or_default()
    }

    /// The same as a vector to append to, without growing it, where that spares writing to the memory
    /// beforehand.
    pub fn unwritten(&mut self) -> Option<&mut Vec<u8>> {
        self.large.as_mut()?.unwritten()
    }

    /// Notes that `count` bytes were put at the start of [`space`](Self::space), or appended to
    /// [`unwritten`](Self::unwritten).
    pub fn filled(&mut self, count: usize) {
        match &mut self.large {
            Some(large) => large.filled(count),
            None => self.end = (self.end + count).min(self.window.len()),
        }
    }

    /// Copies bytes in: for drivers that can't receive into [`space`](Self::space).
    pub fn feed(&mut self, mut bytes: &[u8]) -> usize {
        let all = bytes.len();
        while !bytes.is_empty() && !self.is_stuck() {
            let count = copy(bytes, self.space());
            self.filled(count);
            bytes = bytes.get(count..).unwrap_or_default();
        }
        all - bytes.len()
    }

    /// Bytes that were received and not yielded.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.end - self.start + self.large.as_ref().map_or(0, LargeFrame::buffered)
    }

    /// Whether a frame is ready, so that [`poll`](Self::poll) must be called before more is read.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        match &self.large {
            Some(large) => large.is_complete(),
            None => self.end == self.window.len() && self.start == 0 && self.end > 0,
        }
    }

    /// The next payload, if it is complete. Empty ones are passed over, as RPyC does.
    ///
    /// # Errors
    /// After an error the stream has no more frames: the connection must end.
    pub fn poll(&mut self) -> Result<Option<Payload<B::Done>>, FrameError> {
        loop {
            let payload = match &self.large {
                Some(large) if !large.is_complete() => return Ok(None),
                Some(_) => self.finish_large()?,
                None => match self.poll_window()? {
                    Step::Payload(payload) => payload,
                    Step::Again => continue,
                    Step::NeedMore => return Ok(None),
                },
            };
            if !payload.head.is_empty() {
                return Ok(Some(payload));
            }
        }
    }

    fn finish_large(&mut self) -> Result<Payload<B::Done>, FrameError> {
        self.large.take().map_or_else(
            || Ok(Payload::plain(Vec::new())),
            |large| large.finish(self.limits.inflated),
        )
    }

    fn poll_window(&mut self) -> Result<Step<B::Done>, FrameError> {
        let here = self.window.get(self.start..self.end).unwrap_or_default();
        let Some((&[a, b, c, d, flag], rest)) = here.split_first_chunk::<HEADER>() else {
            return Ok(Step::NeedMore);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.limits.frame {
            return Err(FrameError::TooLong {
                length,
                limit: self.limits.frame,
            });
        }
        let compressed = flag != 0;
        if compressed && length >= 2 {
            // Looked at now and not when the body is complete: bytes that are no frame at all nearly
            // always fail here, and would else be waited for, up to their announced length.
            match rest {
                [first, second, ..] if zlib::is_header(*first, *second) => {}
                [_, _, ..] => return Err(FrameError::Inflate(zlib::InflateError::Corrupt)),
                _ => return Ok(Step::NeedMore),
            }
        }
        if length + HEADER + 1 > WINDOW {
            let mut large = LargeFrame::new(compressed, length, self.prefix);
            let mut rest = rest;
            while !rest.is_empty() && !large.is_complete() {
                let count = copy(rest, large.space());
                large.filled(count);
                rest = rest.get(count..).unwrap_or_default();
            }
            self.start = self.end - rest.len();
            self.large = Some(large);
            return Ok(Step::Again);
        }
        let Some(body) = rest.get(..length).filter(|_| rest.len() > length) else {
            return Ok(Step::NeedMore);
        };
        let head = if compressed {
            zlib::inflate(body, self.limits.inflated).map_err(FrameError::Inflate)?
        } else {
            body.to_vec()
        };
        self.start += HEADER + length + 1;
        Ok(Step::Payload(Payload::plain(head)))
    }
}

enum Step<B> {
    Payload(Payload<B>),
    Again,
    NeedMore,
}

/// Copies as many bytes as there is room for.
fn copy(bytes: &[u8], room: &mut [u8]) -> usize {
    let count = room.len().min(bytes.len());
    if let (Some(room), Some(bytes)) = (room.get_mut(..count), bytes.get(..count)) {
        room.copy_from_slice(bytes);
    }
    count
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
mod tests {
    use super::*;
    use crate::wire::frame::{TRAILER, header};
    use crate::wire::{Token, Writer};

    fn frame(payload: &Payload<Vec<u8>>) -> Vec<u8> {
        let mut frame = header(payload.len(), false).unwrap().to_vec();
        frame.extend(payload.to_vec());
        frame.push(TRAILER);
        frame
    }

    fn message(sizes: &[usize]) -> Payload<Vec<u8>> {
        let mut writer = Writer::new();
        writer.put_byte(1);
        writer.put_tuple(sizes.len());
        for (i, &size) in sizes.iter().enumerate() {
            let value = alloc::vec![i as u8; size];
            if size >= super::super::BULK_MIN {
                writer.put_bulk(size, value);
            } else {
                writer.put_bytes(&value);
            }
        }
        writer.into_payload()
    }

    /// Its announced length would otherwise be waited for.
    #[test]
    fn a_compressed_body_that_is_none_is_refused_at_its_start() {
        for rest in [&b"xy"[..], b"\x78\x9d", b"\x88\x1c"] {
            let mut deframer = Deframer::<Vec<u8>>::new(Limits::default(), 1);
            let mut bytes = header(1 << 30, true).unwrap().to_vec();
            bytes.extend(rest);
            deframer.space()[..bytes.len()].copy_from_slice(&bytes);
            deframer.filled(HEADER + 1);
            assert!(matches!(deframer.poll(), Ok(None)));
            deframer.filled(1);
            let refused = FrameError::Inflate(zlib::InflateError::Corrupt);
            assert_eq!(deframer.poll().err(), Some(refused));
        }
    }

    /// There is memory for values of up to a million bytes.
    #[derive(Debug)]
    struct Scarce(Vec<u8>);

    impl BulkBuffer for Scarce {
        type Done = Vec<u8>;

        fn allocate(len: usize) -> Option<Self> {
            Self(Vec::new()).grow(len)
        }

        fn grow(self, len: usize) -> Option<Self> {
            (len <= 1_000_000).then(|| self.0.grow(len).map(Self))?
        }

        fn room(&self) -> usize {
            self.0.len()
        }

        fn as_mut_slice(&mut self) -> &mut [u8] {
            &mut self.0
        }

        fn finish(self) -> Vec<u8> {
            self.0
        }
    }

    #[test]
    fn a_value_without_memory_is_dropped_and_the_stream_goes_on() {
        // Refused at once, and refused while it grows.
        for len in [1_010_000, 5_000_000] {
            let mut stream = frame(&message(&[40_000, len, 50_000]));
            stream.extend(frame(&message(&[100_000])));
            for step in [999, 65_536, stream.len()] {
                let mut deframer: Deframer<Scarce> = Deframer::new(Limits::default(), 1);
                let mut found = Vec::new();
                for chunk in stream.chunks(step) {
                    let mut rest = chunk;
                    while !rest.is_empty() {
                        let fed = deframer.feed(rest);
                        rest = &rest[fed..];
                        while let Some(payload) = deframer.poll().unwrap() {
                            found.push(payload);
                        }
                    }
                }
                assert_eq!(found.len(), 2, "step {step}");
                assert!(found[0].cut);
                let mut reader = found[0].reader_at(1);
                assert_eq!(reader.token(), Ok(Token::Tuple(3)));
                assert_eq!(reader.token(), Ok(Token::Bulk(0)));
                assert!(reader.token().is_err());
                assert!(!found[1].cut);
                assert_eq!(found[1].bulk[0].1.len(), 100_000);
            }
        }
    }

    /// Memory that is appended to. There is some for values of up to two million bytes.
    #[derive(Debug)]
    struct Appended {
        written: Vec<u8>,
        room: usize,
    }

    impl BulkBuffer for Appended {
        type Done = Vec<u8>;

        fn allocate(len: usize) -> Option<Self> {
            let written = Vec::new();
            Self { written, room: 0 }.grow(len)
        }

        fn grow(mut self, len: usize) -> Option<Self> {
            self.written.reserve_exact(len - self.written.len());
            self.room = len;
            (len <= 2_000_000).then_some(self)
        }

        fn room(&self) -> usize {
            self.room
        }

        fn as_mut_slice(&mut self) -> &mut [u8] {
            self.written.resize(self.room, 0);
            &mut self.written
        }

        fn unwritten(&mut self) -> Option<&mut Vec<u8>> {
            Some(&mut self.written)
        }

        fn finish(self) -> Vec<u8> {
            self.written
        }
    }

    /// The value that there is no memory for has as many bytes by then as the one before has in all.
    #[test]
    fn nothing_is_appended_to_a_value_that_is_complete() {
        let stream = frame(&message(&[1 << 20, 5_000_000]));
        let mut deframer: Deframer<Appended> = Deframer::new(Limits::default(), 1);
        let mut rest = stream.as_slice();
        let mut payload = None;
        while payload.is_none() {
            let count = if let Some(memory) = deframer.unwritten() {
                let count = rest.len().min(memory.capacity() - memory.len());
                memory.extend_from_slice(&rest[..count]);
                count
            } else {
                copy(rest, deframer.space())
            };
            assert!(count > 0, "no place for what follows");
            deframer.filled(count);
            rest = &rest[count..];
            payload = deframer.poll().unwrap();
        }
        assert!(rest.is_empty());
        assert!(payload.is_some_and(|payload| payload.cut));
    }

    fn read_all(
        deframer: &mut Deframer<Vec<u8>>,
        bytes: &[u8],
        step: usize,
    ) -> Vec<Payload<Vec<u8>>> {
        let mut found = Vec::new();
        for chunk in bytes.chunks(step) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let fed = deframer.feed(rest);
                rest = &rest[fed..];
                while let Some(payload) = deframer.poll().unwrap() {
                    found.push(payload);
                }
            }
        }
        found
    }

    #[test]
    fn any_cutting_of_the_stream_gives_the_same_payloads() {
        let messages: Vec<_> = [
            &[0usize, 3][..],
            &[70_000],
            &[5, 40_000, 33_000, 1],
            &[200_000, 100, 200_000],
            &[60_000; 3],
        ]
        .iter()
        .map(|sizes| message(sizes))
        .collect();
        let stream: Vec<u8> = messages.iter().flat_map(frame).collect();
        for step in [1, 7, 4096, 65_536, stream.len()] {
            let mut deframer = Deframer::new(Limits::default(), 1);
            let found = read_all(&mut deframer, &stream, step);
            let expected: Vec<_> = messages.iter().map(Payload::to_vec).collect();
            let found: Vec<_> = found.iter().map(Payload::to_vec).collect();
            assert_eq!(found, expected, "step {step}");
            assert_eq!(deframer.buffered(), 0);
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused() {
        let limits = Limits {
            frame: 1000,
            ..Limits::default()
        };
        let mut deframer: Deframer<Vec<u8>> = Deframer::new(limits, 1);
        deframer.feed(&header(1001, false).unwrap());
        assert_eq!(
            deframer.poll().unwrap_err(),
            FrameError::TooLong {
                length: 1001,
                limit: 1000
            }
        );
    }

    #[test]
    fn empty_frames_are_passed_over() {
        let mut deframer: Deframer<Vec<u8>> = Deframer::new(Limits::default(), 1);
        deframer.feed(b"\0\0\0\0\0\n\0\0\0\0\0\n\0\0\0\x01\0x\n");
        assert_eq!(deframer.poll().unwrap().unwrap().head, b"x");
        assert!(deframer.poll().unwrap().is_none());
    }
}
