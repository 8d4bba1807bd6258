//! What the tests of this crate share: the golden vectors, a tree of plain values, random bytes.

#![allow(
    dead_code,
    reason = "each test binary compiles this module and uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

pub(crate) mod endpoint;
pub(crate) mod object;
pub(crate) mod plain;
pub(crate) mod sha256;
pub(crate) mod walk;

use std::path::Path;

use rpyc_proto::limits::Limits;
use rpyc_proto::vinegar::Vinegar;
use rpyc_proto::wire::{Deframer, Payload, Reader, Writer};
use serde_json::Value;

/// The golden vectors, as recorded from RPyC 6.0.2.
pub(crate) fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The items of a list in the vectors.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// A text in the vectors.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The bytes behind hexadecimal text.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hexadecimal text");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The hexadecimal text of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks bytes against a vector that holds them, or their start, length and SHA-256.
pub(crate) fn assert_is(bytes: &[u8], vector: &Value) {
    if let Some(whole) = vector["hex"].as_str() {
        assert_eq!(hex(bytes), whole);
        return;
    }
    let start = unhex(text(&vector["hex_prefix"]));
    assert_eq!(bytes[..start.len()], start);
    assert_eq!(bytes.len() as u64, vector["length"].as_u64().unwrap());
    assert_eq!(sha256::hexdigest(bytes), text(&vector["sha256"]));
}

/// A message as the deframer hands it over: with large values held apart.
pub(crate) fn received(message: &[u8]) -> Payload<Vec<u8>> {
    let mut deframer: Deframer<Vec<u8>> = Deframer::new(Limits::default(), 1);
    let length = u32::try_from(message.len()).unwrap();
    deframer.feed(&[&length.to_be_bytes()[..], &[0]].concat());
    for chunk in message.chunks(10_000) {
        assert!(deframer.poll().unwrap().is_none());
        assert_eq!(deframer.feed(chunk), chunk.len());
    }
    deframer.feed(b"\n");
    deframer.poll().unwrap().unwrap()
}

/// The body of an exception message, read and written.
pub(crate) fn rewritten_exception(body: &[u8]) -> Vec<u8> {
    let mut reader: Reader<'_> = Reader::new(body);
    let mut out = Writer::<()>::new();
    Vinegar::read(&mut reader).unwrap().write(&mut out);
    out.into_payload().head
}

/// A generator of numbers that look random and are the same in each run (xorshift64*).
pub(crate) struct Noise(u64);

impl Noise {
    /// A generator; `seed` must not be 0.
    pub(crate) fn new(seed: u64) -> Self {
        assert_ne!(seed, 0);
        Self(seed)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    /// Changes a few bytes: overwrites, inserts or removes them.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            let byte = u8::try_from(self.below(256)).unwrap();
            match self.below(4) {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => {
                    bytes.remove(at);
                }
                2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => bytes.push(byte),
            }
        }
    }
}
