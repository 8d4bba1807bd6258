//! The object model of the Python face: CPython objects as values.

use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyString, PyTuple, PyType};
use rpyc::random::{disguised, unguessable};
use rpyc_proto::id::{EncodedId, IdPack};
use rpyc_proto::model::{ObjectModel, ProtocolError};
use rpyc_proto::wire::{Reader, Writer};

use crate::brine::{self, decode_error};
use crate::bulk::PyBulk;
use crate::engine::Engine;
use crate::netref::PyNetref;

/// A Python exception, as the protocol crate sees it.
#[derive(Debug)]
pub(crate) struct Raised(pub(crate) PyErr);

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> Self {
        raised.0
    }
}

impl From<ProtocolError> for Raised {
    fn from(error: ProtocolError) -> Self {
        Self(match error {
            ProtocolError::Decode(error) => decode_error(error),
            ProtocolError::Label(_) => PyValueError::new_err(error.to_string()),
            ProtocolError::Arity { .. } => PyTypeError::new_err(error.to_string()),
            ProtocolError::Unsupported(_) => PyKeyError::new_err(error.to_string()),
        })
    }
}

/// The values of one connection, for as long as one message is read or written.
pub(crate) struct PyModel<'a, 'py> {
    pub(crate) conn: &'a Bound<'py, Engine>,
    /// Proxies that were made and whose class is still to be found out.
    pub(crate) incomplete: Vec<Py<PyNetref>>,
}

impl<'a, 'py> PyModel<'a, 'py> {
    pub(crate) const fn new(conn: &'a Bound<'py, Engine>) -> Self {
        Self {
            conn,
            incomplete: Vec::new(),
        }
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.conn.py()
    }

    /// The items of what a peer names as arguments: it may have no end.
    pub(crate) fn items(&self, iterable: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let py = self.py();
        let limit = self
            .engine()
            .config(py)
            .get_item(intern!(py, "max_buffered_items"))?
            .filter(|limit| !limit.is_none());
        let limit: usize = limit.map_or(Ok(usize::MAX), |limit| limit.extract())?;
        let mut items = Vec::new();
        for item in iterable.try_iter()? {
            if items.len() >= limit {
                return Err(PyValueError::new_err(format!(
                    "more than {limit} items were given at once (config key max_buffered_items)"
                )));
            }
            items.push(item?);
        }
        Ok(items)
    }

    fn engine(&self) -> &'a Engine {
        self.conn.get()
    }
}

impl<'py> ObjectModel for PyModel<'_, 'py> {
    type Value = Bound<'py, PyAny>;
    type Bulk = PyBulk;
    type Error = Raised;

    fn read_plain(&mut self, reader: &mut Reader<'_, PyBulk>) -> Result<Self::Value, Raised> {
        Ok(brine::read_plain(self.py(), reader, 0)?)
    }

    fn write_plain(
        &mut self,
        value: &Self::Value,
        out: &mut Writer<PyBulk>,
    ) -> Result<bool, Raised> {
        Ok(brine::write_plain(value, out, 0)?)
    }

    fn tuple_items(&self, value: &Self::Value) -> Option<Vec<Self::Value>> {
        value
            .cast_exact::<PyTuple>()
            .ok()
            .map(|tuple| tuple.iter().collect())
    }

    fn iterate(&mut self, value: Self::Value) -> Result<Vec<Self::Value>, Raised> {
        Ok(self.items(&value)?)
    }

    fn make_tuple(&mut self, items: Vec<Self::Value>) -> Result<Self::Value, Raised> {
        Ok(PyTuple::new(self.py(), items)?.into_any())
    }

    fn write_own_proxy(
        &mut self,
        value: &Self::Value,
        out: &mut Writer<PyBulk>,
    ) -> Result<bool, Raised> {
        let Ok(netref) = value.cast::<PyNetref>() else {
            return Ok(false);
        };
        let own = netref.get().is_of(self.conn);
        if own {
            out.put_raw(PyNetref::id(netref)?.as_bytes());
        }
        Ok(own)
    }

    fn write_export(
        &mut self,
        value: &Self::Value,
        out: &mut Writer<PyBulk>,
    ) -> Result<(), Raised> {
        let identity = value.as_ptr() as usize;
        let exports = &self.engine().exports;
        if let Some(id) = exports.lock().export_again(identity) {
            out.put_raw(id.as_bytes());
            return Ok(());
        }
        let name = IdName::of(value, self.engine().hides_addresses())?;
        let mut table = exports.lock();
        // Finding the name may have run code that exported the object.
        if let Some(id) = table.export_again(identity) {
            out.put_raw(id.as_bytes());
            return Ok(());
        }
        let limit = self.engine().limits().exports;
        if table.len() >= limit {
            drop(table);
            let text = format!("the peer already holds references to {limit} objects");
            return Err(PyRuntimeError::new_err(text).into());
        }
        let instance = if name.is_class {
            0
        } else {
            table.take_instance()
        };
        let mut id = EncodedId::new(&name.name, name.class, instance);
        // The id of a class is told by its owner, who may be another peer: it must not stand for a class
        // of ours, or of a third peer, that happens to have the same, or is meant to.
        while table.get(id.as_bytes()).is_some() {
            let other = (unguessable() >> 1).max(1).cast_signed();
            id = EncodedId::new(&name.name, other, instance);
        }
        out.put_raw(id.as_bytes());
        let replaced = table.insert(id, identity, value.clone().unbind());
        drop(table);
        drop(replaced);
        Ok(())
    }

    fn push_known_local(&mut self, encoded: &[u8], items: &mut Vec<Self::Value>) -> bool {
        let exports = self.engine().exports.lock();
        let entry = exports.get(encoded);
        items.extend(entry.map(|entry| entry.object.bind(self.py()).clone()));
        entry.is_some()
    }

    fn local(&mut self, id: IdPack<'_>) -> Result<Self::Value, Raised> {
        self.engine()
            .local(self.py(), &id)
            .ok_or_else(|| unknown_object(self.py(), &id).into())
    }

    fn proxy(&mut self, id: IdPack<'_>) -> Result<Self::Value, Raised> {
        let (netref, complete) = self.engine().proxy(self.conn, &id)?;
        if !complete {
            self.incomplete.push(netref.clone().unbind());
        }
        Ok(netref.into_any())
    }
}

/// The error for a reference to an object that is not in the table: KeyError with the id pack.
fn unknown_object(py: Python<'_>, id: &IdPack<'_>) -> PyErr {
    match brine::read_plain::<()>(py, &mut Reader::new(id.encoded), 0) {
        Ok(pack) => PyKeyError::new_err((pack.unbind(),)),
        Err(error) => error,
    }
}

/// The part of an id pack that says what class an object has.
struct IdName {
    name: String,
    class: i64,
    is_class: bool,
}

impl IdName {
    /// `hide`: addresses of classes are disguised. (Instances never have theirs.)
    fn of(obj: &Bound<'_, PyAny>, hide: bool) -> PyResult<Self> {
        let py = obj.py();
        let class_id = |address: i64| {
            if hide {
                disguised(address.cast_unsigned() as usize)
            } else {
                address
            }
        };
        if let Ok(netref) = obj.cast::<PyNetref>() {
            // A proxy of another connection keeps its class; its instance gets an id of our own, so
            // that ids of two processes can't collide.
            return PyNetref::class_part(netref).map(|(name, class, is_class)| Self {
                name,
                class,
                is_class,
            });
        }
        if obj.is_instance_of::<PyType>() || obj.is_instance_of::<PyModule>() {
            let pack = py
                .import(intern!(py, "rpyc.lib"))?
                .getattr(intern!(py, "get_id_pack"))?
                .call1((obj,))?;
            let (name, class, instance): (String, i64, i64) = pack.extract()?;
            return Ok(Self {
                name,
                class: class_id(class),
                is_class: instance == 0,
            });
        }
        let class = obj.getattr(intern!(py, "__class__"))?;
        Ok(Self {
            name: dotted_name(&class)?,
            class: class_id(obj.get_type().as_ptr() as i64),
            is_class: false,
        })
    }
}

fn dotted_name(class: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = class.py();
    // A class that `type(...)` made where there is no `__name__`, as in `eval`, has no module.
    let module = match class.getattr_opt(intern!(py, "__module__"))? {
        Some(module) => module.str()?,
        None => py.None().into_bound(py).str()?,
    };
    let name = class.getattr(intern!(py, "__name__"))?;
    let name = name.cast::<PyString>()?;
    Ok(format!("{}.{}", module.to_str()?, name.to_str()?))
}
