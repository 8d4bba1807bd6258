//! The deframer, fed at once, byte by byte and in between.

use rpyc_proto::limits::Limits;
use rpyc_proto::wire::frame::header;
use rpyc_proto::wire::{BULK_MIN, Deframer, FrameError, Payload, zlib};

/// How a stream ended: bytes are missing, or it is broken.
type End = Result<(), FrameError>;

/// Makes a stream as `data` says, of good frames, large ones, compressed ones and rubbish. However it
/// is cut, the same payloads come out of it, and the same end.
///
/// # Panics
/// They differ.
pub fn check(data: &[u8]) {
    let Some((&[limits, cut, prefix], script)) = data.split_first_chunk() else {
        return;
    };
    let stream = stream(script);
    let limits = Limits {
        frame: 1 << (10 + limits % 16),
        inflated: 1 << (10 + limits / 16),
        ..Limits::default()
    };
    let prefix = usize::from(prefix % 18);
    let whole = payloads(&stream, usize::MAX, limits, prefix);
    let mut steps = vec![usize::from(cut) * 97 + 3, usize::from(cut) + 2];
    // The order of one byte is the longest: large streams are cut a little coarser.
    steps.push(1 + stream.len() / 100_000);
    for step in steps {
        let pieces = payloads(&stream, step, limits, prefix);
        assert_eq!(pieces.1, whole.1, "another end in steps of {step}");
        assert_eq!(
            pieces.0.len(),
            whole.0.len(),
            "more or fewer payloads in steps of {step}"
        );
        for (one, other) in pieces.0.iter().zip(&whole.0) {
            assert_eq!(
                one.to_vec(),
                other.to_vec(),
                "another payload in steps of {step}"
            );
            assert_eq!(
                one.bulk, other.bulk,
                "other large values in steps of {step}"
            );
        }
    }
}

fn payloads(
    stream: &[u8],
    step: usize,
    limits: Limits,
    prefix: usize,
) -> (Vec<Payload<Vec<u8>>>, End) {
    let mut deframer: Deframer<Vec<u8>> = Deframer::new(limits, prefix);
    let mut found = Vec::new();
    for mut piece in stream.chunks(step.min(stream.len().max(1))) {
        loop {
            let taken = deframer.feed(piece);
            piece = &piece[taken..];
            loop {
                match deframer.poll() {
                    Ok(Some(payload)) => found.push(payload),
                    Ok(None) => break,
                    Err(error) => return (found, Err(error)),
                }
            }
            if piece.is_empty() {
                break;
            }
        }
    }
    (found, Ok(()))
}

/// Each step of the script is a byte that says what, a byte that says how much, and that many bytes.
fn stream(mut script: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    // Enough for several frames of each size, and quick to try byte by byte.
    while let Some((&[what, much], rest)) = script.split_first_chunk() {
        if stream.len() > 400_000 {
            break;
        }
        let (content, rest) = rest.split_at(rest.len().min(usize::from(much)));
        script = rest;
        match what % 6 {
            0 => stream.extend_from_slice(content),
            1 => put_frame(&mut stream, content, false),
            2 => {
                // Zeros compress well, so even a short one shrinks.
                let body = [content, &vec![0; usize::from(what) * 16]].concat();
                if let Some(packed) = zlib::deflate(std::iter::once(&body[..]), body.len(), 0) {
                    put_frame(&mut stream, &packed, true);
                }
            }
            3 => {
                // A message with a large value in it, and more behind it.
                let large = BULK_MIN + usize::from(what) * 600;
                let body = [content, &brine_bytes(large, 0x0f)[..], content].concat();
                put_frame(&mut stream, &body, false);
            }
            4 => {
                // The same as text, which is never held apart.
                let large = BULK_MIN + usize::from(what) * 600;
                let body = [content, &[0x08], &brine_bytes(large, 0x0f)[..], content].concat();
                put_frame(&mut stream, &body, false);
            }
            _ => put_frame(
                &mut stream,
                &content.repeat(1 + usize::from(what) * 4),
                false,
            ),
        }
    }
    stream
}

fn brine_bytes(length: usize, tag: u8) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes.resize(5 + length, 0xa5);
    bytes
}

fn put_frame(stream: &mut Vec<u8>, body: &[u8], compressed: bool) {
    let Some(header) = header(body.len(), compressed) else {
        return;
    };
    stream.extend_from_slice(&header);
    stream.extend_from_slice(body);
    stream.push(b'\n');
}
