//! `Engine`: the native base of `rpyc.core.protocol.Connection`.
//!
//! It holds what a connection is made of (the link, the tables) and offers the primitives that the
//! Python class is written in. Methods whose names start with an underscore are for that class.

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::{PyEOFError, PyKeyError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};
use rpyc::link::{EndCause, Link};
use rpyc::transport::{Pipe, Socket};
use rpyc_proto::consts::{Handler, MessageKind};
use rpyc_proto::dispatch;
use rpyc_proto::exports::{Exports, Released};
use rpyc_proto::id::{EncodedId, IdPack};
use rpyc_proto::limits::Limits;
use rpyc_proto::message::Dialect;
use rpyc_proto::model::ObjectModel;
use rpyc_proto::wire::{Reader, Writer};

use crate::bound::{BoundThreads, PREFIX};
use crate::brine;
use crate::bulk::PyBulk;
use crate::driver::{PyDriver, seal};
use crate::model::PyModel;
use crate::native::Native;
use crate::netref::PyNetref;
use crate::operations;
use crate::proxies::Proxies;
use crate::request::{self, Timeout};
use crate::result::{self, PyAsyncResult, seconds};
use crate::threads;
use crate::transport::PyTransport;
use crate::waiter::{SlotCallback, Waiter};

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
    config: Mutex<Py<PyDict>>,
    local_root: Mutex<Option<Py<PyAny>>>,
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
}

impl Engine {
    /// The link; EOFError if the connection was never opened.
    pub(crate) fn link(&self) -> PyResult<&PyLink> {
        self.link
            .get()
            .ok_or_else(|| PyEOFError::new_err("the connection has no channel yet"))
    }

    pub(crate) fn is_native(&self, conn: &Bound<'_, Self>) -> bool {
        self.native.is_native(conn)
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.limits.get_or_init(Limits::default)
    }

    pub(crate) fn config<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        self.config.lock().bind(py).clone()
    }

    pub(crate) fn local_root<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let root = self.local_root.lock();
        root.as_ref()
            .map_or_else(|| py.None().into_bound(py), |root| root.bind(py).clone())
    }

    /// The configured limit of synchronous requests.
    pub(crate) fn sync_request_timeout(&self, py: Python<'_>) -> PyResult<Timeout> {
        seconds(
            self.config(py)
                .get_item(intern!(py, "sync_request_timeout"))?
                .as_ref(),
        )
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
        let shared = py
            .import(intern!(py, "rpyc.core.netref"))?
            .getattr(intern!(py, "builtin_classes_cache"))?
            .cast_into::<PyDict>()?
            .get_item(PyString::new(py, id.name))?;
        let mut complete = true;
        if let Some(class) = shared {
            crate::classes::set_class(&netref, &class.cast_into::<PyType>()?)?;
            netref.get().set_complete(None);
        } else {
            let key = self.class_key(&encoded);
            if let Some(class) = self.proxies.class(py, &key) {
                crate::classes::set_class(&netref, &class)?;
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
        match IdPack::read(&mut reader, bytes) {
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

    /// Starts a frame with a message of this kind.
    pub(crate) fn start(&self, py: Python<'_>, kind: MessageKind) -> Writer<PyBulk> {
        let mut out = Writer::new_frame();
        if let Some(threads) = self.bound.get() {
            threads.put_prefix(py, &mut out, kind);
        }
        out
    }

    /// Queues a release of references that we hold.
    pub(crate) fn push_release(&self, py: Python<'_>, encoded: &[u8], count: i64) {
        let Some(link) = self.link.get() else {
            return;
        };
        let mut out = self.start(py, MessageKind::Request);
        let seq = {
            let mut session = link.session().lock();
            let seq = session.take_seq();
            // Without room for one more request the answer is an orphan, which is fine.
            let _ = session.begin_numbered(seq, Waiter::Nobody);
            seq
        };
        let handler = i64::from(Handler::Del.number());
        dispatch::put_request(&mut out, self.dialect(), seq, handler);
        dispatch::put_target(&mut out, encoded, 1);
        dispatch::put_boxed_with(&mut out, |out| out.put_int(count));
        if let Ok(frame) = seal(out, None) {
            link.push(frame);
        }
    }

    /// A proxy died: the owner gets its references back. Errors concern nobody.
    pub(crate) fn release_proxy(&self, conn: &Bound<'_, Self>, id: &EncodedId, count: i64) {
        let Some(link) = self.link.get().filter(|link| link.end().is_none()) else {
            return;
        };
        if count <= 0 || !self.is_here() {
            // Another proxy took them over; or this is a copy in a forked child, and the
            // parent still holds the reference.
            return;
        }
        if self.is_native(conn) {
            self.push_release(conn.py(), id.as_bytes(), count);
            link.flush_now();
            return;
        }
        let py = conn.py();
        let pack = brine::read_plain::<()>(py, &mut Reader::new(id.as_bytes()), 0);
        let _ = pack.and_then(|pack| {
            conn.as_any()
                .call_method1(intern!(py, "_release_proxy"), (pack, count))
        });
    }

    /// Completes a frame and queues it.
    pub(crate) fn push(&self, link: &PyLink, out: Writer<PyBulk>) -> PyResult<()> {
        link.push(seal(out, self.compress.get().copied())?);
        Ok(())
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

    fn open(&self, transport: PyTransport, compress: Option<usize>) -> PyResult<()> {
        use rpyc::transport::Transport;
        if let Some(threshold) = compress.filter(|_| !transport.is_local()) {
            let _ = self.compress.set(threshold);
        }
        // What precedes the first brine value: the thread ids, and the message's kind.
        let prefix = if self.bound.get().is_some() {
            PREFIX + 1
        } else {
            1
        };
        self.link
            .set(Link::new(transport, *self.limits(), prefix))
            .map_err(|_| PyRuntimeError::new_err("the connection is open already"))
    }
}

/// Where the class part of an encoded id ends.
fn class_end(bytes: &[u8], pack: &IdPack<'_>) -> usize {
    // `class` is a part of `bytes`: its end is where the instance id starts.
    pack.class.as_ptr() as usize - bytes.as_ptr() as usize + pack.class.len()
}

/// The canonical encoding of an id pack from Python.
fn encode_id(id_pack: &Bound<'_, PyAny>) -> PyResult<EncodedId> {
    let mut out = Writer::<PyBulk>::new();
    if !brine::write_plain(id_pack, &mut out, 0)? {
        return Err(PyTypeError::new_err(
            "an id pack is a tuple of a text and two ints",
        ));
    }
    Ok(EncodedId::from_canonical(&out.into_payload().head))
}

fn decode_id<'py>(py: Python<'py>, id: &EncodedId) -> PyResult<Bound<'py, PyAny>> {
    brine::read_plain::<()>(py, &mut Reader::new(id.as_bytes()), 0)
}

#[expect(unsafe_code, reason = "a descriptor arrives as a number")]
fn duplicate(fd: RawFd) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyEOFError::new_err("stream has been closed"));
    }
    // SAFETY: the number is only used for the duplication; a bad one gives an error.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?)
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
            config: Mutex::new(PyDict::new(py).unbind()),
            local_root: Mutex::new(None),
            native: Native::default(),
            compress: OnceLock::new(),
            dialect: AtomicU8::new(0),
            process: AtomicU64::new(threads::process()),
            bound: OnceLock::new(),
            limits: OnceLock::new(),
        }
    }

    /// Speaks the dialect of a major version of RPyC, 5 or 6, whatever the peer sends first.
    fn _speak(&self, version: u8) -> PyResult<()> {
        if version != Dialect::V5 as u8 && version != Dialect::V6 as u8 {
            let text = format!("protocol_version is 5 (RPyC 4.1 to 5.3) or 6, not {version}");
            return Err(PyValueError::new_err(text));
        }
        self.dialect.store(version, Ordering::Relaxed);
        Ok(())
    }

    /// The major version of RPyC whose dialect is spoken.
    #[getter]
    fn _dialect(&self) -> u8 {
        self.dialect() as u8
    }

    /// Turns on thread-bound mode. To be called before the connection is opened.
    fn _bind_to_threads(&self) {
        let _ = self.bound.set(BoundThreads::default());
    }

    /// Performs one request that found no idle thread, in thread-bound mode.
    fn _work_bound(slf: &Bound<'_, Self>) -> PyResult<()> {
        let link = slf.get().link()?;
        let mut driver = PyDriver::new(slf, link);
        let payload = slf
            .get()
            .bound
            .get()
            .and_then(|threads| threads.take_spilled(slf.py()));
        let handled = payload.map_or(Ok(()), |payload| driver.handle(payload));
        let flushed = handled.and_then(|()| link.flush(&mut driver, None));
        match flushed {
            Err(error) => {
                let error = request::after_failure(slf, link, error);
                // The end of the connection concerns those who wait, not the worker.
                if error.is_instance_of::<PyEOFError>(slf.py()) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            done => done,
        }
    }

    /// Opens the connection over a connected stream socket, which is driven by its descriptor.
    #[pyo3(signature = (fd, compress_above = None))]
    fn _open_socket(&self, fd: RawFd, compress_above: Option<usize>) -> PyResult<()> {
        self.open(
            PyTransport::Socket(Socket::new(duplicate(fd)?)?),
            compress_above,
        )
    }

    /// Opens the connection over two pipes, which are driven by their descriptors.
    fn _open_pipe(&self, incoming: RawFd, outgoing: RawFd) -> PyResult<()> {
        self.open(
            PyTransport::Pipe(Pipe::new(duplicate(incoming)?, duplicate(outgoing)?)),
            None,
        )
    }

    /// Opens the connection over an object with `poll`, `recv` and `send`.
    fn _open_channel(&self, channel: Py<PyAny>) -> PyResult<()> {
        self.open(PyTransport::channel(channel), None)
    }

    /// Ends the link: whoever waits gets EOFError.
    #[pyo3(signature = (reason = None))]
    fn _finish(&self, py: Python<'_>, reason: Option<String>) {
        if let Some(link) = self.link.get() {
            let cause = reason.map_or(EndCause::Closed, EndCause::Face);
            py.detach(|| link.finish(cause));
        }
    }

    /// Whether the link ended because of what the peer sent.
    #[getter]
    fn _peer_misbehaved(&self) -> bool {
        let end = self.link.get().and_then(Link::end);
        end.is_some_and(|end| {
            matches!(
                end.cause(),
                EndCause::Cut | EndCause::Frame(_) | EndCause::Message(_) | EndCause::Face(_)
            )
        })
    }

    /// Sets limits on what the peer can make us do; None leaves one as it is. To be called before
    /// the connection is opened. Sizes are bytes.
    fn _set_limits(
        &self,
        frame: Option<usize>,
        inflated: Option<usize>,
        backlog: Option<usize>,
        pending: Option<usize>,
        exports: Option<usize>,
    ) {
        let defaults = Limits::default();
        let _ = self.limits.set(Limits {
            frame: frame.unwrap_or(defaults.frame),
            inflated: inflated.unwrap_or(defaults.inflated),
            backlog: backlog.unwrap_or(defaults.backlog),
            pending: pending.unwrap_or(defaults.pending),
            exports: exports.unwrap_or(defaults.exports),
        });
    }

    /// Whether the connection was inherited by a fork and not used since.
    #[getter]
    fn _is_inherited(&self) -> bool {
        !self.is_here()
    }

    /// Why the link ended; None while it has not.
    #[getter]
    fn _end_reason(&self) -> Option<String> {
        self.link.get()?.end().map(ToString::to_string)
    }

    /// Hands the right to read to another waiting thread.
    fn _pass_on(&self) {
        if let Some(link) = self.link.get() {
            link.pass_on();
        }
    }

    /// Whether something was received that nobody has handled yet.
    fn _has_buffered_input(&self) -> bool {
        self.link.get().is_some_and(Link::has_input)
    }

    /// Whether a thread is reading from the connection.
    #[getter]
    fn _is_being_read(&self) -> bool {
        self.link.get().is_some_and(Link::is_being_read)
    }

    /// Whether the native path is taken.
    #[getter]
    fn _native(slf: &Bound<'_, Self>) -> bool {
        slf.get().is_native(slf)
    }

    /// Handles at most one message; True if one was handled within `timeout` seconds.
    fn _serve(
        slf: &Bound<'_, Self>,
        timeout: Option<&Bound<'_, PyAny>>,
        wait_for_lock: bool,
    ) -> PyResult<bool> {
        let deadline = seconds(timeout)?.deadline();
        let link = slf.get().link()?;
        if !wait_for_lock && link.is_being_read() && !link.is_leading() {
            return Ok(false);
        }
        let mut driver = PyDriver::waiting(slf, link);
        link.serve(&mut driver, deadline)
            .map_err(|error| request::after_failure(slf, link, error))
    }

    /// Handles messages until the connection ends, which raises EOFError.
    fn _serve_forever(slf: &Bound<'_, Self>) -> PyResult<()> {
        let link = slf.get().link()?;
        let mut driver = PyDriver::waiting(slf, link);
        let mut never = |_: &mut PyDriver<'_, '_>| false;
        match link.wait(&mut driver, &mut never, None) {
            Ok(_) => Ok(()),
            Err(error) => Err(request::after_failure(slf, link, error)),
        }
    }

    /// Sends one payload.
    fn _send_payload(slf: &Bound<'_, Self>, payload: &[u8]) -> PyResult<()> {
        let link = slf.get().link()?;
        let kind = payload
            .first()
            .and_then(|&kind| MessageKind::from_wire(i64::from(kind)));
        let mut out = slf
            .get()
            .start(slf.py(), kind.unwrap_or(MessageKind::Reply));
        out.put_raw(payload);
        slf.get().push(link, out)?;
        let mut driver = PyDriver::new(slf, link);
        link.flush(&mut driver, None)
            .map_err(|error| request::after_failure(slf, link, error))
    }

    /// Sends a synchronous request and returns its result.
    #[pyo3(signature = (handler, *args))]
    fn sync_request<'py>(
        slf: &Bound<'py, Self>,
        handler: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match handler.extract::<i64>() {
            Ok(number) if slf.get().is_native(slf) => {
                let timeout = slf.get().sync_request_timeout(py)?;
                request::sync_within(slf, number, request::Any(args), timeout)
            }
            _ => {
                // In thread-bound mode callbacks must find this thread waiting from the moment on
                // that the request leaves.
                let listed = slf.get().link().map(|link| PyDriver::waiting(slf, link));
                let result = slf
                    .as_any()
                    .call_method1(intern!(py, "_sync_request"), (handler, args));
                drop(listed);
                result
            }
        }
    }

    /// Sends an asynchronous request; its `AsyncResult` expires after `timeout` seconds.
    #[pyo3(signature = (handler, *args, timeout = None))]
    fn async_request<'py>(
        slf: &Bound<'py, Self>,
        handler: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match handler.extract::<i64>() {
            Ok(number) if slf.get().is_native(slf) => {
                let result: Bound<'py, PyAsyncResult> =
                    result::asynchronous(slf, number, args, seconds(timeout)?)?;
                Ok(result.into_any())
            }
            _ => {
                let name = intern!(slf.py(), "_python_async_request");
                slf.as_any().call_method1(name, (handler, args, timeout))
            }
        }
    }

    /// The name under which the configuration lets the peer reach an attribute.
    fn _check_attr<'py>(
        slf: &Bound<'py, Self>,
        obj: &Bound<'py, PyAny>,
        name: Bound<'py, PyAny>,
        perm: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyString>> {
        let config = slf.get().config(slf.py());
        operations::check_attr(&config, obj, operations::attribute_name(name)?, perm)
    }

    /// Registers an object for the peer, counting one reference, and returns its id pack.
    fn _export<'py>(
        slf: &Bound<'py, Self>,
        obj: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut out = Writer::new();
        PyModel::new(slf).write_export(obj, &mut out)?;
        brine::read_plain::<()>(slf.py(), &mut Reader::new(&out.into_payload().head), 0)
    }

    /// An entry of the object table: (object, references), or None. An instance id that is the
    /// object's address finds it too.
    fn _table_get(
        &self,
        py: Python<'_>,
        id_pack: &Bound<'_, PyAny>,
    ) -> PyResult<Option<(Py<PyAny>, i64)>> {
        let id = encode_id(id_pack)?;
        let exports = self.exports.lock();
        let entry = exports
            .get(id.as_bytes())
            .or_else(|| exports.get(exports.id_of(address(id_pack)?)?.as_bytes()));
        Ok(entry.map(|entry| (entry.object.clone_ref(py), entry.references)))
    }

    /// Registers an object under a given id pack, counting one reference.
    fn _table_add(&self, id_pack: &Bound<'_, PyAny>, obj: Py<PyAny>) -> PyResult<()> {
        let id = encode_id(id_pack)?;
        let replaced = self.exports.lock().insert(id, 0, obj);
        drop(replaced);
        Ok(())
    }

    /// Takes back references. KeyError with the id pack if there is no such entry.
    fn _table_release(&self, id_pack: &Bound<'_, PyAny>, count: i64) -> PyResult<()> {
        let id = encode_id(id_pack)?;
        let released = {
            let mut exports = self.exports.lock();
            match exports.release(id.as_bytes(), count) {
                Released::Unknown => {
                    let id = address(id_pack).and_then(|address| exports.id_of(address).cloned());
                    id.map_or(Released::Unknown, |id| {
                        exports.release(id.as_bytes(), count)
                    })
                }
                released => released,
            }
        };
        match released {
            Released::Unknown => Err(PyKeyError::new_err((id_pack.clone().unbind(),))),
            Released::Kept | Released::Gone(_) => Ok(()),
        }
    }

    /// The object table: a list of (id pack, object, references).
    fn _table_items<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let entries: Vec<_> = self
            .exports
            .lock()
            .iter()
            .map(|(id, entry)| (id.clone(), entry.object.clone_ref(py), entry.references))
            .collect();
        entries
            .into_iter()
            .map(|(id, object, references)| {
                Ok((decode_id(py, &id)?, object, references)
                    .into_pyobject(py)?
                    .into_any())
            })
            .collect()
    }

    /// The live proxy with this id pack, or None.
    fn _proxy_get<'py>(
        &self,
        py: Python<'py>,
        id_pack: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyNetref>>> {
        Ok(self.proxies.get(py, &encode_id(id_pack)?))
    }

    /// Lists a proxy under an id pack.
    fn _proxy_put(&self, id_pack: &Bound<'_, PyAny>, proxy: &Bound<'_, PyNetref>) -> PyResult<()> {
        self.proxies.insert(encode_id(id_pack)?, proxy);
        Ok(())
    }

    /// Forgets a proxy; False if none is listed.
    fn _proxy_forget(&self, id_pack: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.proxies.forget(&encode_id(id_pack)?))
    }

    /// The live proxies: a list of (id pack, proxy).
    fn _proxy_items<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let all = self.proxies.all(py);
        all.into_iter()
            .map(|(id, proxy)| Ok((decode_id(py, &id)?, proxy).into_pyobject(py)?.into_any()))
            .collect()
    }

    /// The next sequence number.
    fn _get_seq_id(&self) -> PyResult<u64> {
        Ok(self.link()?.session().lock().take_seq())
    }

    /// Makes a callable wait for the answer to a request.
    fn _pending_put(&self, seq: u64, callback: Py<PyAny>) -> PyResult<()> {
        let replaced = self
            .link()?
            .session()
            .lock()
            .insert(seq, Waiter::Callback(callback));
        drop(replaced);
        Ok(())
    }

    /// Takes what waits for the answer to a request, or None.
    fn _pending_take(&self, py: Python<'_>, seq: u64) -> PyResult<Option<Py<PyAny>>> {
        let taken = self.link()?.session().lock().cancel(seq);
        Ok(match taken {
            None => None,
            Some(Waiter::Callback(callback)) => Some(callback),
            Some(Waiter::Result(result)) => Some(result.into_any()),
            Some(Waiter::Thread(slot)) => Some(Py::new(py, SlotCallback { slot })?.into_any()),
            Some(Waiter::Nobody) => {
                Some(py.eval(c"lambda is_exc, obj: None", None, None)?.unbind())
            }
        })
    }

    /// The sequence numbers of the requests that wait for an answer.
    fn _pending_seqs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let seqs: Vec<_> = self.link()?.session().lock().open().collect();
        PyList::new(py, seqs)
    }

    /// Empties all tables: the connection ended.
    fn _clear_tables(&self) {
        let exports = self.exports.lock().drain();
        let classes = self.proxies.clear();
        let waiters: Vec<_> = self
            .link
            .get()
            .map(|link| link.session().lock().drain().collect())
            .unwrap_or_default();
        // Dropped here, with no lock held: finalizers may use the connection.
        drop((exports, classes, waiters));
    }

    #[getter(_config)]
    fn get_config<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        self.config(py)
    }

    #[setter(_config)]
    fn set_config(&self, config: Py<PyDict>) {
        let replaced = std::mem::replace(&mut *self.config.lock(), config);
        drop(replaced);
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

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // A table that is locked right now is simply taken to be in use.
        if let Some(config) = self.config.try_lock() {
            visit.call(&*config)?;
        }
        if let Some(root) = self.local_root.try_lock() {
            visit.call(&*root)?;
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
        let root = self.local_root.try_lock().and_then(|mut root| root.take());
        drop((objects, root));
    }
}

/// The instance id of an id pack, which may be an address.
fn address(id_pack: &Bound<'_, PyAny>) -> Option<usize> {
    id_pack
        .cast::<PyTuple>()
        .ok()?
        .get_item(2)
        .ok()?
        .extract()
        .ok()
}
