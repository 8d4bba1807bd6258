//! Frames, against what RPyC's channel writes and accepts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use common::{Noise, assert_is, list, sha256, text, unhex, vectors};
use rpyc_proto::limits::Limits;
use rpyc_proto::wire::frame::{Frame, HEADER, TRAILER};
use rpyc_proto::wire::zlib::InflateError;
use rpyc_proto::wire::{Deframer, FrameError, Payload, Writer};
use serde_json::Value;

/// A payload that the vectors name but do not hold: it comes from Python's random generator.
const UNKNOWN: &str = "noise bytes";

#[test]
fn plain_frames_are_written_as_rpyc_writes_them() {
    let mut compared = 0;
    for vector in list(&vectors()["channel"]["frames"]) {
        let Some(payload) = payload_of(vector) else {
            continue;
        };
        if vector["flag"] == 0 {
            assert_is(&bytes_of(&frame(&payload)), &vector["frame"]);
            compared += 1;
        }
    }
    assert_eq!(compared, 15);
}

#[test]
fn frames_are_read_back_compressed_or_not() {
    let mut compressed = 0;
    for vector in list(&vectors()["channel"]["frames"]) {
        let Some(payload) = payload_of(vector) else {
            assert!(text(&vector["payload"]).contains(UNKNOWN));
            continue;
        };
        let bytes = if vector["flag"] == 1 {
            compressed += 1;
            unhex(text(&vector["frame"]["hex"]))
        } else {
            bytes_of(&frame(&payload))
        };
        let found = read_all(&bytes, Limits::default()).unwrap();
        if payload.is_empty() {
            assert!(found.is_empty(), "an empty frame yields nothing");
        } else {
            assert_eq!(found, [payload]);
        }
    }
    assert_eq!(compressed, 5);
}

#[test]
fn own_compression_is_read_back() {
    for vector in list(&vectors()["channel"]["frames"]) {
        let Some(payload) = payload_of(vector) else {
            continue;
        };
        let sealed = frame(&payload);
        let plain_length = sealed.len();
        let compressed = sealed.compressed();
        assert!(compressed.len() <= plain_length, "it never gets longer");
        assert_eq!(
            compressed.len() < plain_length,
            payload.len() >= 3000,
            "{vector}"
        );
        let found = read_all(&bytes_of(&compressed), Limits::default()).unwrap();
        assert_eq!(found.concat(), payload);
    }
}

#[test]
fn oddities_are_accepted_as_rpyc_accepts_them() {
    let vectors = vectors();
    let oddities = list(&vectors["channel"]["accepted_oddities"]);
    assert_eq!(oddities.len(), 5);
    for vector in oddities {
        let (bytes, expected): (_, &[u8]) = match text(&vector["note"]) {
            "uncompressed large payload accepted" => {
                let bytes = bytes_of(&frame(&[b'q'; 4000]));
                assert_is(&bytes, &vector["frame"]);
                (bytes, &[b'q'; 4000])
            }
            "zero-length frame gives an empty payload" => {
                // The connection treats it like nothing received.
                (unhex(text(&vector["frame"]["hex"])), b"")
            }
            _ => (unhex(text(&vector["frame"]["hex"])), b"hi"),
        };
        // A frame behind it shows that the stream goes on in the right place.
        let stream = [bytes, bytes_of(&frame(b"next"))].concat();
        let found = read_all(&stream, Limits::default()).unwrap();
        assert_eq!(found.last().unwrap(), b"next", "{vector}");
        assert_eq!(found[..found.len() - 1].concat(), expected, "{vector}");
    }
}

#[test]
fn invalid_frames_are_refused_or_never_complete() {
    let vectors = vectors();
    let invalid = list(&vectors["channel"]["invalid"]);
    assert_eq!(invalid.len(), 3);
    for vector in invalid {
        let bytes = unhex(text(&vector["hex"]));
        let found = read_all(&bytes, Limits::default());
        if text(&vector["error"]) == "zlib.error" {
            assert_eq!(found, Err(FrameError::Inflate(InflateError::Corrupt)));
        } else {
            assert_eq!(found, Ok(vec![]), "{vector}");
            let mut deframer: Deframer<Vec<u8>> = Deframer::new(Limits::default(), 0);
            deframer.feed(&bytes);
            assert!(deframer.poll().unwrap().is_none());
            assert_eq!(deframer.buffered(), bytes.len());
        }
    }
}

#[test]
fn a_compressed_frame_is_bounded_by_what_it_inflates_to() {
    let limits = Limits {
        inflated: 99_999,
        ..Limits::default()
    };
    let bomb = |size: usize| bytes_of(&frame(&vec![7; size]).compressed());
    assert_eq!(read_all(&bomb(99_999), limits).unwrap()[0].len(), 99_999);
    assert_eq!(
        read_all(&bomb(100_000), limits),
        Err(FrameError::Inflate(InflateError::TooLarge {
            limit: 99_999
        }))
    );
}

#[test]
fn a_mutated_stream_never_breaks_the_deframer() {
    let limits = Limits {
        frame: 100_000,
        inflated: 100_000,
        ..Limits::default()
    };
    let mut large = Writer::new_frame();
    large.put_tuple(2);
    large.put_bytes(&[1; 40_000]);
    large.put_bytes(&[2; 50_000]);
    let frames = [
        bytes_of(&frame(b"small")),
        bytes_of(&frame(&[3; 5_000]).compressed()),
        bytes_of(large.seal().unwrap()),
        bytes_of(&frame(b"last")),
    ];
    let stream = frames.concat();
    let starts: Vec<usize> = frames
        .iter()
        .scan(0, |at, frame| {
            Some(std::mem::replace(at, *at + frame.len()))
        })
        .collect();
    let mut noise = Noise::new(0xf4a3e);
    let (mut failed, mut survived) = (0, 0);
    for _ in 0..300 {
        let mut mutated = stream.clone();
        // Near the start of a frame, where the headers and lengths are.
        let at = starts[noise.below(starts.len())] + noise.below(10);
        mutated[at] = u8::try_from(noise.below(256)).unwrap();
        match read_all(&mutated, limits) {
            Ok(found) => {
                let total: usize = found.iter().map(Vec::len).sum();
                assert!(total <= mutated.len() + 100_000);
                survived += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                failed += 1;
            }
        }
    }
    assert!(failed > 20, "{failed} failed");
    assert!(survived > 20, "{survived} survived");
}

/// Seals a payload as it is.
fn frame(payload: &[u8]) -> Frame<Vec<u8>> {
    let mut writer = Writer::new_frame();
    writer.put_raw(payload);
    writer.seal().unwrap().take()
}

fn bytes_of(frame: &Frame<Vec<u8>>) -> Vec<u8> {
    let bytes: Vec<u8> = frame.pieces().flatten().copied().collect();
    assert_eq!(bytes.len(), frame.len());
    assert_eq!(bytes.last(), Some(&TRAILER));
    let body = u32::from_be_bytes(bytes[..4].try_into().unwrap());
    assert_eq!(bytes.len(), HEADER + body as usize + 1);
    bytes
}

/// All payloads of a stream, in one piece each.
fn read_all(mut stream: &[u8], limits: Limits) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut deframer: Deframer<Vec<u8>> = Deframer::new(limits, 0);
    let mut found = Vec::new();
    loop {
        let taken = deframer.feed(stream);
        stream = &stream[taken..];
        let mut progress = taken > 0;
        while let Some(payload) = deframer.poll()? {
            found.push(Payload::to_vec(&payload));
            progress = true;
        }
        if !progress {
            assert!(stream.is_empty(), "the deframer neither takes nor yields");
            return Ok(found);
        }
    }
}

/// The payload of a vector, made from its description and checked by its digest.
fn payload_of(vector: &Value) -> Option<Vec<u8>> {
    let length = usize::try_from(vector["payload_len"].as_u64().unwrap()).unwrap();
    let name = text(&vector["payload"]);
    let payload = match vector["payload_hex"].as_str() {
        Some(whole) => unhex(whole),
        None if name.ends_with("zero bytes") => vec![0; length],
        None if name.ends_with("x 'a'") => vec![b'a'; length],
        None if name.contains(UNKNOWN) => return None,
        None => panic!("no rule for {name}"),
    };
    assert_eq!(payload.len(), length);
    assert_eq!(sha256::hexdigest(&payload), text(&vector["payload_sha256"]));
    Some(payload)
}
