//! Conversions of maps and sets.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use super::{ConversionError, FromValue, IntoValue};
use crate::error::Error;
use crate::netref::Netref;
use crate::value::Value;

macro_rules! sets {
    ($($set:ident: $bound:path $(, $more:path)?;)*) => {$(
        /// A frozenset.
        impl<T: IntoValue> IntoValue for $set<T> {
            fn into_value(self) -> Value {
                Value::FrozenSet(self.into_iter().map(T::into_value).collect())
            }
        }

        /// The items of a frozenset or tuple, or of any iterable of the peer, which are fetched.
        impl<T: FromValue + $bound $(+ $more)?> FromValue for $set<T> {
            fn from_value(value: Value) -> Result<Self, ConversionError> {
                Ok(Vec::<T>::from_value(value)?.into_iter().collect())
            }
        }
    )*};
}
sets! {
    HashSet: Eq, Hash;
    BTreeSet: Ord;
}

macro_rules! maps {
    ($($map:ident: $bound:path $(, $more:path)?;)*) => {$(
        /// A tuple of pairs, as `dict()` of Python takes it: dicts themselves are mutable, and would
        /// travel by reference.
        impl<K: IntoValue, V: IntoValue> IntoValue for $map<K, V> {
            fn into_value(self) -> Value {
                self.into_iter().collect::<Vec<_>>().into_value()
            }
        }

        /// The items of a dict of the peer, which are fetched; or pairs.
        impl<K: FromValue + $bound $(+ $more)?, V: FromValue> FromValue for $map<K, V> {
            fn from_value(value: Value) -> Result<Self, ConversionError> {
                Ok(pairs::<K, V>(value)?.into_iter().collect())
            }
        }
    )*};
}
maps! {
    HashMap: Eq, Hash;
    BTreeMap: Ord;
}

fn pairs<K: FromValue, V: FromValue>(value: Value) -> Result<Vec<(K, V)>, ConversionError> {
    let dict = match &value {
        Value::Netref(netref) if netref.class_name() == "builtins.dict" => netref,
        _ => return Vec::from_value(value),
    };
    let items = match dict.call_method("items", ()) {
        // Its owner exposes what a dict is made of, if nothing else.
        Err(error) if error.is("AttributeError") => one_by_one(dict),
        items => items,
    };
    let items = items.map_err(|error| {
        ConversionError::described("a dict", format!("{} ({error})", dict.class_name()))
    })?;
    Vec::from_value(items)
}

fn one_by_one(dict: &Netref) -> Result<Value, Error> {
    let keys = dict.items::<Value>()?;
    let pairs = keys.into_iter().map(|key| {
        let value = dict.item(&key)?;
        Ok(Value::Tuple(vec![key, value]))
    });
    Ok(Value::Tuple(pairs.collect::<Result<_, Error>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_pairs_and_sets_are_frozensets() {
        let map = BTreeMap::from([("a", 1), ("b", 2)]);
        let value = map.into_value();
        assert_eq!(format!("{value:?}"), "(('a', 1), ('b', 2))");
        let back: HashMap<String, i64> = value.extract().unwrap();
        assert_eq!(
            back,
            HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)])
        );

        let value = BTreeSet::from([3, 1]).into_value();
        assert_eq!(format!("{value:?}"), "frozenset({1, 3})");
        assert_eq!(
            value.extract::<HashSet<i64>>().unwrap(),
            HashSet::from([1, 3])
        );

        let error = (1, 2)
            .into_value()
            .extract::<HashMap<i64, i64>>()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a tuple of 2 items, found int (in item 0)"
        );
    }
}
