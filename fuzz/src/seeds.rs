//! Where the search starts: the golden vectors, and what was found before.

use std::path::Path;

use serde_json::Value;

use crate::common::{list, text, unhex};

/// The seeds of a check: the vectors in the form that it takes, and the files in `found/`.
///
/// # Panics
/// The vectors can't be read, or no check has this name.
#[must_use]
pub fn of(check: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/vectors.json");
    let vectors = std::fs::read_to_string(path).expect("the vectors are in the repository");
    let vectors: Value = serde_json::from_str(&vectors).expect("they are JSON");
    let mut seeds = match check {
        "brine" => list(&vectors["brine"]["valid"])
            .iter()
            .filter_map(whole)
            .collect(),
        "exceptions" => list(&vectors["vinegar"]["dump_load"])
            .iter()
            .filter_map(whole)
            .collect(),
        "deframer" => deframer(&vectors),
        "session" => vec![
            vec![0, 0, 0, 1, 0, 2, 5, 1, 5, 0, 3, 2, 6, 9],
            vec![2, 0, 0, 0, 4, 7, 5, 135, 7, 2, 0x11, 0x51, 0x00],
        ],
        "dispatch" => dispatch(&vectors),
        other => panic!("no check is called {other}"),
    };
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("found")
        .join(check);
    if let Ok(files) = std::fs::read_dir(found) {
        let mut paths: Vec<_> = files.flatten().map(|file| file.path()).collect();
        paths.sort();
        seeds.extend(
            paths
                .iter()
                .map(|path| std::fs::read(path).expect("a file that was found")),
        );
    }
    seeds.push(Vec::new());
    seeds
}

/// The bytes of a vector that holds all of them.
fn whole(vector: &Value) -> Option<Vec<u8>> {
    let hex = vector["hex"].as_str()?;
    // Long ones teach nothing and take their time.
    (hex.len() < 8192).then(|| unhex(hex))
}

/// Scripts of streams.
fn deframer(vectors: &Value) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..6)
        .map(|what| {
            [
                &[0xff, 50, 1, what, 8][..],
                b"\x02\x11\x50\x11\x51abcdefgh",
                &[1, 3],
                b"abc",
            ]
            .concat()
        })
        .collect();
    for vector in list(&vectors["channel"]["frames"]) {
        let Some(frame) = whole(&vector["frame"]) else {
            continue;
        };
        let mut script = vec![0xff, 7, 1];
        for piece in frame.chunks(255) {
            script.extend([0, u8::try_from(piece.len()).expect("cut to fit")]);
            script.extend_from_slice(piece);
        }
        seeds.push(script);
    }
    seeds
}

/// Messages, each behind its length.
fn dispatch(vectors: &Value) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = list(&vectors["handlers"]["requests"])
        .iter()
        .flat_map(|vector| [&vector["request_hex"], &vector["response_hex"]])
        .filter_map(Value::as_str)
        .map(unhex)
        .collect();
    for session in list(&vectors["sessions"]) {
        for frame in list(&session["frames"]) {
            if frame["compressed"] == Value::Bool(false) && frame["frame_hex"].is_string() {
                let bytes = unhex(text(&frame["frame_hex"]));
                messages.push(bytes[5..bytes.len() - 1].to_vec());
            }
        }
    }
    messages.retain(|message| message.len() < 256);
    messages
        .chunks(4)
        .map(|some| {
            let framed = some.iter().map(|message| {
                [
                    &[u8::try_from(message.len()).expect("short ones only")],
                    &message[..],
                ]
                .concat()
            });
            framed.collect::<Vec<_>>().concat()
        })
        .collect()
}
