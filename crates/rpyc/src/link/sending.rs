//! Sending: the outbox is emptied by whoever finds nobody doing so.

use std::sync::Arc;
use std::time::Duration;

use rpyc_proto::wire::frame::Frame;

use super::late;
use super::outbox::Flushed;
use super::pace::Due;
use super::parker::Parker;
use super::{BUSY_SLICE, Driver, End, EndCause, Link, is_over, remaining, shorter};
use crate::sync::{Instant, Ordering};
use crate::transport::{BulkOf, Packing, Received, Transport};

impl<T: Transport, W> Link<T, W> {
    /// Appends a frame to the outbox, which takes it or copies it, without sending it: it leaves with the next one, or before the
    /// next wait. Where many follow each other quickly, and it may wait for company as [`is_due`](Self::is_due)
    /// says: a moment just before, without a look at the clock.
    pub fn push(&self, frame: &mut Frame<BulkOf<T>>) -> Option<Instant> {
        self.exit.outbox.push(frame, self.packing(), false)
    }

    /// As [`push`](Self::push), for a frame that nobody waits for: the release of a reference, the answer
    /// to one.
    pub fn push_unhurried(&self, frame: &mut Frame<BulkOf<T>>) {
        self.exit.outbox.push(frame, self.packing(), true);
    }

    fn packing(&self) -> Packing {
        Packing {
            joins: !self.exit.transport.is_whole(),
            pads: self.pads.load(Ordering::Relaxed),
        }
    }

    /// Notes that the peer is of this package.
    pub fn note_kin(&self) {
        let pads = self.exit.transport.fills_pages();
        self.pads.store(pads, Ordering::Relaxed);
    }

    /// Whether frames were appended that no thread is sending.
    pub fn has_output(&self) -> bool {
        self.exit.outbox.is_idle_with_output()
    }

    /// Whether what is queued is to be sent now. To be asked before user code goes on, which may take
    /// long. If not, nothing is queued, or another thread sends it, or it leaves within a
    /// millisecond: when frames follow each other quickly they leave together. See the module `late`.
    pub fn is_due(&self) -> bool
    where
        T: 'static,
    {
        if self.ended.get().is_some() {
            // Sending tells why nothing leaves any more.
            return true;
        }
        match self.exit.outbox.due() {
            Due::Never | Due::Soon => false,
            Due::SoonIfWatched => !self.may_hold_back(),
            Due::Now => true,
        }
    }

    /// Whether the courier can send what is held back: the transport must not need this thread.
    fn may_hold_back(&self) -> bool
    where
        T: 'static,
    {
        let watched = self.exit.transport.sends_anywhere()
            && !Parker::with_current(|me| me.is_green())
            && late::watch(&self.exit);
        self.exit.outbox.set_watched(watched);
        watched
    }

    /// Sends what is in the outbox, unless another thread is doing so. Waits until `deadline`
    /// at most; what has not left by then leaves later.
    ///
    /// # Errors
    /// The link's end, or an interruption.
    pub fn flush<D: Driver<T>>(
        &self,
        driver: &mut D,
        deadline: Option<Instant>,
    ) -> Result<(), D::Error>
    where
        W: Send,
    {
        loop {
            let slice = shorter(driver.slice(), deadline.map(remaining));
            match driver.blocking(|| self.flush_slice(slice)) {
                Flushed::All => return Ok(()),
                Flushed::Ended => return Err(self.ended_error(driver)),
                Flushed::Waiting => {
                    driver.check()?;
                    if deadline.is_some_and(is_over) || self.ending.get().is_some() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sends what can leave without waiting. For finalizers.
    pub fn flush_now(&self) {
        self.flush_slice(Some(Duration::ZERO));
    }

    /// As [`flush_now`](Self::flush_now), but another thread that is just sending has a moment to end
    /// that: for what must have left before the caller goes on, and before [`finish`](Self::finish).
    pub fn flush_out(&self) {
        self.flush_now();
        if self.has_unsent()
            && self.ended.get().is_none()
            && !Parker::with_current(|me| me.is_green())
        {
            self.exit
                .outbox
                .wait_for_sender(Instant::now() + BUSY_SLICE);
        }
    }

    /// After [`push_unhurried`](Self::push_unhurried): as [`flush_now`](Self::flush_now), but where such
    /// frames come often they wait for others that go along, for a millisecond at most.
    pub fn flush_unhurried(&self)
    where
        T: 'static,
    {
        if !self.exit.outbox.is_unhurried() || self.is_due() {
            self.flush_now();
        }
    }

    pub(super) fn flush_slice(&self, slice: Option<Duration>) -> Flushed {
        let flushed = self.try_flush(slice);
        if flushed == Flushed::Waiting && self.has_output() {
            // Threads that parked while this one was sending rely on it: one of them goes on.
            self.roles.wake_all();
        }
        flushed
    }

    fn try_flush(&self, slice: Option<Duration>) -> Flushed {
        // Asked for only if it does not go without waiting.
        let deadline = || slice.map(|slice| Instant::now() + slice);
        let Some(mut sender) = self.exit.outbox.begin() else {
            return self.wait_for_room(deadline());
        };
        let mut waits_until = None;
        loop {
            if self.ended.get().is_some() {
                return Flushed::Ended;
            }
            if !sender.refill() {
                return Flushed::All;
            }
            let before = sender.queue().position();
            match self.exit.transport.send(sender.queue()) {
                Ok(()) => self.stall.is_over(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if sender.queue().position() != before {
                        self.stall.is_over();
                        self.note_heard();
                    } else if let Some(limit) = self.stall.goes_on() {
                        self.finish(EndCause::Stuck(limit));
                        return Flushed::Ended;
                    }
                    let deadline = *waits_until.get_or_insert_with(deadline);
                    if deadline.is_some_and(is_over) {
                        return Flushed::Waiting;
                    }
                    self.wait_to_send(deadline);
                    if self.ending.get().is_some() && self.ended.get().is_none() {
                        // The peer closed; what we still want to say reaches nobody.
                        return Flushed::Waiting;
                    }
                }
                Err(_) if self.ended.get().is_some() => {
                    // This side has just ended it.
                    sender.discard();
                    return Flushed::Ended;
                }
                Err(error) => {
                    // What the peer said before it went away is still worth reading.
                    let cause = EndCause::Io(error.kind(), error.to_string());
                    self.undrained.store(true, Ordering::Release);
                    let _ = self.ending.set(Arc::new(End::new(cause)));
                    sender.discard();
                    return Flushed::All;
                }
            }
        }
    }

    /// Another thread is sending. Waits only while too much is queued.
    fn wait_for_room(&self, deadline: Option<Instant>) -> Flushed {
        if self.ended.get().is_some() {
            return Flushed::Ended;
        }
        // A green thread must let the sender go on, which may be another one of the same thread.
        if Parker::with_current(|me| me.is_green()) || self.exit.outbox.wait_for_room(deadline) {
            Flushed::All
        } else {
            Flushed::Waiting
        }
    }

    /// Waits until the transport takes bytes, and receives meanwhile if nobody else does.
    fn wait_to_send(&self, deadline: Option<Instant>) {
        const SLICE: Duration = Duration::from_millis(50);
        let me = Parker::current();
        let nested = self.roles.is_leader(&me);
        let reads = nested || self.roles.try_lead(&me);
        let wait = deadline.map_or(SLICE, |deadline| remaining(deadline).min(SLICE));
        let mut inbox = if reads { self.inbox.try_lock() } else { None };
        let room = inbox
            .as_ref()
            .is_some_and(|inbox| inbox.held() < self.limits.backlog);
        match self.exit.transport.wait_to_send(room, wait) {
            Ok(true) => {
                if let Some(inbox) = &mut inbox {
                    let received = self.exit.transport.receive(inbox, Some(Duration::ZERO));
                    inbox.absorb();
                    if matches!(received, Ok(Received::Data)) {
                        self.note_heard();
                    }
                    self.note_received(received, false);
                }
            }
            Ok(false) => {}
            Err(error) => {
                self.note_received(Err(error), false);
            }
        }
        drop(inbox);
        if reads && !nested {
            self.roles.leave(&me);
        }
    }
}
