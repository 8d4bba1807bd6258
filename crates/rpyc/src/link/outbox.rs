//! Frames that wait to be sent, and who sends them.

use rpyc_proto::wire::frame::Frame;

use crate::sync::{Condvar, Instant, Mutex};
use crate::transport::SendQueue;

/// With this many bytes queued, a thread that queues more waits for the sender.
const HIGH_WATER: usize = 8 * 1024 * 1024;

/// What became of an attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Everything left, or another thread is about to send it.
    All,
    /// The transport takes no more for now.
    Waiting,
    /// The link has ended.
    Ended,
}

/// The frames of a link that wait to be sent.
#[derive(Debug)]
pub(super) struct Outbox<B> {
    state: Mutex<State<B>>,
    room: Condvar,
}

#[derive(Debug)]
struct State<B> {
    queue: SendQueue<B>,
    bytes: usize,
    sending: bool,
    closed: bool,
}

impl<B> Default for Outbox<B> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                queue: SendQueue::default(),
                bytes: 0,
                sending: false,
                closed: false,
            }),
            room: Condvar::new(),
        }
    }
}

impl<B: AsRef<[u8]>> Outbox<B> {
    pub(super) fn push(&self, frame: Frame<B>) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            drop(frame);
            return;
        }
        state.bytes += frame.len();
        state.queue.frames.push_back(frame);
    }

    /// Whether anything is queued, or being sent.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.sending || !state.queue.frames.is_empty()
    }

    /// Whether something is queued that nobody sends.
    pub(super) fn is_idle_with_output(&self) -> bool {
        let state = self.state.lock();
        !state.sending && !state.queue.frames.is_empty()
    }

    /// Becomes the sender, unless another thread is.
    pub(super) fn begin(&self) -> Option<Sender<'_, B>> {
        let mut state = self.state.lock();
        if state.sending {
            return None;
        }
        state.sending = true;
        Some(Sender {
            outbox: self,
            queue: SendQueue::default(),
            active: true,
        })
    }

    /// Waits until less than the high water mark is queued. `false`: not by `deadline`.
    pub(super) fn wait_for_room(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while state.sending && state.bytes > HIGH_WATER && !state.closed {
            match deadline {
                None => self.room.wait(&mut state),
                Some(deadline) => {
                    if self.room.wait_until(&mut state, deadline).timed_out() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Drops what is queued; later frames are dropped too.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = 0;
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
        self.room.notify_all();
    }
}

/// The right to send. What it could not send goes back to the front of the outbox.
#[derive(Debug)]
pub(super) struct Sender<'a, B: AsRef<[u8]>> {
    outbox: &'a Outbox<B>,
    queue: SendQueue<B>,
    active: bool,
}

impl<B: AsRef<[u8]>> Sender<'_, B> {
    pub(super) const fn queue(&mut self) -> &mut SendQueue<B> {
        &mut self.queue
    }

    /// Takes over what was queued, if nothing is left to send. `false`: there is nothing, and this
    /// is no longer the sender. Both under one lock, or a frame pushed in between would stay.
    pub(super) fn refill(&mut self) -> bool {
        if !self.queue.frames.is_empty() {
            return true;
        }
        let mut state = self.outbox.state.lock();
        if state.queue.frames.is_empty() {
            state.sending = false;
            self.active = false;
            return false;
        }
        self.queue = std::mem::take(&mut state.queue);
        if state.bytes > HIGH_WATER {
            self.outbox.room.notify_all();
        }
        state.bytes = 0;
        true
    }

    /// Drops what is left: it can't be sent any more.
    pub(super) fn discard(&mut self) {
        self.queue = SendQueue::default();
    }
}

impl<B: AsRef<[u8]>> Drop for Sender<'_, B> {
    fn drop(&mut self) {
        if !self.active {
            return;
        }
        let mut state = self.outbox.state.lock();
        state.sending = false;
        let mut left = std::mem::take(&mut self.queue);
        if !left.frames.is_empty() && !state.closed {
            state.bytes += left.frames.iter().map(Frame::len).sum::<usize>();
            left.frames.append(&mut state.queue.frames);
            std::mem::swap(&mut state.queue, &mut left);
        }
        drop(state);
        self.outbox.room.notify_all();
    }
}
