//! Which attributes of an object a peer may touch: the object's own rule, or else the policy.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyType};
use rpyc_proto::policy::{Access, Policy, Subject};

use crate::names;
use crate::native::version_tag;

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

/// What the configuration says about attributes.
#[derive(Debug)]
pub(crate) struct Rules {
    getattr: bool,
    setattr: bool,
    delattr: bool,
    all: bool,
    safe: bool,
    public: bool,
    safe_attrs: Option<Py<PyAny>>,
    /// What makes an attribute reachable if its name starts with it, unless that is switched off.
    prefix: Option<Py<PyString>>,
}

impl Rules {
    /// Reads them.
    pub(crate) fn read(config: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = config.py();
        let prefix = if switch(config, intern!(py, "allow_exposed_attrs"))? {
            config.get_item(intern!(py, "exposed_prefix"))?
        } else {
            None
        };
        let prefix = prefix.filter(|prefix| !prefix.is_none());
        let safe_attrs = config.get_item(intern!(py, "safe_attrs"))?;
        Ok(Self {
            getattr: switch(config, intern!(py, "allow_getattr"))?,
            setattr: switch(config, intern!(py, "allow_setattr"))?,
            delattr: switch(config, intern!(py, "allow_delattr"))?,
            all: switch(config, intern!(py, "allow_all_attrs"))?,
            safe: switch(config, intern!(py, "allow_safe_attrs"))?,
            public: switch(config, intern!(py, "allow_public_attrs"))?,
            safe_attrs: safe_attrs.map(Bound::unbind),
            prefix: prefix.map(Bound::cast_into).transpose()?.map(Bound::unbind),
        })
    }

    /// Whether anything may be done with attributes in this way.
    pub(crate) const fn permit(&self, permission: Permission) -> bool {
        match permission {
            Permission::Get => self.getattr,
            Permission::Set => self.setattr,
            Permission::Delete => self.delattr,
        }
    }

    /// The prefix of exposed attributes, unless they are switched off.
    pub(crate) fn prefix<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyString>> {
        self.prefix.as_ref().map(|prefix| prefix.bind(py))
    }

    /// Whether a name is in `safe_attrs`.
    pub(crate) fn is_safe(&self, name: &Bound<'_, PyString>) -> PyResult<bool> {
        let safe = self.safe_attrs.as_ref();
        safe.map_or(Ok(false), |safe| safe.bind(name.py()).contains(name))
    }

    /// The policy for one name of an object.
    pub(crate) fn policy<'a, 'py: 'a>(
        &'a self,
        object: &Bound<'py, PyAny>,
        name: &Bound<'py, PyString>,
    ) -> PyResult<Policy<'a>> {
        let prefix = self.prefix(name.py()).map(|prefix| prefix.to_str());
        Ok(Policy {
            all: self.all,
            safe: self.safe,
            public: self.public && !leads_past_rules(object, name)?,
            prefix: prefix.transpose()?,
        })
    }

    /// The name under which a peer reaches an attribute; AttributeError if it does not.
    pub(crate) fn reach<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        name: Bound<'py, PyString>,
    ) -> PyResult<Reached<'py>> {
        let policy = self.policy(object, &name)?;
        let mut subject = Attribute {
            rules: self,
            object,
            name: &name,
            twin: None,
            is_new: false,
            found: None,
        };
        let access = policy.decide(name.to_str()?, &mut subject)?;
        let Attribute {
            twin,
            is_new,
            found,
            ..
        } = subject;
        if access == Access::Denied {
            return Err(refused(object, &name, "its owner does not expose it"));
        }
        if let (true, Some(prefix), Some(twin)) = (is_new, self.prefix(name.py()), &twin) {
            names::keep(&name, prefix, twin)?;
        }
        let name = twin.filter(|_| access == Access::Twin).unwrap_or(name);
        Ok(Reached { name, found })
    }

    /// Visits what it holds, for the garbage collector.
    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.safe_attrs)
    }
}

/// An attribute that a peer may touch.
pub(crate) struct Reached<'py> {
    pub(crate) name: Bound<'py, PyString>,
    /// Its value, if it had to be read: to read it may run code of the user, once is enough.
    found: Option<Bound<'py, PyAny>>,
}

impl<'py> Reached<'py> {
    /// Its value.
    pub(crate) fn value(self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.found.map_or_else(|| object.getattr(self.name), Ok)
    }
}

/// A way to touch attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    Get,
    Set,
    Delete,
}

impl Permission {
    /// The key of the configuration that gives it.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Get => "allow_getattr",
            Self::Set => "allow_setattr",
            Self::Delete => "allow_delattr",
        }
    }
}

/// Whether a public name is one of the interpreter's own that leads past every rule: a text with fields
/// reads whatever attributes they name, and a frame has all that its function sees.
fn leads_past_rules(object: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    match name.to_str()? {
        "format" | "format_map" => match object.cast::<PyType>() {
            Ok(class) => class.is_subclass(&object.py().get_type::<PyString>()),
            Err(_) => Ok(object.is_instance_of::<PyString>()),
        },
        "gi_frame" | "cr_frame" | "ag_frame" | "tb_frame" | "f_back" | "f_builtins"
        | "f_globals" | "f_locals" => {
            let class = object.get_type();
            Ok(!is_heap_type(&class) && has_static(&class, name)?)
        }
        _ => Ok(false),
    }
}

/// Whether a class was made by a program, and is not the interpreter's.
#[expect(unsafe_code, reason = "the flags have no safe wrapper")]
fn is_heap_type(class: &Bound<'_, PyType>) -> bool {
    // SAFETY: a type object, and we are attached.
    unsafe {
        pyo3::ffi::PyType_HasFeature(class.as_type_ptr(), pyo3::ffi::Py_TPFLAGS_HEAPTYPE) != 0
    }
}

/// A switch of the configuration; one that is missing is off.
pub(crate) fn switch(config: &Bound<'_, PyDict>, key: &Bound<'_, PyString>) -> PyResult<bool> {
    config
        .get_item(key)?
        .map_or(Ok(false), |value| value.is_truthy())
}

/// Types without an access rule of their own: the version tags of type and metaclass, both in one
/// number. Looking for what is not there costs more than all else about an attribute, since CPython
/// makes an exception for it.
pub(crate) type WithoutRule = [AtomicU64; 64];

pub(crate) static WITHOUT_GETATTR: WithoutRule = [const { AtomicU64::new(0) }; 64];
pub(crate) static WITHOUT_SETATTR: WithoutRule = [const { AtomicU64::new(0) }; 64];
pub(crate) static WITHOUT_DELATTR: WithoutRule = [const { AtomicU64::new(0) }; 64];

/// An object's own access rule, looked up on its type.
pub(crate) fn overrider<'py>(
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

/// The error if something that the configuration has a switch for is switched off.
pub(crate) fn switched_off(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    key: &str,
) -> PyErr {
    refused(object, name, &format!("its owner's {key} is off"))
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

struct Attribute<'a, 'py> {
    rules: &'a Rules,
    object: &'a Bound<'py, PyAny>,
    name: &'a Bound<'py, PyString>,
    /// The name with the prefix.
    twin: Option<Bound<'py, PyString>>,
    /// The twin was made for this.
    is_new: bool,
    /// The value of what was found last.
    found: Option<Bound<'py, PyAny>>,
}

impl Subject for Attribute<'_, '_> {
    type Error = PyErr;

    fn is_safe(&mut self) -> PyResult<bool> {
        self.rules.is_safe(self.name)
    }

    fn has_name(&mut self) -> PyResult<bool> {
        if let Some(found) = self.object.getattr_opt(self.name)? {
            self.found = Some(found);
            return Ok(true);
        }
        Ok(false)
    }

    fn has_twin(&mut self) -> PyResult<bool> {
        let Some(prefix) = self.rules.prefix(self.name.py()) else {
            return Ok(false);
        };
        let known = names::known_twin(self.name, prefix)?;
        self.is_new = known.is_none();
        let twin = match known {
            Some(twin) => twin,
            None => {
                let text = format!("{}{}", prefix.to_str()?, self.name.to_str()?);
                PyString::new(prefix.py(), &text)
            }
        };
        let twin = &*self.twin.insert(twin);
        if let Some(found) = self.object.getattr_opt(twin)? {
            self.found = Some(found);
            return Ok(true);
        }
        // A property that raised AttributeError is there all the same: its own message is to reach
        // the peer.
        if has_static(&self.object.get_type(), twin)? {
            return Ok(true);
        }
        self.object
            .cast::<PyType>()
            .map_or(Ok(false), |class| has_static(class, twin))
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
