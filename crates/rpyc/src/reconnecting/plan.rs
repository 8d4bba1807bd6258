//! How it is tried to connect, and for how long.

use std::sync::Arc;
use std::time::Duration;

use super::ReconnectEvent;
use crate::error::ConnectError;
use crate::random::unguessable;

/// Called with what happens to a client whose connections are `C`.
pub(super) type Listener<C> = Arc<dyn Fn(&ReconnectEvent<'_, C>) + Send + Sync>;

/// The options of a client.
#[derive(Clone)]
pub(super) struct Plan<C> {
    pub(super) attempts: u32,
    pub(super) time_limit: Duration,
    pub(super) first_delay: Duration,
    pub(super) longest_delay: Duration,
    pub(super) on_event: Option<Listener<C>>,
}

impl<C> Default for Plan<C> {
    fn default() -> Self {
        Self {
            attempts: 10,
            time_limit: Duration::from_secs(60),
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(5),
            on_event: None,
        }
    }
}

impl<C> Plan<C> {
    /// How long to wait after this attempt, the first one being 1, which failed with `error` this long after
    /// the beginning. `None`: it was the last one.
    pub(super) fn next(
        &self,
        attempt: u32,
        elapsed: Duration,
        error: &ConnectError,
    ) -> Option<Duration> {
        let is_last = attempt >= self.attempts || elapsed >= self.time_limit || !is_passing(error);
        (!is_last).then(|| self.delay(attempt).min(self.time_limit - elapsed))
    }

    fn delay(&self, attempt: u32) -> Duration {
        let whole = (self.first_delay)
            .saturating_mul(2u32.saturating_pow(attempt - 1))
            .min(self.longest_delay);
        // Between a half of it and all.
        let part = unguessable() as f64 / u64::MAX as f64;
        whole.mul_f64(0.5 + part / 2.0)
    }
}

/// Whether another attempt may have another result.
const fn is_passing(error: &ConnectError) -> bool {
    !matches!(
        error,
        ConnectError::Address { .. } | ConnectError::Handshake { .. }
    )
}
