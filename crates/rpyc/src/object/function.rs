//! Closures that the peer can call.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Member, Method, Object, Reply};
use crate::args::{Args, Parameters};
use crate::connection::Connection;
use crate::convert::FromValue;
use crate::error::Exception;
use crate::value::Value;

/// Python's own name of it: a peer knows what such a thing can do without asking.
const CLASS: &str = "builtins.function";

/// A closure as an object; see [`function`].
pub struct Function<F> {
    name: Cow<'static, str>,
    call: F,
}

/// A callable of up to six arguments, to hand to the peer: as a callback, say.
///
/// The arguments are converted to the types that the closure takes; a wrong number or type is a
/// `TypeError` at the caller. A first parameter `&Connection` is the connection that the call came
/// over. The closure returns a value, a `Result`, or a [`Reply`], such as of [`Reply::later`].
///
/// ```
/// let double = rpyc::function(|x: i64| 2 * x);
/// let whose = rpyc::function(|conn: &rpyc::Connection, x: i64| {
///     format!("{x} from {}", conn.peer_name())
/// });
/// let eventually = rpyc::function(|x: i64| rpyc::Reply::later(async move { 2 * x }));
/// ```
pub fn function<P, C: Callable<P>>(callable: C) -> Value
where
    P: 'static,
{
    raw_function("function", move |conn, args| callable.call(conn, args))
}

/// A callable that takes its arguments, keywords among them, as they come, and the connection.
///
/// ```
/// let count = rpyc::raw_function("count", |_, args| args.positional().len().into());
/// ```
pub fn raw_function(
    name: impl Into<Cow<'static, str>>,
    call: impl Fn(&Connection, Args) -> Reply + Send + Sync + 'static,
) -> Value {
    let name = name.into();
    Value::Object(Arc::new(Function { name, call }))
}

/// A closure whose parameters are of types that values convert to; `P` is the tuple of them, within
/// [`WithConnection`] if the connection is the first.
pub trait Callable<P>: Send + Sync + 'static {
    /// Converts the arguments and calls.
    fn call(&self, conn: &Connection, args: Args) -> Reply;
}

/// Marks the parameters of a [`Callable`] that takes the connection, too.
#[derive(Debug)]
pub struct WithConnection<P>(std::marker::PhantomData<P>);

macro_rules! callables {
    ($(($($name:ident $text:literal),*))*) => {$(
        impl<Call, Out, $($name),*> Callable<($($name,)*)> for Call
        where
            Call: Fn($($name),*) -> Out + Send + Sync + 'static,
            Out: Into<Reply>,
            $($name: FromValue,)*
        {
            #[allow(non_snake_case, reason = "one identifier serves as type and as variable")]
            fn call(&self, _: &Connection, args: Args) -> Reply {
                let bound = args.bind("function").take_all(|parameters| {
                    let _: &mut Parameters = parameters;
                    Ok(($(parameters.required::<$name>($text)?,)*))
                });
                match bound {
                    Ok(($($name,)*)) => self($($name),*).into(),
                    Err(error) => Reply::raise(error),
                }
            }
        }

        impl<Call, Out, $($name),*> Callable<WithConnection<($($name,)*)>> for Call
        where
            Call: Fn(&Connection, $($name),*) -> Out + Send + Sync + 'static,
            Out: Into<Reply>,
            $($name: FromValue,)*
        {
            #[allow(non_snake_case, reason = "one identifier serves as type and as variable")]
            fn call(&self, conn: &Connection, args: Args) -> Reply {
                let bound = args.bind("function").take_all(|parameters| {
                    let _: &mut Parameters = parameters;
                    Ok(($(parameters.required::<$name>($text)?,)*))
                });
                match bound {
                    Ok(($($name,)*)) => self(conn, $($name),*).into(),
                    Err(error) => Reply::raise(error),
                }
            }
        }
    )*};
}
callables! {
    ()
    (A "1")
    (A "1", B "2")
    (A "1", B "2", C "3")
    (A "1", B "2", C "3", D "4")
    (A "1", B "2", C "3", D "4", E "5")
    (A "1", B "2", C "3", D "4", E "5", F "6")
}

impl<F: Fn(&Connection, Args) -> Reply + Send + Sync + 'static> Object for Function<F> {
    fn class_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(CLASS)
    }

    fn methods(&self) -> Vec<Method> {
        vec![Method::new("__call__")]
    }

    fn properties(&self) -> Vec<Cow<'static, str>> {
        vec![Cow::Borrowed("__name__")]
    }

    fn attribute(&self, _: &Connection, name: &str) -> Result<Member, Exception> {
        member_of_callable(CLASS, &self.name, name)
    }

    fn call_method(&self, conn: &Connection, name: &str, args: Args) -> Reply {
        match name {
            "__call__" => (self.call)(conn, args),
            _ => Reply::raise(Exception::no_attribute(CLASS, name)),
        }
    }

    fn repr(&self) -> Result<String, Exception> {
        Ok(format!("<function {}>", self.name))
    }
}

impl<F> std::fmt::Debug for Function<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<function {}>", self.name)
    }
}

/// What an object that is called and has a name shows of itself.
pub(super) fn member_of_callable(
    class: &'static str,
    own_name: &str,
    name: &str,
) -> Result<Member, Exception> {
    match name {
        "__call__" => Ok(Member::Method),
        "__name__" => Ok(Member::Value(Value::Str(own_name.to_owned()))),
        _ => Err(Exception::no_attribute(class, name)),
    }
}
