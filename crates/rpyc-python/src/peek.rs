//! Looking at the next items of an iterator without taking them.
//!
//! The peer asks for several items at once, and is to notice nothing of it but the speed. So only the
//! first one is taken. The rest is read from a copy of the iterator: whoever goes on from where the
//! peer is, goes on with the iterator itself, which is where it would be without all this.
//!
//! It is done for the iterators of builtin containers only: taking and copying them runs no code of
//! the user. And only if nobody but this connection refers to the iterator: it lags behind what the
//! peer has seen, until the peer says how many items it used.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyFrozenSet, PyInt, PyIterator, PyString, PyTuple};

/// The most items that are skipped or seen by one request.
const MAX_AMOUNT: usize = 1 << 20;
/// Items are added to an answer until they have about this many bytes.
const ENOUGH_BYTES: usize = 64 * 1024;
/// Copying the iterator of a dict or a set copies what is left in it. If that is more than this many
/// items, an answer has at least one part in [`PARTS`] of them, so that all copying together takes
/// time in proportion to the container.
const LARGE: usize = 1 << 17;
const PARTS: usize = 32;
/// Tuples nested deeper than this are taken to be large.
const DEEP: usize = 8;

/// A number of items, as the peer gave it.
pub(crate) fn amount(number: &Bound<'_, PyAny>) -> PyResult<usize> {
    match number.extract::<usize>() {
        Ok(amount) if amount <= MAX_AMOUNT => Ok(amount),
        _ => Err(PyValueError::new_err(format!(
            "a number of items is an int from 0 to {MAX_AMOUNT}"
        ))),
    }
}

/// Whether an object is an iterator of a builtin container that only the peer can use.
pub(crate) fn may_look_ahead(iterator: &Bound<'_, PyAny>) -> bool {
    static CLASSES: PyOnceLock<Py<PyFrozenSet>> = PyOnceLock::new();
    // One reference is the table's, the other one is ours.
    const OURS: isize = 2;
    let py = iterator.py();
    let classes = CLASSES.get_or_try_init(py, || {
        let names = py.import(intern!(py, "rpyc.core.netref"))?;
        let classes = names.getattr(intern!(py, "_plain_iterators"))?;
        PyResult::Ok(classes.cast_into::<PyFrozenSet>()?.unbind())
    });
    let is_plain = classes.is_ok_and(|classes| {
        classes
            .bind(py)
            .contains(iterator.get_type())
            .unwrap_or(false)
    });
    #[expect(unsafe_code, reason = "the count has no safe wrapper")]
    // SAFETY: a live object, and we are attached.
    let references = unsafe { pyo3::ffi::Py_REFCNT(iterator.as_ptr()) };
    is_plain && references == OURS
}

/// Takes `skip` items and one more, and looks at up to `count` in all. A pair of whether looking
/// ahead makes sense, and the items.
/// With a count of 0, nothing but skipping; StopIteration if there is no item.
pub(crate) fn take<'py>(
    iterator: &Bound<'py, PyAny>,
    skip: usize,
    count: usize,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = iterator.py();
    let mut items = Vec::new();
    let mut goes_on = true;
    let mut source = iterator.cast::<PyIterator>()?.clone();
    for _ in 0..skip {
        if source.next().transpose()?.is_none() {
            break;
        }
    }
    if count > 0 {
        let Some(first) = source.next().transpose()? else {
            return Err(pyo3::exceptions::PyStopIteration::new_err(()));
        };
        items.push(first);
        // The first item is taken: whatever goes wrong from here on, it must arrive.
        goes_on = count == 1 || look(iterator, count, &mut items).is_ok();
    }
    let items = PyTuple::new(py, items)?.into_any();
    let goes_on = PyBool::new(py, goes_on).to_owned().into_any();
    PyTuple::new(py, [goes_on, items])
}

/// Adds the items that follow the one in `items`, up to `count` in all.
fn look<'py>(
    iterator: &Bound<'py, PyAny>,
    count: usize,
    items: &mut Vec<Bound<'py, PyAny>>,
) -> PyResult<()> {
    let py = iterator.py();
    let copy = py
        .import(intern!(py, "copy"))?
        .call_method1(intern!(py, "copy"), (iterator,))?;
    let least = if copy.get_type().is(iterator.get_type()) {
        0
    } else {
        smallest_part(&copy)?
    };
    let mut bytes = items.iter().map(|item| size(item, 0)).sum::<usize>();
    for item in copy.try_iter()?.take(count.max(least) - 1) {
        let item = item?;
        bytes += size(&item, 0);
        if bytes > ENOUGH_BYTES && items.len() >= least {
            break;
        }
        items.push(item);
    }
    Ok(())
}

/// What [`take`] gave, without the items that were only looked at.
pub(crate) fn alone<'py>(taken: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = taken.py();
    let items = taken.get_item(1)?.cast_into::<PyTuple>()?;
    let first = items.get_slice(0, 1).into_any();
    let goes_on = PyBool::new(py, false).to_owned().into_any();
    Ok(PyTuple::new(py, [goes_on, first])?.into_any())
}

/// How many items an answer must have if the rest of the container was copied for it.
fn smallest_part(copy: &Bound<'_, PyAny>) -> PyResult<usize> {
    let left = copy.call_method0(intern!(copy.py(), "__length_hint__"))?;
    let left: usize = left.extract()?;
    Ok(if left > LARGE {
        (left / PARTS).min(MAX_AMOUNT)
    } else {
        0
    })
}

/// About how many bytes an item takes in a message.
fn size(item: &Bound<'_, PyAny>, depth: usize) -> usize {
    const SMALL: usize = 16;
    if let Ok(text) = item.cast_exact::<PyString>() {
        text.as_any().len().unwrap_or(SMALL)
    } else if let Ok(bytes) = item.cast_exact::<PyBytes>() {
        bytes.as_bytes().len()
    } else if let Ok(tuple) = item.cast_exact::<PyTuple>() {
        if depth == DEEP {
            return ENOUGH_BYTES;
        }
        let parts = tuple.iter_borrowed().map(|part| size(&part, depth + 1));
        SMALL + parts.sum::<usize>()
    } else if item.is_exact_instance_of::<PyInt>() && item.extract::<i64>().is_err() {
        // RPyC's limit of decimal digits is this order of magnitude.
        4 * 1024
    } else {
        SMALL
    }
}
