//! `AsyncResult`: the answer to an asynchronous request, once it is there.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;
use rpyc::link::Parker;

use crate::cancel;
use crate::driver::PyDriver;
use crate::engine::Engine;
use crate::failure;
use crate::request;
use crate::timeout::Timeout;

/// How long a wait on the Python path goes on before it looks whether the result was cancelled.
const LOOK_UP: Duration = Duration::from_millis(50);

/// The container of an answer that may not be there yet.
///
/// It is also the request's callback: called with (is exception, object).
#[pyclass(
    subclass,
    weakref,
    frozen,
    name = "AsyncResult",
    module = "rpyc.core.async_"
)]
#[derive(Debug)]
pub(crate) struct PyAsyncResult {
    conn: Py<PyAny>,
    /// Its request, once that was sent.
    sent: OnceLock<Sent>,
    state: Mutex<State>,
}

/// A request that was sent.
#[derive(Debug)]
struct Sent {
    handler: i64,
    /// Its number, if it has one of its own.
    seq: Option<u64>,
    /// The attribute that it is about, if that is known.
    attribute: Option<Py<PyAny>>,
}

#[derive(Debug)]
struct State {
    ready: bool,
    is_exc: bool,
    /// It is ready because no answer can come any more. Waiting raises then, too.
    lost: bool,
    /// It was cancelled, which is a way of being lost.
    cancelled: bool,
    object: Option<Py<PyAny>>,
    callbacks: Vec<Py<PyAny>>,
    /// The moment it expires.
    expiry: Option<Instant>,
    /// Threads that wait for it.
    waiting: Vec<Arc<Parker>>,
}

impl State {
    fn is_expired(&self) -> bool {
        !self.ready && self.expiry.is_some_and(|expiry| Instant::now() >= expiry)
    }
}

impl PyAsyncResult {
    pub(crate) fn of(conn: &Bound<'_, PyAny>) -> Self {
        let state = State {
            ready: false,
            is_exc: false,
            lost: false,
            cancelled: false,
            object: None,
            callbacks: Vec::new(),
            expiry: None,
            waiting: Vec::new(),
        };
        Self {
            conn: conn.clone().unbind(),
            sent: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn expire_after(&self, timeout: Timeout) {
        self.state.lock().expiry = timeout.deadline();
    }

    /// Its request is sent now.
    pub(crate) fn note_sent(
        &self,
        handler: i64,
        seq: Option<u64>,
        attribute: Option<Bound<'_, PyAny>>,
    ) {
        let _ = self.sent.set(Sent {
            handler,
            seq,
            attribute: attribute.map(Bound::unbind),
        });
    }

    /// What was asked for, in words.
    pub(crate) fn operation(&self) -> String {
        let Some(sent) = self.sent.get() else {
            return "an asynchronous request".to_owned();
        };
        Python::attach(|py| {
            let attribute = sent.attribute.as_ref().map(|name| name.bind(py));
            failure::operation(sent.handler, attribute)
        })
    }

    /// The connection ended: no answer will come. The error is `ConnectionLost`.
    pub(crate) fn lose(slf: &Bound<'_, Self>, error: Py<PyAny>) -> PyResult<()> {
        {
            let mut state = slf.get().state.lock();
            if state.ready || state.is_expired() {
                return Ok(());
            }
            state.lost = true;
        }
        slf.get().complete(slf, true, error)
    }

    /// Nobody waits for the answer any more.
    fn withdraw(&self, py: Python<'_>) -> PyResult<()> {
        let Some(&Sent {
            handler,
            seq: Some(seq),
            ..
        }) = self.sent.get()
        else {
            return Ok(());
        };
        let conn = self.conn.bind(py);
        match conn.cast::<Engine>() {
            Ok(engine) => cancel::withdraw(engine, engine.get().link()?, handler, seq),
            Err(_) => Ok(()),
        }
    }

    /// The answer is there. After the expiry it is ignored.
    pub(crate) fn complete(
        &self,
        slf: &Bound<'_, Self>,
        is_exc: bool,
        object: Py<PyAny>,
    ) -> PyResult<()> {
        let mut state = self.state.lock();
        if state.is_expired() || (state.ready && state.lost) {
            drop(state);
            drop(object);
            return Ok(());
        }
        state.is_exc = is_exc;
        let replaced = state.object.replace(object);
        state.ready = true;
        let callbacks = std::mem::take(&mut state.callbacks);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(replaced);
        waiting.iter().for_each(|parker| parker.unpark());
        callbacks
            .iter()
            .try_for_each(|callback| callback.call1(slf.py(), (slf,)).map(drop))
    }

    fn is_ready(&self) -> bool {
        self.state.lock().ready
    }

    /// Waits until it is ready or `deadline` is over.
    fn wait_until(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<()> {
        let conn = self.conn.bind(py);
        if let Ok(engine) = conn.cast::<Engine>()
            && engine.get().is_native(engine)
        {
            return self.wait_natively(engine, deadline);
        }
        while !self.is_ready() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // Another thread may cancel it: then no message comes.
            let left = left.map_or(LOOK_UP, |left| left.min(LOOK_UP)).as_secs_f64();
            if let Err(error) = conn.call_method1(intern!(py, "serve"), (left,)) {
                let operation = self.operation();
                return Err(match conn.cast::<Engine>() {
                    Ok(engine) => match engine.get().link() {
                        Ok(link) => request::after_failure(engine, link, error, Some(&operation)),
                        Err(_) => error,
                    },
                    Err(_) => error,
                });
            }
        }
        Ok(())
    }

    fn wait_natively(&self, conn: &Bound<'_, Engine>, deadline: Option<Instant>) -> PyResult<()> {
        let link = conn.get().link()?;
        {
            let mut state = self.state.lock();
            if state.ready {
                return Ok(());
            }
            state.waiting.push(Parker::current());
        }
        let mut driver = PyDriver::waiting(conn, link);
        driver.look_up();
        let mut is_ready = |_: &mut PyDriver<'_, '_>| self.is_ready();
        let waited = link.wait(&mut driver, &mut is_ready, deadline);
        let me = Parker::current();
        self.state
            .lock()
            .waiting
            .retain(|parker| !Arc::ptr_eq(parker, &me));
        match waited {
            Ok(_) => Ok(()),
            Err(error) => {
                let operation = self.operation();
                Err(request::after_failure(conn, link, error, Some(&operation)))
            }
        }
    }
}

#[pymethods]
impl PyAsyncResult {
    #[new]
    fn new(conn: &Bound<'_, PyAny>) -> Self {
        Self::of(conn)
    }

    fn __call__(slf: &Bound<'_, Self>, is_exc: bool, obj: Py<PyAny>) -> PyResult<()> {
        slf.get().complete(slf, is_exc, obj)
    }

    /// Waits for the answer, up to `timeout` seconds and no longer than the expiry.
    ///
    /// Serves the connection meanwhile. AsyncResultTimeout if the answer did not come in time,
    /// ConnectionLost if the connection ended.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let own = self.state.lock().expiry;
        let given = Timeout::from_seconds(timeout).deadline();
        let engine = self.conn.bind(py).cast::<Engine>().ok();
        let threads = engine.and_then(|engine| engine.get().deadlines().current());
        let threads = threads.map(|limit| limit.deadline);
        let deadline = [own, given, threads].into_iter().flatten().min();
        let started = Instant::now();
        if !self.is_ready() && deadline.is_none_or(|deadline| started < deadline) {
            self.wait_until(py, deadline)?;
        }
        {
            let state = self.state.lock();
            if state.ready {
                let lost = state.object.as_ref().filter(|_| state.lost);
                let lost = lost.map(|error| error.clone_ref(py));
                drop(state);
                return lost.map_or(Ok(()), |error| Err(PyErr::from_value(error.into_bound(py))));
            }
        }
        if own.is_some_and(|own| Instant::now() >= own) {
            self.withdraw(py)?;
        }
        Err(failure::expired(
            self.conn.bind(py),
            &self.operation(),
            started.elapsed(),
            "the limit is set_expiry(), timed(), wait() or conn.timeout(), \
             or config key sync_request_timeout for a synchronous request",
        ))
    }

    /// Calls `func` with this result once the answer is there; at once if it is there already.
    fn add_callback(slf: &Bound<'_, Self>, func: Bound<'_, PyAny>) -> PyResult<()> {
        let mut state = slf.get().state.lock();
        if !state.ready {
            state.callbacks.push(func.unbind());
            return Ok(());
        }
        drop(state);
        func.call1((slf,)).map(drop)
    }

    /// Gives the call up: the result is ready, and raises `concurrent.futures.CancelledError`.
    ///
    /// A peer with this package does not begin the call, if it has not yet, and the handler of one
    /// that runs can ask for it with `rpyc.is_cancelled()`. False if the answer is there already.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let py = slf.py();
        let text = format!("{} was cancelled", slf.get().operation());
        let error = py
            .import(intern!(py, "concurrent.futures"))?
            .getattr(intern!(py, "CancelledError"))?
            .call1((text,))?;
        {
            let mut state = slf.get().state.lock();
            if state.ready {
                return Ok(false);
            }
            // The time it had does not matter any more.
            state.expiry = None;
            state.cancelled = true;
        }
        slf.get().withdraw(py)?;
        slf.get().complete(slf, true, error.unbind())?;
        slf.get().state.lock().lost = true;
        Ok(true)
    }

    /// Whether it was cancelled.
    #[getter]
    fn cancelled(&self) -> bool {
        self.state.lock().cancelled
    }

    /// Lets the result expire `timeout` seconds from now; None or a negative number: never.
    fn set_expiry(&self, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let timeout = Timeout::from_object(timeout)?;
        self.expire_after(timeout);
        Ok(())
    }

    /// Whether the answer is there. Handles what has arrived, without waiting.
    #[getter]
    fn ready(&self, py: Python<'_>) -> PyResult<bool> {
        {
            let state = self.state.lock();
            if state.ready {
                return Ok(true);
            }
            if state.is_expired() {
                return Ok(false);
            }
        }
        self.conn.call_method1(py, intern!(py, "poll_all"), (0,))?;
        Ok(self.is_ready())
    }

    /// Whether the answer is there and is an exception.
    #[getter]
    fn error(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.ready(py)? && self.state.lock().is_exc)
    }

    /// Whether the expiry is over and the answer did not come.
    #[getter]
    fn expired(&self) -> bool {
        self.state.lock().is_expired()
    }

    /// The answer; waits for it. Raises it if it is an exception.
    #[getter]
    fn value(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        slf.as_any().call_method0(intern!(py, "wait"))?;
        let state = slf.get().state.lock();
        let object = state
            .object
            .as_ref()
            .map_or_else(|| py.None(), |object| object.clone_ref(py));
        let is_exc = state.is_exc;
        drop(state);
        if is_exc {
            Err(PyErr::from_value(object.into_bound(py)))
        } else {
            Ok(object)
        }
    }

    fn __repr__(slf: &Bound<'_, Self>) -> String {
        let state = slf.get().state.lock();
        let word = match (state.ready, state.is_expired()) {
            (true, _) => "ready",
            (false, true) => "expired",
            (false, false) => "pending",
        };
        format!("<AsyncResult object ({word}) at {:p}>", slf.as_ptr())
    }

    /// Notes that it waits for the answer to this request.
    fn _sent(&self, handler: i64, seq: u64) {
        self.note_sent(handler, Some(seq), None);
    }

    #[getter(_conn)]
    fn conn(&self, py: Python<'_>) -> Py<PyAny> {
        self.conn.clone_ref(py)
    }

    #[getter(_is_ready)]
    fn get_is_ready(&self) -> bool {
        self.is_ready()
    }

    #[setter(_is_ready)]
    fn set_is_ready(&self, ready: bool) {
        self.state.lock().ready = ready;
    }

    /// Whether the answer is an exception; None while there is no answer.
    #[getter(_is_exc)]
    fn is_exc(&self) -> Option<bool> {
        let state = self.state.lock();
        state.ready.then_some(state.is_exc)
    }

    #[setter(_is_exc)]
    fn set_is_exc(&self, is_exc: bool) {
        self.state.lock().is_exc = is_exc;
    }

    #[getter(_obj)]
    fn object(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state
            .lock()
            .object
            .as_ref()
            .map(|object| object.clone_ref(py))
    }

    #[setter(_obj)]
    fn set_object(&self, object: Py<PyAny>) {
        let replaced = self.state.lock().object.replace(object);
        drop(replaced);
    }

    #[getter(_callbacks)]
    fn callbacks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let state = self.state.lock();
        let callbacks: Vec<_> = state
            .callbacks
            .iter()
            .map(|callback| callback.clone_ref(py))
            .collect();
        drop(state);
        PyList::new(py, callbacks)
    }

    /// The time left, as a `rpyc.lib.Timeout`.
    #[getter(_ttl)]
    fn ttl<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let expiry = self.state.lock().expiry;
        let left = expiry.map(|expiry| expiry.saturating_duration_since(Instant::now()));
        let left = left.as_ref().map(Duration::as_secs_f64);
        py.import(intern!(py, "rpyc.lib"))?
            .getattr(intern!(py, "Timeout"))?
            .call1((left,))
    }

    #[setter(_ttl)]
    fn set_ttl(&self, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.set_expiry(timeout)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.conn)?;
        if let Some(state) = self.state.try_lock() {
            visit.call(&state.object)?;
            for callback in &state.callbacks {
                visit.call(callback)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        if let Some(mut state) = self.state.try_lock() {
            let object = state.object.take();
            let callbacks = std::mem::take(&mut state.callbacks);
            drop(state);
            drop((object, callbacks));
        }
    }
}
