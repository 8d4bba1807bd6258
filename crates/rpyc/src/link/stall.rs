//! Noticing a peer that takes nothing.

use std::time::Duration;

use crate::sync::{AtomicU64, Instant, Ordering};

/// How long the peer has taken no byte of what is to be sent.
#[derive(Debug)]
pub(super) struct Stall {
    limit: Option<Duration>,
    start: Instant,
    /// Milliseconds from `start` to the first vain attempt since the last byte left, plus one;
    /// 0: bytes leave.
    since: AtomicU64,
}

impl Default for Stall {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Stall {
    /// `limit`: how long is too long; `None`: nothing is.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            start: Instant::now(),
            since: AtomicU64::new(0),
        }
    }

    /// Bytes have left.
    pub(super) fn is_over(&self) {
        if self.since.load(Ordering::Relaxed) != 0 {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    /// None could leave. Tells the limit, if that was so for too long.
    pub(super) fn goes_on(&self) -> Option<Duration> {
        let limit = self.limit?;
        let now = Instant::now().saturating_duration_since(self.start);
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1) + 1;
        match self.since.load(Ordering::Relaxed) {
            0 => {
                self.since.store(now, Ordering::Relaxed);
                None
            }
            since => (u128::from(now.saturating_sub(since)) >= limit.as_millis()).then_some(limit),
        }
    }
}
