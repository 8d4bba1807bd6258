//! The macros of the crate `rpyc`, which re-exports and documents them: services, typed proxies,
//! conversions and exceptions.
//!
//! # Layout
//!
//! | module | what it is about |
//! |---|---|
//! | `service` | `#[rpyc::service]`: methods to an implementation of `Object` |
//! | `proxy` | `#[rpyc::proxy]`: a trait to the client that implements it |
//! | `exception` | `#[derive(rpyc::Error)]`: variants to classes of exceptions |
//! | `values` | `#[derive(rpyc::FromValue, rpyc::IntoValue)]`: structs from and to values |
//! | `conditions` | what is compiled, and what is not |
//! | `options` | what stands in `#[rpyc(...)]`, and doc comments |
//! | `types` | what a type looks like, as far as a macro can tell |
//!
//! Each of the first four is a function from a syntax tree to tokens or an error, so its tests need
//! no compiler. An error points at what is wrong.

mod conditions;
mod exception;
mod options;
mod proxy;
mod service;
mod types;
mod values;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a type an [`Object`](../rpyc/trait.Object.html) that peers can use, from the methods that
/// it exposes. It goes on an `impl` block.
///
/// Nothing is reachable for peers but what is marked:
///
/// | on a method | it is |
/// |---|---|
/// | `#[rpyc(exposed)]` | a method |
/// | `#[rpyc(property)]` | an attribute: its value is read by calling the method |
/// | `#[rpyc(setter)]` | what sets an attribute: `set_x` sets `x` |
/// | `#[rpyc(on_connect)]` | called when a connection begins whose root the object is; an error refuses it |
/// | `#[rpyc(on_disconnect)]` | called once when that connection has ended |
/// | `name = "..."` beside these | known to peers by this name |
///
/// Python's special methods are methods like others: expose `__len__`, `__getitem__`, `__iter__`,
/// `__call__`, `__enter__` and `__exit__`, and the peer's syntax works with the proxy.
///
/// | a parameter | gets |
/// |---|---|
/// | `T: FromValue` | an argument, by position or by name |
/// | `&str`, `&[T]`, `&T` | the same, borrowed |
/// | `Option<T>` | an argument that may be left out |
/// | `#[rpyc(default = 10)] T` | an argument with a default |
/// | `&Connection` | the connection that the call came over |
/// | `Args`, as the last one | all arguments that are left: `*args, **kwargs` |
///
/// Wrong arguments are a `TypeError` at the caller that names the method and the parameter. A method
/// returns anything that is `IntoValue`, or a `Result` of it whose error is `Into<Exception>`, or a
/// `Reply`. An `async fn` goes on beside others on an asynchronous connection; a blocking one waits
/// for it. The receiver is `&self`, or `self: Arc<Self>` where the method hands the object itself
/// out.
///
/// A method that `#[cfg(...)]` takes out is neither listed nor reachable; options can be in a
/// `#[cfg_attr(...)]`. Parameters can't depend on conditions: write the method twice.
///
/// Doc comments go to the peer's `help()`. The class is `module.Type`, or what
/// `#[rpyc::service(name = "shop.Calculator")]` says. The type can be returned and passed as a value
/// (`IntoValue`): the peer gets a proxy.
///
/// ```
/// use std::sync::Arc;
///
/// struct Calculator;
///
/// /// Sums.
/// #[rpyc::service(name = "shop.Calculator")]
/// impl Calculator {
///     /// Adds two numbers.
///     #[rpyc(exposed)]
///     fn add(&self, a: i64, #[rpyc(default = 10)] b: i64) -> i64 {
///         a + b
///     }
///
///     #[rpyc(exposed)]
///     fn divide(&self, a: f64, b: f64) -> Result<f64, rpyc::Exception> {
///         if b == 0.0 {
///             return Err(rpyc::Exception::new("ZeroDivisionError", "division by zero"));
///         }
///         Ok(a / b)
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (here, there) = rpyc::Connection::pair(None, Some(Arc::new(Calculator)))?;
/// let server = there.serve_in_thread()?;
/// let calculator = here.root()?;
/// assert_eq!(calculator.call_method("add", (1,))?.extract::<i64>()?, 11);
/// assert!(calculator.call_method("divide", (1, 0)).unwrap_err().is("ArithmeticError"));
/// let error = calculator.call_method("add", ("one",)).unwrap_err();
/// assert_eq!(error.to_string(), "TypeError: add() argument 'a': expected int, found str");
/// # here.close();
/// # server.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as syn::ItemImpl);
    finish(service::expand(options.into(), block))
}

/// Makes a typed client of a trait: `#[rpyc::proxy] trait Calculator` generates the struct
/// `CalculatorProxy`, which implements the trait over a `Netref`.
///
/// Each method is one request. It takes `&self` and anything that is `IntoValue`, and returns a
/// `Result`, as any remote call can fail; its error must be `From<rpyc::Error>`.
///
/// | on a method | |
/// |---|---|
/// | `#[rpyc(property)]` | reads the attribute of this name |
/// | `#[rpyc(setter)]` | `set_x` sets the attribute `x` |
/// | `#[rpyc(name = "...")]` | the name at the peer |
/// | `async fn` | waits without blocking (with the feature `tokio`) |
/// | a default body | is what the method does: nothing is generated |
///
/// | a parameter | |
/// |---|---|
/// | `#[rpyc(keyword)]` | goes by name; an `Option` that is `None` is left out |
/// | `Args`, as the last one | more arguments: `*args, **kwargs` |
///
/// A method that `#[cfg(...)]` takes out of the trait is not implemented, either; options can be in a
/// `#[cfg_attr(...)]`.
///
/// The proxy is made of a `Netref` by `From`, of the root by `Connection::root_as`, and it is a
/// value: methods can take and return proxies.
///
/// ```
/// #[rpyc::proxy]
/// trait Calculator {
///     /// Adds two numbers.
///     fn add(&self, a: i64, #[rpyc(keyword)] b: Option<i64>) -> rpyc::Result<i64>;
///
///     #[rpyc(property)]
///     fn precision(&self) -> rpyc::Result<u32>;
/// }
///
/// # fn demo(conn: rpyc::Connection) -> rpyc::Result<()> {
/// let calculator: CalculatorProxy = conn.root_as()?;
/// let sum = calculator.add(1, Some(2))?;
/// # Ok(())
/// # }
/// ```
#[proc_macro_attribute]
pub fn proxy(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::ItemTrait);
    finish(proxy::expand(options.into(), item))
}

/// Makes a Python exception of an error: `From<Self> for rpyc::Exception`, so that exposed methods
/// can return it. The text is that of `Display`.
///
/// | attribute | where | |
/// |---|---|---|
/// | `#[rpyc(class = "ValueError")]` | type, variant | the class; dotted unless it is builtin |
/// | `#[rpyc(transparent)]` | variant of one field | the exception of the field, such as of a `rpyc::Error` |
/// | `#[rpyc(attribute)]` | named field | the exception gets it as an attribute |
///
/// A variant without a class has that of the type; a type without one is `module.Type`. The peer
/// catches builtin classes as such; others by their dotted name, or as instances of its own class of
/// that name if its configuration allows it.
///
/// ```
/// use std::fmt;
///
/// #[derive(Debug, rpyc::Error)]
/// #[rpyc(class = "shop.OrderError")]
/// enum OrderError {
///     #[rpyc(class = "KeyError")]
///     Unknown(u64),
///     SoldOut {
///         #[rpyc(attribute)]
///         left: u32,
///     },
/// }
///
/// impl fmt::Display for OrderError {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         match self {
///             Self::Unknown(id) => write!(f, "no order {id}"),
///             Self::SoldOut { left } => write!(f, "only {left} left"),
///         }
///     }
/// }
///
/// let error = rpyc::Exception::from(OrderError::SoldOut { left: 2 });
/// assert_eq!(error.to_string(), "shop.OrderError: only 2 left");
/// assert_eq!(error.attribute("left"), Some(&rpyc::Value::Int(2)));
/// assert!(rpyc::Exception::from(OrderError::Unknown(7)).is("LookupError"));
/// ```
#[proc_macro_derive(Error, attributes(rpyc))]
pub fn derive_error(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    finish(exception::expand(item))
}

/// Lets values be taken out as a struct.
///
/// | struct | is read from |
/// |---|---|
/// | named fields | a tuple, in order; a remote object, by attributes; a remote dict, by keys |
/// | `(A, B)` | a tuple |
/// | `(A)` | what `A` is read from |
///
/// `#[rpyc(name = "...")]` on a field names the attribute or key.
///
/// ```
/// use rpyc::{IntoValue, Value};
///
/// #[derive(Debug, PartialEq, rpyc::FromValue, rpyc::IntoValue)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
///
/// let point: Point = (1, 2.5).into_value().extract().unwrap();
/// assert_eq!(point, Point { x: 1.0, y: 2.5 });
/// assert_eq!(point.into_value(), Value::Tuple(vec![Value::Float(1.0), Value::Float(2.5)]));
///
/// let error = (1, "far").into_value().extract::<Point>().unwrap_err();
/// assert_eq!(error.to_string(), "expected float, found str (in Point.y)");
/// ```
#[proc_macro_derive(FromValue, attributes(rpyc))]
pub fn derive_from_value(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    finish(values::expand_from(item))
}

/// Makes a value of a struct: a tuple of its fields in order, or, of a struct with one unnamed field,
/// the value of that. See [`macro@FromValue`].
#[proc_macro_derive(IntoValue, attributes(rpyc))]
pub fn derive_into_value(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    finish(values::expand_into(item))
}

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
