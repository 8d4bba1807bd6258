//! Large `bytes` values as they pass the engine.

// SAFETY rationale for the module: a `bytes` object is immutable once it is published, and its
// memory does not move while a reference is held. So its bytes can be read, and a fresh one that
// only we know can be filled, without the interpreter lock.
#![expect(unsafe_code, reason = "bytes objects are filled and read in place")]

use std::ffi::{c_char, c_int};
use std::{ptr, slice};

use rustix::mm::{Advice, madvise};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rpyc_proto::wire::BulkBuffer;

unsafe extern "C" {
    // Private to pyo3-ffi, documented in CPython's "Bytes Objects".
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

/// From this size on, in bytes, memory is asked for in huge pages. Such a block is mostly new memory
/// from the kernel, and making a page for each 4 KiB that arrive costs more than receiving them.
const HUGE_FROM: usize = 4 * 1024 * 1024;
/// The size of a common page in bytes.
const PAGE: usize = 4096;

/// A finished `bytes` object.
#[derive(Debug)]
pub(crate) struct PyBulk {
    object: Py<PyBytes>,
    data: *const u8,
    len: usize,
}

// SAFETY: the data is immutable and kept alive by `object`, which is itself Send and Sync.
unsafe impl Send for PyBulk {}
// SAFETY: as above.
unsafe impl Sync for PyBulk {}

impl PyBulk {
    pub(crate) fn new(object: &Bound<'_, PyBytes>) -> Self {
        let bytes = object.as_bytes();
        Self {
            data: bytes.as_ptr(),
            len: bytes.len(),
            object: object.clone().unbind(),
        }
    }

    pub(crate) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.object.bind(py).clone()
    }
}

impl AsRef<[u8]> for PyBulk {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `object` keeps the immutable memory alive and in place.
        unsafe { slice::from_raw_parts(self.data, self.len) }
    }
}

/// A `bytes` object that is being received.
#[derive(Debug)]
pub(crate) struct PyBulkBuffer {
    /// Null only after a failed resize.
    object: *mut ffi::PyObject,
}

// SAFETY: nobody else knows the object, and its memory is touched by one thread at a time.
unsafe impl Send for PyBulkBuffer {}

impl PyBulkBuffer {
    fn parts(&self) -> (*mut c_char, usize) {
        // SAFETY: `object` is a bytes object that only we know.
        unsafe {
            let len = ffi::Py_SIZE(self.object);
            (
                ffi::PyBytes_AS_STRING(self.object).cast_mut(),
                usize::try_from(len).unwrap_or(0),
            )
        }
    }
}

/// Asks for huge pages for a large block: for all its pages, or the kernel would cut the mapping in
/// pieces, which can't be enlarged in place.
fn prefer_huge_pages(data: *mut c_char, len: usize) {
    if len < HUGE_FROM {
        return;
    }
    let before = data.addr() % PAGE;
    let whole = (before + len).next_multiple_of(PAGE);
    // SAFETY: these are the pages that hold the block. The advice does not change what they hold;
    // without huge pages it fails, or does nothing.
    let _ = unsafe {
        madvise(
            data.wrapping_sub(before).cast(),
            whole,
            Advice::LinuxHugepage,
        )
    };
}

impl BulkBuffer for PyBulkBuffer {
    type Done = PyBulk;

    /// The C allocator hands out fresh memory for large blocks.
    const LAZY: bool = true;

    fn allocate(len: usize) -> Option<Self> {
        let size = ffi::Py_ssize_t::try_from(len).ok()?;
        Python::attach(|py| {
            // SAFETY: a null pointer asks for uninitialised memory of that size.
            let object = unsafe { ffi::PyBytes_FromStringAndSize(ptr::null(), size) };
            if object.is_null() {
                drop(PyErr::take(py));
                return None;
            }
            let buffer = Self { object };
            let (data, len) = buffer.parts();
            prefer_huge_pages(data, len);
            Some(buffer)
        })
    }

    fn grow(mut self, len: usize) -> Option<Self> {
        let size = ffi::Py_ssize_t::try_from(len).ok()?;
        Python::attach(|py| {
            // SAFETY: we hold the only reference, as a resize demands. If it fails the object is gone
            // and the pointer null.
            if unsafe { _PyBytes_Resize(&raw mut self.object, size) } != 0 {
                drop(PyErr::take(py));
                return None;
            }
            let (data, len) = self.parts();
            prefer_huge_pages(data, len);
            Some(self)
        })
    }

    fn room(&self) -> usize {
        self.parts().1
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        let (data, len) = self.parts();
        // SAFETY: the memory belongs to an object that only we know. It comes from the C allocator,
        // so reading bytes that were not written yet gives some bytes, and nobody does so anyway.
        unsafe { slice::from_raw_parts_mut(data.cast(), len) }
    }

    fn finish(self) -> PyBulk {
        let (data, len) = self.parts();
        let object = self.object;
        std::mem::forget(self);
        Python::attach(|py| {
            // SAFETY: the reference that we held passes to `object`; it is a bytes object.
            let object = unsafe { Bound::from_owned_ptr(py, object).cast_into_unchecked() };
            PyBulk {
                object: object.unbind(),
                data: data.cast_const().cast(),
                len,
            }
        })
    }
}

impl Drop for PyBulkBuffer {
    fn drop(&mut self) {
        if !self.object.is_null() {
            // SAFETY: we give up the only reference, attached.
            Python::attach(|_| unsafe { ffi::Py_DECREF(self.object) });
        }
    }
}
