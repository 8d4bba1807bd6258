//! Frames that wait to be sent, and who sends them.

use rpyc_proto::wire::frame::Frame;

use super::late::{self, LATE};
use super::pace::{Due, HOLD_BYTES, Pace};
use crate::sync::{AtomicUsize, Condvar, Instant, Mutex, MutexGuard, Ordering};
use crate::transport::{Packing, SendQueue};

/// With this many bytes queued, a thread that queues more waits for the sender.
const HIGH_WATER: usize = 8 * 1024 * 1024;

/// Room for so many frames is kept when they have left.
const KEPT_FRAMES: usize = 64;

/// No courier's generation.
const NOT_HELD: usize = usize::MAX;

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
    /// The generation of the courier that knows that the frame which was queued last may wait, and with
    /// it those before it; or [`NOT_HELD`]. Set under the lock, read without it.
    held: AtomicUsize,
    room: Condvar,
}

#[derive(Debug)]
struct State<B> {
    queue: SendQueue<B>,
    bytes: usize,
    sending: bool,
    /// The sender is to go on with what was queued meanwhile.
    wanted: bool,
    closed: bool,
    /// Nobody waits for anything that is queued.
    unhurried: bool,
    pace: Pace,
}

impl<B> Default for Outbox<B> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                queue: SendQueue::default(),
                bytes: 0,
                sending: false,
                wanted: false,
                closed: false,
                unhurried: false,
                pace: Pace::default(),
            }),
            held: AtomicUsize::new(NOT_HELD),
            room: Condvar::new(),
        }
    }
}

impl<B: AsRef<[u8]>> Outbox<B> {
    /// Appends a frame. `unhurried`: nobody waits for it. If many came before it, quickly, and it may wait
    /// like them: the moment of the last look at the clock.
    pub(super) fn push(
        &self,
        frame: &mut Frame<B>,
        packing: Packing,
        unhurried: bool,
    ) -> Option<Instant> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        state.unhurried = unhurried && (state.unhurried || state.queue.frames.is_empty());
        state.bytes += frame.len();
        state.queue.push(frame, packing);
        let passes = !unhurried && !state.sending;
        let full = state.bytes > HOLD_BYTES;
        let held = passes.then(|| state.pace.pass(full)).flatten();
        let courier = held.map_or(NOT_HELD, |_| late::generation());
        self.held.store(courier, Ordering::Relaxed);
        held
    }

    /// Decides what becomes of the queued frames while user code runs: a handler, or the program
    /// that goes on after an asynchronous call.
    pub(super) fn due(&self) -> Due {
        if self.held.load(Ordering::Relaxed) == late::generation() {
            return Due::Soon;
        }
        let mut state = self.state.lock();
        if state.queue.frames.is_empty() {
            state.pace.last = None;
            return Due::Never;
        }
        let full = state.bytes > HOLD_BYTES;
        let due = if state.unhurried {
            state.pace.due_unhurried(Instant::now())
        } else {
            state.pace.due(full, Instant::now())
        };
        if state.sending {
            state.wanted |= due != Due::Soon;
            return Due::Never;
        }
        due
    }

    /// Notes whether the courier looks here from now on.
    pub(super) fn set_watched(&self, watched: bool) {
        let pace = &mut self.state.lock().pace;
        pace.watched = watched.then(late::generation);
        pace.quiet = 0;
    }

    /// For the courier: whether it is to look again.
    pub(super) fn is_watched(&self) -> bool {
        let mut state = self.state.lock();
        let closed = state.closed;
        let pace = &mut state.pace;
        pace.quiet += 1;
        if closed || pace.quiet > late::QUIET && pace.since.is_none() {
            pace.watched = None;
        }
        pace.watched.is_some()
    }

    /// For the courier: whether frames are held back for too long.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        let state = self.state.lock();
        let since = state.pace.since;
        !state.sending && since.is_some_and(|since| now.saturating_duration_since(since) >= LATE)
    }

    /// Whether nobody waits for anything that is queued.
    pub(super) fn is_unhurried(&self) -> bool {
        self.state.lock().unhurried
    }

    /// Whether anything is queued, or being sent.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.sending || !state.queue.frames.is_empty()
    }

    /// Whether something is queued that nobody sends. If a thread is sending, it will go on with that.
    pub(super) fn is_idle_with_output(&self) -> bool {
        let mut state = self.state.lock();
        state.wanted |= state.sending;
        !state.sending && !state.queue.frames.is_empty()
    }

    /// Becomes the sender, unless another thread is, which will go on until nothing is left.
    pub(super) fn begin(&self) -> Option<Sender<'_, B>> {
        let mut state = self.state.lock();
        if state.sending {
            state.wanted = true;
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

    /// Waits until no thread is sending, or `deadline`.
    pub(super) fn wait_for_sender(&self, deadline: Instant) {
        let mut state = self.state.lock();
        while state.sending && !state.closed {
            if self.room.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
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
        self.refill_from(self.outbox.state.lock())
    }

    /// As [`refill`](Self::refill), but what may wait for company is left: `false` then, too.
    pub(super) fn refill_if_wanted(&mut self) -> bool {
        let mut state = self.outbox.state.lock();
        if state.wanted || state.queue.frames.is_empty() {
            return self.refill_from(state);
        }
        state.pace.since.get_or_insert_with(Instant::now);
        self.leave(state);
        false
    }

    fn refill_from(&mut self, mut state: MutexGuard<'_, State<B>>) -> bool {
        // The outbox gets the empty queue back, and need not make room for each frame anew.
        std::mem::swap(&mut self.queue, &mut state.queue);
        if self.queue.frames.is_empty() {
            if state.queue.frames.capacity() > KEPT_FRAMES {
                state.queue = SendQueue::default();
            }
            self.leave(state);
            return false;
        }
        state.wanted = false;
        if state.bytes > HIGH_WATER {
            self.outbox.room.notify_all();
        }
        state.bytes = 0;
        state.pace.since = None;
        true
    }

    fn leave(&mut self, mut state: MutexGuard<'_, State<B>>) {
        state.sending = false;
        state.wanted = false;
        self.active = false;
        drop(state);
        self.outbox.room.notify_all();
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
        state.wanted = false;
        let mut left = std::mem::take(&mut self.queue);
        if !left.frames.is_empty() && !state.closed {
            state.bytes += left.frames.iter().map(Frame::len).sum::<usize>();
            left.frames.append(&mut state.queue.frames);
            state.unhurried = false;
            std::mem::swap(&mut state.queue, &mut left);
            // If it was the courier that could not send them, it tries again.
            state.pace.since = Some(Instant::now());
            self.outbox.held.store(NOT_HELD, Ordering::Relaxed);
        }
        drop(state);
        self.outbox.room.notify_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use rpyc_proto::wire::Writer;

    use super::super::pace::STREAK;
    use super::super::pace::tests::quick;
    use super::*;

    const JOINED: Packing = Packing {
        joins: true,
        pads: false,
    };

    fn frame() -> Frame<Vec<u8>> {
        Writer::new_frame().seal().unwrap().take()
    }

    #[test]
    fn a_frame_that_somebody_waits_for_takes_the_others_along() {
        let outbox = Outbox::<Vec<u8>>::default();
        let due = || {
            let due = outbox.due();
            drop(std::mem::take(&mut outbox.state.lock().queue));
            due
        };
        for _ in 0..STREAK {
            outbox.push(&mut frame(), JOINED, true);
            assert_eq!(due(), Due::Now);
        }
        outbox.push(&mut frame(), JOINED, true);
        assert_eq!(due(), Due::SoonIfWatched);
        outbox.push(&mut frame(), JOINED, true);
        outbox.push(&mut frame(), JOINED, false);
        assert_eq!(due(), Due::Now);
        outbox.push(&mut frame(), JOINED, false);
        outbox.push(&mut frame(), JOINED, true);
        assert_eq!(due(), Due::Now);
    }

    /// The courier would go on piece by piece, for as long as another thread does.
    #[test]
    fn a_sender_may_leave_what_waits_but_not_what_is_wanted() {
        type Want = fn(&Outbox<Vec<u8>>) -> bool;
        let wants: [Want; 3] = [
            |_| false,
            |outbox| outbox.begin().is_none(),
            |outbox| !outbox.is_idle_with_output(),
        ];
        for want in wants {
            let outbox = Outbox::<Vec<u8>>::default();
            outbox.push(&mut frame(), JOINED, false);
            let mut sender = outbox.begin().unwrap();
            assert!(sender.refill());
            sender.queue().frames.clear();
            outbox.push(&mut frame(), JOINED, false);
            let wanted = want(&outbox);
            assert_eq!(sender.refill_if_wanted(), wanted);
            drop(sender);
            assert!(outbox.is_idle_with_output());
            assert!(outbox.is_late(Instant::now() + LATE), "the courier's next");
        }
    }

    /// The courier may have looked away while a thread was sending.
    #[test]
    fn what_could_not_be_sent_does_not_count_as_watched() {
        let outbox = Outbox::<Vec<u8>>::default();
        let (mut pace, now) = quick();
        pace.watched = Some(late::generation());
        assert_eq!(pace.due(false, now), Due::Soon);
        outbox.state.lock().pace = pace;
        assert_eq!(outbox.push(&mut frame(), JOINED, false), Some(now));
        assert_eq!(outbox.due(), Due::Soon);
        let mut sender = outbox.begin().unwrap();
        assert!(sender.refill());
        outbox.set_watched(false);
        drop(sender);
        assert_ne!(outbox.due(), Due::Soon);
    }
}
