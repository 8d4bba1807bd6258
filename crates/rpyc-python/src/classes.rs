//! The classes of proxies: given to proxies, made callable, and their metaclass.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use rpyc_proto::consts::Handler;

use crate::ahead;
use crate::engine::Engine;
use crate::netref::{self, PyNetref, module};
use crate::request::{self, IdByValue};

/// Gives proxies the classes that their remote classes ask for.
pub(crate) fn complete_all(
    conn: &Bound<'_, Engine>,
    incomplete: Vec<Py<PyNetref>>,
) -> PyResult<()> {
    for netref in incomplete {
        complete(conn, netref.bind(conn.py()))?;
    }
    Ok(())
}

fn complete<'py>(conn: &Bound<'py, Engine>, netref: &Bound<'py, PyNetref>) -> PyResult<()> {
    complete_by(conn, netref, || {
        request::sync(conn, Handler::Inspect, IdByValue(netref))
    })
}

/// Gives a proxy its class. `ask` gets the methods of the remote class from the peer, if that is
/// necessary.
pub(crate) fn complete_by<'py>(
    conn: &Bound<'py, Engine>,
    netref: &Bound<'py, PyNetref>,
    ask: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<()> {
    let py = conn.py();
    let this = netref.get();
    if this.is_complete() {
        return Ok(());
    }
    let key = conn.get().class_key(PyNetref::id(netref)?);
    let proxies = &conn.get().proxies;
    // Another proxy of the class may have been completed meanwhile.
    let class = match proxies.class(py, &key) {
        Some(class) => class,
        None => {
            let answer = ask()?;
            let methods = module(py)?
                .getattr(intern!(py, "_methods_told"))?
                .call1((answer,))?;
            let class = module(py)?
                .getattr(intern!(py, "class_factory"))?
                .call1((PyNetref::id_pack(netref)?, methods))?
                .cast_into::<PyType>()?;
            proxies.insert_class(&key, class.clone());
            class
        }
    };
    set_class(netref, &class)?;
    this.set_complete(Some(&key));
    Ok(())
}

/// The class of the proxies of instances of a builtin class, by its dotted name. Programs may replace it.
pub(crate) fn of_builtin<'py>(name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyType>>> {
    let py = name.py();
    let names = module(py)?.dict();
    let Some(classes) = names.get_item(intern!(py, "builtin_classes_cache"))? else {
        return Ok(None);
    };
    let class = classes.cast::<PyDict>()?.get_item(name)?;
    Ok(class.map(Bound::cast_into).transpose()?)
}

/// Changes the class of a proxy to a subclass of `BaseNetref` without slots of its own.
#[expect(unsafe_code, reason = "the class of an object is set")]
pub(crate) fn set_class(netref: &Bound<'_, PyNetref>, class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = netref.py();
    let base = py.get_type::<PyNetref>();
    let sizes = |class: &Bound<'_, PyType>| {
        let class = class.as_type_ptr();
        // SAFETY: a type object, and we are attached.
        unsafe { ((*class).tp_basicsize, (*class).tp_dictoffset) }
    };
    // SAFETY: both are type objects, and we are attached.
    let is_subclass =
        unsafe { pyo3::ffi::PyType_IsSubtype(class.as_type_ptr(), base.as_type_ptr()) != 0 };
    if !is_subclass || sizes(class) != sizes(&base) {
        return Err(PyTypeError::new_err(
            "a proxy class without slots of its own is expected",
        ));
    }
    // SAFETY: the two classes have one layout, as was checked; an object holds a reference to its
    // class, since both are heap types.
    unsafe {
        let object = netref.as_ptr();
        let old = (*object).ob_type;
        (*object).ob_type = class.clone().into_ptr().cast();
        pyo3::ffi::Py_DECREF(old.cast());
    }
    Ok(())
}

/// Makes instances of a proxy class callable natively.
///
/// The class must have been made by `class_factory` with a `__call__`: this replaces the slot that
/// runs it.
#[pyfunction]
#[expect(unsafe_code, reason = "a slot of a type object is set")]
pub(crate) fn install_call(class: &Bound<'_, PyType>) -> PyResult<()> {
    if !class.is_subclass_of::<PyNetref>()? {
        return Err(PyTypeError::new_err("a proxy class is expected"));
    }
    // SAFETY: the type is a heap type whose instances are PyNetrefs, and we are attached.
    unsafe { (*class.as_type_ptr()).tp_call = Some(call_slot) };
    Ok(())
}

/// `tp_call` of callable proxies.
#[expect(unsafe_code, reason = "CPython calls it")]
unsafe extern "C" fn call_slot(
    slf: *mut pyo3::ffi::PyObject,
    args: *mut pyo3::ffi::PyObject,
    kwargs: *mut pyo3::ffi::PyObject,
) -> *mut pyo3::ffi::PyObject {
    // Attaching again is cheap, and tells PyO3 that this thread is attached: it would put off the
    // dropping of references otherwise.
    Python::attach(|py| {
        let work = || {
            // SAFETY: CPython calls a slot with an instance of the class, a tuple, and a dict or
            // null, all of them borrowed.
            let (netref, args, kwargs) = unsafe {
                (
                    Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<PyNetref>(),
                    Bound::from_borrowed_ptr(py, args).cast_into_unchecked::<PyTuple>(),
                    Bound::from_borrowed_ptr_or_opt(py, kwargs)
                        .map(|kwargs| kwargs.cast_into_unchecked::<PyDict>()),
                )
            };
            netref::call(&netref, &args, kwargs.as_ref())
        };
        into_slot(py, work)
    })
}

/// Lets instances of a proxy class be iterated natively.
///
/// The class must have been made by `class_factory` with a `__next__`, for one of the iterators of
/// builtin containers: this replaces the slot that runs it.
#[pyfunction]
#[expect(unsafe_code, reason = "a slot of a type object is set")]
pub(crate) fn install_next(class: &Bound<'_, PyType>) -> PyResult<()> {
    if !class.is_subclass_of::<PyNetref>()? {
        return Err(PyTypeError::new_err("a proxy class is expected"));
    }
    // SAFETY: the type is a heap type whose instances are PyNetrefs, and we are attached.
    unsafe { (*class.as_type_ptr()).tp_iternext = Some(next_slot) };
    Ok(())
}

/// `tp_iternext` of proxies of iterators.
#[expect(unsafe_code, reason = "CPython calls it")]
unsafe extern "C" fn next_slot(slf: *mut pyo3::ffi::PyObject) -> *mut pyo3::ffi::PyObject {
    Python::attach(|py| {
        // SAFETY: CPython calls a slot with an instance of the class, borrowed.
        let netref = unsafe { Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<PyNetref>() };
        // A slot may leave out the StopIteration, but the peer's has a text.
        into_slot(py, || ahead::next(&netref))
    })
}

/// Runs what a slot does. A panic must not unwind into C.
fn into_slot<'py>(
    py: Python<'py>,
    work: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> *mut pyo3::ffi::PyObject {
    let work = std::panic::AssertUnwindSafe(work);
    let result = std::panic::catch_unwind(work).unwrap_or_else(|payload| {
        Err(pyo3::panic::PanicException::new_err(panic_text(
            payload.as_ref(),
        )))
    });
    match result {
        Ok(value) => value.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_else(|| "a call panicked".to_owned())
}

/// Makes `metaclass` the class of `BaseNetref`, and so of all proxy classes.
///
/// It must be a subclass of `type` that adds no memory to its instances.
#[pyfunction]
#[expect(unsafe_code, reason = "the class of a class is set")]
pub(crate) fn set_metaclass(metaclass: &Bound<'_, PyType>) -> PyResult<()> {
    let py = metaclass.py();
    let class = py.get_type::<PyNetref>();
    let same_memory = |size: &str| -> PyResult<bool> {
        metaclass
            .getattr(size)?
            .eq(py.get_type::<PyType>().getattr(size)?)
    };
    if !metaclass.is_subclass_of::<PyType>()? || !same_memory("__basicsize__")? {
        return Err(PyTypeError::new_err(
            "a subclass of type without slots of its own is expected",
        ));
    }
    // SAFETY: both are type objects of one memory layout, as was checked; we are attached. The class
    // holds a reference to its class if that is a heap type, which the new one is.
    unsafe {
        let metaclass = metaclass.clone().into_ptr().cast();
        (*class.as_ptr()).ob_type = metaclass;
        pyo3::ffi::PyType_Modified(class.as_type_ptr());
    }
    Ok(())
}
