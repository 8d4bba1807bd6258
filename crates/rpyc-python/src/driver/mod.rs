//! What the link asks of the Python face, and what the face does with each message.

mod answers;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyEOFError, PyMemoryError, PyRecursionError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rpyc::link::{Driver, End, EndCause};
use rpyc_proto::consts::MessageKind;
use rpyc_proto::message::{Dialect, Message};
use rpyc_proto::session::Event;
use rpyc_proto::wire::Payload;
use smallvec::SmallVec;

use crate::bound::{BoundThreads, Route};
use crate::brine::BrineError;
use crate::bulk::PyBulk;
use crate::cancel::{self, Performing};
use crate::engine::{Engine, PyLink};
use crate::greenlets;
use crate::model::Raised;
use crate::nesting::Nested;
use crate::threads::{self, Busy};
use crate::transport::PyTransport;
pub(crate) use answers::load_exception;
pub(crate) use requests::stays_local;

/// How long the main thread waits before it looks for signals that came just before the wait.
const SIGNAL_SLICE: Duration = Duration::from_millis(50);

/// One thread that drives a connection.
pub(crate) struct PyDriver<'a, 'py> {
    conn: &'a Bound<'py, Engine>,
    link: &'a PyLink,
    main_thread: bool,
    /// What it waits for may also be settled by other means than a message.
    looks_up: bool,
    /// The thread is listed as waiting, in thread-bound mode.
    listed: bool,
}

impl<'a, 'py> PyDriver<'a, 'py> {
    pub(crate) fn new(conn: &'a Bound<'py, Engine>, link: &'a PyLink) -> Self {
        Self {
            conn,
            link,
            main_thread: threads::is_main(conn.py()),
            looks_up: false,
            listed: false,
        }
    }

    /// A driver for a wait: while it lives, other threads may put messages aside for this one.
    pub(crate) fn waiting(conn: &'a Bound<'py, Engine>, link: &'a PyLink) -> Self {
        let mut driver = Self::new(conn, link);
        if let Some(threads) = conn.get().bound_threads() {
            threads.begin_wait(conn.py());
            driver.listed = true;
        }
        driver
    }

    /// Lets a wait notice within a short time what no message brings, such as a cancellation by
    /// another thread.
    pub(crate) const fn look_up(&mut self) {
        self.looks_up = true;
    }

    fn py(&self) -> Python<'py> {
        self.conn.py()
    }
}

impl Drop for PyDriver<'_, '_> {
    fn drop(&mut self) {
        if self.listed
            && let Some(threads) = self.conn.get().bound_threads()
        {
            for _ in 0..threads.end_wait(self.py()) {
                self.start_worker();
            }
        }
    }
}

impl Driver<PyTransport> for PyDriver<'_, '_> {
    type Error = PyErr;

    fn blocking<R: Send>(&mut self, work: impl FnOnce() -> R + Send) -> R {
        if greenlets::in_use() && self.link.transport().is_channel() {
            // Greenlets switch inside, and each must find the interpreter as it left it.
            return work();
        }
        self.py().detach(work)
    }

    fn slice(&self) -> Option<Duration> {
        (self.main_thread || self.looks_up).then_some(SIGNAL_SLICE)
    }

    fn check(&mut self) -> PyResult<()> {
        if let Some(raised) = self
            .link
            .transport()
            .take_raised()
            .or_else(greenlets::take_raised)
        {
            return Err(raised);
        }
        if self.main_thread {
            self.py().check_signals()?;
        }
        Ok(())
    }

    fn handle_aside(&mut self) -> PyResult<bool> {
        let threads = self.conn.get().bound_threads();
        match threads.and_then(|threads| threads.take_aside(self.py())) {
            Some(payload) => self.handle(payload).map(|()| true),
            None => Ok(false),
        }
    }

    fn arrived(&mut self, mut payload: Payload<PyBulk>) -> PyResult<()> {
        let Some(threads) = self.conn.get().bound_threads() else {
            return self.handle(payload);
        };
        let Some(ids) = BoundThreads::take_prefix(&mut payload) else {
            return Err(self.give_up(PyValueError::new_err(
                "a message without thread ids: the peer is not in thread-bound mode (bind_threads)",
            )));
        };
        if payload.head.first() != Some(&MessageKind::Request.number()) {
            threads.note_answer(self.py(), ids.0, ids.1);
            return self.handle(payload);
        }
        cancel::note_arrived(self.conn, &payload);
        match threads.route(self.py(), ids, payload) {
            Route::Here(payload) => self.handle(payload),
            Route::Elsewhere => Ok(()),
            Route::Worker => {
                self.start_worker();
                Ok(())
            }
        }
    }

    fn ended(&mut self, end: &Arc<End>) -> PyErr {
        PyEOFError::new_err(end.to_string())
    }
}

impl<'py> PyDriver<'_, 'py> {
    /// Handles a message in this thread.
    pub(crate) fn handle(&mut self, payload: Payload<PyBulk>) -> PyResult<()> {
        let _nested = Nested::begin(self.conn.get());
        let _busy = Busy::begin(self.py(), || {
            self.link.finish(EndCause::Face(
                "the interpreter is shutting down".to_owned(),
            ));
        });
        if let Err(text) = self.conn.get().settle_dialect(Dialect::of(&payload)) {
            return Err(self.give_up(PyValueError::new_err(text)));
        }
        let kind = payload.head.first();
        if kind == Some(&MessageKind::Request.number())
            && let Some(seq) = cancel::skip(self.conn, self.link, &payload)
        {
            if self.conn.get().bound_threads().is_some() {
                // The threads at both ends are occupied until it is answered.
                let seq = payload.head.get(seq).unwrap_or_default();
                self.push_none(seq)?;
            }
            self.link.pass_on();
            return Ok(());
        }
        if !payload.cut && !self.conn.get().is_native(self.conn) {
            let _performing = Message::parse(&payload)
                .ok()
                .filter(|message| message.kind == MessageKind::Request)
                .and_then(|message| Performing::begin(self.conn, message.number));
            let data = PyBytes::new(self.py(), &payload.to_vec());
            self.conn
                .as_any()
                .call_method1(intern!(self.py(), "_dispatch"), (data,))?;
            return Ok(());
        }
        match Event::of(&payload, || self.link.session().lock()) {
            Ok(Event::Request { seq, body }) => {
                let seq = payload.head.get(seq).unwrap_or_default();
                let seq = SmallVec::<[u8; 16]>::from_slice(seq);
                self.request(payload, &seq, body)
            }
            Ok(Event::Answer {
                waiter,
                is_exception,
                body,
            }) => self.answer(waiter, is_exception, payload, body),
            Ok(Event::Orphan {
                number,
                is_exception,
                body,
            }) => self.orphan(number, is_exception, &payload, body),
            Err(error) => {
                let text = error.to_string();
                self.link.finish(EndCause::Message(error));
                Err(PyValueError::new_err(text))
            }
        }
    }

    /// Starts a thread that performs one request which found no idle thread.
    fn start_worker(&self) {
        let py = self.py();
        let started = py.import(intern!(py, "rpyc.lib")).and_then(|lib| {
            let work = self.conn.as_any().getattr(intern!(py, "_work_bound"))?;
            lib.getattr(intern!(py, "spawn"))?.call1((work,))
        });
        if let Err(error) = started {
            error.write_unraisable(py, Some(self.conn.as_any()));
        }
    }

    /// The peer sent what is no value: nothing that follows can be trusted. Ends the link.
    fn give_up(&self, error: PyErr) -> PyErr {
        let text = error.value(self.py()).to_string();
        self.link.finish(EndCause::Malformed(text));
        error
    }
}

/// Whether reading a message failed because of its bytes, not because of what they refer to.
fn is_malformed(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<BrineError>(py) || error.is_instance_of::<PyRecursionError>(py)
}

/// A message that could not be read because there was no memory for all of it is not malformed.
fn told_of_memory<T>(read: Result<T, Raised>, cut: bool) -> Result<T, Raised> {
    if cut && read.is_err() {
        let text = "there is no memory for the message: a value in it is too large";
        return Err(PyMemoryError::new_err(text).into());
    }
    read
}
