//! The threads of a server, counted.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// How many threads are running.
#[derive(Debug, Default)]
pub(super) struct Threads(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    running: Mutex<usize>,
    idle: Condvar,
}

impl Threads {
    /// Starts a thread.
    pub(super) fn start(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        *self.0.running.lock() += 1;
        let running = Running(Arc::clone(&self.0));
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Code of the service is guarded where it is called; this is for what it drops.
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    log::error!("a thread of the server panicked");
                }
                drop(running);
            })
            .map(drop)
    }

    /// Waits until none is running, or the deadline.
    pub(super) fn wait_until_idle(&self, deadline: Instant) {
        let mut running = self.0.running.lock();
        while *running > 0 {
            if self.0.idle.wait_until(&mut running, deadline).timed_out() {
                return;
            }
        }
    }
}

/// Counts one thread for as long as it lives.
struct Running(Arc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.idle.notify_all();
    }
}
