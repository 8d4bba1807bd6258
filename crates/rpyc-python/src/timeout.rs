//! How long requests wait, as programs say it.

use std::time::{Duration, Instant};

use pyo3::intern;
use pyo3::prelude::*;

use rpyc::link::Limit;

/// How long a request waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Timeout {
    /// Without limit.
    Never,
    /// This many seconds.
    After(f64),
    /// Up to a moment that the thread has set for all of its requests.
    Until(Limit),
}

impl Timeout {
    /// RPyC's reading of a number of seconds: None and negative ones mean no limit.
    pub(crate) fn from_seconds(seconds: Option<f64>) -> Self {
        match seconds {
            Some(seconds) if seconds >= 0.0 => Self::After(seconds),
            _ => Self::Never,
        }
    }

    /// Reads a number of seconds, None, or a `rpyc.lib.Timeout`.
    pub(crate) fn from_object(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(timeout) = timeout.filter(|timeout| !timeout.is_none()) else {
            return Ok(Self::Never);
        };
        if let Ok(seconds) = timeout.extract::<f64>() {
            return Ok(Self::from_seconds(Some(seconds)));
        }
        let left = timeout.call_method0(intern!(timeout.py(), "timeleft"))?;
        Ok(Self::from_seconds(left.extract()?))
    }

    /// The earlier of this and a limit of the thread.
    pub(crate) fn within(self, limit: Option<Limit>) -> Self {
        let Some(limit) = limit else { return self };
        match self.deadline() {
            Some(deadline) if deadline <= limit.deadline => self,
            _ => Self::Until(limit),
        }
    }

    /// The time that a request without an answer has taken.
    pub(crate) fn length(self) -> Duration {
        match self {
            Self::Never => Duration::MAX,
            Self::After(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
            Self::Until(limit) => limit.length,
        }
    }

    /// What sets it.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::Never | Self::After(_) => "config key sync_request_timeout",
            Self::Until(_) => "conn.timeout() around it",
        }
    }

    /// Whether there is no time at all.
    pub(crate) fn is_over(self) -> bool {
        self == Self::After(0.0)
    }

    /// The moment it is over. `None`: never.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Never => None,
            Self::Until(limit) => Some(limit.deadline),
            Self::After(seconds) => Duration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|wait| Instant::now().checked_add(wait)),
        }
    }
}
