//! Objects that a Rust program serves.

mod bound;
mod context;
mod function;
mod iterator;

use std::any::Any;
use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use context::ContextManager;
pub use function::{Callable, Function, WithConnection, function, raw_function};
pub use iterator::Iter;

pub(crate) use bound::BoundMethod;

use crate::args::Args;
use crate::connection::Connection;
use crate::convert::IntoOutcome;
use crate::error::Exception;
use crate::value::Value;

/// An object that peers can hold a proxy of.
///
/// `#[rpyc::service]` implements this for a type, from the methods that it exposes. Implement it by
/// hand for objects whose attributes are known only at run time. All methods take `&self`: several
/// threads may serve one connection, and one object many connections.
///
/// Nothing is reachable but what these methods yield. Python's special methods are methods like
/// others: an object with a method `__len__` has a length, one with `__getitem__` can be indexed.
///
/// ```
/// use rpyc::{Args, Connection, Exception, Member, Object, Reply, Value};
///
/// /// Any attribute is its own name.
/// struct Echo;
///
/// impl Object for Echo {
///     fn class_name(&self) -> std::borrow::Cow<'static, str> {
///         "demo.Echo".into()
///     }
///
///     fn attribute(&self, _: &Connection, name: &str) -> Result<Member, Exception> {
///         Ok(Member::Value(Value::Str(name.to_owned())))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be served",
    note = "`#[rpyc::service]` on the type's `impl` block makes it an object"
)]
pub trait Object: Any + Send + Sync {
    /// The dotted name of the class. Peers show it, and keep one proxy class for all objects with
    /// the same class name and the same [`methods`](Self::methods).
    fn class_name(&self) -> Cow<'static, str>;

    /// The documentation of the class, as `help()` shows it.
    fn doc(&self) -> Option<Cow<'static, str>> {
        None
    }

    /// The methods and their documentation. Peers need the special ones (`__len__`, `__iter__`) to
    /// make a proxy that Python's syntax works with.
    fn methods(&self) -> Vec<Method> {
        Vec::new()
    }

    /// The names of the attributes that are no methods.
    fn properties(&self) -> Vec<Cow<'static, str>> {
        Vec::new()
    }

    /// Looks an attribute up.
    ///
    /// # Errors
    /// `AttributeError` if there is none; whatever reading it raises.
    fn attribute(&self, conn: &Connection, name: &str) -> Result<Member, Exception> {
        let _ = conn;
        if self.methods().iter().any(|method| method.name == name) {
            return Ok(Member::Method);
        }
        Err(Exception::no_attribute(&self.class_name(), name))
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// `AttributeError` if it can't be set; whatever setting it raises.
    fn set_attribute(&self, conn: &Connection, name: &str, value: Value) -> Result<(), Exception> {
        let _ = (conn, value);
        Err(denied("set", &self.class_name(), name))
    }

    /// Deletes an attribute.
    ///
    /// # Errors
    /// `AttributeError` if it can't be deleted; whatever deleting it raises.
    fn delete_attribute(&self, conn: &Connection, name: &str) -> Result<(), Exception> {
        let _ = conn;
        Err(denied("delete", &self.class_name(), name))
    }

    /// Calls a method. Calling the object itself is calling `__call__`.
    fn call_method(&self, conn: &Connection, name: &str, args: Args) -> Reply {
        let _ = (conn, args);
        Reply::raise(Exception::no_attribute(&self.class_name(), name))
    }

    /// Calls a method, for those who have the `Arc` that the object is in: this is what connections
    /// do. Override it where a method hands the object itself out, or goes on as a
    /// [`Reply::Later`] that uses it.
    fn call_shared(self: Arc<Self>, conn: &Connection, name: &str, args: Args) -> Reply {
        self.call_method(conn, name, args)
    }

    /// `repr()` of the object.
    ///
    /// # Errors
    /// Whatever it raises.
    fn repr(&self) -> Result<String, Exception> {
        Ok(format!("<{} object>", self.class_name()))
    }

    /// `str()` of the object.
    ///
    /// # Errors
    /// Whatever it raises.
    fn str(&self) -> Result<String, Exception> {
        self.repr()
    }

    /// Called when a connection begins whose root this is.
    ///
    /// # Errors
    /// The connection is closed.
    fn on_connect(&self, conn: &Connection) -> Result<(), Exception> {
        let _ = conn;
        Ok(())
    }

    /// Called once when a connection has ended whose root this is.
    fn on_disconnect(&self, conn: &Connection) {
        let _ = conn;
    }
}

/// A method, as peers are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its documentation.
    pub doc: Option<Cow<'static, str>>,
}

impl Method {
    /// A method without documentation.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            doc: None,
        }
    }

    /// A method with documentation.
    #[must_use]
    pub const fn documented(name: &'static str, doc: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            doc: Some(Cow::Borrowed(doc)),
        }
    }
}

/// What an attribute is.
#[derive(Debug, Clone)]
pub enum Member {
    /// A method: to be called by [`Object::call_method`].
    Method,
    /// A value.
    Value(Value),
}

/// A call that goes on after the method has returned.
pub type LaterReply = Pin<Box<dyn Future<Output = Result<Value, Exception>> + Send>>;

/// The outcome of a call.
pub enum Reply {
    /// The method is done.
    Now(Result<Value, Exception>),
    /// The method is asynchronous: its outcome is this future's. An asynchronous connection polls it
    /// beside others; a blocking one waits for it.
    Later(LaterReply),
}

impl Reply {
    /// An exception.
    #[must_use]
    pub const fn raise(exception: Exception) -> Self {
        Self::Now(Err(exception))
    }

    /// The outcome of a future: a value, or a `Result` of one.
    pub fn later<T: IntoOutcome>(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Later(Box::pin(async move { future.await.into_outcome() }))
    }
}

impl<T: IntoOutcome> From<T> for Reply {
    fn from(outcome: T) -> Self {
        Self::Now(outcome.into_outcome())
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(outcome) => f.debug_tuple("Now").field(outcome).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// An object without any attribute: the root of those who only call.
#[derive(Debug, Default)]
pub(crate) struct Void;

impl Object for Void {
    fn class_name(&self) -> Cow<'static, str> {
        Cow::Borrowed("rpyc.VoidService")
    }
}

/// The part of an address that tells one object from another.
pub(crate) fn identity(object: &Arc<dyn Object>) -> usize {
    Arc::as_ptr(object).cast::<()>() as usize
}

pub(crate) fn denied(what: &str, class: &str, name: &str) -> Exception {
    Exception::new(
        "AttributeError",
        format!("cannot {what} attribute '{name}' of '{class}'"),
    )
}
