//! Exceptions: what a method raises for the peer, and what the peer raised.

use std::fmt;

use bytes::Bytes;
use rpyc_proto::model::ProtocolError;
use rpyc_proto::vinegar::Vinegar;
use rpyc_proto::wire::{Payload, Reader, Writer};

use super::builtins;
use crate::brine;
use crate::convert::IntoValue;
use crate::value::Value;

/// What stands in a traceback's place when there is none to tell.
const NO_TRACEBACK: &str = "<traceback denied>";
/// The attribute that carries the sender's version; peers compare its first part with theirs.
const VERSION_ATTRIBUTE: &str = "_remote_version";

/// A Python exception: one to raise in the peer, or one that the peer raised.
///
/// The peer makes an instance of the class with this name, if it has it: builtin classes always,
/// others if its configuration allows it (`instantiate_custom_exceptions`).
///
/// ```
/// use rpyc::Exception;
///
/// let error = Exception::new("ValueError", "no such channel: 9");
/// assert!(error.is("ValueError") && error.is("Exception"));
/// assert_eq!(error.to_string(), "ValueError: no such channel: 9");
/// ```
#[derive(Clone, PartialEq)]
pub struct Exception(Box<Raised>);

/// Apart from what points to it: most results are none, and small as long as this is.
#[derive(Clone, PartialEq)]
struct Raised {
    module: String,
    name: String,
    args: Vec<Value>,
    attributes: Vec<(String, Value)>,
    traceback: Option<String>,
}

impl Exception {
    /// An exception with one argument, its text. `class` is a dotted name; without a dot it is that
    /// of a builtin class.
    #[must_use]
    pub fn new(class: &str, text: impl Into<String>) -> Self {
        Self::with_args(class, vec![Value::Str(text.into())])
    }

    /// An exception with any arguments. Those that are not plain travel as their text.
    #[must_use]
    pub fn with_args(class: &str, args: Vec<Value>) -> Self {
        let (module, name) = split(class);
        Self(Box::new(Raised {
            module: module.to_owned(),
            name: name.to_owned(),
            args,
            attributes: Vec::new(),
            traceback: None,
        }))
    }

    /// The same with an attribute, which the peer's instance gets too. Names that start with `_` do
    /// not travel.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl IntoValue) -> Self {
        self.0.attributes.push((name.into(), value.into_value()));
        self
    }

    /// The same with a traceback, for what was caught elsewhere and is raised here.
    #[must_use]
    pub fn with_traceback(mut self, traceback: impl Into<String>) -> Self {
        self.0.traceback = Some(traceback.into());
        self
    }

    /// A `TypeError`.
    #[must_use]
    pub fn type_error(text: impl Into<String>) -> Self {
        Self::new("TypeError", text)
    }

    /// An `AttributeError` in Python's words.
    #[must_use]
    pub fn no_attribute(class: &str, name: &str) -> Self {
        Self::new(
            "AttributeError",
            format!("'{class}' object has no attribute '{name}'"),
        )
    }

    /// A `StopIteration`, the end of an iterator.
    #[must_use]
    pub fn stop_iteration() -> Self {
        Self::with_args("StopIteration", Vec::new())
    }

    /// The dotted name of the class; builtin classes go without their module.
    #[must_use]
    pub fn class(&self) -> String {
        if self.0.module == builtins::MODULE {
            self.0.name.clone()
        } else {
            format!("{}.{}", self.0.module, self.0.name)
        }
    }

    /// Whether this is an instance of the class with this dotted name (without a dot: of a builtin
    /// class). Of builtin classes the bases are known: a `KeyError` is a `LookupError`. Of other
    /// classes only the name is.
    #[must_use]
    pub fn is(&self, class: &str) -> bool {
        let (module, name) = split(class);
        if self.0.module == module && self.0.name == name {
            return true;
        }
        if module != builtins::MODULE {
            return false;
        }
        if self.0.module == builtins::MODULE {
            builtins::bases(&self.0.name).any(|base| base == name)
        } else {
            // Whatever was raised is one.
            name == "BaseException"
        }
    }

    /// The arguments.
    #[must_use]
    pub fn args(&self) -> &[Value] {
        &self.0.args
    }

    /// The attributes that travelled with it.
    #[must_use]
    pub fn attributes(&self) -> &[(String, Value)] {
        &self.0.attributes
    }

    /// An attribute by name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        let found = self.0.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    /// The traceback in the process that raised it, if that tells it.
    #[must_use]
    pub fn traceback(&self) -> Option<&str> {
        self.0.traceback.as_deref()
    }

    /// The text, without the class.
    #[must_use]
    pub fn message(&self) -> String {
        match self.0.args.as_slice() {
            [] => String::new(),
            // As Python has it: a missing key is shown as `repr()` does.
            [Value::Str(text)] if self.0.name != "KeyError" => text.clone(),
            [one] => format!("{one:?}"),
            many => format!("{:?}", Value::Tuple(many.to_vec())),
        }
    }

    /// What the peer shows as the traceback: the remote one that this came with, or where it was
    /// raised, as far as Rust tells.
    fn traceback_text(&self) -> String {
        self.0.traceback.clone().unwrap_or_else(|| {
            format!("Traceback (most recent call last):\n  in a method in Rust\n{self}\n")
        })
    }

    /// Reads the body of an exception message.
    pub(crate) fn read(payload: &Payload<Bytes>, body: usize) -> Result<Self, ProtocolError> {
        Ok(match Vinegar::read(&mut payload.reader_at(body))? {
            Vinegar::StopIteration => Self::stop_iteration(),
            Vinegar::Text(text) => Self::new("Exception", text),
            Vinegar::Exception {
                module,
                name,
                args,
                attributes,
                traceback,
            } => Self(Box::new(Raised {
                // What old peers call it.
                module: match module {
                    "exceptions" => builtins::MODULE.to_owned(),
                    other => other.to_owned(),
                },
                name: name.to_owned(),
                args: match decode(args)? {
                    Value::Tuple(items) => items,
                    other => vec![other],
                },
                attributes: read_attributes(decode(attributes)?),
                traceback: (traceback != NO_TRACEBACK).then(|| traceback.to_owned()),
            })),
        })
    }

    /// Writes the body of an exception message.
    pub(crate) fn write(&self, out: &mut Writer<Bytes>) -> Result<(), ProtocolError> {
        if self.0.name == "StopIteration" && self.0.module == builtins::MODULE {
            Vinegar::StopIteration.write(out);
            return Ok(());
        }
        let args = self.0.args.iter().map(plain).collect::<Vec<_>>();
        let attributes = self
            .0
            .attributes
            .iter()
            .filter(|(name, _)| !name.starts_with('_'))
            .map(|(name, value)| pair(name, plain(value)))
            .chain([pair(
                VERSION_ATTRIBUTE,
                Value::Str(crate::VERSION.to_owned()),
            )])
            .collect();
        Vinegar::Exception {
            module: &self.0.module,
            name: &self.0.name,
            args: &encode(&Value::Tuple(args))?,
            attributes: &encode(&Value::Tuple(attributes))?,
            traceback: &self.traceback_text(),
        }
        .write(out);
        Ok(())
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.class())?;
        let message = self.message();
        if message.is_empty() {
            Ok(())
        } else {
            write!(f, ": {message}")
        }
    }
}

/// As `Display`, and the remote traceback below it.
impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        match &self.0.traceback {
            Some(traceback) => write!(f, "\n\n========= Remote Traceback =========\n{traceback}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Exception {}

fn split(class: &str) -> (&str, &str) {
    class.rsplit_once('.').unwrap_or((builtins::MODULE, class))
}

/// A value that can travel with an exception: only plain ones can.
fn plain(value: &Value) -> Value {
    let mut scratch = Writer::new();
    match brine::write(value, &mut scratch) {
        Ok(true) => value.clone(),
        _ => Value::Str(format!("{value:?}")),
    }
}

fn pair(name: &str, value: Value) -> Value {
    Value::Tuple(vec![Value::Str(name.to_owned()), value])
}

fn read_attributes(value: Value) -> Vec<(String, Value)> {
    let Value::Tuple(pairs) = value else {
        return Vec::new();
    };
    let pairs = pairs.into_iter().filter_map(|pair| match pair {
        Value::Tuple(items) => match <[Value; 2]>::try_from(items) {
            Ok([Value::Str(name), value]) => Some((name, value)),
            _ => None,
        },
        _ => None,
    });
    pairs.collect()
}

fn decode(encoded: &[u8]) -> Result<Value, ProtocolError> {
    brine::read(&mut Reader::with_bulk(encoded, 0, &[]))
}

fn encode(value: &Value) -> Result<Vec<u8>, ProtocolError> {
    let mut out = Writer::new();
    brine::write(value, &mut out)?;
    Ok(out.into_payload().to_vec())
}
