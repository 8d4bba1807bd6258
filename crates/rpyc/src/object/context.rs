//! Context managers that the peer can enter.

use std::borrow::Cow;

use super::{Member, Method, Object, Reply};
use crate::args::Args;
use crate::connection::Connection;
use crate::convert::IntoOutcome;
use crate::error::Exception;
use crate::value::Value;

const CLASS: &str = "rpyc.ContextManager";

/// Two closures as a context manager: `with proxy as value: ...`
///
/// ```
/// use rpyc::{ContextManager, Value};
///
/// let lock = ContextManager::new(|| "entered", |raised: bool| println!("left, raised: {raised}"));
/// ```
pub struct ContextManager<E, X> {
    enter: E,
    exit: X,
}

impl<E, X, T, U> ContextManager<E, X>
where
    E: Fn() -> T + Send + Sync + 'static,
    X: Fn(bool) -> U + Send + Sync + 'static,
    T: IntoOutcome,
    U: IntoOutcome,
{
    /// `enter` yields what `as` binds. `exit` is told whether the block raised; if it returns
    /// something true, the exception is swallowed.
    #[expect(clippy::new_ret_no_self, reason = "it is only of use as a value")]
    pub fn new(enter: E, exit: X) -> Value
    where
        Self: Object,
    {
        Value::Object(std::sync::Arc::new(Self { enter, exit }))
    }
}

impl<E, X, T, U> Object for ContextManager<E, X>
where
    E: Fn() -> T + Send + Sync + 'static,
    X: Fn(bool) -> U + Send + Sync + 'static,
    T: IntoOutcome,
    U: IntoOutcome,
{
    fn class_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(CLASS)
    }

    fn methods(&self) -> Vec<Method> {
        vec![Method::new("__enter__"), Method::new("__exit__")]
    }

    fn attribute(&self, _: &Connection, name: &str) -> Result<Member, Exception> {
        match name {
            "__enter__" | "__exit__" => Ok(Member::Method),
            _ => Err(Exception::no_attribute(CLASS, name)),
        }
    }

    fn call_method(&self, _: &Connection, name: &str, args: Args) -> Reply {
        match name {
            "__enter__" => Reply::from((self.enter)()),
            "__exit__" => {
                let raised = args.positional().first().is_some_and(Value::is_truthy);
                Reply::from((self.exit)(raised))
            }
            _ => Reply::raise(Exception::no_attribute(CLASS, name)),
        }
    }
}

impl<E, X> std::fmt::Debug for ContextManager<E, X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<rpyc.ContextManager object>")
    }
}
