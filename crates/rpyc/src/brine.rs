//! Plain values to and from bytes.

use bytes::Bytes;
use num_bigint::BigInt;
use rpyc_proto::limits::MAX_DEPTH;
use rpyc_proto::model::ProtocolError;
use rpyc_proto::wire::{BULK_MIN, BulkBuffer, DecodeError, Reader, Token, Writer};

use crate::value::{Slice, Value};

/// What large bytes are received into.
#[derive(Debug)]
pub struct BytesBuffer {
    /// As far as the buffer was written to.
    written: Vec<u8>,
    room: usize,
}

impl BulkBuffer for BytesBuffer {
    type Done = Bytes;

    fn allocate(len: usize) -> Option<Self> {
        let empty = Self {
            written: Vec::new(),
            room: 0,
        };
        empty.grow(len)
    }

    fn grow(mut self, len: usize) -> Option<Self> {
        let more = len.saturating_sub(self.written.len());
        self.written.try_reserve_exact(more).ok()?;
        self.room = len;
        Some(self)
    }

    fn room(&self) -> usize {
        self.room
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.written.resize(self.room, 0);
        &mut self.written
    }

    fn unwritten(&mut self) -> Option<&mut Vec<u8>> {
        // With more capacity than was asked for, what belongs to others would be received.
        let exact = self.written.capacity() == self.room;
        exact.then_some(&mut self.written)
    }

    fn finish(self) -> Bytes {
        Bytes::from(self.written)
    }
}

/// Reads one plain value.
pub(crate) fn read(reader: &mut Reader<'_, Bytes>) -> Result<Value, ProtocolError> {
    Ok(read_at_depth(reader, 0)?)
}

/// Reads one plain value and appends it to `items`.
pub(crate) fn read_item(
    reader: &mut Reader<'_, Bytes>,
    items: &mut Vec<Value>,
) -> Result<(), ProtocolError> {
    Ok(read_item_at_depth(reader, items, 0)?)
}

/// Writes a value if it is plain, and tells whether it is.
pub(crate) fn write(value: &Value, out: &mut Writer<Bytes>) -> Result<bool, ProtocolError> {
    Ok(write_at_depth(value, out, 0)?)
}

#[inline]
fn read_at_depth(reader: &mut Reader<'_, Bytes>, depth: usize) -> Result<Value, DecodeError> {
    if depth <= MAX_DEPTH
        && let Some(value) = reader.short_int()
    {
        return Ok(Value::Int(value));
    }
    let at = reader.position();
    let token = reader.token()?;
    value_of(token, at, reader, depth)
}

/// Reads a value to where it stays: a value that is moved just after it was made is slow to move.
fn read_item_at_depth(
    reader: &mut Reader<'_, Bytes>,
    items: &mut Vec<Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    if let Some(value) = reader.short_int() {
        push_made(items, || Value::Int(value));
        return Ok(());
    }
    let at = reader.position();
    match reader.token() {
        Ok(Token::Tuple(count)) => {
            push_made(items, || Value::Tuple(Vec::new()));
            if let Some(Value::Tuple(own)) = items.last_mut() {
                reader.items_into(own, count, |reader, items| {
                    read_item_at_depth(reader, items, depth + 1)
                })?;
            }
        }
        Ok(token) => items.push(value_of(token, at, reader, depth)?),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Appends a value that is made where it stays. `push` makes it elsewhere first, for the case that there is
/// no room.
pub(crate) fn push_made(items: &mut Vec<Value>, make: impl FnMut() -> Value) {
    items.resize_with(items.len() + 1, make);
}

fn read_items(
    reader: &mut Reader<'_, Bytes>,
    count: usize,
    depth: usize,
) -> Result<Vec<Value>, DecodeError> {
    reader.items(count, |reader, items| {
        read_item_at_depth(reader, items, depth)
    })
}

/// The value that starts with a token, which stood at `at`.
fn value_of(
    token: Token<'_>,
    at: usize,
    reader: &mut Reader<'_, Bytes>,
    depth: usize,
) -> Result<Value, DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    let read = |reader: &mut Reader<'_, Bytes>| read_at_depth(reader, depth + 1);
    Ok(match token {
        Token::None => Value::None,
        Token::NotImplemented => Value::NotImplemented,
        Token::Ellipsis => Value::Ellipsis,
        Token::Bool(value) => Value::Bool(value),
        Token::Int(value) => Value::Int(value),
        Token::BigInt(text) => {
            // The reader has checked the digits and their number.
            let value: BigInt = text.parse().map_err(|_| DecodeError::BadInt { at })?;
            i64::try_from(&value).map_or(Value::BigInt(value), Value::Int)
        }
        Token::Float(value) => Value::Float(value),
        Token::Complex(real, imag) => Value::Complex(real, imag),
        Token::Bytes(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes)),
        Token::Bulk(index) => Value::Bytes(reader.bulk(index).cloned().unwrap_or_default()),
        Token::Str(text) => Value::Str(text.to_owned()),
        Token::Tuple(count) => Value::Tuple(read_items(reader, count, depth + 1)?),
        Token::FrozenSet(count) => Value::FrozenSet(read_items(reader, count, depth + 1)?),
        Token::Slice => Value::Slice(Box::new(Slice {
            start: read(reader)?,
            stop: read(reader)?,
            step: read(reader)?,
        })),
    })
}

fn write_at_depth(
    value: &Value,
    out: &mut Writer<Bytes>,
    depth: usize,
) -> Result<bool, DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    match value {
        Value::None => out.put_none(),
        Value::NotImplemented => out.put_not_implemented(),
        Value::Ellipsis => out.put_ellipsis(),
        Value::Bool(value) => out.put_bool(*value),
        Value::Int(value) => out.put_int(*value),
        Value::BigInt(value) => match i64::try_from(value) {
            Ok(value) => out.put_int(value),
            Err(_) => out.put_int_text(&value.to_string()),
        },
        Value::Float(value) => out.put_float(*value),
        Value::Complex(real, imag) => out.put_complex(*real, *imag),
        Value::Bytes(bytes) if bytes.len() >= BULK_MIN => out.put_bulk(bytes.len(), bytes.clone()),
        Value::Bytes(bytes) => out.put_bytes(bytes),
        Value::Str(text) => out.put_str(text),
        Value::Tuple(items) => {
            out.put_tuple(items.len());
            return write_items(items, out, depth);
        }
        Value::FrozenSet(items) => {
            out.put_frozenset(items.len());
            return write_items(items, out, depth);
        }
        Value::Slice(slice) => {
            out.put_slice();
            for part in [&slice.start, &slice.stop, &slice.step] {
                if !write_at_depth(part, out, depth + 1)? {
                    return Ok(false);
                }
            }
        }
        Value::Object(_) | Value::Netref(_) => return Ok(false),
    }
    Ok(true)
}

fn write_items(
    items: &[Value],
    out: &mut Writer<Bytes>,
    depth: usize,
) -> Result<bool, DecodeError> {
    for item in items {
        if !write_at_depth(item, out, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}
