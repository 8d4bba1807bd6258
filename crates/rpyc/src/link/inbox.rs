//! What was received and not handled yet.

use std::collections::VecDeque;

use rpyc_proto::limits::Limits;
use rpyc_proto::wire::{BulkBuffer, Deframer, FrameError, Payload};

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

    /// Lends memory to receive into, which [`return_window`](Self::return_window) of another inbox
    /// gave, unless it has some.
    #[cfg(feature = "tokio")]
    pub(crate) fn lend_window(&mut self, window: &mut Option<Box<[u8]>>) {
        if self.deframer.wants_window()
            && let Some(window) = window.take()
        {
            self.deframer.lend_window(window);
        }
    }

    /// Takes the memory to receive into away, if no bytes are in it.
    #[cfg(feature = "tokio")]
    pub(crate) fn return_window(&mut self) -> Option<Box<[u8]>> {
        self.deframer.return_window()
    }

    /// Where the next received bytes go. Never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.deframer.is_stuck() {
            self.absorb();
        }
        self.deframer.space()
    }

    /// Notes that `count` bytes were put at the start of [`space`](Self::space).
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
