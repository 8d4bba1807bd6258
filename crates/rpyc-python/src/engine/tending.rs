//! The primitives for signs of life: what a thread does for a connection that it does not serve.
//!
//! None of them waits, and none runs code of the user, unless that overrides what is done here.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rpyc::link::EndCause;
use rpyc_proto::wire::Payload;

use super::{Engine, PyLink};
use crate::bulk::PyBulk;
use crate::driver::PyDriver;
use crate::request;
use crate::waiter::Waiter;

#[pymethods]
impl Engine {
    /// Listens without waiting, if no thread reads, and handles what is no concern of the user's.
    /// Returns what changes with each sign of life of the peer: a count, and bytes left unread.
    fn _tend(slf: &Bound<'_, Self>) -> PyResult<(u64, usize)> {
        let link = slf.get().link()?;
        let mut driver = PyDriver::new(slf, link);
        // In thread-bound mode a message begins with other things.
        let plain = slf.get().bound_threads().is_none();
        let signs = link.tend(&mut driver, |payload| plain && is_own(link, payload))?;
        link.flush_now();
        Ok((signs.heard, signs.unread))
    }

    /// Shows the peer that this side lives.
    fn _show_life(&self) {
        if let Some(link) = self.link.get() {
            link.show_life();
        }
    }

    /// Sends a request of the connection itself, without waiting. `callback` is called with (is
    /// exception, object) by whichever thread reads the answer, and runs no code of the user; None:
    /// the answer is of no interest.
    fn _ask<'py>(
        slf: &Bound<'py, Self>,
        handler: i64,
        args: &Bound<'py, PyTuple>,
        callback: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let link = slf.get().link()?;
        let waiter = callback.map_or(Waiter::Nobody, Waiter::Own);
        request::send(slf, link, handler, &request::Any(args), waiter)?;
        link.flush_now();
        Ok(())
    }

    /// Ends the link: the peer has given no sign of life for so many seconds.
    fn _give_up_silent(&self, seconds: f64) {
        if let Some(link) = self.link.get() {
            let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            link.finish(EndCause::Silent(time));
        }
    }
}

/// Whether a message can be handled without code of the user.
fn is_own(link: &PyLink, payload: &Payload<PyBulk>) -> bool {
    link.is_own(payload, |waiter| {
        matches!(waiter, Waiter::Nobody | Waiter::Own(_))
    })
}
