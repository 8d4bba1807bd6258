//! Where one thread waits for one answer.

use std::sync::Arc;

use super::chaos;
use super::parker::Parker;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// The place where the thread that made it waits for one answer `A`.
///
/// Whoever receives the answer puts it here and so wakes that thread, and no other.
#[derive(Debug)]
pub struct Slot<A> {
    parker: Arc<Parker>,
    ready: AtomicBool,
    answer: Mutex<Option<A>>,
}

impl<A> Slot<A> {
    /// An empty slot of the calling thread.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            parker: Parker::current(),
            ready: AtomicBool::new(false),
            answer: Mutex::new(None),
        })
    }

    /// Puts the answer in and wakes the thread. An answer that was there already is dropped.
    pub fn put(&self, answer: A) {
        let before = self.answer.lock().replace(answer);
        chaos::pause();
        self.ready.store(true, Ordering::Release);
        self.parker.unpark();
        // Dropping it may run anything: not under the lock.
        drop(before);
    }

    /// Whether the calling thread is the one that waits here.
    #[must_use]
    pub fn is_callers(&self) -> bool {
        Parker::with_current(|me| Arc::ptr_eq(me, &self.parker))
    }

    /// Whether an answer was put in.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Takes the answer out.
    #[must_use]
    pub fn take(&self) -> Option<A> {
        self.answer.lock().take()
    }
}
