//! A model without objects, for looking at bodies.

use std::collections::BTreeSet;

use rpyc_proto::boxing;
use rpyc_proto::id::{EncodedId, IdPack};
use rpyc_proto::model::{ObjectModel, ProtocolError};
use rpyc_proto::wire::{DecodeError, Reader, Writer};

use super::plain::Plain;

/// Boxes a value.
pub(crate) fn boxed(walk: &mut Walk, value: &Walked) -> Vec<u8> {
    let mut out = Writer::new();
    boxing::put_boxed(walk, &mut out, value).unwrap();
    out.into_payload().to_vec()
}

/// A model without objects: references stay what they are.
#[derive(Default)]
pub(crate) struct Walk {
    /// The names of all references to objects of the sender.
    pub(crate) remote: BTreeSet<String>,
}

/// A value as its labels say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Walked {
    Plain(Plain),
    Tuple(Vec<Self>),
    Local(EncodedId),
    Remote(EncodedId),
}

impl ObjectModel for Walk {
    type Value = Walked;
    type Bulk = Vec<u8>;
    type Error = ProtocolError;

    fn read_plain(&mut self, reader: &mut Reader<'_, Vec<u8>>) -> Result<Walked, ProtocolError> {
        Ok(Walked::Plain(Plain::read(reader)?))
    }

    fn write_plain(
        &mut self,
        value: &Walked,
        out: &mut Writer<Vec<u8>>,
    ) -> Result<bool, ProtocolError> {
        let Walked::Plain(plain) = value else {
            return Ok(false);
        };
        plain.write(out);
        Ok(true)
    }

    fn tuple_items(&self, value: &Walked) -> Option<Vec<Walked>> {
        match value {
            Walked::Tuple(items) => Some(items.clone()),
            _ => None,
        }
    }

    fn iterate(&mut self, value: Walked) -> Result<Vec<Walked>, ProtocolError> {
        Err(ProtocolError::Decode(DecodeError::Unexpected {
            expected: "a tuple of arguments",
            found: match value {
                Walked::Plain(_) | Walked::Tuple(_) => "a value",
                Walked::Local(_) | Walked::Remote(_) => "a reference",
            },
            at: 0,
        }))
    }

    fn make_tuple(&mut self, items: Vec<Walked>) -> Result<Walked, ProtocolError> {
        Ok(Walked::Tuple(items))
    }

    fn write_own_proxy(
        &mut self,
        value: &Walked,
        out: &mut Writer<Vec<u8>>,
    ) -> Result<bool, ProtocolError> {
        let Walked::Local(id) = value else {
            return Ok(false);
        };
        out.put_raw(id.as_bytes());
        Ok(true)
    }

    fn write_export(
        &mut self,
        value: &Walked,
        out: &mut Writer<Vec<u8>>,
    ) -> Result<(), ProtocolError> {
        let Walked::Remote(id) = value else {
            panic!("{value:?} is no reference");
        };
        out.put_raw(id.as_bytes());
        Ok(())
    }

    fn local(&mut self, id: IdPack<'_>) -> Result<Walked, ProtocolError> {
        Ok(Walked::Local(EncodedId::from_canonical(id.encoded)))
    }

    fn proxy(&mut self, id: IdPack<'_>) -> Result<Walked, ProtocolError> {
        self.remote.insert(id.name.to_owned());
        Ok(Walked::Remote(EncodedId::from_canonical(id.encoded)))
    }
}
