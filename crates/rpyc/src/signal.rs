//! Telling those who wait that something has changed: threads, and tasks of a runtime.

use std::time::Instant;

use parking_lot::{Condvar, MutexGuard};

/// Goes with what is kept under a lock. Whoever changes that tells it, once the lock is free again.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    threads: Condvar,
    #[cfg(feature = "tokio")]
    tasks: ::tokio::sync::Notify,
}

impl Signal {
    /// Wakes all who wait.
    pub(crate) fn give(&self) {
        self.threads.notify_all();
        #[cfg(feature = "tokio")]
        self.tasks.notify_waiters();
    }

    /// Blocks until the signal is given; the lock is free meanwhile.
    pub(crate) fn wait<T>(&self, state: &mut MutexGuard<'_, T>) {
        self.threads.wait(state);
    }

    /// As [`wait`](Self::wait), until the deadline at most. Tells whether it has passed.
    pub(crate) fn wait_until<T>(&self, state: &mut MutexGuard<'_, T>, deadline: Instant) -> bool {
        self.threads.wait_until(state, deadline).timed_out()
    }

    /// For a task: waits until `look` finds something. It looks at once, and each time the signal is given.
    #[cfg(feature = "tokio")]
    pub(crate) async fn find<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut given = std::pin::pin!(self.tasks.notified());
            // First listed, then the look: the signal may be given in between.
            given.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            given.await;
        }
    }
}
