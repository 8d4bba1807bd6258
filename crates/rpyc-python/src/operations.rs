//! What the handlers do, on CPython objects.
//!
//! The operations that calls are made of are native. The rare ones are the Python methods of
//! `Connection`, which the Python path uses as well.

use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple};
use rpyc_proto::model::Operations;

use crate::access::{
    Permission, Reached, WITHOUT_DELATTR, WITHOUT_GETATTR, WITHOUT_SETATTR, attribute_name,
    overrider, switch, switched_off,
};
use crate::batch;
use crate::model::{PyModel, Raised};
use crate::peek;

type Value<'py> = Bound<'py, PyAny>;

/// Builtins that look at the frame they are called from.
const FRAME_BUILTINS: [&str; 6] = ["locals", "globals", "vars", "dir", "eval", "exec"];

impl<'py> PyModel<'_, 'py> {
    /// Calls a method of the connection.
    fn handle<A>(&self, name: &Bound<'py, PyString>, args: A) -> Result<Value<'py>, Raised>
    where
        A: pyo3::call::PyCallArgs<'py>,
    {
        Ok(self.conn.as_any().call_method1(name, args)?)
    }

    /// The keywords of a call, from pairs of name and value.
    fn keywords(&self, pairs: &Value<'py>) -> PyResult<Bound<'py, PyDict>> {
        let keywords = PyDict::new(self.py());
        for pair in self.items(pairs)? {
            let pair = match pair.cast_into_exact::<PyTuple>() {
                Ok(pair) => pair,
                Err(other) => {
                    let items = other.into_inner().try_iter()?.take(3);
                    PyTuple::new(self.py(), items.collect::<PyResult<Vec<_>>>()?)?
                }
            };
            let (name, value): (Value<'py>, Value<'py>) = pair.extract()?;
            // Before they are put into a dict: only the hashes of texts can't be chosen by a peer.
            if !name.is_exact_instance_of::<PyString>() {
                return Err(PyTypeError::new_err("keywords must be strings"));
            }
            keywords.set_item(name, value)?;
        }
        Ok(keywords)
    }

    /// The attribute that the peer may touch under this name; AttributeError if it may not.
    fn reach(
        &self,
        object: &Value<'py>,
        name: Bound<'py, PyString>,
        permission: Permission,
    ) -> PyResult<Reached<'py>> {
        let rules = self.conn.get().rules(self.py())?;
        if !rules.permit(permission) {
            return Err(switched_off(object, &name, permission.key()));
        }
        rules.reach(object, name)
    }

    /// Whether what an object tells of itself is subject to the attribute rules.
    fn is_gated(&self) -> PyResult<bool> {
        let config = self.conn.get().config(self.py());
        switch(&config, intern!(self.py(), "gate_introspection"))
    }
}

impl<'py> Operations for PyModel<'_, 'py> {
    fn unknown_handler(&mut self, handler: Value<'py>) -> Raised {
        PyKeyError::new_err((handler.unbind(),)).into()
    }

    fn root(&mut self) -> Result<Value<'py>, Raised> {
        Ok(self.conn.get().local_root(self.py()))
    }

    fn close(&mut self) -> Result<Value<'py>, Raised> {
        self.handle(intern!(self.py(), "_handle_close"), ())
    }

    fn getattr(&mut self, object: Value<'py>, name: Value<'py>) -> Result<Value<'py>, Raised> {
        let py = self.py();
        let name = attribute_name(name)?;
        if let Some(access) = overrider(&object, intern!(py, "_rpyc_getattr"), &WITHOUT_GETATTR)? {
            return Ok(access.call1((object, name))?);
        }
        let reached = self.reach(&object, name, Permission::Get)?;
        Ok(reached.value(&object)?)
    }

    fn delattr(&mut self, object: Value<'py>, name: Value<'py>) -> Result<Value<'py>, Raised> {
        let py = self.py();
        let name = attribute_name(name)?;
        if let Some(access) = overrider(&object, intern!(py, "_rpyc_delattr"), &WITHOUT_DELATTR)? {
            return Ok(access.call1((object, name))?);
        }
        let reached = self.reach(&object, name, Permission::Delete)?;
        object.delattr(reached.name)?;
        Ok(py.None().into_bound(py))
    }

    fn setattr(
        &mut self,
        object: Value<'py>,
        name: Value<'py>,
        value: Value<'py>,
    ) -> Result<Value<'py>, Raised> {
        let py = self.py();
        let name = attribute_name(name)?;
        if let Some(access) = overrider(&object, intern!(py, "_rpyc_setattr"), &WITHOUT_SETATTR)? {
            return Ok(access.call1((object, name, value))?);
        }
        let reached = self.reach(&object, name, Permission::Set)?;
        object.setattr(reached.name, value)?;
        Ok(py.None().into_bound(py))
    }

    fn call(
        &mut self,
        object: Value<'py>,
        args: Value<'py>,
        kwargs: Option<Value<'py>>,
    ) -> Result<Value<'py>, Raised> {
        let py = self.py();
        if looks_at_frame(&object) {
            let kwargs = kwargs.unwrap_or_else(|| PyTuple::empty(py).into_any());
            return self.handle(intern!(py, "_handle_call"), (object, args, kwargs));
        }
        let args = match args.cast_into_exact::<PyTuple>() {
            Ok(args) => args,
            Err(other) => PyTuple::new(py, self.items(&other.into_inner())?)?,
        };
        let kwargs = match kwargs {
            Some(pairs) if !is_empty_tuple(&pairs) => Some(self.keywords(&pairs)?),
            _ => None,
        };
        Ok(object.call(args, kwargs.as_ref())?)
    }

    fn repr(&mut self, object: Value<'py>) -> Result<Value<'py>, Raised> {
        if self.is_gated()? {
            return self.handle(intern!(self.py(), "_handle_repr"), (object,));
        }
        Ok(object.repr()?.into_any())
    }

    fn str(&mut self, object: Value<'py>) -> Result<Value<'py>, Raised> {
        if self.is_gated()? {
            return self.handle(intern!(self.py(), "_handle_str"), (object,));
        }
        Ok(object.str()?.into_any())
    }

    fn cmp(
        &mut self,
        object: Value<'py>,
        other: Value<'py>,
        op: Option<Value<'py>>,
    ) -> Result<Value<'py>, Raised> {
        let py = self.py();
        let op = op.unwrap_or_else(|| intern!(py, "__cmp__").clone().into_any());
        self.handle(intern!(py, "_handle_cmp"), (object, other, op))
    }

    fn hash(&mut self, object: Value<'py>) -> Result<Value<'py>, Raised> {
        if self.is_gated()? {
            return self.handle(intern!(self.py(), "_handle_hash"), (object,));
        }
        Ok(object
            .hash()?
            .into_pyobject(self.py())
            .map_err(PyErr::from)?
            .into_any())
    }

    fn dir(&mut self, object: Value<'py>) -> Result<Value<'py>, Raised> {
        if self.is_gated()? {
            return self.handle(intern!(self.py(), "_handle_dir"), (object,));
        }
        Ok(object.dir()?.to_tuple().into_any())
    }

    fn pickle(&mut self, object: Value<'py>, protocol: Value<'py>) -> Result<Value<'py>, Raised> {
        self.handle(intern!(self.py(), "_handle_pickle"), (object, protocol))
    }

    fn release(
        &mut self,
        object: Value<'py>,
        count: Option<Value<'py>>,
    ) -> Result<Value<'py>, Raised> {
        let name = intern!(self.py(), "_handle_del");
        match count {
            Some(count) => self.handle(name, (object, count)),
            None => self.handle(name, (object,)),
        }
    }

    fn inspect(&mut self, id_pack: Value<'py>) -> Result<Value<'py>, Raised> {
        self.handle(intern!(self.py(), "_handle_inspect"), (id_pack,))
    }

    fn buffiter(&mut self, object: Value<'py>, count: Value<'py>) -> Result<Value<'py>, Raised> {
        self.handle(intern!(self.py(), "_handle_buffiter"), (object, count))
    }

    fn oldslicing(&mut self, args: Vec<Value<'py>>) -> Result<Value<'py>, Raised> {
        let args = PyTuple::new(self.py(), args)?;
        self.handle(intern!(self.py(), "_handle_oldslicing"), args)
    }

    fn ctxexit(&mut self, object: Value<'py>, exc: Value<'py>) -> Result<Value<'py>, Raised> {
        self.handle(intern!(self.py(), "_handle_ctxexit"), (object, exc))
    }

    fn instancecheck(
        &mut self,
        class: Value<'py>,
        id_pack: Value<'py>,
    ) -> Result<Value<'py>, Raised> {
        self.handle(
            intern!(self.py(), "_handle_instancecheck"),
            (class, id_pack),
        )
    }

    fn features(&mut self) -> Result<Value<'py>, Raised> {
        self.handle(intern!(self.py(), "_handle_features"), ())
    }

    fn cancel(&mut self, number: Value<'py>) -> Result<Value<'py>, Raised> {
        self.handle(intern!(self.py(), "_handle_cancel"), (number,))
    }

    fn heartbeat(&mut self, seconds: Value<'py>) -> Result<Value<'py>, Raised> {
        self.handle(intern!(self.py(), "_handle_heartbeat"), (seconds,))
    }

    fn pickle_buffers(&mut self, object: Value<'py>) -> Result<Value<'py>, Raised> {
        self.handle(intern!(self.py(), "_handle_pickle_buffers"), (object,))
    }

    fn batch(&mut self, calls: Vec<Value<'py>>) -> Result<Value<'py>, Raised> {
        batch::perform(self, calls)
    }

    fn read_ahead(
        &mut self,
        iterator: Value<'py>,
        skip: Value<'py>,
        count: Value<'py>,
    ) -> Result<Value<'py>, Raised> {
        let py = self.py();
        let skip = peek::amount(&skip)?;
        let count = peek::amount(&count)?;
        if peek::may_look_ahead(&iterator) {
            self.getattr(iterator.clone(), intern!(py, "__next__").clone().into_any())?;
            return Ok(peek::take(&iterator, skip, count)?.into_any());
        }
        if let Ok(link) = self.conn.get().link() {
            // The iterator may be anything, and run for long.
            link.pass_on();
        }
        self.handle(intern!(py, "_handle_read_ahead"), (iterator, skip, count))
    }
}

/// Whether the target is a builtin that looks at its caller's frame. Such a one must be called from
/// a Python frame of the connection, not from whatever frame runs below us.
fn looks_at_frame(object: &Bound<'_, PyAny>) -> bool {
    let Ok(function) = object.cast_exact::<PyCFunction>() else {
        return false;
    };
    let py = object.py();
    let is_builtin = function
        .getattr(intern!(py, "__module__"))
        .is_ok_and(|module| module.eq(intern!(py, "builtins")).unwrap_or(false));
    is_builtin
        && function
            .getattr(intern!(py, "__name__"))
            .ok()
            .and_then(|name| name.extract::<String>().ok())
            .is_some_and(|name| FRAME_BUILTINS.contains(&name.as_str()))
}

fn is_empty_tuple(obj: &Bound<'_, PyAny>) -> bool {
    obj.cast_exact::<PyTuple>()
        .is_ok_and(|tuple| tuple.is_empty())
}
