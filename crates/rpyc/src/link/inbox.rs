//! What was received and not handled yet.

use std::cell::Cell;
use std::collections::VecDeque;

use rpyc_proto::limits::Limits;
use rpyc_proto::wire::{BulkBuffer, Deframer, FrameError, Payload};

thread_local! {
    /// Memory to receive into, which an inbox at rest has given up.
    static WINDOW: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Received bytes and payloads, in order of arrival.
#[derive(Debug)]
pub struct Inbox<B: BulkBuffer> {
    deframer: Deframer<B>,
    /// Complete payloads that were taken off the stream while a write was blocked, or that came
    /// from a transport that makes frames itself.
    ready: VecDeque<Payload<B::Done>>,
    ready_bytes: usize,
    /// How many of them, from the front, have been shown.
    shown: usize,
    failed: Option<FrameError>,
}

impl<B: BulkBuffer<Done: AsRef<[u8]>>> Inbox<B> {
    /// An empty inbox. The first `prefix` bytes of each payload are no brine.
    #[must_use]
    pub fn new(limits: Limits, prefix: usize) -> Self {
        Self {
            deframer: Deframer::new(limits, prefix),
            ready: VecDeque::new(),
            ready_bytes: 0,
            shown: 0,
            failed: None,
        }
    }

    /// Gives up memory that nothing is in: a connection at rest needs none. What bytes are received
    /// into is kept for the next inbox that this thread receives into.
    pub(crate) fn rest(&mut self) {
        if let Some(window) = self.deframer.return_window() {
            let _ = WINDOW.try_with(|spare| spare.set(Some(window)));
        }
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }

    /// Where the next received bytes go. Never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.deframer.is_stuck() {
            self.absorb();
        }
        if self.deframer.wants_window()
            && let Ok(Some(window)) = WINDOW.try_with(Cell::take)
        {
            self.deframer.lend_window(window);
        }
        self.deframer.space()
    }

    /// See [`Deframer::unwritten`].
    pub fn unwritten(&mut self) -> Option<&mut Vec<u8>> {
        self.deframer.unwritten()
    }

    /// Notes that `count` bytes were put at the start of [`space`](Self::space), or appended to
    /// [`unwritten`](Self::unwritten).
    pub fn filled(&mut self, count: usize) {
        self.deframer.filled(count);
    }

    /// Appends a whole payload.
    pub fn push(&mut self, payload: Payload<B::Done>) {
        self.ready_bytes += payload.len();
        self.ready.push_back(payload);
    }

    /// The next payload.
    ///
    /// # Errors
    /// The stream is broken.
    pub fn take(&mut self) -> Result<Option<Payload<B::Done>>, FrameError> {
        if let Some(payload) = self.ready.pop_front() {
            self.ready_bytes -= payload.len();
            self.shown = self.shown.saturating_sub(1);
            return Ok(Some(payload));
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let polled = self.deframer.poll();
        self.failed = polled.as_ref().err().copied();
        polled
    }

    /// The next payload, if it is one that is `wanted`.
    pub fn take_if(
        &mut self,
        wanted: impl FnOnce(&Payload<B::Done>) -> bool,
    ) -> Option<Payload<B::Done>> {
        self.settle();
        if !self.ready.front().is_some_and(wanted) {
            return None;
        }
        let payload = self.ready.pop_front()?;
        self.ready_bytes -= payload.len();
        self.shown = self.shown.saturating_sub(1);
        Some(payload)
    }

    /// Looks for a complete payload in what was received. Tells whether [`take`](Self::take) has
    /// something to say.
    pub fn settle(&mut self) -> bool {
        if !self.has_payload() {
            match self.deframer.poll() {
                Ok(Some(payload)) => self.push(payload),
                Ok(None) => {}
                Err(error) => self.failed = Some(error),
            }
        }
        self.has_payload()
    }

    /// Takes all complete payloads off the stream, so that more can be received.
    pub fn absorb(&mut self) {
        while self.failed.is_none() {
            match self.deframer.poll() {
                Ok(Some(payload)) => self.push(payload),
                Ok(None) => return,
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// Shows complete payloads that were not shown before.
    pub fn show_new(&mut self, mut see: impl FnMut(&Payload<B::Done>)) {
        for payload in self.ready.iter().skip(self.shown) {
            see(payload);
        }
        self.shown = self.ready.len();
    }

    /// Whether [`take`](Self::take) has something to say, short of looking into partial frames.
    #[must_use]
    pub fn has_payload(&self) -> bool {
        !self.ready.is_empty() || self.failed.is_some() || self.deframer.is_stuck()
    }

    /// Bytes that are held for payloads not handled yet.
    #[must_use]
    pub fn held(&self) -> usize {
        self.ready_bytes + self.deframer.buffered()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use bytes::Bytes;
    use rpyc_proto::wire::Writer;

    use super::*;
    use crate::brine::BytesBuffer;

    /// The frame of a payload of one byte.
    const FRAME: [u8; 7] = [0, 0, 0, 1, 0, b'a', b'\n'];

    fn receive(inbox: &mut Inbox<BytesBuffer>, bytes: &[u8]) {
        inbox.space()[..bytes.len()].copy_from_slice(bytes);
        inbox.filled(bytes.len());
    }

    #[test]
    fn inboxes_at_rest_share_the_memory_to_receive_into() {
        let mut inboxes = [(); 2].map(|()| Inbox::new(Limits::default(), 0));
        let mut places = Vec::new();
        for inbox in &mut inboxes {
            receive(inbox, &FRAME);
            places.push(inbox.space().as_ptr() as usize - FRAME.len());
            let payload = inbox.take().unwrap().unwrap();
            assert_eq!(payload.head, b"a");
            inbox.rest();
        }
        assert_eq!(places[0], places[1]);
    }

    /// Appended to what is unwritten, written to the space, or in turns: the same payloads arrive.
    #[test]
    fn large_values_are_received_where_they_stay() {
        let values: Vec<Bytes> = [40_000_usize, 3_000_000, 32_768, 1_048_577]
            .map(|size| (0..size).map(|at| (at % 251) as u8).collect())
            .into();
        let mut writer = Writer::new_frame();
        writer.put_tuple(values.len());
        for value in &values {
            writer.put_bulk(value.len(), value.clone());
        }
        let frame = writer.seal().unwrap();
        let bytes: Vec<u8> = frame.pieces().flatten().copied().collect();
        let two = [bytes.as_slice(), &FRAME].concat();
        let ways: [fn(usize) -> bool; 3] = [|_| true, |_| false, |turn| turn % 3 != 0];
        for (step, appends) in [999, 65_536, two.len()]
            .into_iter()
            .flat_map(|step| ways.map(|way| (step, way)))
        {
            let mut inbox = Inbox::<BytesBuffer>::new(Limits::default(), 0);
            let (mut rest, mut found, mut appended) = (two.as_slice(), Vec::new(), 0);
            for turn in 0.. {
                let unwritten = appends(turn).then(|| inbox.unwritten()).flatten();
                let count = if let Some(memory) = unwritten {
                    let room = memory.capacity() - memory.len();
                    let count = room.min(step).min(rest.len());
                    memory.extend_from_slice(&rest[..count]);
                    appended += count;
                    count
                } else {
                    let space = inbox.space();
                    let count = space.len().min(step).min(rest.len());
                    space[..count].copy_from_slice(&rest[..count]);
                    count
                };
                inbox.filled(count);
                rest = &rest[count..];
                while let Some(payload) = inbox.take().unwrap() {
                    found.push(payload);
                }
                if rest.is_empty() {
                    break;
                }
            }
            assert_eq!(found.len(), 2);
            let parts = found[0].bulk.iter().map(|(_, part)| part);
            assert!(parts.eq(&values), "in steps of {step}");
            assert_eq!(found[1].head, b"a");
            assert_eq!(appended > 0, appends(1), "in steps of {step}");
        }
    }

    #[test]
    fn what_was_received_stays() {
        let mut inbox = Inbox::<BytesBuffer>::new(Limits::default(), 0);
        receive(&mut inbox, &FRAME[..3]);
        inbox.rest();
        receive(&mut inbox, &FRAME[3..]);
        assert!(inbox.settle());
        inbox.rest();
        assert_eq!(inbox.take().unwrap().unwrap().head, b"a");
    }
}
