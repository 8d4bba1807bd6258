//! Whole recorded conversations of RPyC 6.0.2 with itself, and its serialized exceptions.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use std::collections::BTreeSet;

use common::plain::Plain;
use common::walk::{Walk, boxed};
use common::{Noise, list, received, rewritten_exception, text, unhex, vectors};
use rpyc_proto::boxing;
use rpyc_proto::consts::{Handler, MessageKind};
use rpyc_proto::dispatch::{self, peek_release};

use rpyc_proto::limits::Limits;
use rpyc_proto::message::Message;
use rpyc_proto::model::ProtocolError;
use rpyc_proto::session::{Event, Session};
use rpyc_proto::vinegar::Vinegar;
use rpyc_proto::wire::{Deframer, Payload, Writer};
use serde_json::Value;

type Bytes = Payload<Vec<u8>>;

#[test]
fn recorded_frames_parse_and_answers_find_their_requests() {
    let vectors = vectors();
    for session in sessions(&vectors) {
        // One session each for what the client and what the server asked.
        let mut ends = [("c2s", new_session()), ("s2c", new_session())];
        for frame in list(&session["frames"]) {
            let payload = payload_of(frame);
            let message = Message::parse(&payload).unwrap();
            assert_eq!(message.number, frame["seq"].as_u64(), "{frame}");
            let ours = usize::from(text(&frame["dir"]) == ends[1].0);
            let kind = text(&frame["msg"]);
            if kind == "request" {
                assert_eq!(message.kind, MessageKind::Request);
                ends[ours].1.insert(message.number.unwrap(), ());
            }
            // The receiver of a frame is the other end.
            match ends[1 - ours].1.handle(&payload).unwrap() {
                Event::Request { seq, body } => {
                    assert_eq!(kind, "request");
                    assert_eq!((seq, body), (message.seq, message.body));
                }
                Event::Answer {
                    is_exception, body, ..
                } => {
                    assert_eq!(kind == "exception", is_exception, "{frame}");
                    assert_eq!(body, message.body);
                }
                Event::Orphan { .. } => panic!("nobody asked for {frame}"),
            }
        }
    }
}

#[test]
fn recorded_bodies_unbox_to_what_was_recorded_and_box_to_the_same_bytes() {
    let vectors = vectors();
    let (mut requests, mut replies, mut exceptions, mut compared) = (0, 0, 0, 0);
    for session in sessions(&vectors) {
        let mut walk = Walk::default();
        for frame in list(&session["frames"]) {
            let payload = payload_of(frame);
            let message = Message::parse(&payload).unwrap();
            let body = &payload.head[message.body..];
            let recorded = match message.kind {
                MessageKind::Request => {
                    requests += 1;
                    assert_eq!(reboxed_request(&mut walk, &payload, &message), body);
                    let request = dispatch::read_request(&mut walk, &payload, message.body);
                    let handler = request.unwrap().handler.unwrap();
                    assert_eq!(Some(u64::from(handler.number())), frame["handler"].as_u64());
                    &frame["boxed_args"]
                }
                MessageKind::Reply => {
                    replies += 1;
                    let value = boxing::take_boxed(&mut walk, &payload, message.body).unwrap();
                    assert_eq!(boxed(&mut walk, &value), body, "{frame}");
                    &frame["boxed_value"]
                }
                MessageKind::Exception => {
                    exceptions += 1;
                    assert_eq!(rewritten_exception(body), body, "{frame}");
                    &frame["exception"]
                }
            };
            compared += usize::from(matches_record(&payload, &message, recorded));
        }
        let named: BTreeSet<String> = list(&session["id_packs"])
            .iter()
            .map(|pack| text(&pack["name"]).to_owned())
            .collect();
        assert!(!walk.remote.is_empty());
        assert!(
            walk.remote.is_subset(&named),
            "{:?} are not among the recorded names",
            walk.remote.difference(&named)
        );
    }
    assert_eq!((requests, replies, exceptions), (287, 250, 28));
    // The record holds the text of each body; some contain a float, which Rust writes differently.
    assert!(compared > 540, "{compared} bodies were compared by text");
}

#[test]
fn recorded_releases_are_recognised_without_unboxing() {
    let vectors = vectors();
    let mut releases = 0;
    for session in sessions(&vectors) {
        for frame in list(&session["frames"]) {
            let payload = payload_of(frame);
            let message = Message::parse(&payload).unwrap();
            let is_release = frame["handler_name"] == "del";
            let found = peek_release(&payload, message.body);
            assert_eq!(
                found.is_some() && message.kind == MessageKind::Request,
                is_release,
                "{frame}"
            );
            if let Some((id, count)) = found.filter(|_| is_release) {
                releases += 1;
                assert_eq!(id.canonical().as_bytes(), id.encoded);
                let ending = format!("(1, {count})))");
                assert!(text(&frame["boxed_args"]).ends_with(&ending), "{frame}");
            }
        }
    }
    assert!(releases > 50, "{releases} releases");
}

#[test]
fn recorded_requests_of_each_handler_are_read() {
    let vectors = vectors();
    let mut refused = Vec::new();
    for vector in list(&vectors["handlers"]["requests"]) {
        let payload = Bytes::plain(unhex(text(&vector["request_hex"])));
        let message = Message::parse(&payload).unwrap();
        match dispatch::read_request(&mut Walk::default(), &payload, message.body) {
            Ok(request) => {
                let number = vector["handler"].as_i64().unwrap();
                assert_eq!(request.handler.ok(), Handler::from_wire(number));
            }
            Err(_) => refused.push(text(&vector["note"])),
        }
    }
    assert_eq!(
        refused,
        ["unknown label", "argument list is not a sequence"]
    );
}

#[test]
fn fatal_messages_are_told_from_tolerated_ones() {
    let vectors = vectors();
    for vector in list(&vectors["handlers"]["fatal_messages"]) {
        let payload = Bytes::plain(unhex(text(&vector["payload_hex"])));
        let mut session = new_session();
        session.insert(0, ());
        let handled = session.handle(&payload);
        if text(&vector["note"]) == "reply with an unknown label" {
            // The message itself is fine; it is its body that can't be unboxed.
            let Event::Answer { body, .. } = handled.unwrap() else {
                panic!("not an answer");
            };
            let unboxed = boxing::take_boxed(&mut Walk::default(), &payload, body);
            assert_eq!(unboxed, Err(ProtocolError::Label(9)));
        } else {
            let error = handled.expect_err(&vector.to_string());
            assert!(!error.to_string().is_empty());
        }
    }
    let mut session = new_session();
    let tolerated = list(&vectors["handlers"]["tolerated"]);
    for vector in tolerated {
        let Some(hex) = vector["payload_hex"].as_str().filter(|hex| !hex.is_empty()) else {
            continue;
        };
        let event = session.handle(&Bytes::plain(unhex(hex))).unwrap();
        assert!(matches!(
            event,
            Event::Orphan {
                number: Some(777),
                ..
            }
        ));
    }
    // Any value may stand for the sequence number: it comes back as it came.
    for seq in [
        Plain::Str("abc".into()),
        Plain::Tuple(vec![Plain::Int(1), Plain::Int(2)]),
        Plain::Slice(Box::new([Plain::None, Plain::Int(2), Plain::None])),
        Plain::FrozenSet(vec![Plain::Tuple(vec![])]),
    ] {
        let mut payload = vec![1, 0x11];
        payload.extend(seq.encode());
        payload.extend(unhex("1151115110110c616263"));
        let payload = Bytes::plain(payload);
        let Event::Request { seq: place, body } = session.handle(&payload).unwrap() else {
            panic!("not a request");
        };
        assert_eq!(payload.head[place], seq.encode());
        assert_eq!(payload.head[body..body + 2], [0x11, 0x51]);
    }
}

/// The peer chooses what its sequence numbers are; an answer must echo the whole of it, or the
/// request must be refused.
#[test]
fn a_large_sequence_number_is_echoed_whole_or_refused() {
    let large = Plain::Bytes(vec![7; 100_000]);
    for seq in [large.clone(), Plain::Tuple(vec![Plain::Int(1), large])] {
        let mut message = vec![1, 0x11];
        message.extend(seq.encode());
        message.extend(unhex("1151115110110c616263"));
        let payload = received(&message);
        if let Ok(message) = Message::parse(&payload) {
            let echoed = &payload.head[message.seq];
            assert!(
                Plain::decode(echoed) == Ok(seq),
                "only {} bytes would be echoed",
                echoed.len()
            );
        }
    }
}

#[test]
fn mutated_messages_cause_errors_and_no_panics() {
    let vectors = vectors();
    let mut noise = Noise::new(0xbad_5eed);
    let (mut read, mut refused) = (0, 0);
    for session in sessions(&vectors) {
        for frame in list(&session["frames"]) {
            let original = payload_of(frame).head;
            if original.len() > 2000 {
                continue;
            }
            for _ in 0..30 {
                let mut mutated = original.clone();
                noise.mutate(&mut mutated);
                if walks_through(&Bytes::plain(mutated)) {
                    read += 1;
                } else {
                    refused += 1;
                }
            }
        }
    }
    assert!(read > 1000, "{read} read");
    assert!(refused > 1000, "{refused} refused");
}

/// Reads a message in every way there is; tells whether its body made sense.
fn walks_through(payload: &Bytes) -> bool {
    let mut walk = Walk::default();
    let Ok(message) = Message::parse(payload) else {
        return false;
    };
    let _ = peek_release(payload, message.body);
    let _ = Vinegar::read(&mut payload.reader_at(message.body));
    match message.kind {
        MessageKind::Request => dispatch::read_request(&mut walk, payload, message.body).is_ok(),
        MessageKind::Reply => boxing::take_boxed(&mut walk, payload, message.body).is_ok(),
        MessageKind::Exception => Vinegar::read(&mut payload.reader_at(message.body)).is_ok(),
    }
}

/// All sessions but the one in thread-bound mode, whose payloads start with 16 bytes more.
fn sessions(vectors: &Value) -> impl Iterator<Item = &Value> {
    list(&vectors["sessions"])
        .iter()
        .filter(|session| session["name"] != "bind_threads")
}

fn new_session() -> Session<()> {
    Session::new(&Limits::default())
}

fn payload_of(frame: &Value) -> Bytes {
    let bytes = unhex(text(&frame["frame_hex"]));
    let mut deframer: Deframer<Vec<u8>> = Deframer::new(Limits::default(), 1);
    assert_eq!(deframer.feed(&bytes), bytes.len());
    let payload = deframer.poll().unwrap().unwrap();
    assert!(deframer.poll().unwrap().is_none());
    payload
}

/// Whether the text of this body can be compared with the record, after checking that they agree.
fn matches_record(payload: &Bytes, message: &Message, recorded: &Value) -> bool {
    let body = Plain::read(&mut payload.reader_at(message.body)).unwrap();
    let shown = match (&body, message.kind) {
        (Plain::Tuple(pair), MessageKind::Request) => pair[1].repr(),
        _ => body.repr(),
    };
    let Some(shown) = shown else {
        return false;
    };
    match text(recorded).split_once("...<") {
        // The record cuts long texts and tells their length.
        Some((start, length)) => {
            assert_eq!(shown[..start.len()], *start);
            assert_eq!(format!("{} chars>", shown.len()), length);
        }
        None => assert_eq!(shown, text(recorded)),
    }
    true
}

fn reboxed_request(walk: &mut Walk, payload: &Bytes, message: &Message) -> Vec<u8> {
    let mut reader = payload.reader_at(message.body);
    reader.tuple_of(2, "a request").unwrap();
    let handler = reader.small_int("a handler").unwrap();
    let args = boxing::take_boxed(walk, payload, reader.position()).unwrap();
    let mut out = Writer::<Vec<u8>>::new();
    dispatch::put_request(
        &mut out,
        rpyc_proto::message::Dialect::V6,
        message.number.unwrap(),
        handler,
    );
    let head = out.into_payload().head.split_off(message.body);
    [head, boxed(walk, &args)].concat()
}
