//! The descriptor of a socket that another thread may shut down.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::PollFlags;

use super::poll;

/// A descriptor that is gone after a shutdown.
#[derive(Debug)]
pub(super) struct Descriptor(Mutex<Option<Arc<OwnedFd>>>);

impl Descriptor {
    pub(super) const fn new(fd: Arc<OwnedFd>) -> Self {
        Self(Mutex::new(Some(fd)))
    }

    /// The descriptor. Whoever is in a system call holds it until that returns, so its number is not
    /// given to another file meanwhile.
    ///
    /// # Errors
    /// `NotConnected` after [`take`](Self::take).
    #[inline]
    pub(super) fn held(&self) -> io::Result<Arc<OwnedFd>> {
        self.0
            .lock()
            .clone()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Takes the descriptor away, to shut it down. `None`: somebody has done so.
    pub(super) fn take(&self) -> Option<Arc<OwnedFd>> {
        self.0.lock().take()
    }

    /// Waits until bytes can be sent or, with `or_read`, received. Tells whether they can be received.
    ///
    /// # Errors
    /// Those of `poll`, and of [`held`](Self::held).
    pub(super) fn wait_to_send(&self, or_read: bool, timeout: Duration) -> io::Result<bool> {
        let fd = self.held()?;
        let wanted = if or_read {
            PollFlags::OUT | PollFlags::IN
        } else {
            PollFlags::OUT
        };
        let ready = poll::wait(&[(fd.as_fd(), wanted)], Some(timeout))?;
        Ok(ready.intersects(PollFlags::IN))
    }
}
