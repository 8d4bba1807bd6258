//! The reader of brine against a second one.

use rpyc_proto::wire::Reader;

use crate::common::plain::Plain;
use crate::tree::{self, Tree};

/// Both readings refuse `data`, or find the same value and the same end of it. What is written from
/// the value is read as the same value again.
///
/// # Panics
/// They differ.
pub fn check(data: &[u8]) {
    let mut reader: Reader<'_, Vec<u8>> = Reader::with_bulk(data, 0, &[]);
    let ours = Plain::read(&mut reader);
    let theirs = tree::decode(data);
    let (Ok(plain), Some((tree, rest))) = (&ours, &theirs) else {
        assert!(
            ours.is_err() && theirs.is_none(),
            "{ours:?} against {theirs:?}"
        );
        return;
    };
    assert_eq!(&as_tree(plain), tree);
    assert_eq!(
        data.len() - reader.position(),
        rest.len(),
        "the value ends elsewhere"
    );
    let mut skipping: Reader<'_, Vec<u8>> = Reader::with_bulk(data, 0, &[]);
    assert_eq!(skipping.skip(), Ok(&data[..reader.position()]));
    let written = plain.encode();
    let (again, rest) = tree::decode(&written).expect("what was written can be read");
    assert_eq!((&again, rest), (tree, &[][..]));
    assert_eq!(as_tree(&Plain::decode(&written).expect("by both")), again);
    // Canonical: writing what was read changes nothing any more.
    assert_eq!(
        Plain::decode(&written).expect("as before").encode(),
        written
    );
}

fn as_tree(plain: &Plain) -> Tree {
    let all = |items: &[Plain]| items.iter().map(as_tree).collect();
    match plain {
        Plain::None => Tree::None,
        Plain::Bool(value) => Tree::Bool(*value),
        Plain::NotImplemented => Tree::NotImplemented,
        Plain::Ellipsis => Tree::Ellipsis,
        Plain::Int(value) => Tree::Int(value.to_string()),
        Plain::BigInt(text) => {
            let (sign, digits) = text
                .strip_prefix('-')
                .map_or(("", &text[..]), |rest| ("-", rest));
            Tree::Int(format!("{sign}{}", digits.trim_start_matches('0')))
        }
        Plain::Float(bits) => Tree::Float(bits.to_be_bytes()),
        Plain::Complex(real, imaginary) => {
            Tree::Complex(real.to_be_bytes(), imaginary.to_be_bytes())
        }
        Plain::Bytes(bytes) => Tree::Bytes(bytes.clone()),
        Plain::Str(text) => Tree::Str(text.clone()),
        Plain::Tuple(items) => Tree::Tuple(all(items)),
        Plain::FrozenSet(items) => {
            let mut members: Vec<Tree> = Vec::new();
            for member in items.iter().map(as_tree) {
                if !members.contains(&member) {
                    members.push(member);
                }
            }
            Tree::FrozenSet(members)
        }
        Plain::Slice(items) => Tree::Slice(all(&items[..])),
    }
}
