//! Putting a thread to sleep until another one wakes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The sleeping place of one thread.
///
/// A wake-up that comes before the sleep is not lost. One parker serves all nested waits of a
/// thread: each looks at its own condition after every wake-up.
#[derive(Debug, Default)]
pub struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

thread_local! {
    static CURRENT: Arc<Parker> = Arc::default();
}

impl Parker {
    /// The parker of the calling thread.
    #[must_use]
    pub fn current() -> Arc<Self> {
        CURRENT.with(Arc::clone)
    }

    /// Sleeps until woken, or for `timeout`.
    pub fn park(&self, timeout: Option<Duration>) {
        let mut woken = self.woken.lock();
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        while !*woken {
            match deadline {
                None => self.changed.wait(&mut woken),
                Some(deadline) => {
                    if self.changed.wait_until(&mut woken, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        *woken = false;
    }

    /// Wakes the thread, now or at its next sleep.
    pub fn unpark(&self) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }
}
