//! Putting a thread to sleep until another one wakes it.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::chaos;
use crate::sync::{Condvar, Instant, Mutex, thread_local};

/// The sleeping place of one thread.
///
/// A wake-up that comes before the sleep is not lost. One parker serves all nested waits of a
/// thread: each looks at its own condition after every wake-up.
#[derive(Debug, Default)]
pub struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
    sleep: Option<Box<dyn Sleep>>,
}

/// Another way to sleep than blocking the thread: for green threads.
///
/// As with a thread, a wake-up that comes before the sleep must not be lost.
pub trait Sleep: fmt::Debug + Send + Sync {
    /// Sleeps until woken, or for `timeout`.
    fn sleep(&self, timeout: Option<Duration>);

    /// Wakes the sleeper, now or at its next sleep.
    fn wake(&self);
}

/// Finds the parker of the calling green thread; `None` outside of them.
pub type Source = fn() -> Option<Arc<Parker>>;

static SOURCE: OnceLock<Source> = OnceLock::new();

thread_local! {
    static CURRENT: Arc<Parker> = Arc::default();
}

impl Parker {
    /// The parker of the calling thread.
    #[must_use]
    pub fn current() -> Arc<Self> {
        Self::with_current(Arc::clone)
    }

    /// Calls `work` with the parker of the calling thread.
    pub(super) fn with_current<R>(work: impl FnOnce(&Arc<Self>) -> R) -> R {
        match SOURCE.get().and_then(|source| source()) {
            Some(parker) => work(&parker),
            None => CURRENT.with(work),
        }
    }

    /// A parker that sleeps in a way of its own.
    #[must_use]
    pub fn sleeping(sleep: Box<dyn Sleep>) -> Self {
        Self {
            sleep: Some(sleep),
            ..Self::default()
        }
    }

    /// Makes a process with green threads tell them apart, from now on.
    pub fn set_source(source: Source) {
        // A second call changes nothing: there is one source per process.
        let _ = SOURCE.set(source);
    }

    /// Whether the thread itself must not block.
    pub(super) const fn is_green(&self) -> bool {
        self.sleep.is_some()
    }

    /// Sleeps until woken, or for `timeout`.
    pub fn park(&self, timeout: Option<Duration>) {
        if let Some(sleep) = &self.sleep {
            return sleep.sleep(timeout);
        }
        chaos::pause();
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
        drop(woken);
        chaos::pause();
    }

    /// Wakes the thread, now or at its next sleep.
    pub fn unpark(&self) {
        if let Some(sleep) = &self.sleep {
            return sleep.wake();
        }
        chaos::pause();
        *self.woken.lock() = true;
        self.changed.notify_one();
    }
    /// Has the sleeper look at the time again.
    #[cfg(loom)]
    pub fn tick(&self) {
        drop(self.woken.lock());
        self.changed.notify_all();
    }
}
