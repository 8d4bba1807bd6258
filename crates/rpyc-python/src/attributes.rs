//! Attributes of proxies: which are the proxy's own, and which are remote.

use std::cell::Cell;

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PyString};
use rpyc_proto::consts::Handler;

use crate::netref::{PyNetref, module, request};

thread_local! {
    /// The AttributeError that `__getattribute__` raised last. PyO3's slot goes on to `__getattr__`
    /// then, which raises it again instead of one that says nothing.
    pub(crate) static REFUSED: Cell<Option<PyErr>> = const { Cell::new(None) };
}

pub(crate) fn read_attribute<'py>(
    slf: &Bound<'py, PyNetref>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    if name.to_str()?.starts_with("__")
        && let Some(found) = local_attribute(slf, name)?
    {
        return Ok(found);
    }
    if let Some(method) = slf.get().methods().find(slf, name)? {
        return Ok(method.into_any());
    }
    let found = request(slf, Handler::GetAttr, [name.as_any()])?;
    slf.get().methods().note(name, &found)?;
    Ok(found)
}

/// What a local name is on the proxy itself. `None`: the name is remote after all.
fn local_attribute<'py>(
    slf: &Bound<'py, PyNetref>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = slf.py();
    match name.to_str()? {
        "__doc__" => return Ok(None),
        // Their values hold memory addresses of the peer, which libraries would take for their own.
        "__array_struct__" | "__array_interface__" | "__cuda_array_interface__" => {
            return Err(PyAttributeError::new_err(()));
        }
        "__getattr__" => {
            let getattr = module(py)?.getattr("_getattr")?;
            return Ok(Some(getattr.call_method1("__get__", (slf,))?));
        }
        "__call__" | "__array__" => {}
        _ if !is_local(name)? => return Ok(None),
        _ => {}
    }
    match generic_getattr(slf, name) {
        Err(error) if error.is_instance_of::<PyAttributeError>(py) => Ok(None),
        found => found.map(Some),
    }
}

/// Whether a name belongs to the proxy, not to the remote object.
pub(crate) fn is_local(name: &Bound<'_, PyString>) -> PyResult<bool> {
    if !name.to_str()?.starts_with("__") {
        return Ok(false);
    }
    let py = name.py();
    let names = module(py)?.getattr(intern!(py, "LOCAL_ATTRS"))?;
    match names.cast::<PyFrozenSet>() {
        Ok(names) => names.contains(name),
        Err(_) => names.contains(name),
    }
}

#[expect(
    unsafe_code,
    reason = "CPython's own attribute lookup has no safe wrapper"
)]
fn generic_getattr<'py>(
    slf: &Bound<'py, PyNetref>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both are live objects; the result is a new reference or null with an exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            slf.py(),
            pyo3::ffi::PyObject_GenericGetAttr(slf.as_ptr(), name.as_ptr()),
        )
    }
}

#[expect(
    unsafe_code,
    reason = "CPython's own attribute lookup has no safe wrapper"
)]
pub(crate) fn generic_setattr<'py>(
    slf: &Bound<'py, PyNetref>,
    name: &Bound<'py, PyString>,
    value: Option<&Bound<'py, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: all are live objects; a null value deletes.
    let failed = unsafe { pyo3::ffi::PyObject_GenericSetAttr(slf.as_ptr(), name.as_ptr(), value) };
    if failed != 0 {
        Err(PyErr::fetch(slf.py()))
    } else {
        Ok(())
    }
}
