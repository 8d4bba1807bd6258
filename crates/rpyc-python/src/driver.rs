//! What the link asks of the Python face, and what the face does with each message.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{
    PyEOFError, PyKeyboardInterrupt, PyMemoryError, PyRecursionError, PyStopIteration,
    PySystemExit, PyValueError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rpyc::link::{Driver, End, EndCause};
use rpyc_proto::boxing;
use rpyc_proto::consts::{Handler, MessageKind};
use rpyc_proto::dispatch::{self, Request};
use rpyc_proto::exports::Released;
use rpyc_proto::message::{self, Dialect, Message};
use rpyc_proto::session::Event;
use rpyc_proto::vinegar::Vinegar;
use rpyc_proto::wire::frame::Frame;
use rpyc_proto::wire::{Payload, Writer};

use crate::batch;
use crate::bound::{BoundThreads, Route};
use crate::brine::BrineError;
use crate::bulk::PyBulk;
use crate::cancel::{self, Performing};
use crate::classes;
use crate::engine::{Engine, PyLink};
use crate::greenlets;
use crate::model::{PyModel, Raised};
use crate::nesting::{self, Nested};
use crate::peek;
use crate::threads::{self, Busy};
use crate::transport::PyTransport;
use crate::waiter::{Outcome, Waiter};

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
                self.push_reply(seq, |_, out| {
                    dispatch::put_boxed_with(out, Writer::put_none);
                    Ok(())
                })?;
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
        let event = self.link.session().lock().handle(&payload);
        match event {
            Ok(Event::Request { seq, body }) => {
                let seq = payload.head.get(seq).unwrap_or_default().to_vec();
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

    fn answer(
        &self,
        waiter: Waiter,
        is_exception: bool,
        payload: Payload<PyBulk>,
        body: usize,
    ) -> PyResult<()> {
        if !waiter.is_quiet() {
            self.conn.get().activity.note_arrival();
        }
        let slot = match waiter {
            Waiter::Nobody => return Ok(()),
            Waiter::Thread(slot) | Waiter::Quiet(slot) => slot,
            Waiter::Result(result) => {
                let result = result.into_bound(self.py());
                return self.complete_with(is_exception, &payload, body, |is_exception, object| {
                    result.get().complete(&result, is_exception, object)
                });
            }
            Waiter::Callback(callback) | Waiter::Own(callback) => {
                let callback = callback.into_bound(self.py());
                return self.complete_with(is_exception, &payload, body, |is_exception, object| {
                    callback.call1((is_exception, object)).map(drop)
                });
            }
        };
        if is_exception {
            slot.put(Outcome::Exception(payload, body));
            return Ok(());
        }
        let mut model = PyModel::new(self.conn);
        match told_of_memory(boxing::take_boxed(&mut model, &payload, body), payload.cut) {
            Ok(value) => slot.put(Outcome::Value(value.unbind(), model.incomplete)),
            Err(Raised(error)) if is_malformed(self.py(), &error) => {
                return Err(self.give_up(error));
            }
            Err(Raised(error)) => slot.put(Outcome::Unreadable(error)),
        }
        Ok(())
    }

    /// The peer sent what is no value: nothing that follows can be trusted. Ends the link.
    fn give_up(&self, error: PyErr) -> PyErr {
        let text = error.value(self.py()).to_string();
        self.link.finish(EndCause::Malformed(text));
        error
    }

    /// Reads an answer for whoever asked for it asynchronously. The read role is passed on before
    /// any code of the user runs.
    fn complete_with(
        &self,
        is_exception: bool,
        payload: &Payload<PyBulk>,
        body: usize,
        complete: impl FnOnce(bool, Py<PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let py = self.py();
        if is_exception {
            self.link.pass_on();
            let error = load_exception(self.conn, payload, body).unwrap_or_else(|error| error);
            return complete(true, error.into_value(py).into_any());
        }
        let mut model = PyModel::new(self.conn);
        let value = boxing::take_boxed(&mut model, payload, body);
        let incomplete = model.incomplete;
        let value = match told_of_memory(value, payload.cut) {
            Err(Raised(error)) if is_malformed(py, &error) => return Err(self.give_up(error)),
            value => value,
        };
        self.link.pass_on();
        let value = value.map_err(PyErr::from).and_then(|value| {
            classes::complete_all(self.conn, incomplete)?;
            Ok(value)
        });
        match value {
            Ok(value) => complete(false, value.unbind()),
            Err(error) => complete(true, error.into_value(py).into_any()),
        }
    }

    /// An answer that nobody waits for any more. What it refers to is released undecoded.
    fn orphan(
        &self,
        number: Option<u64>,
        is_exception: bool,
        payload: &Payload<PyBulk>,
        body: usize,
    ) -> PyResult<()> {
        self.conn.get().activity.note_arrival();
        if !is_exception {
            for id in boxing::remote_refs(payload, body) {
                self.conn.get().push_release(self.py(), id.encoded, 1);
            }
        }
        self.link.pass_on();
        self.conn.get().log_debug(
            self.py(),
            &format!("dropped an answer to request {number:?}: nobody waits for it"),
        )
    }

    fn request(&self, payload: Payload<PyBulk>, seq: &[u8], body: usize) -> PyResult<()> {
        let py = self.py();
        if let Some((id, count)) = dispatch::peek_release(&payload, body) {
            let released = self.conn.get().release(&id, count);
            let known = !matches!(released, Released::Unknown);
            if known {
                self.push_reply(seq, |_, out| {
                    dispatch::put_boxed_with(out, Writer::put_none);
                    Ok(())
                })?;
                self.link.pass_on();
                // The object may run its finalizer now, with no lock held and the role passed on.
                drop(released);
                return Ok(());
            }
        }
        let mut model = PyModel::new(self.conn);
        let request = dispatch::read_request(&mut model, &payload, body);
        let request = told_of_memory(request, payload.cut);
        let incomplete = std::mem::take(&mut model.incomplete);
        drop(payload);
        let request = match request {
            Err(Raised(error)) if is_malformed(py, &error) => return Err(self.give_up(error)),
            request => request,
        };
        if matches!(&request, Ok(request) if matches!(request.handler, Ok(Handler::ReadAhead))) {
            // It must be performed in the order of arrival, and runs no code of the user as long as
            // it does not pass the role on itself.
            let result = request
                .map_err(PyErr::from)
                .and_then(|request| self.perform(request));
            self.link.pass_on();
            return self.answer_ahead(seq, result);
        }
        self.conn.get().activity.note_arrival();
        self.link.pass_on();
        let is_batch =
            matches!(&request, Ok(request) if matches!(request.handler, Ok(Handler::Batch)));
        let result = request.map_err(PyErr::from).and_then(|request| {
            let _performing = Performing::begin(self.conn, message::number(seq));
            nesting::check(py, self.conn.get())?;
            classes::complete_all(self.conn, incomplete)?;
            self.perform(request)
        });
        self.conn.get().activity.note_arrival();
        if let (Ok(_), Some(end)) = (&result, self.link.end()) {
            // The request closed the connection: whoever serves it is told.
            return Err(PyEOFError::new_err(end.to_string()));
        }
        let pushed = result.and_then(|value| {
            self.push_reply(seq, |model, out| {
                if is_batch {
                    batch::put_outcomes(model, out, &value)
                } else {
                    boxing::put_boxed(model, out, &value)
                }
            })
        });
        self.conclude(seq, pushed)
    }

    /// Answers a request for items of an iterator. If they can't travel together, the first one goes
    /// alone, since it is taken already.
    fn answer_ahead(&self, seq: &[u8], result: PyResult<Bound<'py, PyAny>>) -> PyResult<()> {
        let pushed = result.and_then(|value| {
            let together = self.push_reply(seq, |model, out| boxing::put_boxed(model, out, &value));
            if together.is_ok() {
                return Ok(());
            }
            let first = peek::alone(&value)?;
            self.push_reply(seq, |model, out| boxing::put_boxed(model, out, &first))
        });
        self.conclude(seq, pushed)
    }

    /// Answers a request that failed with its exception.
    fn conclude(&self, seq: &[u8], result: PyResult<()>) -> PyResult<()> {
        let Err(error) = result else {
            return Ok(());
        };
        if stays_local(self.conn, &error)? {
            return Err(error);
        }
        self.push_exception(seq, error)
    }

    fn perform(&self, request: Request<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        if self.link.is_due() {
            self.link
                .flush(&mut PyDriver::new(self.conn, self.link), None)?;
        }
        Ok(dispatch::dispatch(&mut PyModel::new(self.conn), request)?)
    }

    fn push_reply(
        &self,
        seq: &[u8],
        fill: impl FnOnce(&mut PyModel<'_, 'py>, &mut Writer<PyBulk>) -> Result<(), Raised>,
    ) -> PyResult<()> {
        let mut out = self.conn.get().start(self.py(), MessageKind::Reply);
        message::put_head(&mut out, self.conn.get().dialect(), MessageKind::Reply, seq);
        let body = out.mark();
        if let Err(error) = fill(&mut PyModel::new(self.conn), &mut out) {
            self.conn.get().take_back(&out.split_off(body));
            return Err(error.into());
        }
        self.conn.get().push(self.link, out)
    }

    fn push_exception(&self, seq: &[u8], error: PyErr) -> PyResult<()> {
        let py = self.py();
        let mut out = self.conn.get().start(py, MessageKind::Exception);
        message::put_head(
            &mut out,
            self.conn.get().dialect(),
            MessageKind::Exception,
            seq,
        );
        if error.get_type(py).is(py.get_type::<PyStopIteration>()) {
            Vinegar::StopIteration.write(&mut out);
        } else {
            let dumped = self.conn.get().dump_exception(self.conn, &error)?;
            crate::brine::write_plain(&dumped, &mut out, 0)?;
        }
        self.conn.get().push(self.link, out)
    }
}

/// Whether an exception is for this process, not for the peer.
pub(crate) fn stays_local(conn: &Bound<'_, Engine>, error: &PyErr) -> PyResult<bool> {
    let py = conn.py();
    let class = error.get_type(py);
    let key = if class.is(py.get_type::<PySystemExit>()) {
        intern!(py, "propagate_SystemExit_locally")
    } else if class.is(py.get_type::<PyKeyboardInterrupt>()) {
        intern!(py, "propagate_KeyboardInterrupt_locally")
    } else {
        return Ok(false);
    };
    conn.get()
        .config(py)
        .get_item(key)?
        .map_or(Ok(false), |value| value.is_truthy())
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

/// Makes the exception that a message holds.
pub(crate) fn load_exception(
    conn: &Bound<'_, Engine>,
    payload: &Payload<PyBulk>,
    body: usize,
) -> PyResult<PyErr> {
    let py = conn.py();
    let mut reader = payload.reader_at(body);
    let raw = crate::brine::read_plain(py, &mut reader, 0)?;
    let loaded = conn
        .as_any()
        .call_method1(intern!(py, "_unbox_exc"), (raw,))?;
    Ok(PyErr::from_value(loaded))
}

/// Completes a frame. Compresses it where that pays.
pub(crate) fn seal(out: Writer<PyBulk>, compress: Option<usize>) -> PyResult<Frame<PyBulk>> {
    let frame = Frame::seal(out).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(match compress {
        // It can take long, and other threads are not to wait for it.
        Some(threshold) if frame.len() > threshold + 6 => Python::attach(|py| {
            py.detach(|| {
                if frame.compressible() {
                    frame.compressed()
                } else {
                    frame
                }
            })
        }),
        _ => frame,
    })
}
