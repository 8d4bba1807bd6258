//! The primitives for the tables: objects that the peer refers to, proxies, requests without an answer.

use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use rpyc_proto::exports::Released;
use rpyc_proto::id::EncodedId;
use rpyc_proto::model::ObjectModel;
use rpyc_proto::wire::{Reader, Writer};

use super::Engine;
use crate::brine;
use crate::bulk::PyBulk;
use crate::failure;
use crate::model::PyModel;
use crate::netref::PyNetref;
use crate::result::PyAsyncResult;
use crate::waiter::{SlotCallback, Waiter};

#[pymethods]
impl Engine {
    /// An entry of the object table: (object, references), or None. With `by_address`, an instance
    /// id that is the object's address finds it too; not for ids that the peer has sent, since it
    /// could guess an address.
    #[pyo3(signature = (id_pack, by_address = false))]
    fn _table_get(
        &self,
        py: Python<'_>,
        id_pack: &Bound<'_, PyAny>,
        by_address: bool,
    ) -> PyResult<Option<(Py<PyAny>, i64)>> {
        let id = encode_id(id_pack)?;
        let exports = self.exports.lock();
        let entry = exports.get(id.as_bytes()).or_else(|| {
            let address = by_address.then(|| address(id_pack)).flatten()?;
            exports.get(exports.id_of(address)?.as_bytes())
        });
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

    /// Makes a callable wait for the answer to a request.
    fn _pending_put(&self, seq: u64, callback: Py<PyAny>) -> PyResult<()> {
        let callback = Waiter::Callback(callback);
        let replaced = {
            let mut session = self.link()?.session().lock();
            if session.waiter(seq).is_some() {
                Ok(session.insert(seq, callback))
            } else {
                session.begin_numbered(seq, callback).map(|()| None)
            }
        };
        // What was replaced is dropped here, with no lock held.
        replaced
            .map(drop)
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// Takes what waits for the answer to a request, or None.
    fn _pending_take(&self, py: Python<'_>, seq: u64) -> PyResult<Option<Py<PyAny>>> {
        let taken = self.link()?.session().lock().cancel(seq);
        Ok(match taken {
            None => None,
            Some(Waiter::Callback(callback) | Waiter::Own(callback)) => Some(callback),
            Some(Waiter::Result(result)) => Some(result.into_any()),
            Some(Waiter::Thread(slot) | Waiter::Quiet(slot)) => {
                Some(Py::new(py, SlotCallback { slot })?.into_any())
            }
            Some(Waiter::Nobody) => {
                Some(py.eval(c"lambda is_exc, obj: None", None, None)?.unbind())
            }
        })
    }

    /// Whether something waits for the answer to a request.
    fn _pending_has(&self, seq: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(seq) = seq.extract::<u64>() else {
            return Ok(false);
        };
        Ok(self.link()?.session().lock().waiter(seq).is_some())
    }

    /// The sequence numbers of the requests that wait for an answer.
    fn _pending_seqs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let seqs: Vec<_> = self.link()?.session().lock().open().collect();
        PyList::new(py, seqs)
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

    /// Empties all tables: the connection ended. Whoever was promised an answer learns that none
    /// will come.
    fn _clear_tables(slf: &Bound<'_, Self>) {
        let exports = slf.get().exports.lock().drain();
        let classes = slf.get().proxies.clear();
        let waiters: Vec<_> = slf
            .get()
            .link
            .get()
            .map(|link| link.session().lock().drain().collect())
            .unwrap_or_default();
        for waiter in waiters {
            // Threads that wait find the end themselves.
            if let Err(error) = lose(slf, waiter) {
                error.write_unraisable(slf.py(), Some(slf.as_any()));
            }
        }
        // Dropped here, with no lock held: finalizers may use the connection.
        drop((exports, classes));
    }
}

/// Tells what waits for an answer that none will come.
fn lose(conn: &Bound<'_, Engine>, waiter: Waiter) -> PyResult<()> {
    let py = conn.py();
    let error = |operation: &str| {
        let lost = failure::lost_or_closed(conn, Some(operation));
        lost.into_value(py).into_any()
    };
    match waiter {
        Waiter::Thread(_) | Waiter::Quiet(_) | Waiter::Nobody => Ok(()),
        Waiter::Result(result) => {
            let result = result.into_bound(py);
            let error = error(&result.get().operation());
            PyAsyncResult::lose(&result, error)
        }
        Waiter::Callback(callback) | Waiter::Own(callback) => {
            let callback = callback.into_bound(py);
            if let Ok(result) = callback.cast::<PyAsyncResult>() {
                return PyAsyncResult::lose(result, error(&result.get().operation()));
            }
            callback.call1((true, error("a request"))).map(drop)
        }
    }
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
