//! Values nested so deeply that whoever follows them by recursion runs out of stack.
//!
//! Each of these is small enough for one frame, so any peer could send it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::endpoint::{Answer, Endpoint, ask, ask_raw};
use common::object::{Failure, Value};
use common::plain::Plain;
use rpyc_proto::boxing;
use rpyc_proto::dispatch::peek_release;
use rpyc_proto::id::IdPack;
use rpyc_proto::limits::MAX_DEPTH;
use rpyc_proto::message::Message;
use rpyc_proto::model::{ObjectModel, ProtocolError};
use rpyc_proto::vinegar::Vinegar;
use rpyc_proto::wire::{DecodeError, Payload, Reader, Writer};

/// How often each bomb nests.
const DEEP: usize = 100_000;

/// What opens one level, and what stands in the middle.
const BOMBS: &[(&str, &[u8], &[u8])] = &[
    ("1-tuples", &[0x10], &[0x02]),
    ("1-tuples without an end", &[0x10], &[]),
    ("counted tuples", &[0x14, 1], &[0x02]),
    ("frozensets of 1-tuples", &[0x1a, 0x10], &[0x02]),
    ("slices that start with a slice", &[0x19, 0x12], &[0x02]),
    ("slices of slices", &[0x19], &[0x12, 0, 0, 0]),
    ("frozensets of frozensets", &[0x1a], &[0x02]),
    ("slices and frozensets", &[0x19, 0x1a], &[0x02]),
    ("texts of texts", &[0x08], &[0x01]),
    ("boxed tuples", &[0x11, 0x52, 0x10], &[0x11, 0x51, 0x00]),
];

#[test]
fn a_bomb_is_refused_or_skipped_wherever_it_stands() {
    for (what, bomb) in bombs() {
        let mut reader: Reader<'_> = Reader::new(&bomb);
        if let Ok(skipped) = reader.skip() {
            assert_eq!(skipped, bomb, "{what}");
        }
        assert!(Plain::decode(&bomb).is_err(), "{what} as a value");
        let mut reader: Reader<'_> = Reader::new(&bomb);
        assert!(IdPack::read(&mut reader).is_err(), "{what} as an id");
        let mut reader: Reader<'_> = Reader::new(&bomb);
        assert!(
            Vinegar::read(&mut reader).is_err(),
            "{what} as an exception"
        );
        // As the arguments of an exception, where any value may stand.
        let mut exception =
            Plain::Tuple(vec![Plain::Str("m".into()), Plain::Str("E".into())]).encode();
        exception.insert(0, 0x13);
        exception.extend(&bomb);
        exception.extend([0x02, 0x08, 0x01]);
        let mut reader: Reader<'_> = Reader::new(&exception);
        if let Ok(Vinegar::Exception { args, .. }) = Vinegar::read(&mut reader) {
            assert!(Plain::decode(args).is_err(), "{what} as arguments");
        }
        // As the sequence number, and as the body behind one.
        for start in [&[1, 0x11][..], &[1, 0x11, 0x50], &[1]] {
            let payload = Payload::<Vec<u8>>::plain([start, &bomb].concat());
            let _ = Message::parse(&payload);
            assert!(peek_release(&payload, start.len()).is_none());
            assert!(boxing::remote_refs(&payload, start.len()).is_empty());
        }
    }
}

#[test]
fn a_bomb_in_a_request_is_answered_with_an_error() {
    let (mut here, mut there) = (Endpoint::new(1), Endpoint::new(2));
    for (what, bomb) in bombs() {
        for start in [
            // As the handler, as the boxed arguments, as the plain argument of a ping, as a boxed
            // argument of it, and as the id packs of references.
            &[0x11][..],
            &[0x11, 0x51],
            &[0x11, 0x51, 0x11, 0x51, 0x10],
            &[0x11, 0x51, 0x11, 0x52, 0x10],
            &[0x11, 0x51, 0x11, 0x52, 0x10, 0x11, 0x53],
            &[0x11, 0x51, 0x11, 0x52, 0x10, 0x11, 0x54],
        ] {
            let body = [start, &bomb].concat();
            match ask_raw(&mut here, &mut there, &body) {
                Answer::Raised(name, _) => assert_eq!(name, "ValueError", "{what}"),
                Answer::Value(_) => panic!("{what} was accepted"),
            }
        }
    }
    let answer = ask(&mut here, &mut there, 1, vec![Value::Int(1)]);
    assert_eq!(answer, Answer::Value(Value::Int(1)), "still connected");
}

#[test]
fn what_can_be_boxed_can_be_unboxed_up_to_the_limit() {
    let too_deep = Failure::Protocol(ProtocolError::Decode(DecodeError::TooDeep));
    for core in [Value::Int(1), Value::object()] {
        let (mut here, mut there) = (Endpoint::new(1), Endpoint::new(2));
        let mut deepest = None;
        for depth in MAX_DEPTH - 2..MAX_DEPTH + 3 {
            let value = nested(core.clone(), depth);
            let mut out = Writer::new();
            match boxing::put_boxed(&mut here.model, &mut out, &value) {
                Ok(()) => {
                    let payload = out.into_payload();
                    let read = boxing::take_boxed(&mut there.model, &payload, 0);
                    assert!(read.is_ok(), "{depth} levels are sent, but not read");
                    deepest = Some(depth);
                }
                Err(error) => assert_eq!(error, too_deep, "{depth} levels"),
            }
        }
        let deepest = deepest.expect("some depth is accepted");
        assert!(deepest >= MAX_DEPTH - 1, "only {deepest} levels");
        assert!(deepest < MAX_DEPTH + 2, "more levels than the limit");
    }
}

#[test]
fn a_value_too_deep_to_send_is_the_callers_error() {
    let mut here = Endpoint::new(1);
    for core in [Value::Int(1), Value::object()] {
        let value = nested(core, 5_000);
        let mut out = Writer::new();
        let sent = boxing::put_boxed(&mut here.model, &mut out, &value);
        let too_deep = Failure::Protocol(ProtocolError::Decode(DecodeError::TooDeep));
        assert_eq!(sent.unwrap_err(), too_deep);
        dismantle(value);
    }
}

#[test]
fn the_limit_of_boxed_tuples_is_exact() {
    let mut model = Endpoint::new(1).model;
    let mut read = |depth: usize| {
        let mut bytes = [0x11, 0x52, 0x10].repeat(depth);
        bytes.extend([0x11, 0x51, 0x00]);
        let payload = Payload::plain(bytes);
        boxing::take_boxed(&mut model, &payload, 0).map(|_| ())
    };
    assert_eq!(read(MAX_DEPTH), Ok(()));
    let too_deep = Failure::Protocol(ProtocolError::Decode(DecodeError::TooDeep));
    assert_eq!(read(MAX_DEPTH + 1), Err(too_deep));
}

#[test]
fn the_limit_of_plain_values_is_that_of_boxed_ones() {
    let mut model = Endpoint::new(1).model;
    let bytes = [vec![0x10; MAX_DEPTH], vec![0x02]].concat();
    let mut reader = Reader::<Vec<u8>>::with_bulk(&bytes, 0, &[]);
    assert!(model.read_plain(&mut reader).is_ok());
    let bytes = [vec![0x10; MAX_DEPTH + 1], vec![0x02]].concat();
    let mut reader = Reader::<Vec<u8>>::with_bulk(&bytes, 0, &[]);
    assert!(model.read_plain(&mut reader).is_err());
}

fn bombs() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    BOMBS.iter().map(|(what, level, core)| {
        let mut bomb = level.repeat(DEEP);
        bomb.extend_from_slice(core);
        (*what, bomb)
    })
}

fn nested(core: Value, depth: usize) -> Value {
    (0..depth).fold(core, |value, _| Value::Tuple(vec![value]))
}

/// Drops a nested value level by level.
fn dismantle(mut value: Value) {
    while let Value::Tuple(mut items) = value {
        value = items.swap_remove(0);
    }
}
