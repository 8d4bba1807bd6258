//! The primitives for requests and for serving.

use std::time::{Duration, Instant};

use pyo3::exceptions::{PyEOFError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use rpyc::link::Link;
use rpyc_proto::consts::{Handler, MessageKind};

use super::Engine;
use crate::access::{self, Reached};
use crate::driver::PyDriver;
use crate::introduction;
use crate::nesting;
use crate::request;
use crate::result::PyAsyncResult;
use crate::timeout::Timeout;
use crate::waiter::Waiter;

#[pymethods]
impl Engine {
    /// RecursionError if the request that this thread is about to perform nests too deeply.
    fn _check_nesting(&self, py: Python<'_>) -> PyResult<()> {
        nesting::check(py, self)
    }

    /// Handles at most one message; True if one was handled within `timeout` seconds.
    fn _serve(
        slf: &Bound<'_, Self>,
        timeout: Option<&Bound<'_, PyAny>>,
        wait_for_lock: bool,
    ) -> PyResult<bool> {
        let deadline = Timeout::from_object(timeout)?.deadline();
        let link = slf.get().link()?;
        if !wait_for_lock && link.is_being_read() && !link.is_leading() {
            return Ok(false);
        }
        let mut driver = PyDriver::waiting(slf, link);
        link.serve(&mut driver, deadline)
            .map_err(|error| request::after_failure(slf, link, error, None))
    }

    /// Handles messages until the connection ends, which raises EOFError.
    fn _serve_forever(slf: &Bound<'_, Self>) -> PyResult<()> {
        let link = slf.get().link()?;
        let mut driver = PyDriver::waiting(slf, link);
        let mut never = |_: &mut PyDriver<'_, '_>| false;
        match link.wait(&mut driver, &mut never, None) {
            Ok(_) => Ok(()),
            Err(error) => Err(request::after_failure(slf, link, error, None)),
        }
    }

    /// Performs one request that found no idle thread, in thread-bound mode.
    fn _work_bound(slf: &Bound<'_, Self>) -> PyResult<()> {
        let link = slf.get().link()?;
        let mut driver = PyDriver::new(slf, link);
        let payload = slf
            .get()
            .bound
            .get()
            .and_then(|threads| threads.take_spilled(slf.py()));
        let handled = payload.map_or(Ok(()), |payload| driver.handle(payload));
        let flushed = handled.and_then(|()| link.flush(&mut driver, None));
        match flushed {
            Err(error) => {
                let error = request::after_failure(slf, link, error, None);
                // The end of the connection concerns those who wait, not the worker.
                if error.is_instance_of::<PyEOFError>(slf.py()) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            done => done,
        }
    }

    /// Hands the right to read to another waiting thread.
    fn _pass_on(&self) {
        if let Some(link) = self.link.get() {
            link.pass_on();
        }
    }

    /// Has `callback` called when a thread stops waiting, leaves requests that it received unhandled,
    /// and no other thread reads. Can be set once.
    fn _on_unread(slf: &Bound<'_, Self>, callback: Py<PyAny>) -> PyResult<()> {
        slf.get().link()?.on_unread(move || {
            Python::attach(|py| {
                if let Err(error) = callback.call0(py) {
                    error.write_unraisable(py, None);
                }
            });
        });
        Ok(())
    }

    /// Whether something was received that nobody has handled yet.
    fn _has_buffered_input(&self) -> bool {
        self.link.get().is_some_and(Link::has_input)
    }

    /// Gives up memory that nothing is in, as nobody will wait on the connection for some time.
    fn _rest(&self) {
        if let Some(link) = self.link.get() {
            link.rest();
        }
    }

    /// How many answers threads have waited for, and how many of them another thread received. Counts
    /// from 0; whoever compares them sees what has happened in between.
    #[getter]
    fn _answers(&self) -> (u64, u64) {
        self.answers.counts()
    }

    /// Whether a thread is reading from the connection.
    #[getter]
    fn _is_being_read(&self) -> bool {
        self.link.get().is_some_and(Link::is_being_read)
    }

    /// Whether the native path is taken.
    #[getter]
    fn _native(slf: &Bound<'_, Self>) -> bool {
        slf.get().is_native(slf)
    }

    /// Sends a synchronous request and returns its result.
    #[pyo3(signature = (handler, *args))]
    fn sync_request<'py>(
        slf: &Bound<'py, Self>,
        handler: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match handler.extract::<i64>() {
            Ok(number) if slf.get().is_native(slf) => {
                let timeout = slf.get().sync_request_timeout(py)?;
                if number == i64::from(Handler::GetRoot.number()) && args.is_empty() {
                    return introduction::ask(slf, timeout);
                }
                request::sync_within(slf, number, request::Any(args), timeout)
            }
            _ => {
                // In thread-bound mode callbacks must find this thread waiting from the moment on
                // that the request leaves.
                let listed = slf.get().link().map(|link| PyDriver::waiting(slf, link));
                let result = slf
                    .as_any()
                    .call_method1(intern!(py, "_sync_request"), (handler, args));
                drop(listed);
                result
            }
        }
    }

    /// Sends an asynchronous request; its `AsyncResult` expires after `timeout` seconds.
    #[pyo3(signature = (handler, *args, timeout = None))]
    fn async_request<'py>(
        slf: &Bound<'py, Self>,
        handler: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match handler.extract::<i64>() {
            Ok(number) if slf.get().is_native(slf) => {
                let result: Bound<'py, PyAsyncResult> =
                    request::asynchronous(slf, number, args, Timeout::from_object(timeout)?)?;
                Ok(result.into_any())
            }
            _ => {
                let name = intern!(slf.py(), "_python_async_request");
                slf.as_any().call_method1(name, (handler, args, timeout))
            }
        }
    }

    /// Queues a request without sending it; `waiter` is called with its answer.
    fn _queue(
        slf: &Bound<'_, Self>,
        handler: i64,
        args: &Bound<'_, PyTuple>,
        waiter: Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let link = slf.get().link()?;
        let waiter = match waiter.cast_into::<PyAsyncResult>() {
            Ok(result) => {
                result.get().note_sent(handler, None, None);
                Waiter::Result(result.unbind())
            }
            Err(other) => Waiter::Callback(other.into_inner().unbind()),
        };
        request::send(slf, link, handler, &request::Any(args), waiter).map(drop)
    }

    /// Sends what was queued.
    fn _flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        let link = slf.get().link()?;
        let mut driver = PyDriver::new(slf, link);
        let flushed = link.flush(&mut driver, None);
        flushed.map_err(|error| request::after_failure(slf, link, error, Some("a batch of calls")))
    }

    /// Sends one payload.
    fn _send_payload(slf: &Bound<'_, Self>, payload: &[u8]) -> PyResult<()> {
        let link = slf.get().link()?;
        let kind = payload
            .first()
            .and_then(|&kind| MessageKind::from_wire(i64::from(kind)));
        slf.get().note_departure(slf.py());
        let mut out = slf
            .get()
            .start(slf.py(), kind.unwrap_or(MessageKind::Reply));
        out.put_raw(payload);
        slf.get().push(link, out)?;
        let mut driver = PyDriver::new(slf, link);
        // What has not left by then leaves later.
        let limit = slf.get().deadlines.current();
        link.flush(&mut driver, limit.map(|limit| limit.deadline))
            .map_err(|error| request::after_failure(slf, link, error, None))
    }

    /// Binds the requests of this thread to a limit, `seconds` from now; returns a number for
    /// `_leave_limit`.
    fn _enter_limit(&self, seconds: f64) -> PyResult<u64> {
        let length = Duration::try_from_secs_f64(seconds).map_err(|_| {
            PyValueError::new_err(format!("a timeout is a number of seconds, not {seconds}"))
        })?;
        Ok(self.deadlines.enter(length))
    }

    /// Ends a limit.
    fn _leave_limit(&self, number: u64) {
        self.deadlines.leave(number);
    }

    /// The seconds that a synchronous request of this thread may take; None: no limit.
    fn _sync_limit(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        Ok(match self.sync_request_timeout(py)? {
            Timeout::Never => None,
            Timeout::After(seconds) => Some(seconds),
            Timeout::Until(limit) => {
                let left = limit.deadline.saturating_duration_since(Instant::now());
                Some(left.as_secs_f64())
            }
        })
    }

    /// The next sequence number.
    fn _get_seq_id(&self) -> PyResult<u64> {
        Ok(self.link()?.session().lock().take_seq())
    }

    /// The name under which the configuration lets the peer reach an attribute.
    fn _check_attr<'py>(
        slf: &Bound<'py, Self>,
        obj: &Bound<'py, PyAny>,
        name: Bound<'py, PyAny>,
        perm: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyString>> {
        slf.get().reach(obj, name, perm).map(|reached| reached.name)
    }

    /// The value of an attribute, if the configuration lets the peer read it.
    fn _read_attr<'py>(
        slf: &Bound<'py, Self>,
        obj: &Bound<'py, PyAny>,
        name: Bound<'py, PyAny>,
        perm: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().reach(obj, name, perm)?.value(obj)
    }
}

impl Engine {
    fn reach<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        name: Bound<'py, PyAny>,
        permission: &Bound<'py, PyString>,
    ) -> PyResult<Reached<'py>> {
        let py = object.py();
        let name = access::attribute_name(name)?;
        // Any key: a subclass may have permissions of its own.
        if !access::switch(&self.config(py), permission)? {
            return Err(access::switched_off(object, &name, permission.to_str()?));
        }
        self.rules(py)?.reach(object, name)
    }
}
