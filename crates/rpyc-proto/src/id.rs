//! Id packs: how objects are named on the wire.
//!
//! An id pack is the triple `(name, class id, instance id)`: the dotted name of the object's class,
//! a number for the class and one for the instance, which is 0 if the object is a class itself.
//! Both sides only hand it back and forth, so this engine keeps its encoded form and compares that.

use alloc::boxed::Box;
use alloc::string::ToString;

use crate::wire::{DecodeError, Reader, Token, Writer};

/// An id pack in its canonical encoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EncodedId(Box<[u8]>);

impl EncodedId {
    /// Encodes an id pack whose numbers fit 64 bits.
    #[must_use]
    pub fn new(name: &str, class: i64, instance: i64) -> Self {
        let mut writer = Writer::<()>::new();
        writer.put_tuple(3);
        writer.put_str(name);
        writer.put_int(class);
        writer.put_int(instance);
        Self(writer.into_payload().head.into_boxed_slice())
    }

    /// Takes over bytes that are known to be canonical.
    #[must_use]
    pub fn from_canonical(encoded: &[u8]) -> Self {
        Self(encoded.into())
    }

    /// The encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An id pack that was read from the wire, with its encoding.
#[derive(Debug, Clone, Copy)]
pub struct IdPack<'a> {
    /// The dotted name of the class.
    pub name: &'a str,
    /// The encoded class id.
    pub class: &'a [u8],
    /// Whether the object is a class: its instance id is 0.
    pub is_class: bool,
    /// The whole encoding.
    pub encoded: &'a [u8],
}

impl<'a> IdPack<'a> {
    /// Reads an id pack.
    ///
    /// # Errors
    /// `Unexpected` if it is no triple of a text and two ints.
    pub fn read<B>(reader: &mut Reader<'a, B>) -> Result<Self, DecodeError> {
        const WANTED: &str = "an id pack of a text and two ints";
        let start = reader.position();
        reader.tuple_of(3, WANTED)?;
        let at = reader.position();
        let name = match reader.token()? {
            Token::Str(name) => name,
            other => {
                return Err(DecodeError::Unexpected {
                    expected: WANTED,
                    found: other.kind(),
                    at,
                });
            }
        };
        let class_at = reader.position();
        int(reader, WANTED)?;
        let class = reader.since(class_at);
        let is_class = int(reader, WANTED)? == Some(0);
        Ok(Self {
            name,
            class,
            is_class,
            encoded: reader.since(start),
        })
    }

    /// The canonical encoding. It differs from `encoded` only for peers that are not RPyC.
    #[must_use]
    pub fn canonical(&self) -> EncodedId {
        let mut reader: Reader<'_> = Reader::new(self.encoded);
        let mut writer = Writer::<()>::new();
        while !reader.at_end() {
            match reader.token() {
                Ok(Token::Tuple(count)) => writer.put_tuple(count),
                Ok(Token::Str(text)) => writer.put_str(text),
                Ok(Token::Int(value)) => writer.put_int(value),
                Ok(Token::Bool(value)) => writer.put_int(i64::from(value)),
                // Leading zeros are gone once it is text of a number beyond 64 bits.
                Ok(Token::BigInt(text)) => writer.put_int_text(&normal_decimal(text)),
                _ => break,
            }
        }
        EncodedId(writer.into_payload().head.into_boxed_slice())
    }
}

fn int<B>(reader: &mut Reader<'_, B>, expected: &'static str) -> Result<Option<i64>, DecodeError> {
    let at = reader.position();
    match reader.token()? {
        Token::Int(value) => Ok(Some(value)),
        Token::Bool(value) => Ok(Some(i64::from(value))),
        Token::BigInt(_) => Ok(None),
        other => Err(DecodeError::Unexpected {
            expected,
            found: other.kind(),
            at,
        }),
    }
}

fn normal_decimal(text: &str) -> alloc::string::String {
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text), |digits| ("-", digits));
    let mut normal = sign.to_string();
    normal.push_str(digits.trim_start_matches('0'));
    normal
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_id_reads_back() {
        let id = EncodedId::new("builtins.list", 94_000_000_000_000, 0);
        let mut reader: Reader<'_> = Reader::new(id.as_bytes());
        let pack = IdPack::read(&mut reader).unwrap();
        assert_eq!(pack.name, "builtins.list");
        assert!(pack.is_class);
        assert_eq!(pack.canonical(), id);
        assert_eq!(pack.encoded, id.as_bytes());
    }

    #[test]
    fn a_lenient_encoding_has_a_canonical_form() {
        // A 1-character text under a tag with a length, an immediate int as decimal text.
        let lenient = [
            0x12, 0x08, 0x0e, 1, b'm', 0x16, 1, b'5', 0x16, 2, b'0', b'7',
        ];
        let mut reader: Reader<'_> = Reader::new(&lenient);
        let pack = IdPack::read(&mut reader).unwrap();
        assert!(!pack.is_class);
        assert_eq!(pack.canonical(), EncodedId::new("m", 5, 7));
    }
}
