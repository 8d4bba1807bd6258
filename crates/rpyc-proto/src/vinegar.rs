//! Exceptions on the wire.
//!
//! The body of an exception message is the int 1 for an exact `StopIteration`, a text for a string
//! exception of old, or `((module, name), args, attributes, traceback text)`. All of it is plain.

use crate::consts::EXC_STOP_ITERATION;
use crate::wire::{DecodeError, Reader, Token, Writer};

/// The body of an exception message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vinegar<'a> {
    /// An exact `StopIteration`.
    StopIteration,
    /// A string exception.
    Text(&'a str),
    /// Any other exception.
    Exception {
        /// The module of its class.
        module: &'a str,
        /// The name of its class.
        name: &'a str,
        /// Its encoded arguments: a tuple.
        args: &'a [u8],
        /// Its encoded attributes: a tuple of pairs.
        attributes: &'a [u8],
        /// The formatted traceback.
        traceback: &'a str,
    },
}

impl<'a> Vinegar<'a> {
    /// Reads the body of an exception message.
    ///
    /// # Errors
    /// It has another shape.
    pub fn read<B>(reader: &mut Reader<'a, B>) -> Result<Self, DecodeError> {
        const WANTED: &str = "a serialized exception";
        let at = reader.position();
        match reader.token()? {
            Token::Int(EXC_STOP_ITERATION) | Token::Bool(true) => Ok(Self::StopIteration),
            Token::Str(text) => Ok(Self::Text(text)),
            Token::Tuple(4) => {
                reader.tuple_of(2, WANTED)?;
                let (module, name) = (text(reader)?, text(reader)?);
                let (args, attributes) = (reader.skip()?, reader.skip()?);
                let traceback = text(reader)?;
                Ok(Self::Exception {
                    module,
                    name,
                    args,
                    attributes,
                    traceback,
                })
            }
            other => Err(DecodeError::Unexpected {
                expected: WANTED,
                found: other.kind(),
                at,
            }),
        }
    }

    /// Writes the body of an exception message.
    pub fn write<B>(&self, out: &mut Writer<B>) {
        match *self {
            Self::StopIteration => out.put_int(EXC_STOP_ITERATION),
            Self::Text(text) => out.put_str(text),
            Self::Exception {
                module,
                name,
                args,
                attributes,
                traceback,
            } => {
                out.put_tuple(4);
                out.put_tuple(2);
                out.put_str(module);
                out.put_str(name);
                out.put_raw(args);
                out.put_raw(attributes);
                out.put_str(traceback);
            }
        }
    }
}

fn text<'a, B>(reader: &mut Reader<'a, B>) -> Result<&'a str, DecodeError> {
    let at = reader.position();
    match reader.token()? {
        Token::Str(text) => Ok(text),
        other => Err(DecodeError::Unexpected {
            expected: "a text",
            found: other.kind(),
            at,
        }),
    }
}
