//! Which attributes of an object a peer may touch: the object's own rule, or else the policy.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyType};
use rpyc_proto::policy::{Access, Policy, Subject};

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

/// The name under which the policy lets a peer reach an attribute.
///
/// AttributeError if it does not.
pub(crate) fn check_attr<'py>(
    config: &Bound<'py, PyDict>,
    object: &Bound<'py, PyAny>,
    name: Bound<'py, PyString>,
    permission: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyString>> {
    if !switch(config, permission)? {
        return Err(refused(
            object,
            &name,
            &format!("its owner's {permission} is off"),
        ));
    }
    let prefix = prefix(config)?;
    let prefix = prefix.as_ref().map(|prefix| prefix.to_str()).transpose()?;
    let policy = policy(config, object, &name, prefix)?;
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

/// What makes an attribute reachable if its name starts with it, unless that is switched off.
pub(crate) fn prefix<'py>(config: &Bound<'py, PyDict>) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = config.py();
    if !switch(config, intern!(py, "allow_exposed_attrs"))? {
        return Ok(None);
    }
    let prefix = config.get_item(intern!(py, "exposed_prefix"))?;
    Ok(prefix.map(Bound::cast_into).transpose()?)
}

/// The policy for one name of an object; `prefix` as [`prefix`] found it.
pub(crate) fn policy<'a>(
    config: &Bound<'_, PyDict>,
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    prefix: Option<&'a str>,
) -> PyResult<Policy<'a>> {
    let py = config.py();
    Ok(Policy {
        all: switch(config, intern!(py, "allow_all_attrs"))?,
        safe: switch(config, intern!(py, "allow_safe_attrs"))?,
        public: switch(config, intern!(py, "allow_public_attrs"))?
            && !leads_past_rules(object, name)?,
        prefix,
    })
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

/// Whether a name is in `safe_attrs`.
pub(crate) fn is_safe(config: &Bound<'_, PyDict>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    let safe = config.get_item(intern!(name.py(), "safe_attrs"))?;
    safe.map_or(Ok(false), |safe| safe.contains(name))
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
        is_safe(self.config, self.name)
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
