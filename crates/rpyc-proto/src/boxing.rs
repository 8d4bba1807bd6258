//! Boxed values: how a value travels, for any model.
//!
//! A boxed value is a pair of [`Label`] and content. Plain values go as they are; a tuple that holds
//! anything else goes item by item; proxies go back as what they stand for; all else is registered
//! and goes as a reference.

use alloc::vec::Vec;

use crate::consts::Label;
use crate::id::IdPack;
use crate::limits::MAX_DEPTH;
use crate::model::{ObjectModel, ProtocolError};
use crate::wire::{DecodeError, Payload, Reader, Token, Writer};

/// Writes the head of a boxed value; its content must follow.
#[inline]
pub fn put_label<B>(out: &mut Writer<B>, label: Label) {
    out.put_tuple(2);
    out.put_int(i64::from(label.number()));
}

/// Boxes a value.
///
/// # Errors
/// The model's, or `TooDeep`.
pub fn put_boxed<M: ObjectModel>(
    model: &mut M,
    out: &mut Writer<M::Bulk>,
    value: &M::Value,
) -> Result<(), M::Error> {
    put_at_depth(model, out, value, 0)
}

fn put_at_depth<M: ObjectModel>(
    model: &mut M,
    out: &mut Writer<M::Bulk>,
    value: &M::Value,
    depth: usize,
) -> Result<(), M::Error> {
    check_depth(depth)?;
    let mark = out.mark();
    put_label(out, Label::Value);
    if model.write_plain(value, out)? {
        return Ok(());
    }
    out.rollback(mark);
    if let Some(items) = model.tuple_items(value) {
        put_label(out, Label::Tuple);
        out.put_tuple(items.len());
        for item in &items {
            put_at_depth(model, out, item, depth + 1)?;
        }
        return Ok(());
    }
    put_label(out, Label::LocalRef);
    if model.write_own_proxy(value, out)? {
        return Ok(());
    }
    out.rollback(mark);
    put_label(out, Label::RemoteRef);
    model.write_export(value, out)
}

/// Reads a boxed value that starts at `offset` of `payload`.
///
/// # Errors
/// The model's, or a [`ProtocolError`].
pub fn take_boxed<M: ObjectModel>(
    model: &mut M,
    payload: &Payload<M::Bulk>,
    offset: usize,
) -> Result<M::Value, M::Error> {
    let mut reader = payload.reader_at(offset);
    take_at_depth(model, &mut reader, 0)
}

/// Reads the boxed arguments of a request: the items of a boxed tuple, or of whatever else iterable
/// comes in its place.
///
/// # Errors
/// The model's, or a [`ProtocolError`].
pub fn take_args<M: ObjectModel>(
    model: &mut M,
    reader: &mut Reader<'_, M::Bulk>,
) -> Result<Vec<M::Value>, M::Error> {
    let value = match take_label(reader)? {
        Label::Tuple => return take_items(model, reader, 0),
        Label::Value => {
            let start = reader.position();
            if let Token::Tuple(count) = reader.token().map_err(ProtocolError::from)? {
                return reader.items(count, |reader, items| model.read_item(reader, items));
            }
            reader.rewind(start);
            model.read_plain(reader)?
        }
        Label::LocalRef => take_local(model, reader)?,
        Label::RemoteRef => {
            let id = IdPack::read(reader).map_err(ProtocolError::from)?;
            model.proxy(id)?
        }
    };
    model.iterate(value)
}

/// The id packs of all references to objects of the sender in a boxed value.
///
/// Whoever drops a value undecoded owes the peer a release for each of them. Malformed values have
/// no references beyond the point where they stop making sense.
#[must_use]
pub fn remote_refs<B>(payload: &Payload<B>, offset: usize) -> Vec<IdPack<'_>> {
    let mut reader = payload.reader_at(offset);
    let mut found = Vec::new();
    let mut values = 1usize;
    while values > 0 {
        values -= 1;
        let step = match take_label(&mut reader) {
            Ok(Label::Value | Label::LocalRef) => reader.skip().is_ok(),
            Ok(Label::Tuple) => match reader.token() {
                Ok(Token::Tuple(count)) => {
                    values += count;
                    true
                }
                _ => false,
            },
            Ok(Label::RemoteRef) => match IdPack::read(&mut reader) {
                Ok(id) => {
                    found.push(id);
                    true
                }
                Err(_) => false,
            },
            Err(_) => false,
        };
        if !step {
            break;
        }
    }
    found
}

fn take_at_depth<M: ObjectModel>(
    model: &mut M,
    reader: &mut Reader<'_, M::Bulk>,
    depth: usize,
) -> Result<M::Value, M::Error> {
    check_depth(depth)?;
    let label = take_label(reader)?;
    take_content(model, reader, label, depth)
}

/// Reads a boxed value behind its label.
fn take_content<M: ObjectModel>(
    model: &mut M,
    reader: &mut Reader<'_, M::Bulk>,
    label: Label,
    depth: usize,
) -> Result<M::Value, M::Error> {
    match label {
        Label::Value => model.read_plain(reader),
        Label::Tuple => {
            let items = take_items(model, reader, depth)?;
            model.make_tuple(items)
        }
        Label::LocalRef => take_local(model, reader),
        Label::RemoteRef => {
            let id = IdPack::read(reader).map_err(ProtocolError::from)?;
            model.proxy(id)
        }
    }
}

fn take_local<M: ObjectModel>(
    model: &mut M,
    reader: &mut Reader<'_, M::Bulk>,
) -> Result<M::Value, M::Error> {
    let id = IdPack::read(reader).map_err(ProtocolError::from)?;
    model.local(id)
}

/// As [`take_local`], for an item.
fn take_local_item<M: ObjectModel>(
    model: &mut M,
    reader: &mut Reader<'_, M::Bulk>,
    items: &mut Vec<M::Value>,
) -> Result<(), M::Error> {
    let start = reader.position();
    // The bytes that we once sent ourselves need no second look.
    if let Some(encoded) = reader.step_over_id() {
        if model.push_known_local(encoded, items) {
            return Ok(());
        }
        reader.rewind(start);
    }
    items.push(take_local(model, reader)?);
    Ok(())
}

fn take_items<M: ObjectModel>(
    model: &mut M,
    reader: &mut Reader<'_, M::Bulk>,
    depth: usize,
) -> Result<Vec<M::Value>, M::Error> {
    let at = reader.position();
    match reader.token().map_err(ProtocolError::from)? {
        Token::Tuple(count) => reader.items(count, |reader, items| {
            check_depth(depth + 1)?;
            match take_label(reader)? {
                Label::Value => model.read_item(reader, items)?,
                Label::LocalRef => take_local_item(model, reader, items)?,
                label => items.push(take_content(model, reader, label, depth + 1)?),
            }
            Ok(())
        }),
        other => Err(unexpected("a tuple of boxed values", other, at).into()),
    }
}

const fn check_depth(depth: usize) -> Result<(), ProtocolError> {
    if depth > MAX_DEPTH {
        return Err(ProtocolError::Decode(DecodeError::TooDeep));
    }
    Ok(())
}

#[inline(always)]
fn take_label<B>(reader: &mut Reader<'_, B>) -> Result<Label, ProtocolError> {
    let start = reader.position();
    if let Some(label) = reader.step_into_pair().and_then(Label::from_wire) {
        return Ok(label);
    }
    reader.rewind(start);
    take_unusual_label(reader)
}

#[cold]
fn take_unusual_label<B>(reader: &mut Reader<'_, B>) -> Result<Label, ProtocolError> {
    reader.tuple_of(2, "a boxed value")?;
    let number = reader.small_int("a label")?;
    Label::from_wire(number).ok_or(ProtocolError::Label(number))
}

const fn unexpected(expected: &'static str, found: Token<'_>, at: usize) -> ProtocolError {
    ProtocolError::Decode(DecodeError::Unexpected {
        expected,
        found: found.kind(),
        at,
    })
}
