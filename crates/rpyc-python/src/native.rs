//! Whether a connection may take the native path.
//!
//! Programs subclass and patch the names of RPyC's Python layer. Such a connection is driven through
//! its Python methods, so the extension takes effect; all others are driven natively. What decides
//! is `rpyc.core._connection.native.is_native`, a Python function over the names themselves. Its answer is
//! kept until something it depends on changes:
//!
//! * the connection's class or one of its bases, seen by CPython's version tag of the type;
//! * `AsyncResult`, likewise;
//! * anything else (module globals, brine's registries, attributes of one connection): whatever
//!   notices such a change calls [`extension_changed`].
//!
//! What was found about a class holds for the next connection of it as well: then only the connection
//! itself is looked at.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::engine::Engine;
use crate::result::PyAsyncResult;

static EPOCH: AtomicU64 = AtomicU64::new(1);

/// What the last positive decision depended on.
static FOUND_NATIVE: Mutex<Option<State>> = Mutex::new(None);

/// What a decision depends on, apart from the connection itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    epoch: u64,
    /// The version tag of the connection's class.
    class: u32,
    /// The version tag of `AsyncResult`.
    result: u32,
}

impl State {
    /// The state now; `version` reads that of a type.
    #[inline]
    fn now(conn: &Bound<'_, Engine>, version: impl Fn(&Bound<'_, PyType>) -> u32) -> Self {
        Self {
            epoch: epoch(),
            class: version(&conn.get_type()),
            result: version(&conn.py().get_type::<PyAsyncResult>()),
        }
    }

    /// Whether it would be seen if something changed.
    const fn is_known(&self) -> bool {
        self.class != 0 && self.result != 0
    }
}

/// A number that changes when such a name does.
pub(crate) fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// Tells the engine that a name that programs may replace was assigned.
#[pyfunction]
pub(crate) fn extension_changed() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

/// The kept decision of one connection.
#[derive(Debug, Default)]
pub(crate) struct Native {
    epoch: AtomicU64,
    class: AtomicU32,
    result: AtomicU32,
    native: AtomicBool,
}

impl Native {
    pub(crate) fn is_native(&self, conn: &Bound<'_, Engine>) -> bool {
        let state = State::now(conn, version_tag);
        if state.is_known()
            && self.epoch.load(Ordering::Relaxed) == state.epoch
            && self.class.load(Ordering::Relaxed) == state.class
            && self.result.load(Ordering::Relaxed) == state.result
        {
            return self.native.load(Ordering::Relaxed);
        }
        self.look(conn)
    }

    /// Has Python look, and keeps its answer.
    #[cold]
    fn look(&self, conn: &Bound<'_, Engine>) -> bool {
        let state = State::now(conn, type_version);
        // A failing decision is a bug of ours; the Python path works in any case.
        let native = decide(conn, state).unwrap_or(false);
        self.native.store(native, Ordering::Relaxed);
        self.epoch.store(state.epoch, Ordering::Relaxed);
        self.class.store(state.class, Ordering::Relaxed);
        self.result.store(state.result, Ordering::Relaxed);
        native
    }
}

fn decide(conn: &Bound<'_, Engine>, state: State) -> PyResult<bool> {
    let py = conn.py();
    let known = state.is_known() && *FOUND_NATIVE.lock() == Some(state);
    let question = if known {
        intern!(py, "is_untouched")
    } else {
        intern!(py, "is_native")
    };
    let native = py
        .import(intern!(py, "rpyc.core._connection.native"))?
        .getattr(question)?
        .call1((conn,))?
        .is_truthy()?;
    if native && state.is_known() {
        *FOUND_NATIVE.lock() = Some(state);
    }
    Ok(native)
}

/// A number that changes with a type and its bases, and that no other type has. 0: there are no more
/// numbers, so nothing may be kept about the type.
#[pyfunction]
pub(crate) fn type_version(class: &Bound<'_, PyType>) -> u32 {
    match version_tag(class) {
        0 => assign_version(class),
        tag => tag,
    }
}

/// Has CPython give a type its version tag: it does so when an attribute is looked up on the type.
fn assign_version(class: &Bound<'_, PyType>) -> u32 {
    let py = class.py();
    let name = intern!(py, "__getattribute__");
    // `type` looks it up, not the metaclass, which may be the user's. What it finds does not matter.
    let _ = py.get_type::<PyType>().call_method1(name, (class, name));
    version_tag(class)
}

/// CPython's version tag of a type: it changes with the type and its bases. 0: none assigned now.
#[expect(unsafe_code, reason = "the tag is a field of the type object only")]
pub(crate) fn version_tag(class: &Bound<'_, PyType>) -> u32 {
    // SAFETY: a type object is a PyTypeObject; we are attached, so nobody changes it meanwhile.
    unsafe { (*class.as_type_ptr()).tp_version_tag }
}
