//! Results that are not there yet.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::Instant;

use rpyc_proto::consts::Handler;

use crate::connection::{BlockingDriver, Patience, Peer, name_of, wait_for};
use crate::error::{Error, Result};
use crate::link::Parker;
use crate::value::Value;
use crate::waiter::Slot;

/// The result of a request that was sent and not waited for.
///
/// Dropping it gives the call up: a peer with this crate, or with `rpyc-rs` for Python, does not begin it
/// if it still waits behind another one, and the method can ask ([`is_cancelled`](crate::is_cancelled)) if
/// it runs. When an answer arrives all the same, it is thrown away, and what it refers to is released. What
/// is to be performed, whatever comes of it, is told to [`detach`](Self::detach).
///
/// With the feature `tokio` it can be awaited, on connections that a runtime drives.
#[must_use = "dropping it gives the call up; see detach"]
pub struct AsyncResult {
    peer: Arc<Peer>,
    seq: u64,
    slot: Arc<Slot>,
    handler: Handler,
    started: Instant,
    taken: bool,
    #[cfg(feature = "tokio")]
    pub(crate) sleep: Option<std::pin::Pin<Box<::tokio::time::Sleep>>>,
}

impl AsyncResult {
    pub(crate) const fn new(
        peer: Arc<Peer>,
        seq: u64,
        slot: Arc<Slot>,
        handler: Handler,
        started: Instant,
    ) -> Self {
        Self {
            peer,
            seq,
            slot,
            handler,
            started,
            taken: false,
            #[cfg(feature = "tokio")]
            sleep: None,
        }
    }

    /// Whether the answer is there. On a blocking connection, this reads what has arrived.
    ///
    /// # Errors
    /// [`Error::ConnectionLost`].
    pub fn is_ready(&self) -> Result<bool> {
        if self.slot.is_ready() {
            return Ok(true);
        }
        if let Some(link) = self.peer.wire().link() {
            let slot = &self.slot;
            let mut is_ready = |_: &mut BlockingDriver<'_>| slot.is_ready();
            let mut driver = BlockingDriver::new(&self.peer);
            return link
                .wait(&mut driver, &mut is_ready, Some(Instant::now()))
                .map_err(|end| self.peer.lost(name_of(self.handler), &end));
        }
        Ok(false)
    }

    /// Blocks until the answer is there, for as long as the configuration says, counted from when
    /// the request was sent.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn wait(self) -> Result<Value> {
        let patience = self.patience();
        self.wait_until(patience)
    }

    /// Blocks until the answer is there, for `timeout` at most. After that the call is given up.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<Value> {
        let patience = Patience::from_now(&self.peer, timeout);
        self.wait_until(patience)
    }

    /// Has `callback` called with the answer: at once if it is there, else in the thread or task
    /// that receives it.
    pub fn on_ready(mut self, callback: impl FnOnce(Result<Value>) + Send + 'static) {
        self.taken = true;
        self.peer.note_callback();
        self.slot.on_ready(Box::new(callback));
    }

    /// Gives the call up. The same as dropping this.
    pub fn cancel(self) {}

    /// Leaves the call to itself: it is performed, and its answer is thrown away.
    pub fn detach(mut self) {
        self.taken = true;
    }

    fn wait_until(mut self, patience: Patience) -> Result<Value> {
        self.taken = true;
        if let Some(link) = self.peer.wire().link() {
            if let Some(outcome) = self.slot.take() {
                return outcome.into_result();
            }
            let Self {
                peer, seq, slot, ..
            } = &self;
            return wait_for(peer, link, *seq, slot, self.handler, self.started, patience);
        }
        self.wait_for_runtime(patience)
    }

    /// The runtime's task puts the answer in; this thread sleeps.
    fn wait_for_runtime(&self, patience: Patience) -> Result<Value> {
        #[cfg(feature = "tokio")]
        if ::tokio::runtime::Handle::try_current().is_ok() {
            self.withdraw();
            return Err(Error::WouldBlockRuntime(
                "the method ending in _async, and await",
            ));
        }
        let parker = Parker::current();
        let waker = parker_waker(&parker);
        loop {
            if let Some(outcome) = self.slot.poll(&waker) {
                return outcome.into_result();
            }
            let deadline = patience.deadline;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                self.withdraw();
                return Err(self.timed_out(patience));
            }
            parker.park(left);
        }
    }

    fn timed_out(&self, patience: Patience) -> Error {
        patience.timed_out(&self.peer, self.handler, self.started.elapsed(), true)
    }

    fn withdraw(&self) {
        self.peer.withdraw(self.handler, self.seq);
    }

    /// How long it is waited for unless somebody says otherwise.
    pub(crate) fn patience(&self) -> Patience {
        Patience::configured(&self.peer, self.started)
    }

    /// For a task: the answer if it is there; else `waker` is woken when it comes.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_slot(&mut self, waker: &std::task::Waker) -> Option<Result<Value>> {
        let outcome = self.slot.poll(waker)?;
        self.taken = true;
        Some(outcome.into_result())
    }

    /// For a task whose time is over.
    #[cfg(feature = "tokio")]
    pub(crate) fn give_up(&mut self) -> Error {
        self.taken = true;
        self.withdraw();
        self.timed_out(self.patience())
    }
}

impl Drop for AsyncResult {
    fn drop(&mut self) {
        if !self.taken {
            self.withdraw();
            // It may have come just before.
            drop(self.slot.take());
        }
    }
}

impl std::fmt::Debug for AsyncResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsyncResult")
            .field("operation", &name_of(self.handler))
            .field("peer", &self.peer.name())
            .field("ready", &self.slot.is_ready())
            .finish()
    }
}

/// A waker that unparks a thread.
pub(crate) fn parker_waker(parker: &Arc<Parker>) -> std::task::Waker {
    struct Unpark(Arc<Parker>);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    std::task::Waker::from(Arc::new(Unpark(Arc::clone(parker))))
}
