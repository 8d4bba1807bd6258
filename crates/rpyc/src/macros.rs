//! What the code that the macros generate calls. No part of the interface: it changes with them.

pub use bytes::Bytes;

use crate::args::{Args, Parameters};
use crate::convert::{ConversionError, FromValue};
use crate::error::{Error, Exception, Result};
use crate::netref::Netref;
use crate::object::{Object, Reply};
use crate::value::Value;

/// The dotted name of a Rust item, as the name of a class.
#[must_use]
pub fn dotted(module: &str, name: &str) -> String {
    format!("{}.{name}", module.replace("::", "."))
}

/// Takes all arguments of a call.
///
/// # Errors
/// `TypeError`.
pub fn bind_all<T>(
    args: Args,
    function: &'static str,
    take: impl FnOnce(&mut Parameters) -> Result<T, Exception>,
) -> Result<T, Exception> {
    args.bind(function).take_all(take)
}

/// Takes some arguments of a call, and keeps the rest.
///
/// # Errors
/// `TypeError`.
pub fn bind_some<T>(
    args: Args,
    function: &'static str,
    take: impl FnOnce(&mut Parameters) -> Result<T, Exception>,
) -> Result<(T, Args), Exception> {
    let mut parameters = args.bind(function);
    let taken = take(&mut parameters)?;
    Ok((taken, parameters.rest()))
}

/// What a method returned.
pub fn reply<T>(outcome: T) -> Reply
where
    Reply: From<T>,
{
    Reply::from(outcome)
}

/// What a typed call returns.
///
/// # Errors
/// The call's, or a conversion error.
pub fn answer<T: FromValue, E: From<Error>>(answer: Result<Value>) -> Result<T, E> {
    let value = answer?;
    Ok(value.extract().map_err(Error::from)?)
}

/// What a typed setter returns.
///
/// # Errors
/// The request's.
pub fn done<E: From<Error>>(done: Result<()>) -> Result<(), E> {
    Ok(done?)
}

/// What setting an attribute without setter raises.
#[must_use]
pub fn not_settable(object: &impl Object, name: &str) -> Exception {
    crate::object::denied("set", &object.class_name(), name)
}

/// A method was called through a reference, and needs the `Arc`.
#[must_use]
pub fn only_shared(name: &str) -> Exception {
    Exception::new(
        "RuntimeError",
        format!("{name}() needs the object's Arc: call it with Object::call_shared"),
    )
}

/// The items of a tuple, as the fields of a struct.
///
/// # Errors
/// It is no tuple, or has another number of items.
pub fn items(
    value: Value,
    count: usize,
    what: &str,
) -> Result<std::vec::IntoIter<Value>, ConversionError> {
    let expected = || format!("a tuple of {count} items for {what}");
    let items = match value {
        Value::Tuple(items) => items,
        Value::Netref(list) if is_a(&list, "list") => list
            .items()
            .map_err(|error| failed(expected(), &list, &error))?,
        other => return Err(ConversionError::new(expected(), &other)),
    };
    if items.len() != count {
        return Err(ConversionError::described(
            expected(),
            format!("one of {}", items.len()),
        ));
    }
    Ok(items.into_iter())
}

/// The fields of a struct: items of a tuple, attributes of a remote object, items of a remote dict.
///
/// # Errors
/// It is nothing of these, or lacks a field.
pub fn fields(
    value: Value,
    names: &[&str],
    what: &str,
) -> Result<std::vec::IntoIter<Value>, ConversionError> {
    let netref = match value {
        Value::Netref(netref) if !is_a(&netref, "list") => netref,
        other => return items(other, names.len(), what),
    };
    let is_dict = is_a(&netref, "dict");
    let read = |name: &&str| {
        let found = if is_dict {
            netref.item(*name)
        } else {
            netref.attr(name)
        };
        found.map_err(|error| failed(format!("{what} with '{name}'"), &netref, &error))
    };
    let found: Result<Vec<_>, _> = names.iter().map(read).collect();
    Ok(found?.into_iter())
}

/// The next field.
///
/// # Errors
/// It is of another type; the error names the field.
pub fn field<T: FromValue>(
    items: &mut std::vec::IntoIter<Value>,
    part: &str,
) -> Result<T, ConversionError> {
    T::from_value(items.next().unwrap_or_default()).map_err(|error| error.inside(part))
}

fn is_a(netref: &Netref, builtin: &str) -> bool {
    netref.class_name().strip_prefix("builtins.") == Some(builtin)
}

fn failed(expected: String, netref: &Netref, error: &Error) -> ConversionError {
    ConversionError::described(expected, format!("{} ({error})", netref.class_name()))
}
