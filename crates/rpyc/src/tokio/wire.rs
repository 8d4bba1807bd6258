//! The shared half of a connection that a runtime drives.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use bytes::Bytes;
use parking_lot::Mutex;
use rpyc_proto::limits::Limits;
use rpyc_proto::session::Session;
use rpyc_proto::wire::frame::Frame;

use crate::link::{End, EndCause};
use crate::transport::{Packing, SendQueue};
use crate::waiter::Waiter;

/// What any thread may touch of a connection whose bytes are moved by a task.
pub(crate) struct RuntimeWire {
    session: Mutex<Session<Waiter>>,
    outbox: Mutex<Outbox>,
    /// Asynchronous methods of ours that go on.
    running: AtomicUsize,
    /// The task has handled something since it slept.
    busy: AtomicBool,
    end: OnceLock<Arc<End>>,
    /// Woken at the end.
    ended: Mutex<Vec<Waker>>,
    local: bool,
    /// See [`Transport::fills_pages`](crate::transport::Transport::fills_pages).
    fills_pages: bool,
    /// The peer is of this package.
    kin: AtomicBool,
}

#[derive(Default)]
struct Outbox {
    queue: SendQueue<Bytes>,
    bytes: usize,
    /// The task sleeps, and is to be woken by this.
    sleeper: Option<Waker>,
    /// It does so because the stream takes no more.
    blocked: bool,
    closed: bool,
}

impl RuntimeWire {
    pub(super) fn new(limits: &Limits, local: bool, fills_pages: bool) -> Self {
        Self {
            session: Mutex::new(Session::new(limits)),
            outbox: Mutex::default(),
            running: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
            end: OnceLock::new(),
            ended: Mutex::default(),
            local,
            fills_pages,
            kin: AtomicBool::new(false),
        }
    }

    pub(crate) const fn session(&self) -> &Mutex<Session<Waiter>> {
        &self.session
    }

    pub(crate) const fn is_local(&self) -> bool {
        self.local
    }

    /// Queues a frame. The task sends it at its next turn, together with what else is queued.
    pub(crate) fn push(&self, frame: &mut Frame<Bytes>) {
        let mut outbox = self.outbox.lock();
        if outbox.closed {
            return;
        }
        outbox.bytes += frame.len();
        let packing = Packing {
            joins: true,
            pads: self.fills_pages && self.kin.load(Ordering::Relaxed),
        };
        outbox.queue.push(frame, packing);
        let sleeper = outbox.sleeper.take();
        drop(outbox);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Notes that the peer is of this package.
    pub(crate) fn note_kin(&self) {
        self.kin.store(true, Ordering::Relaxed);
    }

    /// Queues a sign of life: an empty frame.
    pub(super) fn show_life(&self) {
        self.push(&mut Frame::empty(1));
    }

    pub(crate) fn end(&self) -> Option<Arc<End>> {
        self.end.get().cloned()
    }

    /// Keeps the end, and has the task see it.
    pub(crate) fn finish(&self, cause: EndCause) {
        let _ = self.end.set(Arc::new(End::of(cause)));
        let mut outbox = self.outbox.lock();
        outbox.closed = true;
        let sleeper = outbox.sleeper.take();
        drop(outbox);
        let waiting = std::mem::take(&mut *self.ended.lock());
        sleeper.into_iter().chain(waiting).for_each(Waker::wake);
    }

    /// Has `waker` woken when the end comes.
    pub(super) fn watch_end(&self, waker: &Waker) {
        let mut ended = self.ended.lock();
        if !ended.iter().any(|known| known.will_wake(waker)) {
            ended.push(waker.clone());
        }
    }

    /// Moves what is queued behind what `queue` holds. Tells how many bytes that is.
    pub(super) fn take_output(&self, queue: &mut SendQueue<Bytes>) -> usize {
        let mut outbox = self.outbox.lock();
        queue.frames.append(&mut outbox.queue.frames);
        std::mem::take(&mut outbox.bytes)
    }

    /// Whether something is queued.
    pub(super) fn has_output(&self) -> bool {
        !self.outbox.lock().queue.frames.is_empty()
    }

    /// The task is about to sleep. `false`: the end has come, or there is something to send and the
    /// stream is not `blocked`.
    pub(super) fn sleep(&self, waker: &Waker, blocked: bool) -> bool {
        let mut outbox = self.outbox.lock();
        if outbox.closed || !(blocked || outbox.queue.frames.is_empty()) {
            return false;
        }
        outbox.blocked = blocked;
        let before = outbox.sleeper.replace(waker.clone());
        self.busy.store(false, Ordering::Release);
        drop(outbox);
        drop(before);
        true
    }

    /// The task is about to handle something.
    pub(super) fn note_busy(&self) {
        self.busy.store(true, Ordering::Release);
    }

    /// Whether the task has had nothing to do since it was asked before: all that was received is answered,
    /// and the answers have left. It is woken to look again.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut outbox = self.outbox.lock();
        let idle = !outbox.blocked && !self.busy.load(Ordering::Acquire) && self.running() == 0;
        let sleeper = outbox.sleeper.take();
        drop(outbox);
        let slept = sleeper.is_some();
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        slept && idle
    }

    /// An asynchronous method goes on.
    pub(super) fn begin_method(&self) {
        self.running.fetch_add(1, Ordering::AcqRel);
    }

    /// It is done; its answer is queued, which wakes the task.
    pub(super) fn end_method(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        let sleeper = self.outbox.lock().sleeper.take();
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// How many asynchronous methods go on.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }
}
