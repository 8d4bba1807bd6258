//! How a connection behaves.

use std::time::Duration;

pub use rpyc_proto::limits::Limits;

/// The settings of a connection.
///
/// ```
/// use std::time::Duration;
///
/// let config = rpyc::Config::default().timeout(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) timeout: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) limits: Limits,
    pub(crate) compression: bool,
    pub(crate) busy_poll: Duration,
    pub(crate) heartbeat: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(30)),
            connect_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            compression: true,
            busy_poll: Duration::from_micros(500),
            heartbeat: None,
        }
    }
}

impl Config {
    /// How long a call waits for its answer: 30 seconds by default; `None`: for ever.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// How long connecting may take in all, name resolution and handshakes included: 10 seconds by
    /// default.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// What the peer can make this process hold.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// For how long a wait asks a socket again and again before it sleeps: 500 microseconds by
    /// default, 1 millisecond at most, zero for never. It does so only while messages come within
    /// half of that, and not while others want the cores. The core is given away now and then, and
    /// where there is but one, before each look.
    #[must_use]
    pub const fn busy_poll(mut self, budget: Duration) -> Self {
        self.busy_poll = budget;
        self
    }

    /// Whether large messages to other machines are compressed where a sample shows that it pays:
    /// yes by default.
    #[must_use]
    pub const fn compression(mut self, on: bool) -> Self {
        self.compression = on;
        self
    }

    /// How long the peer may give no sign of life before the connection ends with
    /// [`EndCause::Silent`](crate::link::EndCause::Silent), whether something waits or not: for ever by
    /// default. Less than a tenth of a second counts as that.
    ///
    /// A peer of this crate or of `rpyc-rs` is asked to show that it lives. It learns of that when it waits
    /// for anything, serves, or has a heartbeat of its own (over TLS the last does not help), and from then on
    /// it does so by itself, also while a method runs; methods that a runtime runs must not block it.
    /// Any other peer is pinged, so it must serve within this time. So best use it at the side that calls.
    #[must_use]
    pub fn heartbeat(mut self, silence: impl Into<Option<Duration>>) -> Self {
        let shortest = Duration::from_millis(100);
        self.heartbeat = silence.into().map(|silence| silence.max(shortest));
        self
    }
}
