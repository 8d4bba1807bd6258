//! A tree of plain values, built from tokens and written back.

use rpyc_proto::limits::MAX_DEPTH;
use rpyc_proto::wire::{DecodeError, Reader, Token, Writer};

/// A plain value. Floats are kept as bits, so that NaNs compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plain {
    None,
    Bool(bool),
    NotImplemented,
    Ellipsis,
    Int(i64),
    BigInt(String),
    Float(u64),
    Complex(u64, u64),
    Bytes(Vec<u8>),
    Str(String),
    Tuple(Vec<Self>),
    FrozenSet(Vec<Self>),
    Slice(Box<[Self; 3]>),
}

impl Plain {
    /// Reads one value. Duplicates in a frozenset collapse, as they do in Python.
    pub(crate) fn read<B: AsRef<[u8]>>(reader: &mut Reader<'_, B>) -> Result<Self, DecodeError> {
        Self::read_at_depth(reader, 0)
    }

    /// Reads one value that starts the data, whatever follows it.
    pub(crate) fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::<Vec<u8>>::with_bulk(data, 0, &[]))
    }

    fn read_at_depth<B: AsRef<[u8]>>(
        reader: &mut Reader<'_, B>,
        depth: usize,
    ) -> Result<Self, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let items = |reader: &mut Reader<'_, B>, count: usize| -> Result<Vec<Self>, DecodeError> {
            (0..count)
                .map(|_| Self::read_at_depth(reader, depth + 1))
                .collect()
        };
        Ok(match reader.token()? {
            Token::None => Self::None,
            Token::Bool(value) => Self::Bool(value),
            Token::NotImplemented => Self::NotImplemented,
            Token::Ellipsis => Self::Ellipsis,
            Token::Int(value) => Self::Int(value),
            Token::BigInt(text) => Self::BigInt(text.to_owned()),
            Token::Float(value) => Self::Float(value.to_bits()),
            Token::Complex(real, imag) => Self::Complex(real.to_bits(), imag.to_bits()),
            Token::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Token::Bulk(index) => Self::Bytes(reader.bulk(index).unwrap().as_ref().to_vec()),
            Token::Str(text) => Self::Str(text.to_owned()),
            Token::Tuple(count) => Self::Tuple(items(reader, count)?),
            Token::FrozenSet(count) => {
                let mut members: Vec<Self> = Vec::new();
                for member in items(reader, count)? {
                    if !members.contains(&member) {
                        members.push(member);
                    }
                }
                Self::FrozenSet(members)
            }
            Token::Slice => Self::Slice(Box::new(
                items(reader, 3)?.try_into().expect("three items were read"),
            )),
        })
    }

    /// The canonical encoding.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::<()>::new();
        self.write(&mut writer);
        writer.into_payload().head
    }

    /// Writes the value.
    pub(crate) fn write<B>(&self, out: &mut Writer<B>) {
        match self {
            Self::None => out.put_none(),
            Self::Bool(value) => out.put_bool(*value),
            Self::NotImplemented => out.put_not_implemented(),
            Self::Ellipsis => out.put_ellipsis(),
            Self::Int(value) => out.put_int(*value),
            Self::BigInt(text) => out.put_int_text(text),
            Self::Float(bits) => out.put_float(f64::from_bits(*bits)),
            Self::Complex(real, imag) => {
                out.put_complex(f64::from_bits(*real), f64::from_bits(*imag));
            }
            Self::Bytes(bytes) => out.put_bytes(bytes),
            Self::Str(text) => out.put_str(text),
            Self::Tuple(items) => {
                out.put_tuple(items.len());
                items.iter().for_each(|item| item.write(out));
            }
            Self::FrozenSet(items) => {
                out.put_frozenset(items.len());
                items.iter().for_each(|item| item.write(out));
            }
            Self::Slice(items) => {
                out.put_slice();
                items.iter().for_each(|item| item.write(out));
            }
        }
    }

    /// Python's `repr` of the value. `None` for floats, whose text Rust writes differently, and for
    /// what holds them.
    pub(crate) fn repr(&self) -> Option<String> {
        let joined = |items: &[Self]| -> Option<String> {
            let parts: Option<Vec<_>> = items.iter().map(Self::repr).collect();
            Some(parts?.join(", "))
        };
        Some(match self {
            Self::None => "None".into(),
            Self::Bool(true) => "True".into(),
            Self::Bool(false) => "False".into(),
            Self::NotImplemented => "NotImplemented".into(),
            Self::Ellipsis => "Ellipsis".into(),
            Self::Int(value) => value.to_string(),
            Self::BigInt(text) => text.clone(),
            Self::Float(_) | Self::Complex(..) => return None,
            Self::Bytes(bytes) => {
                let chars = bytes.iter().map(|byte| char::from(*byte));
                format!("b{}", quoted(chars, |c| !c.is_ascii_graphic() && c != ' '))
            }
            Self::Str(text) => quoted(text.chars(), |c| c.is_control()),
            Self::Tuple(items) if items.len() == 1 => format!("({},)", joined(items)?),
            Self::Tuple(items) => format!("({})", joined(items)?),
            Self::FrozenSet(items) if items.is_empty() => "frozenset()".into(),
            Self::FrozenSet(items) => format!("frozenset([{}])", joined(items)?),
            Self::Slice(items) => format!("slice({})", joined(items.as_slice())?),
        })
    }
}

/// Python's quotes and escapes.
fn quoted(chars: impl Iterator<Item = char> + Clone, escape: impl Fn(char) -> bool) -> String {
    let has = |wanted: char| chars.clone().any(|c| c == wanted);
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in chars {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if escape(c) => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
