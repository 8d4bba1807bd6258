//! Green threads: waiting without blocking the thread they share.
//!
//! Under gevent's monkey patching, `threading.Event` and `threading.local` belong to greenlets. A
//! greenlet that waits for another one sleeps on such an event. Bytes move through the Python methods
//! of the channel, which switch greenlets by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use rpyc::link::{Parker, Sleep};

static IN_USE: AtomicBool = AtomicBool::new(false);
/// A `threading.local`: the parker of each greenlet.
static LOCAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Whether greenlets are in use.
pub(crate) fn in_use() -> bool {
    IN_USE.load(Ordering::Relaxed)
}

/// Makes waits cooperative, from now on. `threading` must be patched already.
#[pyfunction]
pub(crate) fn use_greenlets(py: Python<'_>) -> PyResult<()> {
    LOCAL.get_or_try_init(py, || {
        py.import(intern!(py, "threading"))?
            .call_method0("local")
            .map(Bound::unbind)
    })?;
    IN_USE.store(true, Ordering::Relaxed);
    Parker::set_source(|| Python::attach(|py| parker(py).ok()));
    Ok(())
}

/// A parker, as a Python object.
#[pyclass(frozen, module = "rpyc._rpyc")]
struct GreenParker {
    parker: Arc<Parker>,
}

fn parker(py: Python<'_>) -> PyResult<Arc<Parker>> {
    let name = intern!(py, "parker");
    let local = LOCAL.get(py).ok_or_else(|| PyErr::fetch(py))?.bind(py);
    if let Some(known) = local.getattr_opt(name)? {
        return Ok(Arc::clone(&known.cast::<GreenParker>()?.get().parker));
    }
    let event = py
        .import(intern!(py, "threading"))?
        .call_method0("Event")?
        .unbind();
    let parker = Arc::new(Parker::sleeping(Box::new(Event { event })));
    local.setattr(
        name,
        Bound::new(
            py,
            GreenParker {
                parker: Arc::clone(&parker),
            },
        )?,
    )?;
    Ok(parker)
}

#[derive(Debug)]
struct Event {
    event: Py<PyAny>,
}

impl Sleep for Event {
    fn sleep(&self, timeout: Option<Duration>) {
        Python::attach(|py| {
            let timeout = timeout.as_ref().map(Duration::as_secs_f64);
            let event = self.event.bind(py);
            let slept = event
                .call_method1(intern!(py, "wait"), (timeout,))
                .and_then(|_| event.call_method0(intern!(py, "clear")));
            if let Err(error) = slept {
                // A killed greenlet: the exception goes on where the wait is checked.
                RAISED.set(Some(error));
            }
        });
    }

    fn wake(&self) {
        Python::attach(|py| {
            if let Err(error) = self.event.call_method0(py, intern!(py, "set")) {
                error.write_unraisable(py, None);
            }
        });
    }
}

thread_local! {
    /// What ended the last sleep of a greenlet of this thread, until it is raised.
    static RAISED: std::cell::Cell<Option<PyErr>> = const { std::cell::Cell::new(None) };
}

/// The exception that ended a sleep: `GreenletExit`, or a `gevent.Timeout`.
pub(crate) fn take_raised() -> Option<PyErr> {
    RAISED.take()
}
