//! Whole messages: identities, references, boxed values, handlers.

use std::rc::Rc;

use rpyc_proto::boxing;
use rpyc_proto::consts::{Handler, MessageKind};
use rpyc_proto::dispatch::{self, Request};
use rpyc_proto::id::IdPack;
use rpyc_proto::message::{self, Dialect, Message};
use rpyc_proto::wire::{Payload, Reader, Writer};

use crate::common::object::{Model, Value};
use crate::common::plain::Plain;
use crate::common::walk::{Walk, Walked};

/// The messages that `data` spells (a byte says how long each is) reach an end with some objects.
/// Each is refused or answered, the answer can be read, and nothing that the peer may refer to is
/// given up without its asking.
///
/// # Panics
/// One of these does not hold.
pub fn check(mut data: &[u8]) {
    let mut model = Model::new(1);
    let objects = [model.root.clone(), Rc::default()];
    for (name, value) in [
        ("number", Value::Int(5)),
        ("object", Value::Object(objects[1].clone())),
        ("same", Value::Object(objects[0].clone())),
    ] {
        model
            .root
            .attributes
            .borrow_mut()
            .insert(name.to_owned(), value);
    }
    check_id(data);
    while let Some((&length, rest)) = data.split_first() {
        let (message, rest) = rest.split_at(rest.len().min(usize::from(length)));
        data = rest;
        check_message(&mut model, &Payload::plain(message.to_vec()));
    }
    // They may refer to each other.
    for object in objects {
        let _ = object.attributes.take();
    }
}

fn check_message(model: &mut Model, payload: &Payload<Vec<u8>>) {
    let Ok(message) = Message::parse(payload) else {
        return;
    };
    if message.kind != MessageKind::Request {
        for id in boxing::remote_refs(payload, message.body) {
            assert_eq!(id.canonical().as_bytes().first(), Some(&0x12));
        }
        let _ = boxing::take_boxed(model, payload, message.body);
        return;
    }
    check_release(payload, message.body);
    let held = model.exports.len();
    let mut out = Writer::new();
    message::put_head(
        &mut out,
        Dialect::V6,
        MessageKind::Reply,
        &payload.head[message.seq.clone()],
    );
    let result = match dispatch::peek_release(payload, message.body) {
        Some((id, count)) => {
            let id = id.canonical();
            model.release_id(&id, count)
        }
        None => {
            let kept = dispatch::read_request(model, payload, message.body).and_then(|request| {
                let gives_up = request.handler == Ok(Handler::Del);
                dispatch::dispatch(model, request).map(|value| (gives_up, value))
            });
            kept.map(|(gives_up, value)| {
                assert!(
                    gives_up || model.exports.len() >= held,
                    "an object was given up unasked"
                );
                value
            })
        }
    };
    let Ok(value) = result else {
        return;
    };
    if boxing::put_boxed(model, &mut out, &value).is_err() {
        return;
    }
    let answer = out.into_payload();
    let read = Message::parse(&answer).expect("an answer is a message");
    assert_eq!(answer.head[read.seq.clone()], payload.head[message.seq]);
    let mut walk = Walk::default();
    boxing::take_boxed(&mut walk, &answer, read.body).expect("an answer is a boxed value");
}

/// A release that is applied at sight is the same to who reads the whole request.
fn check_release(payload: &Payload<Vec<u8>>, body: usize) {
    let Some((id, count)) = dispatch::peek_release(payload, body) else {
        return;
    };
    // Whoever reads it whole may still find its end missing, or values that the walk does not know.
    let Ok(Request { handler, args }) = dispatch::read_request(&mut Walk::default(), payload, body)
    else {
        return;
    };
    assert!(matches!(handler, Ok(Handler::Del)));
    let Some((Walked::Local(first), rest)) = args.split_first() else {
        panic!("{args:?} for the release of {id:?}");
    };
    assert_eq!(first.as_bytes(), id.encoded);
    match rest {
        [] => assert_eq!(count, 1),
        [Walked::Plain(Plain::Int(number))] => assert_eq!(count, *number),
        [Walked::Plain(Plain::Bool(number))] => assert_eq!(count, i64::from(*number)),
        other => panic!("{other:?} for a count of {count}"),
    }
}

/// An identity has one canonical form, which reads as the same identity.
fn check_id(data: &[u8]) {
    let mut reader: Reader<'_> = Reader::new(data);
    let Ok(id) = IdPack::read(&mut reader) else {
        return;
    };
    let canonical = id.canonical();
    let mut reader: Reader<'_> = Reader::new(canonical.as_bytes());
    let again = IdPack::read(&mut reader).expect("canonical ids are ids");
    assert_eq!((again.name, again.is_class), (id.name, id.is_class));
    assert_eq!(again.canonical(), canonical);
    assert!(reader.at_end());
}
