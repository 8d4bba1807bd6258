//! `Engine`: the native base of `rpyc.core.protocol.Connection`.
//!
//! It holds what a connection is made of (the link, the tables) and offers the primitives that the
//! Python class is written in: for [opening](opening), [sending](sending), [serving](serving), the [tables](tables)
//! and the [extensions](extensions), and for its [configuration](configuration).
//! Methods whose names start with an underscore are for that class.

mod configuration;
mod extensions;
mod opening;
mod sending;
mod serving;
mod tables;
mod tending;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::PyEOFError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use rpyc::link::{Cancelled, Deadlines, End, Link};
use rpyc_proto::boxing;
use rpyc_proto::consts::Handler;
use rpyc_proto::exports::{Exports, Released};
use rpyc_proto::features::Features;
use rpyc_proto::id::{EncodedId, IdPack};
use rpyc_proto::limits::Limits;
use rpyc_proto::message::Dialect;
use rpyc_proto::wire::{Payload, Reader};

use crate::ahead::Activity;
use crate::bound::BoundThreads;
use crate::bulk::PyBulk;
use crate::classes;
use crate::native::Native;
use crate::netref::PyNetref;
use crate::proxies::Proxies;
use crate::threads;
use crate::timeout::Timeout;
use crate::transport::PyTransport;
use crate::waiter::{Answers, Waiter};
use configuration::Configuration;
pub(crate) use configuration::same_items;
use opening::Liveness;
pub(crate) use opening::duplicate;

/// The link of a Python connection.
pub(crate) type PyLink = Link<PyTransport, Waiter>;

/// The native part of a connection.
#[pyclass(subclass, weakref, frozen, module = "rpyc._rpyc")]
pub(crate) struct Engine {
    link: OnceLock<PyLink>,
    /// Objects of ours that the peer refers to.
    pub(crate) exports: Mutex<Exports<Py<PyAny>>>,
    /// Proxies of the peer's objects.
    pub(crate) proxies: Proxies,
    config: Mutex<Configuration>,
    local_root: Mutex<Option<Py<PyAny>>>,
    remote_root: Mutex<Option<Py<PyAny>>>,
    native: Native,
    /// The threshold of compression in bytes; None: never.
    compress: OnceLock<usize>,
    /// The dialect spoken, a [`Dialect`] as a number; 0: not settled yet.
    dialect: AtomicU8,
    /// The process that uses the connection, see [`threads::process`].
    process: AtomicU64,
    /// In thread-bound mode: the threads of the connection.
    bound: OnceLock<BoundThreads>,
    limits: OnceLock<Limits>,
    liveness: OnceLock<Liveness>,
    /// Limits that threads have set for their requests.
    deadlines: Deadlines,
    /// The extensions that the peer knows, once it was asked.
    peer_features: OnceLock<Features>,
    /// Requests of the peer that it does not wait for any more.
    cancelled: Cancelled,
    /// The peer does not want to know of such requests of ours.
    refuses_cancel: AtomicBool,
    /// Ids on the wire tell no addresses and can't be guessed.
    hides_addresses: AtomicBool,
    /// Requests of the peer that are being performed by green threads.
    pub(crate) performing: AtomicUsize,
    /// What the items that were read ahead depend on.
    pub(crate) activity: Activity,
    /// Answers that threads have waited for.
    pub(crate) answers: Answers,
}

impl Engine {
    /// The link; EOFError if the connection was never opened.
    pub(crate) fn link(&self) -> PyResult<&PyLink> {
        self.link
            .get()
            .ok_or_else(|| PyEOFError::new_err("the connection has no channel yet"))
    }

    /// Why the link ended, if it did.
    pub(crate) fn end(&self) -> Option<End> {
        self.link.get()?.end().map(|end| End::clone(end))
    }

    /// Requests of the peer that it does not wait for any more.
    pub(crate) const fn cancelled(&self) -> &Cancelled {
        &self.cancelled
    }

    /// Whether the peer has refused to be told of requests that nobody waits for.
    pub(crate) fn refuses_cancel(&self) -> bool {
        self.refuses_cancel.load(Ordering::Relaxed)
    }

    /// The extensions of the peer, once it was asked.
    pub(crate) fn peer_features(&self) -> Option<Features> {
        self.peer_features.get().copied()
    }

    /// The limits that threads have set for their requests.
    pub(crate) const fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    pub(crate) fn is_native(&self, conn: &Bound<'_, Self>) -> bool {
        self.native.is_native(conn)
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.limits.get_or_init(Limits::default)
    }

    /// Whether ids on the wire must not tell addresses.
    pub(crate) fn hides_addresses(&self) -> bool {
        self.hides_addresses.load(Ordering::Relaxed)
    }

    pub(crate) fn local_root<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let root = self.local_root.lock();
        root.as_ref()
            .map_or_else(|| py.None().into_bound(py), |root| root.bind(py).clone())
    }

    /// The limit of synchronous requests: the configured one, or that of the thread.
    pub(crate) fn sync_request_timeout(&self, py: Python<'_>) -> PyResult<Timeout> {
        let configured = self.configured_timeout(py)?;
        Ok(configured.within(self.deadlines.current()))
    }

    /// The object of ours with this id.
    pub(crate) fn local<'py>(&self, py: Python<'py>, id: &IdPack<'_>) -> Option<Bound<'py, PyAny>> {
        let exports = self.exports.lock();
        let entry = exports.get(id.encoded);
        if entry.is_none() {
            return exports
                .get(id.canonical().as_bytes())
                .map(|entry| entry.object.bind(py).clone());
        }
        entry.map(|entry| entry.object.bind(py).clone())
    }

    /// Takes back references of the peer.
    pub(crate) fn release(&self, id: &IdPack<'_>, count: i64) -> Released<Py<PyAny>> {
        let mut exports = self.exports.lock();
        match exports.release(id.encoded, count) {
            Released::Unknown => exports.release(id.canonical().as_bytes(), count),
            released => released,
        }
    }

    /// Takes back the references that boxed values refer to, which were written and won't be sent:
    /// the peer will never release what it does not hear of. `boxed` may be cut short.
    pub(crate) fn take_back(&self, boxed: &Payload<PyBulk>) {
        for id in boxing::remote_refs(boxed, 0) {
            drop(self.release(&id, 1));
        }
    }

    /// The proxy of an object of the peer, and whether its class is known.
    pub(crate) fn proxy<'py>(
        &self,
        conn: &Bound<'py, Self>,
        id: &IdPack<'_>,
    ) -> PyResult<(Bound<'py, PyNetref>, bool)> {
        let py = conn.py();
        let encoded = id.canonical();
        if let Some(netref) = self.proxies.get(py, &encoded) {
            netref.get().add_reference();
            let complete = netref.get().is_complete();
            return Ok((netref, complete));
        }
        let netref = Bound::new(py, PyNetref::native(conn, encoded.clone()))?;
        let mut complete = true;
        if let Some(class) = classes::of_builtin(&PyString::new(py, id.name))? {
            classes::set_class(&netref, &class)?;
            netref.get().set_complete(None);
        } else {
            let key = self.class_key(&encoded);
            if let Some(class) = self.proxies.class(py, &key) {
                classes::set_class(&netref, &class)?;
                netref.get().set_complete(Some(&key));
            } else {
                complete = false;
            }
        }
        self.proxies.insert(encoded, &netref);
        Ok((netref, complete))
    }

    /// What proxies that share a class have in common: all of the id but the instance. Proxies of
    /// classes have a class of their own each.
    pub(crate) fn class_key(&self, id: &EncodedId) -> Box<[u8]> {
        let bytes = id.as_bytes();
        let mut reader = Reader::<()>::with_bulk(bytes, 0, &[]);
        match IdPack::read(&mut reader) {
            Ok(pack) if !pack.is_class => {
                let end = bytes.len().min(class_end(bytes, &pack));
                bytes[..end].into()
            }
            _ => bytes.into(),
        }
    }

    /// The threads of the connection, in thread-bound mode.
    pub(crate) fn bound_threads(&self) -> Option<&BoundThreads> {
        self.bound.get()
    }

    /// Whether the connection belongs to this process, and not to the one that it was forked from.
    pub(crate) fn is_here(&self) -> bool {
        self.process.load(Ordering::Relaxed) == threads::process()
    }

    /// This process uses the connection, even if it was inherited.
    pub(crate) fn adopt(&self) {
        self.process.store(threads::process(), Ordering::Relaxed);
    }

    /// The dialect to speak. Whoever speaks first without being told otherwise speaks 6.0.
    pub(crate) fn dialect(&self) -> Dialect {
        let six = Dialect::V6 as u8;
        let settled = self
            .dialect
            .compare_exchange(0, six, Ordering::Relaxed, Ordering::Relaxed);
        if settled == Err(Dialect::V5 as u8) {
            Dialect::V5
        } else {
            Dialect::V6
        }
    }

    /// Notes the dialect of a received message; the first message settles it. The error says what
    /// to do about two that don't match.
    pub(crate) fn settle_dialect(&self, spoken: Dialect) -> Result<(), &'static str> {
        let spoken = spoken as u8;
        match self
            .dialect
            .compare_exchange(0, spoken, Ordering::Relaxed, Ordering::Relaxed)
        {
            Err(settled) if settled != spoken => Err(if spoken == Dialect::V5 as u8 {
                "the peer speaks the protocol of RPyC 5.x or older, and this side that of 6.0: \
                 use config={\"protocol_version\": 5}"
            } else {
                "the peer speaks the protocol of RPyC 6.0, and this side was told to speak that of \
                 5.x: remove \"protocol_version\" from its config"
            }),
            _ => Ok(()),
        }
    }

    /// What an exception looks like on the wire, as a plain value.
    pub(crate) fn dump_exception<'py>(
        &self,
        conn: &Bound<'py, Self>,
        error: &PyErr,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = conn.py();
        let args = (error.get_type(py), error.value(py), error.traceback(py));
        conn.as_any()
            .call_method1(intern!(py, "_serialize_exception"), args)
    }

    pub(crate) fn log_debug(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        match self
            .config(py)
            .get_item(intern!(py, "logger"))?
            .filter(|logger| !logger.is_none())
        {
            Some(logger) => logger.call_method1(intern!(py, "debug"), (text,)).map(drop),
            None => Ok(()),
        }
    }
}

/// Where the class part of an encoded id ends.
fn class_end(bytes: &[u8], pack: &IdPack<'_>) -> usize {
    // `class` is a part of `bytes`: its end is where the instance id starts.
    pack.class.as_ptr() as usize - bytes.as_ptr() as usize + pack.class.len()
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Self {
        Self {
            link: OnceLock::new(),
            exports: Mutex::default(),
            proxies: Proxies::default(),
            config: Mutex::new(PyDict::new(py).unbind().into()),
            local_root: Mutex::new(None),
            remote_root: Mutex::new(None),
            native: Native::default(),
            compress: OnceLock::new(),
            dialect: AtomicU8::new(0),
            process: AtomicU64::new(threads::process()),
            bound: OnceLock::new(),
            limits: OnceLock::new(),
            liveness: OnceLock::new(),
            deadlines: Deadlines::default(),
            peer_features: OnceLock::new(),
            cancelled: Cancelled::default(),
            refuses_cancel: AtomicBool::new(false),
            hides_addresses: AtomicBool::new(false),
            performing: AtomicUsize::new(0),
            activity: Activity::default(),
            answers: Answers::default(),
        }
    }

    #[getter(_local_root)]
    fn get_local_root<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.local_root(py)
    }

    #[setter(_local_root)]
    fn set_local_root(&self, root: Option<Py<PyAny>>) {
        let replaced = std::mem::replace(&mut *self.local_root.lock(), root);
        drop(replaced);
    }

    /// The root object of the peer; fetched at the first use.
    #[getter]
    fn root<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if let Some(root) = slf.get().get_remote_root(py) {
            return Ok(root);
        }
        let request = intern!(py, "sync_request");
        let root = slf.call_method1(request, (Handler::GetRoot.number(),))?;
        slf.get().set_remote_root(Some(root.clone().unbind()));
        Ok(root)
    }

    #[getter(_remote_root)]
    fn get_remote_root<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let root = self.remote_root.lock();
        root.as_ref().map(|root| root.bind(py).clone())
    }

    #[setter(_remote_root)]
    fn set_remote_root(&self, root: Option<Py<PyAny>>) {
        let replaced = std::mem::replace(&mut *self.remote_root.lock(), root);
        drop(replaced);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // A table that is locked right now is simply taken to be in use.
        if let Some(config) = self.config.try_lock() {
            config.traverse(&visit)?;
        }
        for root in [&self.local_root, &self.remote_root] {
            if let Some(root) = root.try_lock() {
                visit.call(&*root)?;
            }
        }
        if let Some(exports) = self.exports.try_lock() {
            for (_, entry) in exports.iter() {
                visit.call(&entry.object)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let objects = self.exports.try_lock().map(|mut exports| exports.drain());
        let roots = [&self.local_root, &self.remote_root]
            .map(|root| root.try_lock().and_then(|mut root| root.take()));
        drop((objects, roots));
    }
}
