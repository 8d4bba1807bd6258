//! Batches of calls: collected here, and performed at the peer.

use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use rpyc_proto::boxing;
use rpyc_proto::consts::Label;
use rpyc_proto::model::{ObjectModel, Operations};
use rpyc_proto::wire::Writer;

use crate::bulk::PyBulk;
use crate::driver::stays_local;
use crate::engine::Engine;
use crate::model::{PyModel, Raised};
use crate::netref::PyNetref;
use crate::result::PyAsyncResult;

/// With this many calls collected, `_send` is called.
const FULL: usize = 1000;

/// The most calls in a message. A small one must not make an answer without end, which leaves in one
/// piece.
const MOST: usize = 2 * FULL;

/// Calls that wait to be sent. The native base of `rpyc.core._connection.batch.Batch`.
#[pyclass(subclass, frozen, module = "rpyc._rpyc")]
#[derive(Debug)]
pub(crate) struct Calls {
    conn: Py<Engine>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Py<PyTuple>>,
    results: Vec<Py<PyAny>>,
    closed: bool,
}

#[pymethods]
impl Calls {
    #[new]
    fn new(conn: Py<Engine>) -> Self {
        Self {
            conn,
            state: Mutex::default(),
        }
    }

    /// Collects the call of a proxy. Returns its result-to-be.
    #[pyo3(signature = (func, /, *args, **kwargs))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        func: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let conn = slf.get().conn.bind(py);
        let netref = func
            .cast::<PyNetref>()
            .ok()
            .filter(|netref| netref.get().is_of(conn));
        let Some(netref) = netref else {
            return Err(PyTypeError::new_err(
                "a batch takes calls of remote objects of its connection: batch(proxy, *args)",
            ));
        };
        let kwargs = match kwargs {
            Some(kwargs) if !kwargs.is_empty() => kwargs.items().to_tuple(),
            _ => PyTuple::empty(py),
        };
        let call = match netref.get().method_by_name() {
            Some((object, name)) => (object, args, kwargs, name).into_pyobject(py)?,
            None => (netref, args, kwargs).into_pyobject(py)?,
        };
        let result = if conn.get().is_native(conn) {
            Bound::new(py, PyAsyncResult::of(conn.as_any()))?.into_any()
        } else {
            py.import(intern!(py, "rpyc.core.protocol"))?
                .getattr(intern!(py, "AsyncResult"))?
                .call1((conn,))?
        };
        let full = {
            let mut state = slf.get().state.lock();
            if state.closed {
                drop(state);
                return Err(PyRuntimeError::new_err(
                    "the batch was sent: calls are collected inside its `with` block only",
                ));
            }
            state.calls.push(call.unbind());
            state.results.push(result.clone().unbind());
            state.calls.len() >= FULL
        };
        if full {
            slf.call_method0(intern!(py, "_send"))?;
        }
        Ok(result)
    }

    /// Takes what was collected, as much as one message holds: a tuple of calls, and the list of
    /// their results.
    fn _take<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Vec<Py<PyAny>>)> {
        let mut state = self.state.lock();
        // Threads that call at the same time may have collected more.
        let count = state.calls.len().min(FULL);
        let calls: Vec<_> = state.calls.drain(..count).collect();
        let results = state.results.drain(..count).collect();
        drop(state);
        Ok((PyTuple::new(py, calls)?, results))
    }

    /// Takes no calls any more.
    fn _close(&self) {
        self.state.lock().closed = true;
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.conn)?;
        let Some(state) = self.state.try_lock() else {
            return Ok(());
        };
        state.calls.iter().try_for_each(|call| visit.call(call))?;
        state.results.iter().try_for_each(|call| visit.call(call))
    }

    fn __clear__(&self) {
        if let Some(mut state) = self.state.try_lock() {
            let dropped = std::mem::take(&mut *state);
            drop(state);
            drop(dropped);
        }
    }
}

/// Performs the calls of a batch. A pair: the results, with serialized exceptions among them, and
/// the positions of those.
pub(crate) fn perform<'py>(
    model: &mut PyModel<'_, 'py>,
    calls: Vec<Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>, Raised> {
    let (py, conn) = (model.py(), model.conn);
    if calls.len() > MOST {
        let text = format!("a batch has at most {MOST} calls, not {}", calls.len());
        return Err(PyValueError::new_err(text).into());
    }
    let mut results = Vec::with_capacity(calls.len());
    let mut failures = Vec::new();
    for (position, call) in calls.into_iter().enumerate() {
        if conn.get().link()?.end().is_some() {
            break;
        }
        let result = match perform_one(model, &call) {
            Ok(result) => result,
            Err(Raised(error)) if stays_local(conn, &error)? => return Err(error.into()),
            Err(Raised(error)) => {
                failures.push(position);
                conn.get().dump_exception(conn, &error)?
            }
        };
        results.push(result);
    }
    let results = PyTuple::new(py, results)?;
    let failures = PyTuple::new(py, failures)?;
    Ok(PyTuple::new(py, [results, failures])?.into_any())
}

fn perform_one<'py>(
    model: &mut PyModel<'_, 'py>,
    call: &Bound<'py, PyAny>,
) -> Result<Bound<'py, PyAny>, Raised> {
    let Ok(call) = call.cast_exact::<PyTuple>() else {
        return Err(malformed().into());
    };
    let (target, args, kwargs) = match call.len() {
        3 => (call.get_item(0)?, call.get_item(1)?, call.get_item(2)?),
        4 => {
            let target = model.getattr(call.get_item(0)?, call.get_item(3)?)?;
            (target, call.get_item(1)?, call.get_item(2)?)
        }
        _ => return Err(malformed().into()),
    };
    model.call(target, args, Some(kwargs))
}

fn malformed() -> PyErr {
    PyTypeError::new_err(
        "a call of a batch is a tuple of object, arguments, keywords, and perhaps a name",
    )
}

/// Boxes what [`perform`] gave. A result that can't travel is replaced by the exception.
pub(crate) fn put_outcomes<'py>(
    model: &mut PyModel<'_, 'py>,
    out: &mut Writer<PyBulk>,
    outcomes: &Bound<'py, PyAny>,
) -> Result<(), Raised> {
    let mark = out.mark();
    boxing::put_label(out, Label::Value);
    if matches!(model.write_plain(outcomes, out), Ok(true)) {
        return Ok(());
    }
    out.rollback(mark);
    let results = outcomes
        .get_item(0)?
        .cast_into::<PyTuple>()
        .map_err(PyErr::from)?;
    let failures = outcomes.get_item(1)?;
    let mut failures: Vec<usize> = failures.extract()?;
    boxing::put_label(out, Label::Tuple);
    out.put_tuple(2);
    boxing::put_label(out, Label::Tuple);
    out.put_tuple(results.len());
    for (position, result) in results.iter().enumerate() {
        let mark = out.mark();
        if let Err(Raised(error)) = boxing::put_boxed(model, out, &result) {
            model.conn.get().take_back(&out.split_off(mark));
            let dumped = model.conn.get().dump_exception(model.conn, &error)?;
            boxing::put_boxed(model, out, &dumped)?;
            failures.push(position);
        }
    }
    let failures = PyTuple::new(model.py(), failures)?;
    boxing::put_boxed(model, out, failures.as_any())
}
