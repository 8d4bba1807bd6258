//! Buffers of a pickle, received and used where they are.
//!
//! Unpickling hands the buffers that travelled beside a pickle to the objects: a NumPy array takes one
//! for its memory. What the pickler had as writable memory must be writable here. A large `bytes` value
//! was received into an object that nobody else refers to, so its memory can serve for that, and needs
//! no copy.

#![expect(unsafe_code, reason = "a buffer is exported")]

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyTuple};

/// The memory of a received `bytes` object, writable. The object itself is out of reach.
#[pyclass(frozen, module = "rpyc._rpyc")]
#[derive(Debug)]
pub(crate) struct ReceivedBuffer {
    memory: Py<PyBytes>,
}

#[pymethods]
impl ReceivedBuffer {
    /// Fills a view of the memory.
    ///
    /// # Safety
    /// CPython calls it, with a view to be filled.
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let memory = slf.get().memory.as_ptr();
        // SAFETY: the view holds a reference to `slf`, which keeps the bytes object, whose memory does
        // not move. Nobody else refers to that object, so nobody relies on its being immutable.
        let failed = unsafe {
            let data = ffi::PyBytes_AS_STRING(memory).cast_mut().cast();
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), data, ffi::Py_SIZE(memory), 0, flags)
        };
        if failed == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}

/// The buffers of a pickle: pairs of whether one may be written to, and its bytes.
///
/// To be called with an answer that nobody else refers to.
#[pyfunction]
pub(crate) fn take_buffers<'py>(parts: &Bound<'py, PyTuple>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let py = parts.py();
    parts
        .iter_borrowed()
        .map(|part| {
            let (writable, data): (bool, Bound<'py, PyBytes>) = part.extract()?;
            if !writable {
                return Ok(data.into_any());
            }
            // SAFETY: a live object, and we are attached.
            let references = unsafe { ffi::Py_REFCNT(data.as_ptr()) };
            // One reference is the pair's, the other one is ours. Short ones may be shared by all.
            if references == 2 {
                let memory = data.unbind();
                return Ok(Bound::new(py, ReceivedBuffer { memory })?.into_any());
            }
            Ok(PyByteArray::new(py, data.as_bytes()).into_any())
        })
        .collect()
}
