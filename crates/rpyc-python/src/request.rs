//! Requests: made natively, and waited for.

use std::time::Instant;

use pyo3::exceptions::{PyEOFError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use rpyc_proto::boxing;
use rpyc_proto::consts::{Handler, MessageKind};
use rpyc_proto::dispatch;
use rpyc_proto::wire::Writer;

use crate::ahead;
use crate::bulk::PyBulk;
use crate::cancel;
use crate::classes;
use crate::driver::{self, PyDriver};
use crate::engine::{Engine, PyLink};
use crate::failure;
use crate::model::{PyModel, Raised};
use crate::netref::PyNetref;
use crate::result::PyAsyncResult;
use crate::threads::Busy;
use crate::timeout::Timeout;
use crate::waiter::{Outcome, Slot, Waiter};

/// What a request says: its handler, and how its boxed arguments are written.
pub(crate) trait Arguments<'py> {
    fn write(&self, model: &mut PyModel<'_, 'py>, out: &mut Writer<PyBulk>) -> Result<(), Raised>;

    /// Makes of an unboxed answer what the request is to give.
    fn receive(
        &self,
        conn: &Bound<'py, Engine>,
        answer: Bound<'py, PyAny>,
        incomplete: Vec<Py<PyNetref>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        classes::complete_all(conn, incomplete)?;
        Ok(answer)
    }

    /// What follows the object that the request is about: for some handlers an attribute's name.
    fn second(&self) -> Option<Bound<'py, PyAny>> {
        None
    }
}

/// Any arguments, boxed as one tuple.
pub(crate) struct Any<'a, 'py>(pub(crate) &'a Bound<'py, PyTuple>);

impl<'py> Arguments<'py> for Any<'_, 'py> {
    fn write(&self, model: &mut PyModel<'_, 'py>, out: &mut Writer<PyBulk>) -> Result<(), Raised> {
        boxing::put_boxed(model, out, self.0.as_any())
    }

    fn second(&self) -> Option<Bound<'py, PyAny>> {
        self.0.get_item(1).ok()
    }
}

/// A proxy of the connection, then further arguments.
pub(crate) struct On<'a, 'py, const N: usize>(
    pub(crate) &'a Bound<'py, PyNetref>,
    pub(crate) [&'a Bound<'py, PyAny>; N],
);

impl<'py, const N: usize> Arguments<'py> for On<'_, 'py, N> {
    fn write(&self, model: &mut PyModel<'_, 'py>, out: &mut Writer<PyBulk>) -> Result<(), Raised> {
        dispatch::put_target(out, PyNetref::id(self.0)?.as_bytes(), N);
        self.1
            .iter()
            .try_for_each(|arg| boxing::put_boxed(model, out, arg))
    }

    fn second(&self) -> Option<Bound<'py, PyAny>> {
        self.1.first().map(|&name| name.clone())
    }
}

/// An id pack by value, as INSPECT takes it.
pub(crate) struct IdByValue<'a, 'py>(pub(crate) &'a Bound<'py, PyNetref>);

impl<'py> Arguments<'py> for IdByValue<'_, 'py> {
    fn write(&self, _: &mut PyModel<'_, 'py>, out: &mut Writer<PyBulk>) -> Result<(), Raised> {
        let id = PyNetref::id(self.0)?;
        dispatch::put_boxed_with(out, |out| {
            out.put_tuple(1);
            out.put_raw(id.as_bytes());
        });
        Ok(())
    }
}

/// Sends a request whose answer goes to `waiter`. Tells its sequence number.
pub(crate) fn send<'py>(
    conn: &Bound<'py, Engine>,
    link: &PyLink,
    handler: i64,
    args: &impl Arguments<'py>,
    waiter: Waiter,
) -> PyResult<u64> {
    conn.get().adopt();
    if !waiter.is_quiet() {
        conn.get().note_departure(conn.py());
    }
    let seq = link.session().lock().take_seq();
    let mut out = conn.get().start(conn.py(), MessageKind::Request);
    dispatch::put_request(&mut out, conn.get().dialect(), seq, handler);
    let arguments = out.mark();
    let written = args
        .write(&mut PyModel::new(conn), &mut out)
        .map_err(PyErr::from)
        .and_then(|()| {
            // Only now: a request that can't be written has no answer to wait for.
            let begun = link.session().lock().begin_numbered(seq, waiter);
            begun.map_err(|error| PyRuntimeError::new_err(error.to_string()))
        });
    if let Err(error) = written {
        conn.get().take_back(&out.split_off(arguments));
        return Err(error);
    }
    conn.get().push(link, out)?;
    Ok(seq)
}

/// Performs a request and waits for its answer, for as long as the configuration says.
pub(crate) fn sync<'py>(
    conn: &Bound<'py, Engine>,
    handler: Handler,
    args: impl Arguments<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let timeout = conn.get().sync_request_timeout(conn.py())?;
    sync_within(conn, i64::from(handler.number()), args, timeout)
}

/// Performs a request and waits for its answer, up to `timeout`.
pub(crate) fn sync_within<'py>(
    conn: &Bound<'py, Engine>,
    handler: i64,
    args: impl Arguments<'py>,
    timeout: Timeout,
) -> PyResult<Bound<'py, PyAny>> {
    let py = conn.py();
    let link = conn.get().link()?;
    if let Timeout::Until(limit) = timeout
        && limit.deadline <= Instant::now()
    {
        // Nothing is begun after the time is over.
        let operation = describe(handler, &args);
        let option = timeout.option();
        let expired = failure::expired(conn.as_any(), &operation, timeout.length(), option);
        return Err(expired);
    }
    let slot = Slot::new();
    let waiter = if ahead::is_quiet(handler) {
        Waiter::Quiet(slot.clone())
    } else {
        Waiter::Thread(slot.clone())
    };
    let seq = send(conn, link, handler, &args, waiter)?;
    let mut driver = PyDriver::waiting(conn, link);
    let mut is_ready = |_: &mut PyDriver<'_, 'py>| slot.is_ready();
    let waited = if timeout.is_over() {
        // No time at all: the request leaves, and its answer is not even looked for.
        link.flush(&mut driver, timeout.deadline()).map(|()| false)
    } else {
        link.wait(&mut driver, &mut is_ready, timeout.deadline())
    };
    let done = match waited {
        Ok(done) => done,
        Err(error) => {
            // Ctrl-C, say. If the peer can't be told either, the first error counts.
            let _ = cancel::withdraw(conn, link, handler, seq);
            let operation = describe(handler, &args);
            return Err(after_failure(conn, link, error, Some(&operation)));
        }
    };
    // Taken out first: dropping it may run user code, which must not happen under the lock.
    let outcome = if done { slot.take() } else { None };
    match outcome {
        Some(Outcome::Value(value, incomplete)) => {
            args.receive(conn, value.into_bound(py), incomplete)
        }
        Some(Outcome::Exception(payload, body)) => {
            Err(driver::load_exception(conn, &payload, body).unwrap_or_else(|error| error))
        }
        Some(Outcome::Unreadable(error)) => Err(error),
        None if timeout.is_over() => {
            // Never waited for: it is to be performed, and its answer to be dropped.
            let waiter = link.session().lock().cancel(seq);
            drop(waiter);
            Err(failure::expired(
                conn.as_any(),
                &describe(handler, &args),
                timeout.length(),
                timeout.option(),
            ))
        }
        None => {
            cancel::withdraw(conn, link, handler, seq)?;
            Err(failure::expired(
                conn.as_any(),
                &describe(handler, &args),
                timeout.length(),
                timeout.option(),
            ))
        }
    }
}

/// Sends an asynchronous request and returns its result, which expires as given.
pub(crate) fn asynchronous<'py>(
    conn: &Bound<'py, Engine>,
    handler: i64,
    args: &Bound<'py, PyTuple>,
    timeout: Timeout,
) -> PyResult<Bound<'py, PyAsyncResult>> {
    let py = conn.py();
    let link = conn.get().link()?;
    let by_name = call_by_name(handler, args)?;
    let (handler, args) = match &by_name {
        Some(args) => (i64::from(Handler::CallAttr.number()), args),
        None => (handler, args),
    };
    let result = Bound::new(py, PyAsyncResult::of(conn.as_any()))?;
    let waiter = Waiter::Result(result.clone().unbind());
    let seq = send(conn, link, handler, &Any(args), waiter)?;
    let attribute = by_name.and_then(|args| args.get_item(1).ok());
    result.get().note_sent(handler, Some(seq), attribute);
    result.get().expire_after(timeout);
    if !link.is_due() {
        return Ok(result);
    }
    let mut driver = PyDriver::new(conn, link);
    let limit = timeout.within(conn.get().deadlines().current());
    match link.flush(&mut driver, limit.deadline()) {
        Ok(()) => Ok(result),
        Err(error) => {
            let operation = result.get().operation();
            Err(after_failure(conn, link, error, Some(&operation)))
        }
    }
}

/// If a request is the call of a method that was read a while ago and not fetched: the arguments to call
/// it by its name. To fetch it would be to wait for what was begun meanwhile.
fn call_by_name<'py>(
    handler: i64,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    if handler != i64::from(Handler::Call.number()) {
        return Ok(None);
    }
    let py = args.py();
    let Some(first) = args.iter().next() else {
        return Ok(None);
    };
    let Ok(proxy) = first.cast::<PyNetref>() else {
        return Ok(None);
    };
    let Some((object, name)) = proxy.get().late_method(py) else {
        return Ok(None);
    };
    let mut all: Vec<Py<PyAny>> = vec![
        object.clone_ref(py).into_any(),
        name.clone_ref(py).into_any(),
    ];
    all.extend(args.iter().skip(1).map(Bound::unbind));
    Ok(Some(PyTuple::new(py, all)?))
}

/// A request in words, for errors.
fn describe<'py>(handler: i64, args: &impl Arguments<'py>) -> String {
    // GETATTR, DELATTR, SETATTR and CALLATTR are about an attribute.
    let names = matches!(
        Handler::from_wire(handler),
        Some(Handler::GetAttr | Handler::DelAttr | Handler::SetAttr | Handler::CallAttr)
    );
    let attribute = if names { args.second() } else { None };
    failure::operation(handler, attribute.as_ref())
}

/// After a wait failed: if the connection ended, it is cleaned up now, by whoever noticed, and the
/// error is `ConnectionLost`. `operation`: what failed.
pub(crate) fn after_failure(
    conn: &Bound<'_, Engine>,
    link: &PyLink,
    error: PyErr,
    operation: Option<&str>,
) -> PyErr {
    let py = conn.py();
    let Some(end) = link.end() else { return error };
    if !error.is_instance_of::<PyEOFError>(py) {
        return error;
    }
    let _busy = Busy::begin(py, || {});
    if let Err(failed) = conn.as_any().call_method0("_on_link_end") {
        failed.write_unraisable(py, Some(conn.as_any()));
    }
    failure::lost(conn, end, operation)
}
