//! Brine, byte by byte, against what RPyC 6.0.2 produces and accepts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use common::plain::Plain;
use common::{Noise, assert_is, hex, list, text, unhex, vectors};
use rpyc_proto::wire::{DecodeError, Reader};
use serde_json::Value;

/// What RPyC accepts although it never produces it. `Some`: accepted here too, with the value whose
/// canonical encoding is given. `None`: refused here, on purpose.
const NONCANONICAL: &[(&str, Option<&str>)] = &[
    // Ints in a longer form than needed are unambiguous.
    ("160135", Some("55")),
    ("16022d30", Some("50")),
    ("1603303037", Some("57")),
    ("170000000131", Some("51")),
    ("17000000023432", Some("7a")),
    // What follows a value is none of its business.
    ("1601302020", Some("50")),
    ("00ffff", Some("00")),
    // Lengths and counts in a longer form than needed.
    ("0e00", Some("01")),
    ("0f00000000", Some("01")),
    ("0e0161", Some("0a61")),
    ("0f000000026162", Some("0b6162")),
    ("080e0161", Some("080a61")),
    ("1400", Some("02")),
    ("1500000000", Some("02")),
    ("140151", Some("1051")),
    ("15000000025152", Some("115152")),
    ("191403515253", Some("1912515253")),
    // The reader hands on both members; whoever builds a set drops one.
    ("1a115555", Some("1a1055")),
    // Refused: Python's notation of ints beyond sign and digits.
    ("16022b37", None),
    ("1606202b315f3020", None),
    ("16023320", None),
    // Refused: fewer bytes than declared.
    ("16033132", None),
    ("0a", None),
    ("0b61", None),
    ("0d6162", None),
    ("0e05616263", None),
    ("0f00000100616263", None),
    ("080a", None),
    // Refused: slices and frozensets of anything but a tuple.
    ("190c616263", None),
    ("19080c616263", None),
    ("1a0b6162", None),
    ("1a080b6162", None),
    ("1a1a1051", None),
];

#[test]
fn valid_vectors_decode_and_encode_to_the_same_bytes() {
    let mut named = 0;
    let vectors = vectors();
    for vector in list(&vectors["brine"]["valid"]) {
        let bytes = valid_bytes(vector);
        let mut reader = Reader::<Vec<u8>>::with_bulk(&bytes, 0, &[]);
        let value = Plain::read(&mut reader).unwrap_or_else(|error| panic!("{vector}: {error}"));
        assert!(reader.at_end(), "{vector}");
        assert_is(&value.encode(), vector);
        named += usize::from(value.repr().is_some_and(|repr| repr == vector["repr"]));
        let mut skipper: Reader<'_> = Reader::new(&bytes);
        assert_eq!(skipper.skip(), Ok(bytes.as_slice()), "{vector}");
        assert!(skipper.at_end(), "{vector}");
    }
    // The others are Python expressions such as `2**64`, which nothing here evaluates.
    assert!(named > 100, "only {named} values were compared by name");
}

#[test]
fn every_prefix_of_a_valid_vector_is_refused() {
    for vector in list(&vectors()["brine"]["valid"]) {
        let bytes = valid_bytes(vector);
        for length in 0..bytes.len() {
            let prefix = &bytes[..length];
            assert!(
                Plain::decode(prefix).is_err(),
                "{length} bytes of {vector} were accepted"
            );
            let mut skipper: Reader<'_> = Reader::new(prefix);
            assert!(
                skipper.skip().is_err(),
                "{length} bytes of {vector} were skipped"
            );
        }
    }
}

#[test]
fn lenient_forms_are_accepted_without_loss_or_refused() {
    let vectors = vectors();
    let recorded = list(&vectors["brine"]["accepted_noncanonical"]);
    assert_eq!(recorded.len(), NONCANONICAL.len());
    for vector in recorded {
        let encoded = text(&vector["hex"]);
        let (_, canonical) = NONCANONICAL
            .iter()
            .find(|(listed, _)| *listed == encoded)
            .unwrap_or_else(|| panic!("not listed here: {vector}"));
        let decoded = Plain::decode(&unhex(encoded));
        match canonical {
            Some(canonical) => {
                let value = decoded.unwrap_or_else(|error| panic!("{vector}: {error}"));
                assert_eq!(hex(&value.encode()), *canonical, "{vector}");
                assert_eq!(value, Plain::decode(&unhex(canonical)).unwrap());
                let repr = value.repr().unwrap();
                assert_eq!(repr, text(&vector["repr"]));
            }
            None => assert!(decoded.is_err(), "{vector} was read as {decoded:?}"),
        }
    }
}

#[test]
fn invalid_vectors_are_refused() {
    for vector in list(&vectors()["brine"]["invalid"]) {
        let bytes = invalid_bytes(vector);
        let error = Plain::decode(&bytes).expect_err(&vector.to_string());
        assert!(!error.to_string().is_empty());
        match text(&vector["note"]) {
            "5000 nested 1-tuples" => assert_eq!(error, DecodeError::TooDeep),
            // A walk without a tree has no depth, so this one alone is skipped.
            _ => assert!(
                Reader::<()>::with_bulk(&bytes, 0, &[]).skip().is_err(),
                "{vector} was skipped"
            ),
        }
    }
}

#[test]
fn an_int_of_as_many_digits_as_python_converts_is_read_and_a_longer_one_is_not() {
    for (digits, sign, accepted) in [
        (4300, "", true),
        (4300, "-", true),
        (4301, "", false),
        (4301, "-", false),
        (9000, "", false),
    ] {
        let number = format!("{sign}{}", "7".repeat(digits));
        let mut bytes = vec![0x17];
        bytes.extend(u32::try_from(number.len()).unwrap().to_be_bytes());
        bytes.extend(number.as_bytes());
        let decoded = Plain::decode(&bytes);
        if accepted {
            assert_eq!(decoded, Ok(Plain::BigInt(number)));
        } else {
            assert_eq!(
                decoded,
                Err(DecodeError::BadInt { at: 0 }),
                "{sign}{digits} digits"
            );
        }
    }
}

#[test]
fn mutated_bytes_are_refused_or_have_a_stable_meaning() {
    let mut noise = Noise::new(0x5eed);
    let (mut accepted, mut refused) = (0, 0);
    for vector in list(&vectors()["brine"]["valid"]) {
        let bytes = valid_bytes(vector);
        if bytes.len() > 2000 {
            continue;
        }
        for _ in 0..60 {
            let mut mutated = bytes.clone();
            noise.mutate(&mut mutated);
            let skipped = Reader::<()>::with_bulk(&mutated, 0, &[]).skip().is_ok();
            let Ok(value) = Plain::decode(&mutated) else {
                refused += 1;
                continue;
            };
            accepted += 1;
            assert!(skipped, "{} reads but does not skip", hex(&mutated));
            let again = Plain::decode(&value.encode());
            assert_eq!(again, Ok(value), "{}", hex(&mutated));
        }
    }
    assert!(accepted > 1000, "{accepted} accepted");
    assert!(refused > 1000, "{refused} refused");
}

/// The bytes of a valid vector; the long ones are made from their description.
fn valid_bytes(vector: &Value) -> Vec<u8> {
    if let Some(whole) = vector["hex"].as_str() {
        return unhex(whole);
    }
    let long = |tag: u8, content: &[u8]| {
        let mut bytes = vec![tag];
        bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        bytes.extend(content);
        bytes
    };
    let bytes = match text(&vector["repr"]) {
        "10**4299" => long(0x17, format!("1{}", "0".repeat(4299)).as_bytes()),
        "b'z'*65535" => long(0x0f, &[b'z'; 65535]),
        "b'z'*65536" => long(0x0f, &[b'z'; 65536]),
        other => panic!("no rule for {other}"),
    };
    assert_is(&bytes, vector);
    bytes
}

/// The bytes of an invalid vector; the long ones are made from their description.
fn invalid_bytes(vector: &Value) -> Vec<u8> {
    let start = unhex(text(&vector["hex"]));
    if vector["truncated_hex"] != Value::Bool(true) {
        return start;
    }
    let bytes = match text(&vector["hex_rule"]) {
        "5001-digit int (interpreter digit limit)" => {
            let mut bytes = start[..5].to_vec();
            bytes.extend([b'1'; 5001]);
            bytes
        }
        "5000 nested 1-tuples" => {
            let mut bytes = vec![0x10; 5000];
            bytes.push(0x02);
            bytes
        }
        other => panic!("no rule for {other}"),
    };
    assert_eq!(bytes.len() as u64, vector["total_bytes"].as_u64().unwrap());
    assert_eq!(bytes[..start.len()], start);
    bytes
}
