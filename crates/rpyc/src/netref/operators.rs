//! Operators and the protocols of containers.

use rpyc_proto::consts::Handler;

use super::Netref;
use crate::convert::{FromValue, IntoValue};
use crate::error::{Exception, Result};
use crate::value::Value;

/// An operator with two operands; the remote object is the left one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names are those of Python's operator module"
)]
pub enum Operator {
    Add,
    Sub,
    Mul,
    MatMul,
    TrueDiv,
    FloorDiv,
    Mod,
    DivMod,
    Pow,
    LShift,
    RShift,
    And,
    Or,
    Xor,
}

/// An operator with one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names are those of Python's operator module"
)]
pub enum Unary {
    Neg,
    Pos,
    Abs,
    Invert,
}

/// A comparison; the remote object is the left operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the names are those of Python's operator module"
)]
pub enum Comparison {
    Lt,
    Le,
    Eq,
    Ne,
    Gt,
    Ge,
}

impl Operator {
    const fn method(self) -> &'static str {
        match self {
            Self::Add => "__add__",
            Self::Sub => "__sub__",
            Self::Mul => "__mul__",
            Self::MatMul => "__matmul__",
            Self::TrueDiv => "__truediv__",
            Self::FloorDiv => "__floordiv__",
            Self::Mod => "__mod__",
            Self::DivMod => "__divmod__",
            Self::Pow => "__pow__",
            Self::LShift => "__lshift__",
            Self::RShift => "__rshift__",
            Self::And => "__and__",
            Self::Or => "__or__",
            Self::Xor => "__xor__",
        }
    }
}

impl Unary {
    const fn method(self) -> &'static str {
        match self {
            Self::Neg => "__neg__",
            Self::Pos => "__pos__",
            Self::Abs => "__abs__",
            Self::Invert => "__invert__",
        }
    }
}

impl Comparison {
    const fn method(self) -> &'static str {
        match self {
            Self::Lt => "__lt__",
            Self::Le => "__le__",
            Self::Eq => "__eq__",
            Self::Ne => "__ne__",
            Self::Gt => "__gt__",
            Self::Ge => "__ge__",
        }
    }
}

impl Netref {
    /// `len(object)`.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error); `AttributeError` if it has no length.
    #[expect(
        clippy::len_without_is_empty,
        reason = "each would be one more request"
    )]
    pub fn len(&self) -> Result<usize> {
        self.method_as("__len__", ())
    }

    /// `item in object`.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error).
    pub fn contains(&self, item: impl IntoValue) -> Result<bool> {
        self.method_as("__contains__", (item,))
    }

    /// `object[key]`. A range of `i64` is a slice: `item(1..3)`.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error); `KeyError` or `IndexError` if there is none.
    pub fn item(&self, key: impl IntoValue) -> Result<Value> {
        self.call_method("__getitem__", (key,))
    }

    /// `object[key] = value`.
    ///
    /// # Errors
    /// As [`item`](Self::item).
    pub fn set_item(&self, key: impl IntoValue, value: impl IntoValue) -> Result<()> {
        self.call_method("__setitem__", (key, value)).map(drop)
    }

    /// `del object[key]`.
    ///
    /// # Errors
    /// As [`item`](Self::item).
    pub fn del_item(&self, key: impl IntoValue) -> Result<()> {
        self.call_method("__delitem__", (key,)).map(drop)
    }

    /// `object + other`, and so on. The reflected method of `other` is not tried.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error); `TypeError` if the operands don't fit.
    pub fn operate(&self, operator: Operator, other: impl IntoValue) -> Result<Value> {
        match self.call_method(operator.method(), (other,))? {
            Value::NotImplemented => Err(Exception::type_error(format!(
                "'{}' object does not support {operator:?} with this operand",
                self.class_name()
            ))
            .into()),
            result => Ok(result),
        }
    }

    /// `-object`, and so on.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error); `AttributeError` if the object has no such operator.
    pub fn apply(&self, operator: Unary) -> Result<Value> {
        self.call_method(operator.method(), ())
    }

    /// `bool(object)`: what `__bool__` says, else whether the length is not 0; without either an
    /// object is true.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error).
    pub fn is_truthy(&self) -> Result<bool> {
        match self.method_as("__bool__", ()) {
            Err(error) if error.is("AttributeError") => {}
            answer => return answer,
        }
        match self.len() {
            Err(error) if error.is("AttributeError") => Ok(true),
            length => Ok(length? != 0),
        }
    }

    /// `object < other`, and so on.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error); `TypeError` if the operands can't be compared.
    pub fn compare(&self, comparison: Comparison, other: impl IntoValue) -> Result<bool> {
        match self.ask(Handler::Cmp, (other, comparison.method()))? {
            Value::NotImplemented => Err(Exception::type_error(format!(
                "'{}' object does not support {comparison:?} with this operand",
                self.class_name()
            ))
            .into()),
            result => Ok(result.is_truthy()),
        }
    }

    fn method_as<T: FromValue>(&self, name: &str, args: impl crate::args::IntoArgs) -> Result<T> {
        Ok(self.call_method(name, args)?.extract()?)
    }
}
