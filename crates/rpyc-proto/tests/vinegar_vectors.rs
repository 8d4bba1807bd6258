//! Serialized exceptions, against what RPyC 6.0.2 produces and accepts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use common::plain::Plain;
use common::{list, received, rewritten_exception, text, unhex, vectors};
use rpyc_proto::message::Message;
use rpyc_proto::vinegar::Vinegar;
use rpyc_proto::wire::Reader;

#[test]
fn serialized_exceptions_are_read_and_written_back() {
    let vectors = vectors();
    for vector in list(&vectors["vinegar"]["dump_load"]) {
        let body = unhex(text(&vector["hex"]));
        assert_eq!(rewritten_exception(&body), body, "{vector}");
        let mut reader: Reader<'_> = Reader::new(&body);
        let dumped = text(&vector["dumped"]);
        match Vinegar::read(&mut reader).unwrap() {
            Vinegar::StopIteration => assert_eq!(dumped, "1"),
            Vinegar::Text(_) => panic!("RPyC dumps no text"),
            Vinegar::Exception {
                module, name, args, ..
            } => {
                let expected = format!("(('{module}', '{name}'), ");
                assert!(dumped.starts_with(&expected), "{dumped}");
                if let Some(repr) = Plain::decode(args).unwrap().repr() {
                    assert!(dumped[expected.len()..].starts_with(&repr), "{dumped}");
                }
            }
        }
        assert!(reader.at_end());
    }
    for vector in list(&vectors["vinegar"]["load_only"]) {
        let body = unhex(text(&vector["hex"]));
        let mut reader: Reader<'_> = Reader::new(&body);
        let read = Vinegar::read(&mut reader);
        match text(&vector["note"]) {
            "stop iteration" | "bool True equals 1" => {
                assert_eq!(read, Ok(Vinegar::StopIteration));
            }
            "text: returned as is" => assert_eq!(read, Ok(Vinegar::Text("abc"))),
            "three fields only" | "plain int" => assert!(read.is_err(), "{vector}"),
            _ => {
                assert!(matches!(read, Ok(Vinegar::Exception { .. })), "{vector}");
                assert_eq!(rewritten_exception(&body), body, "{vector}");
            }
        }
    }
}

/// `UnicodeDecodeError` carries the bytes that could not be decoded, twice; a large value travels
/// apart from the payload, so the encoded arguments must not lose it.
#[test]
fn an_exception_with_a_large_argument_keeps_it() {
    let large = vec![0xff; 100_000];
    let args = Plain::Tuple(vec![Plain::Str("utf8".into()), Plain::Bytes(large)]);
    let body = Plain::Tuple(vec![
        Plain::Tuple(vec![
            Plain::Str("builtins".into()),
            Plain::Str("UnicodeDecodeError".into()),
        ]),
        args.clone(),
        Plain::Tuple(vec![]),
        Plain::Str("<traceback denied>".into()),
    ]);
    let mut message = vec![3, 0x11, 0x50];
    message.extend(body.encode());
    let payload = received(&message);
    let message = Message::parse(&payload).unwrap();
    let mut reader = payload.reader_at(message.body);
    let Ok(Vinegar::Exception { args: encoded, .. }) = Vinegar::read(&mut reader) else {
        panic!("not an exception");
    };
    assert!(
        Plain::decode(encoded) == Ok(args),
        "{} bytes are left of the arguments",
        encoded.len()
    );
}
