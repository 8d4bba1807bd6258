//! Names of attributes that the peers of this process use.
//!
//! A name comes as bytes with each request. A new text for it would have to be made and hashed each time,
//! and so would the name with the prefix of exposed attributes; and CPython's cache of attribute lookups
//! knows texts by identity, so it would never find one. So the texts are kept, a fixed number of them.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The longest name that is kept, in bytes.
const LONGEST: usize = 40;

/// How many names are kept. A place is found by the hash of the name; the last one stays.
const PLACES: usize = 256;

static NAMES: Mutex<[Option<Known>; PLACES]> = Mutex::new([const { None }; PLACES]);

struct Known {
    text: Box<str>,
    name: Py<PyString>,
    prefix: Py<PyString>,
    /// The name with the prefix.
    twin: Py<PyString>,
}

/// The name with this text, if it is kept.
pub(crate) fn known<'py>(py: Python<'py>, text: &str) -> Option<Bound<'py, PyString>> {
    let names = NAMES.lock();
    let known = names.get(place(text)?)?.as_ref();
    known
        .filter(|known| *known.text == *text)
        .map(|known| known.name.bind(py).clone())
}

/// The name with the prefix, if it is kept.
pub(crate) fn known_twin<'py>(
    name: &Bound<'py, PyString>,
    prefix: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyString>>> {
    let names = NAMES.lock();
    let known = place(name.to_str()?).and_then(|place| names.get(place)?.as_ref());
    Ok(known
        .filter(|known| known.name.is(name) && known.prefix.is(prefix))
        .map(|known| known.twin.bind(name.py()).clone()))
}

/// Keeps a name, and the name with the prefix.
pub(crate) fn keep(
    name: &Bound<'_, PyString>,
    prefix: &Bound<'_, PyString>,
    twin: &Bound<'_, PyString>,
) -> PyResult<()> {
    let text = name.to_str()?;
    let Some(place) = place(text) else {
        return Ok(());
    };
    let known = Known {
        text: text.into(),
        name: name.clone().unbind(),
        prefix: prefix.clone().unbind(),
        twin: twin.clone().unbind(),
    };
    let replaced = NAMES
        .lock()
        .get_mut(place)
        .and_then(|place| place.replace(known));
    drop(replaced);
    Ok(())
}

/// Where a name is kept, if it is one of those that are.
fn place(text: &str) -> Option<usize> {
    let short = (1..=LONGEST).contains(&text.len());
    short.then(|| {
        // FNV-1a: names are short, and two in one place only mean that the later one stays.
        let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        (hash ^ (hash >> 16)) as usize % PLACES
    })
}
