//! Values on standard output.

use std::io::{self, Write};

use rpyc::{Netref, Value};
use serde_json::{Map, Number, json};

use crate::failure::Failure;

/// How deep containers of the other side are looked into.
const MAX_DEPTH: usize = 32;
/// How many of their items are fetched in all.
const MAX_ITEMS: usize = 100_000;

/// Prints a line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Failure::local("standard output", error)),
    }
}

/// Prints JSON, in one line.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Prints a value: texts as they are, all else as Python's `repr()`.
pub(crate) fn value(value: &Value, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return json(&to_json(value)?);
    }
    match value {
        Value::Str(text) => line(text),
        Value::Netref(netref) => line(&netref.repr()?),
        other => line(&format!("{other:?}")),
    }
}

/// A value as JSON. What JSON has no word for is an object with one key that says what it is;
/// lists, tuples, sets and dicts of the other side are fetched.
pub(crate) fn to_json(value: &Value) -> Result<serde_json::Value, Failure> {
    Fetch { left: MAX_ITEMS }.convert(value, 0)
}

struct Fetch {
    left: usize,
}

impl Fetch {
    fn convert(&mut self, value: &Value, depth: usize) -> Result<serde_json::Value, Failure> {
        Ok(match value {
            Value::None => serde_json::Value::Null,
            Value::Bool(value) => json!(value),
            Value::Int(value) => json!(value),
            Value::BigInt(value) => json!({ "int": value.to_string() }),
            Value::Float(value) => match Number::from_f64(*value) {
                Some(number) => number.into(),
                None => json!({ "float": format!("{value:?}") }),
            },
            Value::Complex(real, imag) => json!({ "complex": [real, imag] }),
            Value::Str(text) => json!(text),
            Value::Bytes(bytes) => {
                let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
                json!({ "bytes": hex.collect::<String>() })
            }
            Value::Tuple(items) => self.array(items, depth)?,
            Value::FrozenSet(items) => json!({ "frozenset": self.array(items, depth)? }),
            Value::Netref(netref) => self.fetch(netref, depth)?,
            other => json!({ "repr": format!("{other:?}") }),
        })
    }

    fn array(&mut self, items: &[Value], depth: usize) -> Result<serde_json::Value, Failure> {
        let items = items.iter().map(|item| self.convert(item, depth + 1));
        items.collect()
    }

    fn fetch(&mut self, netref: &Netref, depth: usize) -> Result<serde_json::Value, Failure> {
        let known = depth < MAX_DEPTH && self.left > 0;
        match netref.class_name() {
            "builtins.list" | "builtins.tuple" if known => self.items(netref, depth),
            "builtins.set" | "builtins.frozenset" if known => {
                Ok(json!({ "set": self.items(netref, depth)? }))
            }
            "builtins.dict" if known => self.pairs(netref, depth),
            class => Ok(json!({ "object": class, "repr": netref.repr()? })),
        }
    }

    fn items(&mut self, netref: &Netref, depth: usize) -> Result<serde_json::Value, Failure> {
        let mut array = Vec::new();
        for item in netref.iter()? {
            if self.left == 0 {
                return Err(Failure::Unexpected(format!(
                    "the answer has more than {MAX_ITEMS} items"
                )));
            }
            self.left -= 1;
            array.push(self.convert(&item?, depth + 1)?);
        }
        Ok(array.into())
    }

    /// An object if all keys are texts, else an array of pairs.
    fn pairs(&mut self, netref: &Netref, depth: usize) -> Result<serde_json::Value, Failure> {
        let items = netref.call_method("items", ())?;
        let pairs = self.items(items.as_netref()?, depth)?;
        let object: Option<Map<_, _>> = pairs.as_array().and_then(|pairs| {
            let pair = |pair: &serde_json::Value| {
                Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.clone()))
            };
            pairs.iter().map(pair).collect()
        });
        Ok(object.map_or_else(|| json!({ "dict": pairs }), Into::into))
    }
}
