//! Conversions of what is one plain value.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigInt;

use super::{ConversionError, FromValue, IntoValue};
use crate::netref::Netref;
use crate::object::Object;
use crate::value::{Slice, Value};

impl IntoValue for Value {
    fn into_value(self) -> Value {
        self
    }
}

impl IntoValue for &Value {
    fn into_value(self) -> Value {
        self.clone()
    }
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        Ok(value)
    }
}

macro_rules! from {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                value.into_value()
            }
        }
    )*};
}
from!(bool, i64, f64, &str, String, Bytes);

impl IntoValue for () {
    fn into_value(self) -> Value {
        Value::None
    }
}

impl FromValue for () {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        match value {
            Value::None => Ok(()),
            other => Err(ConversionError::new("None", &other)),
        }
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Value {
        Value::Bool(self)
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        match value {
            Value::Bool(value) => Ok(value),
            other => Err(ConversionError::new("bool", &other)),
        }
    }
}

macro_rules! ints {
    ($($int:ty),*) => {$(
        impl IntoValue for $int {
            fn into_value(self) -> Value {
                i64::try_from(self).map_or_else(|_| Value::BigInt(BigInt::from(self)), Value::Int)
            }
        }

        /// `True` and `False` count as 1 and 0, as they do in Python.
        impl FromValue for $int {
            fn from_value(value: Value) -> Result<Self, ConversionError> {
                let expected = concat!("an int that fits ", stringify!($int));
                let too_large = |text: String| ConversionError::described(expected, text);
                match value {
                    Value::Int(value) => Self::try_from(value).map_err(|_| too_large(value.to_string())),
                    Value::Bool(value) => Ok(Self::from(value)),
                    Value::BigInt(value) => {
                        Self::try_from(&value).map_err(|_| too_large(format!("an int of {} bits", value.bits())))
                    }
                    other => Err(ConversionError::new("int", &other)),
                }
            }
        }
    )*};
}
ints!(
    i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize
);

impl IntoValue for BigInt {
    fn into_value(self) -> Value {
        i64::try_from(&self).map_or_else(|_| Value::BigInt(self), Value::Int)
    }
}

impl FromValue for BigInt {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        match value {
            Value::Int(value) => Ok(value.into()),
            Value::Bool(value) => Ok(u8::from(value).into()),
            Value::BigInt(value) => Ok(value),
            other => Err(ConversionError::new("int", &other)),
        }
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> Value {
        Value::Float(self)
    }
}

impl IntoValue for f32 {
    fn into_value(self) -> Value {
        Value::Float(self.into())
    }
}

/// Ints count too, as they do in Python.
impl FromValue for f64 {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        match value {
            Value::Float(value) => Ok(value),
            Value::Int(value) => Ok(value as Self),
            Value::Bool(value) => Ok(value.into()),
            other => Err(ConversionError::new("float", &other)),
        }
    }
}

/// Rounded to the nearest one.
impl FromValue for f32 {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        f64::from_value(value).map(|value| value as Self)
    }
}

impl IntoValue for &str {
    fn into_value(self) -> Value {
        Value::Str(self.to_owned())
    }
}

impl IntoValue for String {
    fn into_value(self) -> Value {
        Value::Str(self)
    }
}

impl IntoValue for &String {
    fn into_value(self) -> Value {
        Value::Str(self.clone())
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        match value {
            Value::Str(text) => Ok(text),
            other => Err(ConversionError::new("str", &other)),
        }
    }
}

impl IntoValue for char {
    fn into_value(self) -> Value {
        Value::Str(self.into())
    }
}

impl FromValue for char {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        let text = String::from_value(value)?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(char), None) => Ok(char),
            _ => Err(ConversionError::described(
                "a str of one character",
                format!("one of {}", text.chars().count()),
            )),
        }
    }
}

/// Without a copy.
impl IntoValue for Bytes {
    fn into_value(self) -> Value {
        Value::Bytes(self)
    }
}

/// A copy; [`Bytes`] goes without one.
impl IntoValue for &[u8] {
    fn into_value(self) -> Value {
        Value::Bytes(Bytes::copy_from_slice(self))
    }
}

/// Without a copy.
impl FromValue for Bytes {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(ConversionError::new("bytes", &other)),
        }
    }
}

impl IntoValue for Slice {
    fn into_value(self) -> Value {
        Value::Slice(Box::new(self))
    }
}

impl FromValue for Slice {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        match value {
            Value::Slice(slice) => Ok(*slice),
            other => Err(ConversionError::new("slice", &other)),
        }
    }
}

impl IntoValue for std::ops::Range<i64> {
    fn into_value(self) -> Value {
        Slice {
            start: self.start.into_value(),
            stop: self.end.into_value(),
            step: Value::None,
        }
        .into_value()
    }
}

impl IntoValue for std::ops::RangeFrom<i64> {
    fn into_value(self) -> Value {
        Slice {
            start: self.start.into_value(),
            ..Slice::default()
        }
        .into_value()
    }
}

impl IntoValue for std::ops::RangeTo<i64> {
    fn into_value(self) -> Value {
        Slice {
            stop: self.end.into_value(),
            ..Slice::default()
        }
        .into_value()
    }
}

impl IntoValue for std::ops::RangeFull {
    fn into_value(self) -> Value {
        Slice::default().into_value()
    }
}

impl IntoValue for Netref {
    fn into_value(self) -> Value {
        Value::Netref(self)
    }
}

impl IntoValue for &Netref {
    fn into_value(self) -> Value {
        Value::Netref(self.clone())
    }
}

impl FromValue for Netref {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        match value {
            Value::Netref(netref) => Ok(netref),
            other => Err(ConversionError::new("a remote object", &other)),
        }
    }
}

/// By reference: the peer gets a proxy.
impl<O: Object> IntoValue for Arc<O> {
    fn into_value(self) -> Value {
        Value::Object(self)
    }
}

impl IntoValue for Arc<dyn Object> {
    fn into_value(self) -> Value {
        Value::Object(self)
    }
}

/// An object of ours that comes back, if it is of this type.
impl<O: Object> FromValue for Arc<O> {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        let expected = || format!("a local {}", std::any::type_name::<O>());
        let object = match value {
            Value::Object(object) => object,
            other => return Err(ConversionError::new(expected(), &other)),
        };
        let class = object.class_name();
        let object: Arc<dyn Any + Send + Sync> = object;
        object
            .downcast()
            .map_err(|_| ConversionError::described(expected(), class.into_owned()))
    }
}

impl FromValue for Arc<dyn Object> {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        match value {
            Value::Object(object) => Ok(object),
            other => Err(ConversionError::new("a local object", &other)),
        }
    }
}
