//! CPython values to and from brine tokens.

use std::collections::HashMap;

use pyo3::exceptions::{PyRecursionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyFloat, PyFrozenSet, PyInt, PySlice, PyString, PyTuple, PyType,
};
use pyo3::{create_exception, intern};
use rpyc_proto::limits::MAX_DEPTH;
use rpyc_proto::wire::{BULK_MIN, DecodeError, Reader, Token, Writer};

use crate::bulk::PyBulk;
use crate::names;

create_exception!(
    rpyc._rpyc,
    BrineError,
    PyValueError,
    "The bytes are not a brine value. The text says what is wrong, and at which offset."
);

/// The error for malformed brine.
pub(crate) fn decode_error(error: DecodeError) -> PyErr {
    match error {
        DecodeError::TooDeep => PyRecursionError::new_err(error.to_string()),
        _ => BrineError::new_err(error.to_string()),
    }
}

/// Encodes an immutable value. TypeError if it is none.
#[pyfunction]
pub(crate) fn brine_dump<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = obj.py();
    let mut out = Writer::new();
    if !write_plain(obj, &mut out, 0)? {
        return Err(PyTypeError::new_err(format!("cannot dump {}", obj.str()?)));
    }
    let payload = out.into_payload();
    if payload.bulk.is_empty() {
        return Ok(PyBytes::new(py, &payload.head));
    }
    Ok(PyBytes::new(py, &payload.to_vec()))
}

/// Decodes a value from a bytes-like object. BrineError if it is malformed.
#[pyfunction]
pub(crate) fn brine_load<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return read_plain(py, &mut Reader::new(bytes.as_bytes()), 0);
    }
    let copy = py
        .get_type::<PyBytes>()
        .call1((data,))?
        .cast_into::<PyBytes>()?;
    read_plain(py, &mut Reader::new(copy.as_bytes()), 0)
}

/// Whether a value is immutable all the way down, so that it can be encoded.
#[pyfunction]
pub(crate) fn brine_dumpable(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    dumpable(obj, 0)
}

fn dumpable(obj: &Bound<'_, PyAny>, depth: usize) -> PyResult<bool> {
    if depth > MAX_DEPTH {
        return Err(decode_error(DecodeError::TooDeep));
    }
    if let Ok(tuple) = obj.cast_exact::<PyTuple>() {
        for item in tuple {
            if !dumpable(&item, depth + 1)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let Ok(set) = obj.cast_exact::<PyFrozenSet>() {
        for item in set {
            if !dumpable(&item, depth + 1)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let Some(parts) = slice_parts(obj)? {
        for part in parts {
            if !dumpable(&part, depth + 1)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    Ok(obj.is_exact_instance_of::<PyInt>()
        || obj.is_exact_instance_of::<PyString>()
        || obj.is_exact_instance_of::<PyBytes>()
        || obj.is_exact_instance_of::<PyBool>()
        || obj.is_exact_instance_of::<PyFloat>()
        || obj.is_exact_instance_of::<PyComplex>()
        || obj.is_none()
        || is_not_implemented(obj)
        || is_ellipsis(obj))
}

/// Writes a value if it is plain, and tells whether it is. If not, anything may have been written.
pub(crate) fn write_plain(
    obj: &Bound<'_, PyAny>,
    out: &mut Writer<PyBulk>,
    depth: usize,
) -> PyResult<bool> {
    // By how often they are seen.
    if let Ok(text) = obj.cast_exact::<PyString>() {
        out.put_str(text.to_str()?);
    } else if let Ok(int) = obj.cast_exact::<PyInt>() {
        match int.extract::<i64>() {
            Ok(value) => out.put_int(value),
            // More than 64 bits, or more than CPython converts to text: then that is the error.
            Err(_) => out.put_int_text(int.str()?.to_str()?),
        }
    } else if let Ok(tuple) = obj.cast_exact::<PyTuple>() {
        if depth > MAX_DEPTH {
            return Err(decode_error(DecodeError::TooDeep));
        }
        out.put_tuple(tuple.len());
        for item in tuple.iter_borrowed() {
            if !write_plain(&item, out, depth + 1)? {
                return Ok(false);
            }
        }
    } else if obj.is_none() {
        out.put_none();
    } else if let Ok(value) = obj.cast_exact::<PyBool>() {
        out.put_bool(value.is_true());
    } else if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
        let data = bytes.as_bytes();
        if data.len() >= BULK_MIN {
            out.put_bulk(data.len(), PyBulk::new(bytes));
        } else {
            out.put_bytes(data);
        }
    } else if let Ok(float) = obj.cast_exact::<PyFloat>() {
        out.put_float(float.value());
    } else {
        return write_rare(obj, out, depth);
    }
    Ok(true)
}

fn write_rare(obj: &Bound<'_, PyAny>, out: &mut Writer<PyBulk>, depth: usize) -> PyResult<bool> {
    if let Ok(complex) = obj.cast_exact::<PyComplex>() {
        out.put_complex(complex.real(), complex.imag());
    } else if let Ok(set) = obj.cast_exact::<PyFrozenSet>() {
        if depth > MAX_DEPTH {
            return Err(decode_error(DecodeError::TooDeep));
        }
        out.put_frozenset(set.len());
        for item in set {
            if !write_plain(&item, out, depth + 1)? {
                return Ok(false);
            }
        }
    } else if let Some(parts) = slice_parts(obj)? {
        if depth > MAX_DEPTH {
            return Err(decode_error(DecodeError::TooDeep));
        }
        out.put_slice();
        for part in parts {
            if !write_plain(&part, out, depth + 1)? {
                return Ok(false);
            }
        }
    } else if is_ellipsis(obj) {
        out.put_ellipsis();
    } else if is_not_implemented(obj) {
        out.put_not_implemented();
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// Reads one value that holds no bulk parts, or resolves them with `bulk`.
pub(crate) fn read_plain<'py, B: BulkValue>(
    py: Python<'py>,
    reader: &mut Reader<'_, B>,
    depth: usize,
) -> PyResult<Bound<'py, PyAny>> {
    if depth > MAX_DEPTH {
        return Err(decode_error(DecodeError::TooDeep));
    }
    Ok(match reader.token().map_err(decode_error)? {
        Token::Int(value) => value.into_pyobject(py)?.into_any(),
        // A text that is no part of another value may be the name of an attribute.
        Token::Str(text) if depth == 0 => names::known(py, text)
            .unwrap_or_else(|| PyString::new(py, text))
            .into_any(),
        Token::Str(text) => PyString::new(py, text).into_any(),
        Token::Tuple(count) => {
            let items = read_items(py, reader, count, depth)?;
            PyTuple::new(py, items)?.into_any()
        }
        Token::None => py.None().into_bound(py),
        Token::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        Token::Bytes(data) => PyBytes::new(py, data).into_any(),
        Token::Bulk(index) => match reader.bulk(index) {
            Some(part) => part.value(py).into_any(),
            None => return Err(BrineError::new_err("a bulk part is missing")),
        },
        Token::Float(value) => PyFloat::new(py, value).into_any(),
        Token::BigInt(text) => py.get_type::<PyInt>().call1((text,))?,
        Token::Complex(real, imag) => PyComplex::from_doubles(py, real, imag).into_any(),
        Token::FrozenSet(count) => {
            let items = read_items(py, reader, count, depth)?;
            check_hashes(&items)?;
            PyFrozenSet::new(py, items)?.into_any()
        }
        Token::Slice => {
            let parts = PyTuple::new(py, read_items(py, reader, 3, depth)?)?;
            py.get_type::<PySlice>().call1(parts)?
        }
        Token::Ellipsis => py.Ellipsis().into_bound(py),
        Token::NotImplemented => py.NotImplemented().into_bound(py),
    })
}

fn read_items<'py, B: BulkValue>(
    py: Python<'py>,
    reader: &mut Reader<'_, B>,
    count: usize,
    depth: usize,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    (0..count)
        .map(|_| read_plain(py, reader, depth + 1))
        .collect()
}

/// The most items of a frozenset that may have one hash.
const MOST_ALIKE: u32 = 100;

/// The hashes of numbers and tuples are no secret. A set of values that were chosen to have the same one
/// takes time in proportion to the square of their number, with the interpreter lock held.
fn check_hashes(items: &[Bound<'_, PyAny>]) -> PyResult<()> {
    if items.len() <= MOST_ALIKE as usize {
        return Ok(());
    }
    let mut counts = HashMap::with_capacity(items.len());
    for item in items {
        let count = counts.entry(item.hash()?).or_insert(0_u32);
        *count += 1;
        if *count > MOST_ALIKE {
            return Err(BrineError::new_err(format!(
                "decoding a frozenset: more than {MOST_ALIKE} of its items have one hash"
            )));
        }
    }
    Ok(())
}

/// A bulk part that is a Python value.
pub(crate) trait BulkValue {
    fn value<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes>;
}

impl BulkValue for PyBulk {
    fn value<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.object(py)
    }
}

impl BulkValue for () {
    fn value<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        // Readers of contiguous bytes yield no bulk tokens.
        PyBytes::new(py, b"")
    }
}

fn slice_parts<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Option<[Bound<'py, PyAny>; 3]>> {
    static SLICE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = obj.py();
    let slice = SLICE.get_or_init(py, || py.get_type::<PySlice>().unbind());
    if !obj.get_type().is(slice) {
        return Ok(None);
    }
    Ok(Some([
        obj.getattr(intern!(py, "start"))?,
        obj.getattr(intern!(py, "stop"))?,
        obj.getattr(intern!(py, "step"))?,
    ]))
}

fn is_ellipsis(obj: &Bound<'_, PyAny>) -> bool {
    obj.is(obj.py().Ellipsis())
}

fn is_not_implemented(obj: &Bound<'_, PyAny>) -> bool {
    obj.is(obj.py().NotImplemented())
}
