//! Arguments of a call, on their way out and in.

use crate::convert::{FromValue, IntoValue};
use crate::error::Exception;
use crate::value::Value;

/// Positional and keyword arguments.
///
/// ```
/// use rpyc::Args;
///
/// let args = Args::new((1, "two")).keyword("verbose", true);
/// assert_eq!(args.positional().len(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Args {
    positional: Vec<Value>,
    keywords: Vec<(String, Value)>,
}

/// What can be the arguments of a call: a tuple of values (up to eight), a vector of them, or
/// [`Args`] where there are keywords.
pub trait IntoArgs {
    /// The arguments.
    fn into_args(self) -> Args;
}

impl Args {
    /// Positional arguments; keywords can be added.
    #[must_use]
    pub fn new(positional: impl IntoArgs) -> Self {
        positional.into_args()
    }

    /// The same with one more keyword argument.
    #[must_use]
    pub fn keyword(mut self, name: impl Into<String>, value: impl IntoValue) -> Self {
        self.keywords.push((name.into(), value.into_value()));
        self
    }

    /// The same with these behind them: first the positional ones, then the keywords.
    #[must_use]
    pub fn and(mut self, more: impl IntoArgs) -> Self {
        let (positional, keywords) = more.into_args().into_parts();
        self.positional.extend(positional);
        self.keywords.extend(keywords);
        self
    }

    /// The positional arguments.
    #[must_use]
    pub fn positional(&self) -> &[Value] {
        &self.positional
    }

    /// The keyword arguments.
    #[must_use]
    pub fn keywords(&self) -> &[(String, Value)] {
        &self.keywords
    }

    /// Both kinds, by value.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Value>, Vec<(String, Value)>) {
        (self.positional, self.keywords)
    }

    pub(crate) const fn from_parts(positional: Vec<Value>, keywords: Vec<(String, Value)>) -> Self {
        Self {
            positional,
            keywords,
        }
    }

    /// Starts taking the arguments out by the names of parameters.
    #[must_use]
    #[inline]
    pub fn bind(self, function: &'static str) -> Parameters {
        Parameters {
            function,
            positional: self.positional,
            taken: 0,
            keywords: self.keywords,
        }
    }
}

impl IntoArgs for Args {
    fn into_args(self) -> Args {
        self
    }
}

impl IntoArgs for Vec<Value> {
    fn into_args(self) -> Args {
        Args::from_parts(self, Vec::new())
    }
}

impl IntoArgs for () {
    fn into_args(self) -> Args {
        Args::default()
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<$($name: IntoValue),+> IntoArgs for ($($name,)+) {
            fn into_args(self) -> Args {
                Args::from_parts(vec![$(self.$index.into_value()),+], Vec::new())
            }
        }
    )*};
}
tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

/// The arguments of a call, taken out parameter by parameter, in order. What is wrong with them is a
/// `TypeError` in Python's words that names the function and the parameter.
///
/// ```
/// use rpyc::Args;
///
/// # fn main() -> Result<(), rpyc::Exception> {
/// let mut parameters = Args::new((1,)).keyword("b", 2).bind("add");
/// let a: i64 = parameters.required("a")?;
/// let b: i64 = parameters.optional("b")?.unwrap_or(0);
/// parameters.finish()?;
/// assert_eq!(a + b, 3);
///
/// let error = Args::new(("x",)).bind("add").required::<i64>("a").unwrap_err();
/// assert_eq!(error.to_string(), "TypeError: add() argument 'a': expected int, found str");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Parameters {
    function: &'static str,
    positional: Vec<Value>,
    taken: usize,
    keywords: Vec<(String, Value)>,
}

impl Parameters {
    /// The next parameter, which must be given.
    ///
    /// # Errors
    /// `TypeError`: it is missing, given twice or of another type.
    pub fn required<T: FromValue>(&mut self, name: &str) -> Result<T, Exception> {
        self.optional(name)?.ok_or_else(|| {
            Exception::type_error(format!(
                "{}() missing required argument '{name}'",
                self.function
            ))
        })
    }

    /// The next parameter, which has a default.
    ///
    /// # Errors
    /// `TypeError`: it is given twice or of another type.
    pub fn optional<T: FromValue>(&mut self, name: &str) -> Result<Option<T>, Exception> {
        let positional = self.positional.get_mut(self.taken);
        self.taken += 1;
        let keyword = self.keywords.iter().position(|(known, _)| known == name);
        let value = match (positional, keyword) {
            (Some(_), Some(_)) => {
                return Err(Exception::type_error(format!(
                    "{}() got multiple values for argument '{name}'",
                    self.function
                )));
            }
            (Some(value), None) => std::mem::take(value),
            (None, Some(index)) => self.keywords.swap_remove(index).1,
            (None, None) => return Ok(None),
        };
        T::from_value(value).map(Some).map_err(|error| {
            Exception::type_error(format!("{}() argument '{name}': {error}", self.function))
        })
    }

    /// All arguments that are left, as for `*args, **kwargs`.
    #[must_use]
    pub fn rest(mut self) -> Args {
        let taken = self.taken.min(self.positional.len());
        Args::from_parts(self.positional.split_off(taken), self.keywords)
    }

    /// Takes all parameters, and checks that nothing is left.
    ///
    /// # Errors
    /// As those of `take` and of [`finish`](Self::finish).
    #[inline]
    pub fn take_all<T>(
        mut self,
        take: impl FnOnce(&mut Self) -> Result<T, Exception>,
    ) -> Result<T, Exception> {
        let taken = take(&mut self)?;
        self.finish()?;
        Ok(taken)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// `TypeError`: too many arguments, or one that no parameter takes.
    pub fn finish(self) -> Result<(), Exception> {
        if self.positional.len() > self.taken {
            return Err(Exception::type_error(format!(
                "{}() takes {} positional arguments but {} were given",
                self.function,
                self.taken,
                self.positional.len()
            )));
        }
        match self.keywords.first() {
            None => Ok(()),
            Some((name, _)) => Err(Exception::type_error(format!(
                "{}() got an unexpected keyword argument '{name}'",
                self.function
            ))),
        }
    }
}
