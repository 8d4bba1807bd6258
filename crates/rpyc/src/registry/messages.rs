//! What registries and those who ask them say.

use std::path::PathBuf;

use rpyc_proto::wire::{Reader, Writer};

use crate::address::Address;
use crate::brine;
use crate::value::Value;

/// The longest request that a registry reads, in bytes.
pub(super) const MAX_REQUEST: usize = 1500;
/// The longest reply that a client reads, in bytes: what fits into one datagram.
pub(super) const MAX_REPLY: usize = 65_535;
/// The reply to commands that have nothing to tell.
pub(super) const ACKNOWLEDGED: &str = "OK";

const MAGIC: &str = "RPYC";

/// What a registry is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// Who offers this?
    Query(String),
    /// What is there, at all or on one host?
    List(Option<String>),
    /// The sender's host offers these, there.
    Register(Vec<String>, Port),
    /// The sender's host offers nothing there any more.
    Unregister(Port),
}

/// Where on a host a server is: a port, or the path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Port {
    Number(u16),
    Path(String),
}

impl Port {
    pub(super) fn of(address: &Address) -> Self {
        match address {
            Address::Tcp { port, .. } | Address::Ssl { port, .. } => Self::Number(*port),
            Address::Unix(path) => Self::Path(path.display().to_string()),
        }
    }

    pub(super) fn at(self, host: &str) -> Address {
        match self {
            Self::Number(port) => Address::Tcp {
                host: host.to_owned(),
                port,
            },
            Self::Path(path) => Address::Unix(PathBuf::from(path)),
        }
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Int(port) => u16::try_from(*port).ok().map(Self::Number),
            Value::Str(path) => Some(Self::Path(path.clone())),
            _ => None,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Number(port) => Value::Int(i64::from(*port)),
            Self::Path(path) => Value::Str(path.clone()),
        }
    }
}

impl Command {
    pub(super) fn encode(&self) -> Vec<u8> {
        let text = |text: &str| Value::Str(text.to_owned());
        let (command, args) = match self {
            Self::Query(name) => ("QUERY", vec![text(name)]),
            Self::List(host) => {
                let host = host.as_deref().map_or(Value::None, text);
                ("LIST", vec![Value::Tuple(vec![host])])
            }
            Self::Register(names, port) => {
                let names = names.iter().map(|name| text(name)).collect();
                ("REGISTER", vec![Value::Tuple(names), port.to_value()])
            }
            Self::Unregister(port) => ("UNREGISTER", vec![port.to_value()]),
        };
        encode(&Value::Tuple(vec![
            text(MAGIC),
            text(command),
            Value::Tuple(args),
        ]))
    }

    /// `None`: this is no request.
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let [magic, command, args] = items(decode(data)?)?;
        let (Value::Str(magic), Value::Str(command), Value::Tuple(args)) = (magic, command, args)
        else {
            return None;
        };
        if magic != MAGIC {
            return None;
        }
        match (command.to_ascii_uppercase().as_str(), args.as_slice()) {
            ("QUERY", [Value::Str(name)]) => Some(Self::Query(name.clone())),
            ("LIST", [Value::Tuple(filter)]) => match filter.as_slice() {
                [Value::None] => Some(Self::List(None)),
                [Value::Str(host)] if host.is_empty() => Some(Self::List(None)),
                [Value::Str(host)] => Some(Self::List(Some(host.clone()))),
                _ => None,
            },
            ("REGISTER", [Value::Tuple(names), port]) => {
                Some(Self::Register(texts(names)?, Port::read(port)?))
            }
            ("UNREGISTER", [port]) => Some(Self::Unregister(Port::read(port)?)),
            _ => None,
        }
    }
}

/// The addresses in the reply to a query.
pub(super) fn read_addresses(reply: Value) -> Option<Vec<Address>> {
    let Value::Tuple(entries) = reply else {
        return None;
    };
    let address = |entry| {
        let [host, port] = items(entry)?;
        match host {
            Value::Str(host) => Some(Port::read(&port)?.at(&host)),
            _ => None,
        }
    };
    entries.into_iter().map(address).collect()
}

/// The names in the reply to a list.
pub(super) fn read_names(reply: &Value) -> Option<Vec<String>> {
    match reply {
        Value::Tuple(names) => texts(names),
        _ => None,
    }
}

/// A plain value as bytes.
pub(super) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Writer::new();
    // Texts, numbers and tuples of them can always be written.
    let _ = brine::write(value, &mut out);
    out.into_payload().to_vec()
}

/// `None`: these bytes are no value, or it is not complete.
pub(super) fn decode(data: &[u8]) -> Option<Value> {
    brine::read(&mut Reader::with_bulk(data, 0, &[])).ok()
}

fn items<const N: usize>(value: Value) -> Option<[Value; N]> {
    match value {
        Value::Tuple(items) => items.try_into().ok(),
        _ => None,
    }
}

fn texts(values: &[Value]) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::Str(text) => Some(text.clone()),
        _ => None,
    };
    values.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_they_are_written() {
        for command in [
            Command::Query("CALC".into()),
            Command::List(None),
            Command::List(Some("10.0.0.1".into())),
            Command::Register(vec!["A".into(), "B".into()], Port::Number(18861)),
            Command::Unregister(Port::Path("/tmp/s".into())),
        ] {
            assert_eq!(Command::decode(&command.encode()), Some(command));
        }
    }

    #[test]
    fn what_is_no_command_is_not_read() {
        let text = |text: &str| Value::Str(text.into());
        for value in [
            Value::None,
            Value::Tuple(vec![text("RPYC"), text("QUERY")]),
            Value::Tuple(vec![
                text("RPYX"),
                text("QUERY"),
                Value::Tuple(vec![text("A")]),
            ]),
            Value::Tuple(vec![text("RPYC"), Value::Int(1), Value::Tuple(vec![])]),
            Value::Tuple(vec![
                text("RPYC"),
                text("UNREGISTER"),
                Value::Tuple(vec![Value::Int(70_000)]),
            ]),
        ] {
            assert_eq!(Command::decode(&encode(&value)), None, "{value:?}");
        }
        assert_eq!(Command::decode(b"\xff\xff"), None);
        assert_eq!(Command::decode(b""), None);
    }
}
