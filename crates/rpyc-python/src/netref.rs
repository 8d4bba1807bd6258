//! `BaseNetref`: the proxy of a remote object.
//!
//! The class is native, so attribute access and calls take the shortest way. Its metaclass, the
//! classes made for remote classes, and what is rarely used live in `rpyc.core.netref`.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};
use rpyc_proto::consts::Handler;
use rpyc_proto::id::EncodedId;
use rpyc_proto::wire::{Reader, Writer};

use crate::ahead::{self, Ahead};
use crate::attributes::{REFUSED, generic_setattr, is_local, read_attribute};
use crate::brine;
use crate::bulk::PyBulk;
use crate::engine::Engine;
use crate::methods::{SeenMethods, Unfetched};
use crate::request::{self, On};

/// A proxy of a remote object. Programs use it as if it were the object.
#[pyclass(
    subclass,
    weakref,
    frozen,
    name = "BaseNetref",
    module = "rpyc.core.netref"
)]
#[derive(Debug)]
pub(crate) struct PyNetref {
    conn: Py<PyAny>,
    /// The connection is one of ours, not just something that quacks like it.
    native: bool,
    /// The id pack, encoded. A method that was not fetched yet has none.
    id: OnceLock<EncodedId>,
    /// The object and the name of a method that is fetched when it is needed.
    method: Option<Unfetched>,
    /// The attributes that were seen to be methods.
    methods: SeenMethods,
    /// References that the owner counts for this proxy.
    references: AtomicI64,
    /// Whether the proxy has the class that its remote class asks for.
    complete: AtomicBool,
    /// The address under which the connection lists it; 0: not listed.
    listed: AtomicUsize,
    /// The key of a remembered class that this proxy uses.
    class_key: Mutex<Option<Box<[u8]>>>,
    /// If it is an iterator: the items that were read ahead.
    ahead: OnceLock<Arc<Ahead>>,
    /// It came with items that were read ahead.
    is_item: AtomicBool,
}

impl PyNetref {
    /// A proxy whose references are counted by the engine.
    pub(crate) fn native(conn: &Bound<'_, Engine>, id: EncodedId) -> Self {
        let conn = conn.clone().into_any().unbind();
        Self::made(conn, true, OnceLock::from(id), None, false)
    }

    /// A method that is fetched when it is needed, or never: calling it needs only its name.
    pub(crate) fn unfetched(conn: &Bound<'_, Engine>, method: Unfetched) -> Self {
        let conn = conn.clone().into_any().unbind();
        Self::made(conn, true, OnceLock::new(), Some(method), true)
    }

    /// `complete`: it has the class that it is to have.
    fn made(
        conn: Py<PyAny>,
        native: bool,
        id: OnceLock<EncodedId>,
        method: Option<Unfetched>,
        complete: bool,
    ) -> Self {
        Self {
            conn,
            native,
            id,
            method,
            methods: SeenMethods::default(),
            references: AtomicI64::new(1),
            complete: AtomicBool::new(complete),
            listed: AtomicUsize::new(0),
            class_key: Mutex::new(None),
            ahead: OnceLock::new(),
            is_item: AtomicBool::new(false),
        }
    }

    /// The id pack, encoded. Fetches a method that has none yet, and tells the owner of an iterator
    /// which items were used: whoever asks is about to use the object.
    pub(crate) fn id<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a EncodedId> {
        let this = slf.get();
        match (this.id.get(), &this.method) {
            (Some(id), _) => {
                if let Some(ahead) = this.ahead.get() {
                    ahead::settle(slf, ahead)?;
                }
                Ok(id)
            }
            (None, Some(method)) => {
                let (id, references) = method.fetch(slf)?;
                this.references.store(references, Ordering::Relaxed);
                // Another thread may have fetched it too: then there is a reference too many.
                if let Err(id) = this.id.set(id)
                    && let Some(engine) = this.engine(slf.py())
                {
                    engine.get().release_proxy(engine, &id, references);
                }
                this.id.get().ok_or_else(|| PyAttributeError::new_err(()))
            }
            (None, None) => Err(PyAttributeError::new_err("the proxy has no id pack")),
        }
    }

    /// Gives up the references that the owner counts for this proxy.
    pub(crate) fn take_references(&self) -> i64 {
        self.references.swap(0, Ordering::Relaxed)
    }

    /// The attributes that were seen to be methods.
    pub(crate) const fn methods(&self) -> &SeenMethods {
        &self.methods
    }

    /// The object and the name of a method that was not fetched.
    pub(crate) fn method_by_name(&self) -> Option<(&Py<Self>, &Py<PyString>)> {
        if self.id.get().is_some() {
            return None;
        }
        self.method.as_ref().map(Unfetched::parts)
    }

    /// The same, of one that was not read just now.
    pub(crate) fn late_method(&self, py: Python<'_>) -> Option<(&Py<Self>, &Py<PyString>)> {
        let engine = self.engine(py)?.get();
        let method = self.method.as_ref()?;
        self.method_by_name()
            .filter(|_| !method.was_just_read(engine))
    }

    /// The items that were read ahead, of an iterator.
    pub(crate) fn ahead(&self) -> Option<&Arc<Ahead>> {
        let id = self.id.get()?;
        Some(self.ahead.get_or_init(|| Ahead::of(id.clone())))
    }

    /// Notes that it came with items of a container, if it is the first time that it came.
    pub(crate) fn set_item(&self) {
        if self.references.load(Ordering::Relaxed) == 1 {
            self.is_item.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it belongs to this connection.
    pub(crate) fn is_of(&self, conn: &Bound<'_, Engine>) -> bool {
        self.conn.is(conn)
    }

    /// Notes the address under which the connection lists it.
    pub(crate) fn set_listed(&self, address: usize) {
        self.listed.store(address, Ordering::Relaxed);
    }

    pub(crate) fn add_reference(&self) {
        self.references.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// The proxy has its class now. `key`: the remembered class that it uses.
    pub(crate) fn set_complete(&self, key: Option<&[u8]>) {
        *self.class_key.lock() = key.map(Into::into);
        self.complete.store(true, Ordering::Release);
    }

    /// Name, class id and whether it stands for a class.
    pub(crate) fn class_part(slf: &Bound<'_, Self>) -> PyResult<(String, i64, bool)> {
        let (name, class, instance): (String, i64, Bound<'_, PyAny>) =
            Self::id_pack(slf)?.extract()?;
        Ok((name, class, instance.eq(0)?))
    }

    pub(crate) fn engine<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Engine>> {
        self.native.then(|| {
            #[expect(unsafe_code, reason = "the type was checked when the proxy was made")]
            // SAFETY: `native` is only set for an Engine.
            unsafe {
                self.conn.bind(py).cast_unchecked()
            }
        })
    }

    /// The engine, if the connection takes the native path right now.
    pub(crate) fn native_engine<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Engine>> {
        self.engine(py)
            .filter(|engine| engine.get().is_native(engine))
    }

    /// The id pack, as a tuple.
    pub(crate) fn id_pack<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        brine::read_plain::<()>(slf.py(), &mut Reader::new(Self::id(slf)?.as_bytes()), 0)
    }
}

/// Performs a synchronous request on a proxy: natively if nothing on the way is overridden, else
/// through the module's `syncreq`.
pub(crate) fn request<'py, const N: usize>(
    netref: &Bound<'py, PyNetref>,
    handler: Handler,
    args: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let py = netref.py();
    if let Some(engine) = netref.get().native_engine(py) {
        return request::sync(engine, handler, On(netref, args));
    }
    let number = handler.number().into_pyobject(py)?.into_any();
    let all = [netref.as_any(), &number].into_iter().chain(args);
    let all = PyTuple::new(py, all.collect::<Vec<_>>())?;
    module(py)?.getattr(intern!(py, "syncreq"))?.call1(all)
}

/// The module `rpyc.core.netref`. Its names are looked up when they are needed: programs replace them.
pub(crate) fn module<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || {
        let module = py.import(intern!(py, "rpyc.core.netref"))?;
        PyResult::Ok(module.unbind())
    })?;
    Ok(module.bind(py))
}

#[pymethods]
impl PyNetref {
    #[new]
    fn new(conn: &Bound<'_, PyAny>, id_pack: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut out = Writer::<PyBulk>::new();
        if !id_pack.is_instance_of::<PyTuple>() || !brine::write_plain(id_pack, &mut out, 0)? {
            return Err(PyTypeError::new_err(
                "id_pack must be a tuple of a text and two ints",
            ));
        }
        let id = EncodedId::from_canonical(&out.into_payload().head);
        let native = conn.is_instance_of::<Engine>();
        let conn = conn.clone().unbind();
        Ok(Self::made(conn, native, OnceLock::from(id), None, true))
    }

    fn __getattribute__<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = read_attribute(slf, name);
        if let Err(error) = &found {
            let py = slf.py();
            if error.is_instance_of::<PyAttributeError>(py) {
                REFUSED.set(Some(error.clone_ref(py)));
            }
        }
        found
    }

    /// Python asks here after `__getattribute__` raised AttributeError: the answer stands.
    fn __getattr__(&self, name: Bound<'_, PyString>) -> PyResult<Py<PyAny>> {
        Err(REFUSED
            .take()
            .unwrap_or_else(|| PyAttributeError::new_err((name.unbind(),))))
    }

    fn __setattr__<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyString>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        if is_local(name)? {
            return generic_setattr(slf, name, Some(value));
        }
        slf.get().methods.clear();
        request(slf, Handler::SetAttr, [name.as_any(), value]).map(drop)
    }

    fn __delattr__<'py>(slf: &Bound<'py, Self>, name: &Bound<'py, PyString>) -> PyResult<()> {
        if is_local(name)? {
            return generic_setattr(slf, name, None);
        }
        slf.get().methods.clear();
        request(slf, Handler::DelAttr, [name.as_any()]).map(drop)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        request(slf, Handler::Repr, [])
    }

    fn __str__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        request(slf, Handler::Str, [])
    }

    fn __hash__(slf: &Bound<'_, Self>) -> PyResult<isize> {
        request(slf, Handler::Hash, [])?.extract()
    }

    fn __dir__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let names = request(slf, Handler::Dir, [])?;
        // Nothing but a tuple: a proxy in its place could have items for ever.
        let names = names
            .cast_into_exact::<PyTuple>()
            .map_err(|_| PyTypeError::new_err("the peer's answer to DIR is no tuple of names"))?;
        Ok(names.to_list().into_any())
    }

    fn __richcmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let op = match op {
            CompareOp::Lt => intern!(py, "__lt__"),
            CompareOp::Le => intern!(py, "__le__"),
            CompareOp::Eq => intern!(py, "__eq__"),
            CompareOp::Ne => intern!(py, "__ne__"),
            CompareOp::Gt => intern!(py, "__gt__"),
            CompareOp::Ge => intern!(py, "__ge__"),
        };
        request(slf, Handler::Cmp, [other, op.as_any()])
    }

    fn __cmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        request(
            slf,
            Handler::Cmp,
            [other, intern!(slf.py(), "__cmp__").as_any()],
        )
    }

    fn __exit__<'py>(
        slf: &Bound<'py, Self>,
        exc: &Bound<'py, PyAny>,
        typ: &Bound<'py, PyAny>,
        tb: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // RPyC sends the first argument only, whatever its name: the exception's class.
        let _ = (typ, tb);
        request(slf, Handler::CtxExit, [exc])
    }

    fn __reduce_ex__<'py>(
        slf: &Bound<'py, Self>,
        protocol: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        module(slf.py())?
            .getattr("_reduce_ex")?
            .call1((slf, protocol))
    }

    fn __instancecheck__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        module(slf.py())?
            .getattr("_instancecheck")?
            .call1((slf, other))
    }

    #[getter(____conn__)]
    fn conn(&self, py: Python<'_>) -> Py<PyAny> {
        self.conn.clone_ref(py)
    }

    #[getter(____id_pack__)]
    fn id_pack_property<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::id_pack(slf)
    }

    #[getter(____refcount__)]
    fn references(&self) -> i64 {
        self.references.load(Ordering::Relaxed)
    }

    #[setter(____refcount__)]
    fn set_references(&self, count: i64) {
        self.references.store(count, Ordering::Relaxed);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.conn)?;
        if let Some(ahead) = self.ahead.get() {
            ahead.visit(&visit)?;
        }
        self.method
            .as_ref()
            .map_or(Ok(()), |method| method.visit(&visit))
    }
}

impl Drop for PyNetref {
    fn drop(&mut self) {
        Python::attach(|py| {
            let Some(engine) = self.engine(py) else {
                return;
            };
            let state = engine.get();
            let Some(id) = self.id.get() else {
                return;
            };
            state
                .proxies
                .remove(id, self.listed.load(Ordering::Relaxed));
            if let Some(key) = self.class_key.lock().take() {
                state.proxies.release_class(&key);
            }
            // The object may be dying while an exception is on its way: keep that.
            let pending = PyErr::take(py);
            let is_quiet = self.is_item.load(Ordering::Relaxed) || self.ahead.get().is_some();
            if !is_quiet && state.is_here() {
                // Its finalizer may do anything at the peer. What is in a container, or an iterator
                // of one, stays as it is.
                state.note_departure(py);
            }
            state.release_proxy(engine, id, self.references.load(Ordering::Relaxed));
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
    }
}

/// Sends a synchronous request on a proxy: `handler` with the proxy and `args`.
#[pyfunction]
#[pyo3(signature = (proxy, handler, *args))]
pub(crate) fn syncreq<'py>(
    proxy: &Bound<'py, PyAny>,
    handler: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = proxy.py();
    if let Ok(netref) = proxy.cast::<PyNetref>()
        && let (Some(engine), Ok(number)) =
            (netref.get().native_engine(py), handler.extract::<i64>())
    {
        let all = with_first(proxy, args)?;
        let timeout = engine.get().sync_request_timeout(py)?;
        return request::sync_within(engine, number, request::Any(&all), timeout);
    }
    let conn = proxy.getattr(intern!(py, "____conn__"))?;
    let all = with_first(handler, &with_first(proxy, args)?)?;
    conn.call_method1(intern!(py, "sync_request"), all)
}

fn with_first<'py>(
    first: &Bound<'py, PyAny>,
    rest: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyTuple>> {
    let mut all = Vec::with_capacity(rest.len() + 1);
    all.push(first.clone());
    all.extend(rest.iter());
    PyTuple::new(first.py(), all)
}

/// Calls the remote object; a method that was not fetched, by its name.
pub(crate) fn call<'py>(
    netref: &Bound<'py, PyNetref>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = netref.py();
    let kwargs = match kwargs {
        Some(kwargs) if !kwargs.is_empty() => kwargs.items().to_tuple(),
        _ => PyTuple::empty(py),
    };
    if let (None, Some(method)) = (netref.get().id.get(), &netref.get().method)
        && !method.is_in_use()
        && let Some(engine) = netref.get().native_engine(py)
    {
        return method.call(engine, args, &kwargs);
    }
    request(netref, Handler::Call, [args.as_any(), kwargs.as_any()])
}
