//! What the handlers do, on CPython objects.
//!
//! The operations that calls are made of are native. The rare ones are the Python methods of
//! `Connection`, which the Python path uses as well.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyAttributeError, PyKeyError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyDict, PyString, PyTuple, PyType};
use rpyc_proto::model::Operations;
use rpyc_proto::policy::{Access, Policy, Subject};

use crate::batch;
use crate::model::{PyModel, Raised};
use crate::native::version_tag;
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
        let config = self.conn.get().config(py);
        let name = check_attr(&config, &object, name, intern!(py, "allow_getattr"))?;
        Ok(object.getattr(name)?)
    }

    fn delattr(&mut self, object: Value<'py>, name: Value<'py>) -> Result<Value<'py>, Raised> {
        let py = self.py();
        let name = attribute_name(name)?;
        if let Some(access) = overrider(&object, intern!(py, "_rpyc_delattr"), &WITHOUT_DELATTR)? {
            return Ok(access.call1((object, name))?);
        }
        let config = self.conn.get().config(py);
        let name = check_attr(&config, &object, name, intern!(py, "allow_delattr"))?;
        object.delattr(name)?;
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
        let config = self.conn.get().config(py);
        let name = check_attr(&config, &object, name, intern!(py, "allow_setattr"))?;
        object.setattr(name, value)?;
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
            Err(other) => {
                let items: Vec<_> = other.into_inner().try_iter()?.collect::<PyResult<_>>()?;
                PyTuple::new(py, items)?
            }
        };
        let kwargs = match kwargs {
            Some(pairs) if !is_empty_tuple(&pairs) => Some(PyDict::from_sequence(&pairs)?),
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

/// The name of an attribute as it came from the peer: text, or bytes in UTF-8.
pub(crate) fn attribute_name<'py>(name: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    match name.cast_into_exact::<PyString>() {
        Ok(name) => Ok(name),
        Err(other) => {
            let other = other.into_inner();
            let Ok(bytes) = other.cast::<PyBytes>() else {
                return Err(PyTypeError::new_err("name must be a string"));
            };
            let text = bytes.call_method1(intern!(other.py(), "decode"), ("utf-8",))?;
            Ok(text.cast_into()?)
        }
    }
}

/// Types without an access rule of their own: the version tags of type and metaclass, both in one
/// number. Looking for what is not there costs more than all else about an attribute, since CPython
/// makes an exception for it.
type WithoutRule = [AtomicU64; 64];

static WITHOUT_GETATTR: WithoutRule = [const { AtomicU64::new(0) }; 64];
static WITHOUT_SETATTR: WithoutRule = [const { AtomicU64::new(0) }; 64];
static WITHOUT_DELATTR: WithoutRule = [const { AtomicU64::new(0) }; 64];

/// The key of a type in a table, and its place. `None`: what its attributes are is not
/// settled by the type and its metaclass.
fn place<'a>(class: &Bound<'_, PyType>, without: &'a WithoutRule) -> Option<(u64, &'a AtomicU64)> {
    let metaclass = class.get_type();
    let (tag, meta) = (version_tag(class), version_tag(&metaclass));
    if tag == 0 || meta == 0 || !reads_attributes_as_type(&metaclass) {
        return None;
    }
    let place = without.get((tag ^ meta) as usize % without.len())?;
    Some((u64::from(tag) << 32 | u64::from(meta), place))
}

/// Whether a metaclass leaves reading attributes to `type`.
#[expect(unsafe_code, reason = "the slot is a field of the type object only")]
fn reads_attributes_as_type(metaclass: &Bound<'_, PyType>) -> bool {
    let plain = metaclass.py().get_type::<PyType>();
    // SAFETY: both are type objects, which live as long as the references; we are attached.
    let slots = unsafe { [metaclass, &plain].map(|class| (*class.as_type_ptr()).tp_getattro) };
    // Two addresses of one function would only mean that nothing is remembered.
    let [own, plain] = slots.map(|slot| slot.map_or(0, |slot| slot as usize));
    own == plain
}

/// An object's own access rule, looked up on its type.
fn overrider<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    without: &WithoutRule,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let class = object.get_type();
    if place(&class, without).is_some_and(|(key, place)| place.load(Ordering::Relaxed) == key) {
        return Ok(None);
    }
    let found = class.getattr_opt(name)?;
    // The tags are read now: looking gives a type its tag.
    if let Some((key, place)) = place(&class, without).filter(|_| found.is_none()) {
        place.store(key, Ordering::Relaxed);
    }
    Ok(found.filter(|found| !found.is_none()))
}

/// The name under which the policy lets a peer reach an attribute.
///
/// AttributeError if it does not.
pub(crate) fn check_attr<'py>(
    config: &Bound<'py, PyDict>,
    object: &Bound<'py, PyAny>,
    name: Bound<'py, PyString>,
    permission: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyString>> {
    let py = object.py();
    if !switch(config, permission)? {
        return Err(refused(
            object,
            &name,
            &format!("its owner's {permission} is off"),
        ));
    }
    let prefix = if switch(config, intern!(py, "allow_exposed_attrs"))? {
        config.get_item(intern!(py, "exposed_prefix"))?
    } else {
        None
    };
    let prefix = prefix.map(Bound::cast_into::<PyString>).transpose()?;
    let policy = Policy {
        all: switch(config, intern!(py, "allow_all_attrs"))?,
        safe: switch(config, intern!(py, "allow_safe_attrs"))?,
        public: switch(config, intern!(py, "allow_public_attrs"))?,
        prefix: prefix.as_ref().map(|prefix| prefix.to_str()).transpose()?,
    };
    let mut subject = Attribute {
        config,
        object,
        name: &name,
        prefix: policy.prefix,
        twin: None,
    };
    match policy.decide(name.to_str()?, &mut subject)? {
        Access::Name => Ok(name),
        Access::Twin => Ok(subject.twin()?),
        Access::Denied => Err(refused(object, &name, "its owner does not expose it")),
    }
}

fn refused(object: &Bound<'_, PyAny>, name: &Bound<'_, PyString>, why: &str) -> PyErr {
    let name = name
        .repr()
        .map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let class = object.get_type();
    let class = class
        .name()
        .map_or_else(|_| "?".to_owned(), |class| class.to_string());
    PyAttributeError::new_err(format!(
        "cannot access {name} of a remote {class} object: {why}"
    ))
}

/// A switch of the configuration; one that is missing is off.
fn switch(config: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> PyResult<bool> {
    config
        .get_item(key)?
        .map_or(Ok(false), |value| value.is_truthy())
}

struct Attribute<'a, 'py> {
    config: &'a Bound<'py, PyDict>,
    object: &'a Bound<'py, PyAny>,
    name: &'a Bound<'py, PyString>,
    prefix: Option<&'a str>,
    twin: Option<Bound<'py, PyString>>,
}

impl<'py> Attribute<'_, 'py> {
    fn twin(&mut self) -> PyResult<Bound<'py, PyString>> {
        if let Some(twin) = &self.twin {
            return Ok(twin.clone());
        }
        let text = format!("{}{}", self.prefix.unwrap_or_default(), self.name.to_str()?);
        let twin = PyString::new(self.name.py(), &text);
        self.twin = Some(twin.clone());
        Ok(twin)
    }
}

impl Subject for Attribute<'_, '_> {
    type Error = PyErr;

    fn is_safe(&mut self) -> PyResult<bool> {
        let safe = self
            .config
            .get_item(intern!(self.name.py(), "safe_attrs"))?;
        safe.map_or(Ok(false), |safe| safe.contains(self.name))
    }

    fn has_name(&mut self) -> PyResult<bool> {
        Ok(self.object.getattr_opt(self.name)?.is_some())
    }

    fn has_twin(&mut self) -> PyResult<bool> {
        let twin = self.twin()?;
        if self.object.getattr_opt(&twin)?.is_some() {
            return Ok(true);
        }
        // A property that raised AttributeError is there all the same: its own message is to reach
        // the peer.
        has_static(&self.object.get_type(), &twin).and_then(|found| {
            if found {
                return Ok(true);
            }
            self.object
                .cast::<PyType>()
                .map_or(Ok(false), |class| has_static(class, &twin))
        })
    }
}

/// Whether a class or one of its bases defines a name, without running descriptors.
fn has_static(class: &Bound<'_, PyType>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    for base in class.mro() {
        if base
            .getattr(intern!(name.py(), "__dict__"))?
            .contains(name)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
