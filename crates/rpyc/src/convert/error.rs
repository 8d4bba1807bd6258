//! A value that is not what was expected.

use std::borrow::Cow;
use std::fmt;

use crate::value::Value;

/// What was expected of a value, and what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversionError(Box<Parts>);

/// Apart, so that the results of conversions, which nearly always succeed, are small.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    expected: Cow<'static, str>,
    found: String,
    /// Where in a composite value, outermost first.
    path: Vec<String>,
}

impl ConversionError {
    /// The error for `found`.
    #[must_use]
    pub fn new(expected: impl Into<Cow<'static, str>>, found: &Value) -> Self {
        Self::described(expected, found.kind())
    }

    /// The error for something that is described in words.
    #[must_use]
    pub fn described(expected: impl Into<Cow<'static, str>>, found: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            expected: expected.into(),
            found: found.into(),
            path: Vec::new(),
        }))
    }

    /// The same, one level further out: `part` is an item or a field.
    #[must_use]
    pub fn inside(mut self, part: impl Into<String>) -> Self {
        self.0.path.insert(0, part.into());
        self
    }

    /// What was expected.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.0.expected
    }

    /// What came.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.0.found
    }
}

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.0.expected, self.0.found)?;
        if self.0.path.is_empty() {
            Ok(())
        } else {
            write!(f, " (in {})", self.0.path.join(", "))
        }
    }
}

impl std::error::Error for ConversionError {}
