//! Waiting: for an answer, or for any message, and handling what comes meanwhile.

use std::sync::Arc;
use std::time::Duration;

use rpyc_proto::message::Message;
use rpyc_proto::wire::Payload;

use super::parker::Parker;
use super::roles::Turn;
use super::{BUSY_SLICE, Driver, EndCause, Inbox, Link, Until, chaos, remaining, shorter};
use crate::sync::{Instant, Ordering};
use crate::transport::Transport;

/// So many small answers at most are handled while the thread may have what it waits for, and what
/// small means.
const BURST: usize = 64;
const BURST_BYTES: usize = 1024;

/// When the time of a wait is over, what has arrived by then is handled for so long.
const LATE: Duration = Duration::from_millis(100);

impl<T: Transport, W> Link<T, W> {
    /// Waits until `until` is done or `deadline` is over, and reads meanwhile if nobody else does.
    /// Tells whether it is done.
    ///
    /// # Errors
    /// The link's end, an interruption, or what handling a message raised.
    pub fn wait<D: Driver<T>>(
        &self,
        driver: &mut D,
        until: &mut impl Until<D>,
        deadline: Option<Instant>,
    ) -> Result<bool, D::Error>
    where
        W: Send,
    {
        let me = Parker::current();
        let result = self.wait_as(&me, driver, until, deadline);
        self.roles.leave(&me);
        if let Some(unread) = self.unread.get()
            && !self.roles.is_taken()
            && self.has_input()
        {
            unread();
        }
        if result.is_ok() && self.has_output() {
            // Answers to what was handled meanwhile. They go out even if the wait's time is over.
            self.flush(
                driver,
                deadline.map(|deadline| deadline.max(Instant::now() + BUSY_SLICE)),
            )?;
        }
        result
    }

    /// Handles one message, or waits until another thread has handled one. Tells whether one was.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn serve<D: Driver<T>>(
        &self,
        driver: &mut D,
        deadline: Option<Instant>,
    ) -> Result<bool, D::Error>
    where
        W: Send,
    {
        let before = self.handled.load(Ordering::Acquire);
        let observer = self.roles.observe();
        let mut handled = |_: &mut D| self.handled.load(Ordering::Acquire) != before;
        let result = self.wait(driver, &mut handled, deadline);
        drop(observer);
        result
    }

    fn wait_as<D: Driver<T>>(
        &self,
        me: &Arc<Parker>,
        driver: &mut D,
        until: &mut impl Until<D>,
        deadline: Option<Instant>,
    ) -> Result<bool, D::Error>
    where
        W: Send,
    {
        let mut looked = false;
        let mut flow = Flow::default();
        loop {
            // First the turn, then the look: another thread may handle what this one waits for, and
            // go away, until the turn is settled. From then on its wake-ups are not lost.
            let turn = self.roles.turn(me);
            chaos::pause();
            if until.is_done(driver) {
                return Ok(true);
            }
            if flow.is_over(deadline) {
                return Ok(false);
            }
            if flow.asks_for_signals() {
                driver.check()?;
            }
            if driver.handle_aside()? {
                self.begun.fetch_add(1, Ordering::AcqRel);
                self.note_handled();
                flow.handled += 1;
                continue;
            }
            match turn {
                Turn::Lead => {
                    if self.ended.get().is_some() {
                        return self.done_before_end(driver, until);
                    }
                    let mut inbox = self.inbox.lock();
                    let next = inbox.take();
                    if matches!(next, Ok(Some(_))) {
                        self.note_begun(&inbox);
                    }
                    drop(inbox);
                    match next {
                        Ok(Some(payload)) => {
                            let result = driver.arrived(payload);
                            let result = result.and_then(|()| self.handle_burst(driver));
                            self.note_handled();
                            result?;
                            flow.handled += 1;
                            continue;
                        }
                        Ok(None) => {}
                        Err(error) => self.finish(EndCause::Frame(error)),
                    }
                    if let Some(end) = self.ending.get() {
                        if self.undrained.swap(false, Ordering::AcqRel)
                            && driver.blocking(|| self.receive_rest())
                        {
                            continue;
                        }
                        // All that arrived before is handled.
                        if self.ended.set(Arc::clone(end)).is_ok() {
                            self.finish(end.cause().clone());
                        }
                        return Err(self.ended_error(driver));
                    }
                    let left = deadline.map(remaining);
                    if left == Some(Duration::ZERO) {
                        if looked || !self.receive_now(driver) {
                            return Ok(false);
                        }
                        looked = true;
                        continue;
                    }
                    let slice = shorter(driver.slice(), left);
                    driver.blocking(|| self.receive_slice(slice));
                    driver.check()?;
                }
                Turn::Follow => {
                    if self.ended.get().is_some() {
                        return self.done_before_end(driver, until);
                    }
                    let left = deadline.map(remaining);
                    if left == Some(Duration::ZERO) {
                        return Ok(false);
                    }
                    let slice = shorter(driver.slice(), left);
                    driver.blocking(|| {
                        if self.has_output() {
                            // Its own answer may come meanwhile.
                            self.flush_slice(shorter(slice, Some(BUSY_SLICE)));
                        } else {
                            me.park(slice);
                        }
                    });
                    driver.check()?;
                }
            }
        }
    }

    /// The link ended. Whoever met the end may have handled just before what this wait is for.
    fn done_before_end<D: Driver<T>>(
        &self,
        driver: &mut D,
        until: &mut impl Until<D>,
    ) -> Result<bool, D::Error> {
        if until.is_done(driver) {
            return Ok(true);
        }
        Err(self.ended_error(driver))
    }

    /// Handles the small answers that came along with the last message: those to a burst of requests.
    /// Whoever waits for one of them finds it, and does not need the read role. Holds the read role.
    fn handle_burst<D: Driver<T>>(&self, driver: &mut D) -> Result<(), D::Error> {
        for _ in 0..BURST {
            if !driver.goes_on() {
                break;
            }
            let small =
                |payload: &Payload<_>| payload.len() <= BURST_BYTES && Message::is_answer(payload);
            let Some(payload) = self.inbox.lock().take_if(small) else {
                break;
            };
            driver.arrived(payload)?;
        }
        Ok(())
    }

    /// A message was taken, to be handled. Under the inbox's lock: who finds it gone finds it begun.
    pub(super) fn note_begun(&self, inbox: &Inbox<T::Buffer>) {
        let more = inbox.held() > 0;
        // Only the holder of the read role writes them.
        let waited = self.more.load(Ordering::Relaxed);
        self.more.store(more, Ordering::Relaxed);
        self.queued.store(more || waited, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::AcqRel);
    }

    /// A message is handled that was begun.
    pub(super) fn note_handled(&self) {
        self.handled.fetch_add(1, Ordering::AcqRel);
        self.roles.wake_observers();
    }
}

/// What one wait has handled. A peer may send without a pause, and so keep the wait from every look at
/// the time that is made when there is nothing to handle.
#[derive(Debug, Default)]
struct Flow {
    handled: usize,
    last: Option<Instant>,
}

impl Flow {
    /// Whether the time is over, for long enough to have found what was there by then. Asked between
    /// two messages: it is not, before the first one.
    fn is_over(&mut self, deadline: Option<Instant>) -> bool {
        let Some(deadline) = deadline.filter(|_| self.handled > 0) else {
            return false;
        };
        let now = Instant::now();
        now >= deadline && now >= *self.last.get_or_insert_with(|| now + LATE)
    }

    /// Whether it is time to look for signals.
    const fn asks_for_signals(&self) -> bool {
        self.handled > 0 && self.handled.is_multiple_of(BURST)
    }
}
