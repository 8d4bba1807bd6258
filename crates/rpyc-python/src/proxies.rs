//! The proxies of one connection, and the classes made for them.

use std::ptr::NonNull;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use rpyc_proto::id::EncodedId;
use std::collections::HashMap;

use crate::netref::PyNetref;

/// How long the class of proxies is remembered after the last of them died. The remote class may
/// die too then, and another one may get its id.
const CLASS_MEMORY: Duration = Duration::from_secs(1);
/// Forgotten classes are swept out when this many are known.
const SWEEP_AT: usize = 256;

/// The proxies and proxy classes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    live: Mutex<HashMap<EncodedId, Weak>>,
    classes: Mutex<HashMap<Box<[u8]>, Class>>,
}

/// A proxy that may die. It removes itself when it does.
#[derive(Debug, Clone, Copy)]
struct Weak(NonNull<ffi::PyObject>);

#[expect(unsafe_code, reason = "a pointer that is only used attached")]
// SAFETY: it is only followed while attached, and removed before the object's memory is freed.
unsafe impl Send for Weak {}

#[derive(Debug)]
struct Class {
    class: Py<PyType>,
    live: usize,
    unused_since: Option<Instant>,
}

impl Proxies {
    /// The live proxy with this id.
    pub(crate) fn get<'py>(&self, py: Python<'py>, id: &EncodedId) -> Option<Bound<'py, PyNetref>> {
        let live = self.live.lock();
        let weak = live.get(id)?;
        upgrade(py, *weak)
    }

    /// Lists a proxy under its id.
    pub(crate) fn insert(&self, id: EncodedId, proxy: &Bound<'_, PyNetref>) {
        if let Some(pointer) = NonNull::new(proxy.as_ptr()) {
            self.live.lock().insert(id, Weak(pointer));
            proxy.get().set_listed(pointer.as_ptr() as usize);
        }
    }

    /// Removes a proxy, if the one at this address is listed.
    pub(crate) fn remove(&self, id: &EncodedId, address: usize) {
        let mut live = self.live.lock();
        if live
            .get(id)
            .is_some_and(|weak| weak.0.as_ptr() as usize == address)
        {
            live.remove(id);
        }
    }

    /// Removes whatever is listed under an id.
    pub(crate) fn forget(&self, id: &EncodedId) -> bool {
        self.live.lock().remove(id).is_some()
    }

    /// All live proxies.
    pub(crate) fn all<'py>(&self, py: Python<'py>) -> Vec<(EncodedId, Bound<'py, PyNetref>)> {
        let live = self.live.lock();
        live.iter()
            .filter_map(|(id, weak)| Some((id.clone(), upgrade(py, *weak)?)))
            .collect()
    }

    /// Forgets all proxies and classes. Returns the classes, to be dropped without a lock.
    pub(crate) fn clear(&self) -> Vec<Py<PyType>> {
        self.live.lock().clear();
        self.classes
            .lock()
            .drain()
            .map(|(_, class)| class.class)
            .collect()
    }

    /// The class of the proxies with this key, for one more proxy.
    pub(crate) fn class<'py>(&self, py: Python<'py>, key: &[u8]) -> Option<Bound<'py, PyType>> {
        let mut classes = self.classes.lock();
        let class = classes.get_mut(key)?;
        if class
            .unused_since
            .is_some_and(|since| since.elapsed() > CLASS_MEMORY)
        {
            return None;
        }
        class.live += 1;
        class.unused_since = None;
        Some(class.class.bind(py).clone())
    }

    /// Remembers a class, in use by one proxy.
    pub(crate) fn insert_class(&self, key: &[u8], class: Bound<'_, PyType>) {
        let mut swept = Vec::new();
        let mut classes = self.classes.lock();
        if classes.len() >= SWEEP_AT {
            classes.retain(|_, class| {
                let keep = class
                    .unused_since
                    .is_none_or(|since| since.elapsed() <= CLASS_MEMORY);
                if !keep {
                    Python::attach(|py| swept.push(class.class.clone_ref(py)));
                }
                keep
            });
        }
        let class = Class {
            class: class.unbind(),
            live: 1,
            unused_since: None,
        };
        let replaced = classes.insert(key.into(), class);
        drop(classes);
        drop((swept, replaced));
    }

    /// A proxy of a remembered class died.
    pub(crate) fn release_class(&self, key: &[u8]) {
        if let Some(class) = self.classes.lock().get_mut(key) {
            class.live = class.live.saturating_sub(1);
            if class.live == 0 {
                class.unused_since = Some(Instant::now());
            }
        }
    }
}

/// A new reference to a proxy, unless it is being deallocated.
#[expect(unsafe_code, reason = "a proxy is found by its address")]
fn upgrade<'py>(py: Python<'py>, weak: Weak) -> Option<Bound<'py, PyNetref>> {
    let pointer = weak.0.as_ptr();
    // SAFETY: a listed proxy's memory is valid: it removes itself in its deallocation, which happens
    // attached. With a count of 0 that deallocation is on its way, and it must not be revived.
    unsafe {
        if ffi::Py_REFCNT(pointer) == 0 {
            return None;
        }
        Some(Bound::from_borrowed_ptr(py, pointer).cast_into_unchecked())
    }
}
