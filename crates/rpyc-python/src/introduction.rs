//! Introductions: the root of a connection comes with its methods, so that nobody has to ask for them.
//!
//! Without one, the first call of `conn.root.method()` takes five requests: the root, the methods of
//! its class, the method, its call, its release. With one it takes two.

use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFunction, PyString, PyTuple, PyType};
use rpyc_proto::boxing;
use rpyc_proto::consts::{Handler, Label};
use rpyc_proto::introduction;
pub(crate) use rpyc_proto::introduction::is_wanted;
use rpyc_proto::model::ObjectModel;
use rpyc_proto::policy::{Access, Subject};
use rpyc_proto::wire::Writer;

use crate::access::{Permission, Rules, WITHOUT_GETATTR, overrider};
use crate::bulk::PyBulk;
use crate::classes;
use crate::engine::Engine;
use crate::methods;
use crate::model::{PyModel, Raised};
use crate::netref::PyNetref;
use crate::request::{self, Arguments};
use crate::timeout::Timeout;

/// Asks for the root of the peer, and for an introduction.
pub(crate) fn ask<'py>(conn: &Bound<'py, Engine>, timeout: Timeout) -> PyResult<Bound<'py, PyAny>> {
    request::sync_within(conn, i64::from(Handler::GetRoot.number()), Asking, timeout)
}

struct Asking;

impl<'py> Arguments<'py> for Asking {
    fn write(&self, _: &mut PyModel<'_, 'py>, out: &mut Writer<PyBulk>) -> Result<(), Raised> {
        introduction::put_arguments(out);
        Ok(())
    }

    fn receive(
        &self,
        conn: &Bound<'py, Engine>,
        answer: Bound<'py, PyAny>,
        incomplete: Vec<Py<PyNetref>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let introduction = read(&answer).filter(|(root, _)| root.get().is_of(conn));
        let Some((root, description)) = introduction else {
            // A peer that knows nothing of it gave its root.
            classes::complete_all(conn, incomplete)?;
            return Ok(answer);
        };
        if let Ok(link) = conn.get().link() {
            link.note_kin();
        }
        let (told, names) = description;
        classes::complete_by(conn, &root, || Ok(told))?;
        classes::complete_all(conn, incomplete)?;
        for name in names {
            root.get().methods().learn(name.to_str()?, conn.py())?;
        }
        Ok(root.into_any())
    }
}

type Description<'py> = (Bound<'py, PyAny>, Vec<Bound<'py, PyString>>);

/// The root, its methods, and the names under which it has bound methods.
fn read<'py>(answer: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyNetref>, Description<'py>)> {
    let parts = answer.cast_exact::<PyTuple>().ok()?;
    let (mark, description, root): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) =
        parts.extract().ok()?;
    if mark.cast_exact::<PyString>().ok()?.to_str().ok()? != introduction::MARK {
        return None;
    }
    let root = root.cast_into::<PyNetref>().ok()?;
    let (told, names): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
        description.cast_exact::<PyTuple>().ok()?.extract().ok()?;
    let names = names.cast_exact::<PyTuple>().ok()?.iter();
    let names = names
        .take(methods::MAX_SEEN)
        .map(|name| name.cast_into_exact().ok())
        .collect::<Option<_>>()?;
    Some((root, (told, names)))
}

/// Boxes a root for a peer that wants an introduction. One that can't be described goes alone.
pub(crate) fn put_root<'py>(
    model: &mut PyModel<'_, 'py>,
    out: &mut Writer<PyBulk>,
    root: &Bound<'py, PyAny>,
) -> Result<(), Raised> {
    let description = match describe(model.conn, root) {
        // Whoever asks for the methods is told why there are none.
        Err(error) if error.is_instance_of::<PyException>(model.py()) => None,
        description => description?,
    };
    if let Some(description) = description {
        let start = out.mark();
        introduction::put_head(out);
        boxing::put_label(out, Label::Value);
        if !matches!(model.write_plain(description.as_any(), out), Ok(true)) {
            out.rollback(start);
        }
    }
    boxing::put_boxed(model, out, root)
}

/// What a peer can ask about the root next: its methods, and the names of those that it can call.
fn describe<'py>(
    conn: &Bound<'py, Engine>,
    root: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = root.py();
    if !reads_attributes_plainly(&root.get_type()) {
        return Ok(None);
    }
    let told = conn
        .as_any()
        .call_method1(intern!(py, "_methods_told_of"), (root,))?;
    let names = PyTuple::new(py, bound_methods(conn, root)?)?;
    Ok(Some((told, names).into_pyobject(py)?))
}

/// The names by which a peer gets at bound methods of an object. Runs no code of the object.
fn bound_methods<'py>(
    conn: &Bound<'py, Engine>,
    root: &Bound<'py, PyAny>,
) -> PyResult<Vec<Bound<'py, PyString>>> {
    let py = root.py();
    let rules = conn.get().rules(py)?;
    if !rules.permit(Permission::Get)
        || overrider(root, intern!(py, "_rpyc_getattr"), &WITHOUT_GETATTR)?.is_some()
    {
        return Ok(Vec::new());
    }
    let prefix = rules.prefix(py).map(|prefix| prefix.to_str()).transpose()?;
    let members = Members::of(root)?;
    let mut names = Vec::new();
    for (name, value) in &members.of_class {
        let (Ok(name), true) = (name.cast_into_exact::<PyString>(), is_function(&value)) else {
            continue;
        };
        let full = name.to_str()?;
        let short = prefix.and_then(|prefix| full.strip_prefix(prefix));
        for asked in std::iter::once(full).chain(short) {
            if asked.starts_with("__") || names.len() >= methods::MAX_SEEN {
                continue;
            }
            let asked = PyString::new(py, asked);
            let policy = rules.policy(root, &asked)?;
            let mut subject = Member {
                members: &members,
                rules: &rules,
                name: &asked,
                prefix: prefix.unwrap_or_default(),
            };
            let found = match policy.decide(asked.to_str()?, &mut subject)? {
                Access::Name => asked.clone(),
                Access::Twin => subject.twin()?,
                Access::Denied => continue,
            };
            if members.is_method(&found)? {
                names.push(asked);
            }
        }
    }
    Ok(names)
}

/// What an object has beyond what every object has, found without running descriptors.
struct Members<'py> {
    of_class: Bound<'py, PyDict>,
    own: Option<Bound<'py, PyDict>>,
}

impl<'py> Members<'py> {
    fn of(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let of_class = PyDict::new(py);
        for class in object.get_type().mro().iter().rev() {
            if !class.is(py.get_type::<PyAny>()) {
                let members = class.getattr(intern!(py, "__dict__"))?;
                // A dict is read faster than the view that a class gives of its own.
                let members = members.call_method0(intern!(py, "copy"))?;
                of_class.update(members.cast()?)?;
            }
        }
        Ok(Self {
            of_class,
            own: own_members(object),
        })
    }

    fn has(&self, name: &Bound<'py, PyString>) -> PyResult<bool> {
        Ok(self.of_class.contains(name)? || self.has_own(name)?)
    }

    fn has_own(&self, name: &Bound<'py, PyString>) -> PyResult<bool> {
        self.own
            .as_ref()
            .map_or(Ok(false), |own| own.contains(name))
    }

    fn is_method(&self, name: &Bound<'py, PyString>) -> PyResult<bool> {
        let found = self.of_class.get_item(name)?;
        Ok(found.is_some_and(|found| is_function(&found)) && !self.has_own(name)?)
    }
}

/// One name of an object, as the rules ask about it.
struct Member<'a, 'py> {
    members: &'a Members<'py>,
    rules: &'a Rules,
    name: &'a Bound<'py, PyString>,
    prefix: &'a str,
}

impl<'py> Member<'_, 'py> {
    fn twin(&self) -> PyResult<Bound<'py, PyString>> {
        let twin = format!("{}{}", self.prefix, self.name.to_str()?);
        Ok(PyString::new(self.name.py(), &twin))
    }
}

impl Subject for Member<'_, '_> {
    type Error = PyErr;

    fn is_safe(&mut self) -> PyResult<bool> {
        self.rules.is_safe(self.name)
    }

    fn has_name(&mut self) -> PyResult<bool> {
        self.members.has(self.name)
    }

    fn has_twin(&mut self) -> PyResult<bool> {
        self.members.has(&self.twin()?)
    }
}

/// Whether reading it from an instance gives a bound method.
fn is_function(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyFunction>()
}

/// Whether instances of a class, which a program made, have their attributes looked up as usual.
#[expect(
    unsafe_code,
    reason = "flags and slots are fields of the type object only"
)]
fn reads_attributes_plainly(class: &Bound<'_, PyType>) -> bool {
    // SAFETY: a type object, and we are attached.
    let (is_made, reads) = unsafe {
        let class = class.as_type_ptr();
        let is_made = ffi::PyType_HasFeature(class, ffi::Py_TPFLAGS_HEAPTYPE) != 0;
        (is_made, (*class).tp_getattro)
    };
    // Two addresses of one function would only mean that nothing is told.
    let plain: ffi::getattrofunc = ffi::PyObject_GenericGetAttr;
    is_made && reads.is_some_and(|reads| reads as usize == plain as usize)
}

/// The members that an object has itself.
#[expect(unsafe_code, reason = "an object's own dict has no safe wrapper")]
fn own_members<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    // SAFETY: a live object; the result is a new reference or null with an exception set.
    let own = unsafe {
        let own = ffi::PyObject_GenericGetDict(object.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(object.py(), own)
    };
    own.ok()?.cast_into().ok()
}
