//! Methods of remote objects, called without being fetched.
//!
//! `proxy.method(args)` reads an attribute and calls it: two requests, and a third one to release the
//! method. Once an attribute of a proxy was seen to be a bound method, reading it again gives a proxy
//! that is not fetched. Calling that sends one request, CALLATTR, which does at the owner exactly
//! what reading and calling do. Any other use of it fetches the attribute first.
//!
//! A proxy that is kept and called again and again is fetched after a while.
//!
//! What differs: if the attribute vanishes meanwhile, it is the call that raises AttributeError, not
//! the reading. The configuration key `fold_method_calls` turns it off.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::PyAttributeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};
use rpyc_proto::consts::Handler;
use rpyc_proto::id::EncodedId;

use crate::classes;
use crate::engine::Engine;
use crate::native;
use crate::netref::PyNetref;
use crate::request::{self, On};

/// The most names that are remembered per proxy.
pub(crate) const MAX_SEEN: usize = 64;

/// After so many calls by its name a proxy of a method is fetched.
const IN_USE: u32 = 16;

/// The attributes of one proxy that were seen to be bound methods.
#[derive(Debug, Default)]
pub(crate) struct SeenMethods {
    names: Mutex<Vec<Name>>,
}

/// A name with its hash: most names that are looked for are none of those.
#[derive(Debug)]
struct Name {
    hash: isize,
    text: Py<PyString>,
}

impl SeenMethods {
    /// Notes what an attribute turned out to be.
    pub(crate) fn note(
        &self,
        name: &Bound<'_, PyString>,
        found: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if !found.is_instance_of::<PyNetref>() || !found.get_type().is(method_class(name.py())?) {
            return Ok(());
        }
        self.add(name)
    }

    /// Notes that an attribute is a bound method, as the owner of the object says.
    pub(crate) fn learn(&self, name: &str, py: Python<'_>) -> PyResult<()> {
        // As names in programs are, so that it is found by identity.
        self.add(&PyString::intern(py, name))
    }

    fn add(&self, name: &Bound<'_, PyString>) -> PyResult<()> {
        let hash = name.hash()?;
        let mut names = self.names.lock();
        if names.len() < MAX_SEEN && position(&names, name, hash).is_none() {
            let text = name.clone().unbind();
            names.push(Name { hash, text });
        }
        Ok(())
    }

    /// The attribute may be something else from now on.
    pub(crate) fn forget(&self, name: &Bound<'_, PyString>) -> PyResult<()> {
        let hash = name.hash()?;
        let mut names = self.names.lock();
        if let Some(place) = position(&names, name, hash) {
            names.swap_remove(place);
        }
        Ok(())
    }

    /// All attributes may be something else: one was set, maybe under its other name.
    pub(crate) fn clear(&self) {
        let names = std::mem::take(&mut *self.names.lock());
        drop(names);
    }

    /// A proxy of the method, not fetched, if the attribute was seen to be one.
    pub(crate) fn find<'py>(
        &self,
        object: &Bound<'py, PyNetref>,
        name: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyNetref>>> {
        let py = object.py();
        let hash = name.hash()?;
        if position(&self.names.lock(), name, hash).is_none() {
            return Ok(None);
        }
        let Some(engine) = object.get().native_engine(py) else {
            return Ok(None);
        };
        if !engine.get().folds_method_calls(py)? {
            return Ok(None);
        }
        let method = Unfetched {
            object: object.clone().unbind(),
            name: name.clone().unbind(),
            read_at: engine.get().activity.count(),
            calls: AtomicU32::new(0),
        };
        let proxy = Bound::new(py, PyNetref::unfetched(engine, method))?;
        classes::set_class(&proxy, &method_class(py)?)?;
        Ok(Some(proxy))
    }
}

/// Where a name is listed. Names in programs are interned, so they are mostly found by identity.
fn position(names: &[Name], name: &Bound<'_, PyString>, hash: isize) -> Option<usize> {
    names.iter().position(|known| {
        let same = || known.text.bind(name.py()).to_str().ok() == name.to_str().ok();
        known.hash == hash && (known.text.is(name) || same())
    })
}

/// The class of the proxies of bound methods.
fn method_class(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    static FOUND: Mutex<Option<(u64, Py<PyType>)>> = Mutex::new(None);
    let epoch = native::epoch();
    match &*FOUND.lock() {
        Some((found_in, class)) if *found_in == epoch => return Ok(class.bind(py).clone()),
        _ => {}
    }
    let class = classes::of_builtin(intern!(py, "builtins.method"))?
        .ok_or_else(|| PyAttributeError::new_err("builtins.method"))?;
    let replaced = FOUND.lock().replace((epoch, class.clone().unbind()));
    drop(replaced);
    Ok(class)
}

/// A method of a remote object that was not fetched.
#[derive(Debug)]
pub(crate) struct Unfetched {
    object: Py<PyNetref>,
    name: Py<PyString>,
    /// The [count](crate::ahead::Activity::count) of messages when it was read.
    read_at: u64,
    /// How often it was called by its name.
    calls: AtomicU32,
}

impl Unfetched {
    /// Whether it is called so often that it is better fetched: its owner need not look it up then.
    pub(crate) fn is_in_use(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) >= IN_USE
    }

    /// Whether nothing was sent or received since it was read: to fetch it now is the same as to have
    /// done so then.
    pub(crate) fn was_just_read(&self, engine: &Engine) -> bool {
        engine.activity.count() == self.read_at
    }

    /// The object, and the name.
    pub(crate) const fn parts(&self) -> (&Py<PyNetref>, &Py<PyString>) {
        (&self.object, &self.name)
    }

    /// Calls it, by its name.
    pub(crate) fn call<'py>(
        &self,
        engine: &Bound<'py, Engine>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = engine.py();
        let name = self.name.bind(py);
        let object = self.object.bind(py);
        let all = [name.as_any(), args.as_any(), kwargs.as_any()];
        let result = request::sync(engine, Handler::CallAttr, On(object, all));
        if result
            .as_ref()
            .is_err_and(|error| error.is_instance_of::<PyAttributeError>(py))
        {
            // It may be gone: the next one who reads it is to be told at once.
            object.get().methods().forget(name)?;
        }
        result
    }

    /// Fetches it for `proxy`, which stands for it: its id, and the references that go with it.
    pub(crate) fn fetch(&self, proxy: &Bound<'_, PyNetref>) -> PyResult<(EncodedId, i64)> {
        let py = proxy.py();
        let name = self.name.bind(py);
        let object = self.object.bind(py);
        object.get().methods().forget(name)?;
        let found = object.as_any().getattr(name)?;
        let Ok(found) = found.cast::<PyNetref>() else {
            let text = format!("{name} was a method of the remote object, and is none any more");
            return Err(PyAttributeError::new_err(text));
        };
        let id = PyNetref::id(found)?.clone();
        if !found.get_type().is(proxy.get_type()) {
            classes::set_class(proxy, &found.get_type())?;
        }
        // From here on this proxy holds the references, and is found under the id.
        let references = found.get().take_references();
        if let Some(engine) = proxy.get().engine(py) {
            engine.get().proxies.insert(id.clone(), proxy);
        }
        Ok((id, references))
    }

    /// Visits what it holds, for the garbage collector.
    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.object)
    }
}

/// Fetches a method that was not fetched, if nothing was sent or received since its proxy was read: as if
/// it had been fetched then. One that was read before something else was begun is left alone: to fetch it
/// would be to wait for that.
#[pyfunction]
pub(crate) fn fetch_if_just_read(proxy: &Bound<'_, PyNetref>) -> PyResult<()> {
    match proxy.get().late_method(proxy.py()) {
        Some(_) => Ok(()),
        None => PyNetref::id(proxy).map(drop),
    }
}
