//! Rust types to values and back.

mod collections;
mod error;
mod maps;
mod plain;

pub use error::ConversionError;

use crate::error::Exception;
use crate::value::Value;

/// A type that a [`Value`] can be taken out as.
///
/// `#[derive(rpyc::FromValue)]` makes it for structs: those with named fields read attributes of a
/// remote object or items of a tuple in order, those without names read tuples.
#[diagnostic::on_unimplemented(
    message = "no value converts to `{Self}`",
    label = "implement `rpyc::FromValue`, or derive it",
    note = "`rpyc::Value` takes any value, `rpyc::Netref` any remote object"
)]
pub trait FromValue: Sized {
    /// Takes the value out.
    ///
    /// # Errors
    /// [`ConversionError`]: it is of another kind, or out of range.
    fn from_value(value: Value) -> Result<Self, ConversionError>;
}

/// A type that can become a [`Value`].
///
/// Plain types travel by value. `#[derive(rpyc::IntoValue)]` makes a tuple of a struct.
#[diagnostic::on_unimplemented(
    message = "`{Self}` converts to no value",
    label = "implement `rpyc::IntoValue`, or derive it",
    note = "`#[rpyc::service]` on a type's `impl` block makes it one that goes by reference"
)]
pub trait IntoValue {
    /// The value.
    fn into_value(self) -> Value;
}

/// What a method of a service can return: a value, or a `Result` of one.
#[diagnostic::on_unimplemented(
    message = "a peer can't get `{Self}`",
    label = "neither `rpyc::IntoValue` nor a `Result` of one with an error that is `Into<rpyc::Exception>`"
)]
pub trait IntoOutcome {
    /// The value, or the exception that the peer gets.
    ///
    /// # Errors
    /// The exception.
    fn into_outcome(self) -> Result<Value, Exception>;
}

impl<T: IntoValue> IntoOutcome for T {
    fn into_outcome(self) -> Result<Value, Exception> {
        Ok(self.into_value())
    }
}

impl<T: IntoValue, E: Into<Exception>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Result<Value, Exception> {
        self.map(IntoValue::into_value).map_err(Into::into)
    }
}
