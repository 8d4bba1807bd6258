//! A second reading of brine, written after docs/protocol.md, section 4, and apart from the engine's.
//!
//! It decodes to a tree at once, recursively, and says nothing about errors but that there is one.

/// A plain value. Floats are bits, so that NaNs compare; ints are decimal texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    None,
    Bool(bool),
    NotImplemented,
    Ellipsis,
    Int(String),
    Float([u8; 8]),
    Complex([u8; 8], [u8; 8]),
    Bytes(Vec<u8>),
    Str(String),
    Tuple(Vec<Self>),
    FrozenSet(Vec<Self>),
    Slice(Vec<Self>),
}

/// Section 4.1: the deepest nesting.
const DEEPEST: usize = 500;
/// Section 4.2: the longest int.
const LONGEST_INT: usize = 4300;

/// The first value of `data` and what follows it; `None` if there is no value.
pub(crate) fn decode(data: &[u8]) -> Option<(Tree, &[u8])> {
    value(data, 0)
}

fn value(data: &[u8], depth: usize) -> Option<(Tree, &[u8])> {
    if depth > DEEPEST {
        return None;
    }
    let (tag, rest) = (*data.first()?, &data[1..]);
    Some(match tag {
        0x00 => (Tree::None, rest),
        0x03 => (Tree::Bool(true), rest),
        0x04 => (Tree::Bool(false), rest),
        0x05 => (Tree::NotImplemented, rest),
        0x06 => (Tree::Ellipsis, rest),
        0x01 | 0x0a..=0x0f => {
            let (bytes, rest) = bytes(data)?;
            (Tree::Bytes(bytes.to_vec()), rest)
        }
        0x08 => {
            let (bytes, rest) = bytes(rest)?;
            (Tree::Str(String::from_utf8(bytes.to_vec()).ok()?), rest)
        }
        0x02 | 0x10..=0x15 => {
            let (items, rest) = items(data, depth)?;
            (Tree::Tuple(items), rest)
        }
        0x16 => {
            let (length, rest) = (usize::from(*rest.first()?), &rest[1..]);
            int(length, rest)?
        }
        0x17 => {
            let (length, rest) = long(rest)?;
            int(length, rest)?
        }
        0x18 => (Tree::Float(rest.get(..8)?.try_into().ok()?), &rest[8..]),
        0x19 => {
            let (items, rest) = items(rest, depth)?;
            (items.len() == 3).then_some((Tree::Slice(items), rest))?
        }
        0x1a => {
            let (items, rest) = items(rest, depth)?;
            let mut members: Vec<Tree> = Vec::new();
            for item in items {
                if !members.contains(&item) {
                    members.push(item);
                }
            }
            (Tree::FrozenSet(members), rest)
        }
        0x1b => {
            let real = rest.get(..8)?.try_into().ok()?;
            let imaginary = rest.get(8..16)?.try_into().ok()?;
            (Tree::Complex(real, imaginary), &rest[16..])
        }
        0x20..=0xef => (Tree::Int((i32::from(tag) - 0x50).to_string()), rest),
        _ => return None,
    })
}

/// A bytes value.
fn bytes(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, rest) = (*data.first()?, &data[1..]);
    let (length, rest) = match tag {
        0x01 => (0, rest),
        0x0a..=0x0d => (usize::from(tag) - 9, rest),
        0x0e => (usize::from(*rest.first()?), &rest[1..]),
        0x0f => long(rest)?,
        _ => return None,
    };
    Some((rest.get(..length)?, &rest[length..]))
}

/// The items of a tuple.
fn items(data: &[u8], depth: usize) -> Option<(Vec<Tree>, &[u8])> {
    let (tag, rest) = (*data.first()?, &data[1..]);
    let (count, mut rest) = match tag {
        0x02 => (0, rest),
        0x10..=0x13 => (usize::from(tag) - 15, rest),
        0x14 => (usize::from(*rest.first()?), &rest[1..]),
        0x15 => long(rest)?,
        _ => return None,
    };
    let mut items = Vec::new();
    for _ in 0..count {
        let (item, after) = value(rest, depth + 1)?;
        items.push(item);
        rest = after;
    }
    Some((items, rest))
}

fn int(length: usize, rest: &[u8]) -> Option<(Tree, &[u8])> {
    let text = std::str::from_utf8(rest.get(..length)?).ok()?;
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text), |rest| ("-", rest));
    if digits.is_empty()
        || digits.len() > LONGEST_INT
        || digits.bytes().any(|c| !c.is_ascii_digit())
    {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let normal = if digits.is_empty() {
        "0".to_owned()
    } else {
        format!("{sign}{digits}")
    };
    Some((Tree::Int(normal), &rest[length..]))
}

fn long(rest: &[u8]) -> Option<(usize, &[u8])> {
    let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
    Some((length as usize, &rest[4..]))
}
