//! Iterators that the peer can go through.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Member, Method, Object, Reply};
use crate::args::Args;
use crate::connection::Connection;
use crate::convert::IntoOutcome;
use crate::error::Exception;
use crate::value::Value;

const CLASS: &str = "rpyc.Iterator";

type Source = Box<dyn Iterator<Item = Result<Value, Exception>> + Send>;

/// A Rust iterator as an iterator of the peer: `for item in proxy`. Items may be `Result`s; an error
/// is raised in its place.
///
/// The iterator is at rest while nobody asks for an item, and is dropped with its last proxy.
///
/// ```
/// let squares = rpyc::Iter::new((1..=3).map(|n: i64| n * n));
/// ```
pub struct Iter {
    /// `None` while an item is made, and after the end.
    source: Mutex<Option<Source>>,
    /// For `iter(iterator)`, which is the iterator itself.
    me: Weak<Self>,
}

impl Iter {
    /// The iterator as an object; it converts to a value.
    pub fn new<I>(items: I) -> Arc<Self>
    where
        I: IntoIterator<IntoIter: Send + 'static, Item: IntoOutcome + 'static>,
    {
        let source = items.into_iter().map(IntoOutcome::into_outcome);
        Arc::new_cyclic(|me| Self {
            source: Mutex::new(Some(Box::new(source))),
            me: Weak::clone(me),
        })
    }

    fn next(&self) -> Result<Value, Exception> {
        // The iterator is the user's code: it runs with no lock held. Whoever asks meanwhile finds
        // it taken, as with a generator of Python.
        let Some(mut source) = self.source.lock().take() else {
            return Err(Exception::stop_iteration());
        };
        let item = source.next();
        if item.is_some() {
            *self.source.lock() = Some(source);
        }
        item.unwrap_or_else(|| Err(Exception::stop_iteration()))
    }
}

impl Object for Iter {
    fn class_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(CLASS)
    }

    fn methods(&self) -> Vec<Method> {
        vec![Method::new("__iter__"), Method::new("__next__")]
    }

    fn attribute(&self, _: &Connection, name: &str) -> Result<Member, Exception> {
        match name {
            "__iter__" | "__next__" | "next" => Ok(Member::Method),
            _ => Err(Exception::no_attribute(CLASS, name)),
        }
    }

    fn call_method(&self, _: &Connection, name: &str, _: Args) -> Reply {
        match name {
            "__next__" | "next" => Reply::Now(self.next()),
            "__iter__" => match self.me.upgrade() {
                Some(me) => Reply::Now(Ok(Value::Object(me))),
                None => Reply::raise(Exception::stop_iteration()),
            },
            _ => Reply::raise(Exception::no_attribute(CLASS, name)),
        }
    }
}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<rpyc.Iterator object>")
    }
}
