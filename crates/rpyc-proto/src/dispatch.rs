//! The handlers, for any model.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::boxing;
use crate::consts::{Handler, Label, MessageKind};
use crate::id::IdPack;
use crate::message::{self, Dialect, Message};
use crate::model::{ObjectModel, Operations, ProtocolError};
use crate::wire::{Payload, Reader, Token, Writer};

/// Starts a request: the boxed arguments must follow.
pub fn put_request<B>(out: &mut Writer<B>, dialect: Dialect, seq: u64, handler: i64) {
    message::put_numbered_head(out, dialect, MessageKind::Request, seq);
    out.put_tuple(2);
    out.put_int(handler);
}

/// Starts the boxed arguments of a request on an object of the peer: its id pack, encoded, and
/// then `more` boxed arguments, which must follow.
pub fn put_target<B>(out: &mut Writer<B>, encoded_id: &[u8], more: usize) {
    boxing::put_label(out, Label::Tuple);
    out.put_tuple(more + 1);
    boxing::put_label(out, Label::LocalRef);
    out.put_raw(encoded_id);
}

/// Boxes a value that is plain for sure.
pub fn put_boxed_with<B>(out: &mut Writer<B>, put: impl FnOnce(&mut Writer<B>)) {
    boxing::put_label(out, Label::Value);
    put(out);
}

/// A request that was read up to its arguments.
#[derive(Debug)]
pub struct Request<V> {
    /// The handler, or what came instead of one: apart, because that is rare.
    pub handler: Result<Handler, Box<V>>,
    /// The unboxed arguments.
    pub args: Vec<V>,
}

/// Reads the body of a request.
///
/// # Errors
/// The model's, or a [`ProtocolError`].
pub fn read_request<M: ObjectModel>(
    model: &mut M,
    payload: &Payload<M::Bulk>,
    body: usize,
) -> Result<Request<M::Value>, M::Error> {
    let mut reader = payload.reader_at(body);
    reader
        .tuple_of(2, "a pair of handler and arguments")
        .map_err(ProtocolError::from)?;
    let at = reader.position();
    let handler = match read_handler(&mut reader) {
        Some(handler) => Ok(handler),
        None => {
            reader.rewind(at);
            Err(Box::new(model.read_plain(&mut reader)?))
        }
    };
    let args = boxing::take_args(model, &mut reader)?;
    Ok(Request { handler, args })
}

/// If the body is a plain release of references, its object and count.
///
/// A release must be applied the moment it arrives, before later messages are looked at; this finds
/// it without unboxing anything.
#[must_use]
pub fn peek_release<B>(payload: &Payload<B>, body: usize) -> Option<(IdPack<'_>, i64)> {
    let mut reader = payload.reader_at(body);
    reader.tuple_of(2, "").ok()?;
    if read_handler(&mut reader)? != Handler::Del {
        return None;
    }
    let label = |reader: &mut Reader<'_, B>, wanted: Label| {
        reader.tuple_of(2, "").ok()?;
        (reader.small_int("").ok()? == i64::from(wanted.number())).then_some(())
    };
    label(&mut reader, Label::Tuple)?;
    let Token::Tuple(count @ (1 | 2)) = reader.token().ok()? else {
        return None;
    };
    label(&mut reader, Label::LocalRef)?;
    let id = IdPack::read(&mut reader).ok()?;
    if count == 1 {
        return Some((id, 1));
    }
    label(&mut reader, Label::Value)?;
    Some((id, reader.small_int("").ok()?))
}

/// The handler that a request asks for, if it is a known one.
#[must_use]
pub fn peek_handler<B>(payload: &Payload<B>, body: usize) -> Option<Handler> {
    let mut reader = payload.reader_at(body);
    reader.tuple_of(2, "").ok()?;
    read_handler(&mut reader)
}

/// Where the boxed arguments of a request start.
#[must_use]
pub fn args_offset<B>(payload: &Payload<B>, body: usize) -> Option<usize> {
    let mut reader = payload.reader_at(body);
    reader.tuple_of(2, "").ok()?;
    reader.skip().ok()?;
    Some(reader.position())
}

/// If a message says that nobody waits for the answer to a request: that one's sequence number.
#[must_use]
pub fn peek_cancel<B>(payload: &Payload<B>) -> Option<u64> {
    let mut reader = Message::request_body(payload)?;
    reader.tuple_of(2, "").ok()?;
    if read_handler(&mut reader)? != Handler::Cancel {
        return None;
    }
    reader.tuple_of(2, "").ok()?;
    if reader.small_int("").ok()? != i64::from(Label::Value.number()) {
        return None;
    }
    reader.tuple_of(1, "").ok()?;
    u64::try_from(reader.small_int("").ok()?).ok()
}

/// The handler, if the next value is the number of one.
///
/// Python finds the handler 1 by the keys True and 1.0 as well, and so do RPyC's peers.
#[inline(always)]
fn read_handler<B>(reader: &mut Reader<'_, B>) -> Option<Handler> {
    let number = match reader.immediate() {
        Some(number) => number,
        None => read_unusual_handler(reader)?,
    };
    Handler::from_wire(number)
}

#[cold]
fn read_unusual_handler<B>(reader: &mut Reader<'_, B>) -> Option<i64> {
    Some(match reader.token().ok()? {
        Token::Int(number) => number,
        Token::Bool(value) => i64::from(value),
        Token::Float(value) if (0.0..256.0).contains(&value) && value == f64::from(value as u8) => {
            i64::from(value as u8)
        }
        _ => return None,
    })
}

/// Performs a request.
///
/// # Errors
/// What the operation raised, or a [`ProtocolError`].
pub fn dispatch<M: Operations>(
    model: &mut M,
    request: Request<M::Value>,
) -> Result<M::Value, M::Error> {
    let handler = request
        .handler
        .map_err(|other| model.unknown_handler(*other))?;
    let given = request.args.len();
    let mut args = request.args.into_iter();
    // A `let .. else` per shape keeps each handler on one line.
    macro_rules! take {
        ($count:literal ..= $max:literal) => {{
            if !($count..=$max).contains(&given) {
                return Err(ProtocolError::Arity { handler, given }.into());
            }
        }};
    }
    macro_rules! next {
        () => {
            args.next().ok_or(ProtocolError::Arity { handler, given })?
        };
    }
    match handler {
        Handler::Ping => {
            take!(1..=1);
            Ok(next!())
        }
        Handler::Close => {
            take!(0..=0);
            model.close()
        }
        Handler::GetRoot => {
            take!(0..=0);
            model.root()
        }
        Handler::GetAttr => {
            take!(2..=2);
            model.getattr(next!(), next!())
        }
        Handler::DelAttr => {
            take!(2..=2);
            model.delattr(next!(), next!())
        }
        Handler::SetAttr => {
            take!(3..=3);
            model.setattr(next!(), next!(), next!())
        }
        Handler::Call => {
            take!(2..=3);
            model.call(next!(), next!(), args.next())
        }
        Handler::CallAttr => {
            take!(3..=4);
            model.call_attr(next!(), next!(), next!(), args.next())
        }
        Handler::Repr => {
            take!(1..=1);
            model.repr(next!())
        }
        Handler::Str => {
            take!(1..=1);
            model.str(next!())
        }
        Handler::Cmp => {
            take!(2..=3);
            model.cmp(next!(), next!(), args.next())
        }
        Handler::Hash => {
            take!(1..=1);
            model.hash(next!())
        }
        Handler::Dir => {
            take!(1..=1);
            model.dir(next!())
        }
        Handler::Pickle => {
            take!(2..=2);
            model.pickle(next!(), next!())
        }
        Handler::Del => {
            take!(1..=2);
            model.release(next!(), args.next())
        }
        Handler::Inspect => {
            take!(1..=1);
            model.inspect(next!())
        }
        Handler::BufIter => {
            take!(2..=2);
            model.buffiter(next!(), next!())
        }
        Handler::OldSlicing => {
            take!(6..=6);
            model.oldslicing(args.collect())
        }
        Handler::CtxExit => {
            take!(2..=2);
            model.ctxexit(next!(), next!())
        }
        Handler::InstanceCheck => {
            take!(2..=2);
            model.instancecheck(next!(), next!())
        }
        Handler::Features => {
            take!(0..=0);
            model.features()
        }
        Handler::Cancel => {
            take!(1..=1);
            model.cancel(next!())
        }
        Handler::Heartbeat => {
            take!(1..=1);
            model.heartbeat(next!())
        }
        Handler::PickleBuffers => {
            take!(1..=1);
            model.pickle_buffers(next!())
        }
        Handler::ReadAhead => {
            take!(3..=3);
            model.read_ahead(next!(), next!(), next!())
        }
        Handler::Batch => model.batch(args.collect()),
    }
}
