//! Conversions of what holds other values.

use super::{ConversionError, FromValue, IntoValue};
use crate::value::Value;

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Value {
        self.map_or(Value::None, T::into_value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        if value.is_none() {
            return Ok(None);
        }
        T::from_value(value).map(Some)
    }
}

/// A tuple: lists of Python are mutable, and would travel by reference.
impl<T: IntoValue> IntoValue for Vec<T> {
    fn into_value(self) -> Value {
        Value::Tuple(self.into_iter().map(T::into_value).collect())
    }
}

/// The items of a tuple or frozenset, or of any iterable of the peer, which are fetched.
impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        let items = match value {
            Value::Tuple(items) | Value::FrozenSet(items) => items,
            Value::Netref(netref) => netref.items().map_err(|error| {
                ConversionError::described(
                    "an iterable",
                    format!("{} ({error})", netref.class_name()),
                )
            })?,
            other => return Err(ConversionError::new("tuple", &other)),
        };
        items
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                T::from_value(item).map_err(|error| error.inside(format!("item {index}")))
            })
            .collect()
    }
}

impl<T: IntoValue, const N: usize> IntoValue for [T; N] {
    fn into_value(self) -> Value {
        Value::Tuple(self.into_iter().map(T::into_value).collect())
    }
}

impl<T: FromValue, const N: usize> FromValue for [T; N] {
    fn from_value(value: Value) -> Result<Self, ConversionError> {
        let items = Vec::<T>::from_value(value)?;
        let found = items.len();
        Self::try_from(items).map_err(|_| {
            ConversionError::described(format!("a tuple of {N} items"), format!("one of {found}"))
        })
    }
}

macro_rules! tuples {
    ($(($count:literal: $($name:ident $index:tt),+))*) => {$(
        impl<$($name: IntoValue),+> IntoValue for ($($name,)+) {
            fn into_value(self) -> Value {
                Value::Tuple(vec![$(self.$index.into_value()),+])
            }
        }

        impl<$($name: FromValue),+> FromValue for ($($name,)+) {
            fn from_value(value: Value) -> Result<Self, ConversionError> {
                let mut items = tuple_of(value, $count)?.into_iter();
                Ok(($(
                    $name::from_value(items.next().unwrap_or_default())
                        .map_err(|error| error.inside(concat!("item ", stringify!($index))))?,
                )+))
            }
        }
    )*};
}
tuples! {
    (1: A 0)
    (2: A 0, B 1)
    (3: A 0, B 1, C 2)
    (4: A 0, B 1, C 2, D 3)
    (5: A 0, B 1, C 2, D 3, E 4)
    (6: A 0, B 1, C 2, D 3, E 4, F 5)
    (7: A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

/// The items of a tuple of exactly `count`.
fn tuple_of(value: Value, count: usize) -> Result<Vec<Value>, ConversionError> {
    match value {
        Value::Tuple(items) if items.len() == count => Ok(items),
        Value::Tuple(items) => Err(ConversionError::described(
            format!("a tuple of {count} items"),
            format!("one of {}", items.len()),
        )),
        other => Err(ConversionError::new(
            format!("a tuple of {count} items"),
            &other,
        )),
    }
}
