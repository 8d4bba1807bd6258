//! Values as they travel: by value what is plain, by reference all else.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigInt;

use crate::convert::{ConversionError, FromValue};
use crate::netref::Netref;
use crate::object::Object;

/// Any value that can be an argument, a result or an attribute.
///
/// The *plain* kinds travel by value: each is a kind of Python's, immutable. [`Object`](Self::Object)
/// and [`Netref`](Self::Netref) travel by reference: the peer gets a proxy of an object of ours, and
/// gets its own object back where we pass a proxy of it. A tuple travels item by item if it holds any
/// of these.
///
/// Lists, dicts and sets of Python are mutable and so go by reference; `Vec<T>` converts to a tuple.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    #[default]
    None,
    /// `NotImplemented`.
    NotImplemented,
    /// `...`.
    Ellipsis,
    /// `True` or `False`.
    Bool(bool),
    /// An int of 64 bits.
    Int(i64),
    /// An int beyond 64 bits, of at most 4300 decimal digits.
    BigInt(BigInt),
    /// A float.
    Float(f64),
    /// A complex number: real and imaginary part.
    Complex(f64, f64),
    /// Bytes. Large ones are never copied: they are received into the memory that this holds, and
    /// sent from it.
    Bytes(Bytes),
    /// Text.
    Str(String),
    /// A tuple.
    Tuple(Vec<Self>),
    /// A frozenset. The order has no meaning; items are not checked for being unique.
    FrozenSet(Vec<Self>),
    /// A slice.
    Slice(Box<Slice>),
    /// An object of ours.
    Object(Arc<dyn Object>),
    /// A proxy of an object that lives in another process.
    Netref(Netref),
}

/// `slice(start, stop, step)`: the parts are plain, `None` where left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slice {
    /// Where it starts.
    pub start: Value,
    /// Before where it stops.
    pub stop: Value,
    /// The distance from item to item.
    pub step: Value,
}

impl Value {
    /// Takes the value out as a Rust type.
    ///
    /// # Errors
    /// [`ConversionError`]: it is of another kind, or out of range.
    pub fn extract<T: FromValue>(self) -> Result<T, ConversionError> {
        T::from_value(self)
    }

    /// The kind of value, in Python's words.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::None => "None",
            Self::NotImplemented => "NotImplemented",
            Self::Ellipsis => "ellipsis",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Complex(..) => "complex",
            Self::Bytes(_) => "bytes",
            Self::Str(_) => "str",
            Self::Tuple(_) => "tuple",
            Self::FrozenSet(_) => "frozenset",
            Self::Slice(_) => "slice",
            Self::Object(_) => "a local object",
            Self::Netref(netref) => netref.class_name(),
        }
    }

    /// Whether this is `None`.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Python's idea of truth for plain values; objects and proxies are true.
    #[must_use]
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Complex(real, imag) => *real != 0.0 || *imag != 0.0,
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::Str(text) => !text.is_empty(),
            Self::Tuple(items) | Self::FrozenSet(items) => !items.is_empty(),
            _ => true,
        }
    }

    /// The proxy in this value.
    ///
    /// # Errors
    /// [`ConversionError`] for every other kind.
    pub fn as_netref(&self) -> Result<&Netref, ConversionError> {
        match self {
            Self::Netref(netref) => Ok(netref),
            other => Err(ConversionError::new("a remote object", other)),
        }
    }
}

/// Equality of plain values as in Python; objects and proxies are equal if they are the same one.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None)
            | (Self::NotImplemented, Self::NotImplemented)
            | (Self::Ellipsis, Self::Ellipsis) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::BigInt(a), Self::BigInt(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Complex(a, b), Self::Complex(c, d)) => a == c && b == d,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::FrozenSet(a), Self::FrozenSet(b)) => {
                a.len() == b.len() && a.iter().all(|item| b.contains(item))
            }
            (Self::Slice(a), Self::Slice(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => Arc::ptr_eq(a, b),
            (Self::Netref(a), Self::Netref(b)) => a.is(b),
            _ => false,
        }
    }
}

/// As Python's `repr()`, but for objects and proxies, which show their class.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::NotImplemented => f.write_str("NotImplemented"),
            Self::Ellipsis => f.write_str("Ellipsis"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(value) => write!(f, "{value}"),
            Self::BigInt(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Complex(real, imag) => write!(f, "({real:?}{imag:+?}j)"),
            Self::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Self::Str(text) => write_quoted(f, text),
            Self::Tuple(items) => {
                f.write_str("(")?;
                write_items(f, items)?;
                f.write_str(if items.len() == 1 { ",)" } else { ")" })
            }
            Self::FrozenSet(items) if items.is_empty() => f.write_str("frozenset()"),
            Self::FrozenSet(items) => {
                f.write_str("frozenset({")?;
                write_items(f, items)?;
                f.write_str("})")
            }
            Self::Slice(slice) => write!(
                f,
                "slice({:?}, {:?}, {:?})",
                slice.start, slice.stop, slice.step
            ),
            Self::Object(object) => write!(f, "<{} object>", object.class_name()),
            Self::Netref(netref) => fmt::Debug::fmt(netref, f),
        }
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    write!(f, "{quote}")?;
    for char in text.chars() {
        match char {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            char if char == quote => write!(f, "\\{char}")?,
            char if char.is_control() => write!(f, "\\x{:02x}", u32::from(char))?,
            char => write!(f, "{char}")?,
        }
    }
    write!(f, "{quote}")
}

fn write_items(f: &mut fmt::Formatter<'_>, items: &[Value]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        fmt::Debug::fmt(item, f)?;
    }
    Ok(())
}
