//! The object model of the Rust face: values and objects of this crate.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use rpyc_proto::id::{EncodedId, IdPack};
use rpyc_proto::model::{ObjectModel, ProtocolError};
use rpyc_proto::wire::{Reader, Writer};

use super::perform::guarded;
use super::{Connection, Peer};
use crate::brine;
use crate::error::{Error, Exception};
use crate::object::{LaterReply, identity};
use crate::value::Value;

/// The values of one connection, for as long as one message is read or written.
pub(crate) struct Model<'a> {
    pub(super) peer: &'a Arc<Peer>,
}

/// Why an operation has no value: it failed, or it goes on.
pub(crate) enum Stop {
    /// It failed.
    Error(Box<Error>),
    /// The method is asynchronous.
    Later(LaterReply),
}

impl Stop {
    /// For where no asynchronous method can be called.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Error(error) => *error,
            Self::Later(_) => {
                Exception::new("RuntimeError", "an asynchronous method can't be used here").into()
            }
        }
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        stop.into_error()
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(Box::new(error))
    }
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Error::from(error).into()
    }
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Error::from(exception).into()
    }
}

impl<'a> Model<'a> {
    pub(crate) const fn new(peer: &'a Arc<Peer>) -> Self {
        Self { peer }
    }

    pub(super) const fn connection(&self) -> &Connection {
        Connection::of_ref(self.peer)
    }
}

impl ObjectModel for Model<'_> {
    type Value = Value;
    type Bulk = Bytes;
    type Error = Stop;

    fn read_plain(&mut self, reader: &mut Reader<'_, Bytes>) -> Result<Value, Stop> {
        Ok(brine::read(reader)?)
    }

    fn read_item(
        &mut self,
        reader: &mut Reader<'_, Bytes>,
        items: &mut Vec<Value>,
    ) -> Result<(), Stop> {
        Ok(brine::read_item(reader, items)?)
    }

    fn write_plain(&mut self, value: &Value, out: &mut Writer<Bytes>) -> Result<bool, Stop> {
        Ok(brine::write(value, out)?)
    }

    fn tuple_items(&self, value: &Value) -> Option<Vec<Value>> {
        match value {
            Value::Tuple(items) => Some(items.clone()),
            _ => None,
        }
    }

    fn iterate(&mut self, value: Value) -> Result<Vec<Value>, Stop> {
        Ok(value.extract::<Vec<Value>>().map_err(Error::from)?)
    }

    fn make_tuple(&mut self, items: Vec<Value>) -> Result<Value, Stop> {
        Ok(Value::Tuple(items))
    }

    fn write_own_proxy(&mut self, value: &Value, out: &mut Writer<Bytes>) -> Result<bool, Stop> {
        match value {
            Value::Netref(netref) if netref.is_of(self.peer) => {
                out.put_raw(netref.id().as_bytes());
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn write_export(&mut self, value: &Value, out: &mut Writer<Bytes>) -> Result<(), Stop> {
        let identity = match value {
            Value::Object(object) => identity(object),
            // A proxy of another connection: the peer reaches the object through this process.
            Value::Netref(netref) => netref.identity(),
            // A frozenset or a slice with such parts.
            other => {
                return Err(Exception::type_error(format!(
                    "a {} that holds objects can't travel",
                    other.kind()
                ))
                .into());
            }
        };
        if let Some(id) = self.peer.exports.lock().export_again(identity) {
            out.put_raw(id.as_bytes());
            return Ok(());
        }
        let (name, class) = guarded(|| Ok(class_of(value)))?;
        let limit = self.peer.config.limits.exports;
        let mut table = self.peer.exports.lock();
        if let Some(id) = table.export_again(identity) {
            out.put_raw(id.as_bytes());
            return Ok(());
        }
        if table.len() >= limit {
            drop(table);
            let text = format!("the peer already holds references to {limit} objects");
            return Err(Error::Limit(text).into());
        }
        let id = EncodedId::new(&name, class, table.take_instance());
        out.put_raw(id.as_bytes());
        let replaced = table.insert(id, identity, value.clone());
        drop(table);
        drop(replaced);
        Ok(())
    }

    fn push_known_local(&mut self, encoded: &[u8], items: &mut Vec<Value>) -> bool {
        let table = self.peer.exports.lock();
        let Some(entry) = table.get(encoded) else {
            return false;
        };
        match &entry.object {
            Value::Object(object) => brine::push_made(items, || Value::Object(Arc::clone(object))),
            other => items.push(other.clone()),
        }
        true
    }

    fn local(&mut self, id: IdPack<'_>) -> Result<Value, Stop> {
        match self.peer.export(&id) {
            Some(object) => Ok(object),
            None => {
                let pack = brine::read(&mut Reader::with_bulk(id.encoded, 0, &[]))?;
                Err(Exception::with_args("KeyError", vec![pack]).into())
            }
        }
    }

    fn proxy(&mut self, id: IdPack<'_>) -> Result<Value, Stop> {
        Ok(Value::Netref(self.peer.netrefs().arrived(self.peer, &id)))
    }
}

/// The class of an object as its id pack tells it. Peers keep one proxy class per class id, so
/// objects whose methods differ must not share one.
fn class_of(value: &Value) -> (String, i64) {
    let mut hasher = DefaultHasher::new();
    let name = match value {
        Value::Object(object) => {
            for method in object.methods() {
                method.name.hash(&mut hasher);
            }
            object.class_name().into_owned()
        }
        Value::Netref(netref) => {
            netref.identity().hash(&mut hasher);
            netref.class_name().to_owned()
        }
        other => other.kind().to_owned(),
    };
    name.hash(&mut hasher);
    // A positive number that is never 0, which would say that the object is a class.
    let class = ((hasher.finish() >> 17) | 1).cast_signed();
    (name, class)
}
