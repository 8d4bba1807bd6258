//! A method of an object, as a value of its own.

use std::borrow::Cow;
use std::sync::Arc;

use super::function::member_of_callable;
use super::{Member, Method, Object, Reply};
use crate::args::Args;
use crate::connection::Connection;
use crate::error::Exception;

/// Python's own name of it: a peer knows what such a thing can do without asking.
const CLASS: &str = "builtins.method";

/// What reading a method of an object yields: something to call later.
pub(crate) struct BoundMethod {
    object: Arc<dyn Object>,
    name: String,
}

impl BoundMethod {
    pub(crate) fn new(object: Arc<dyn Object>, name: &str) -> Self {
        Self {
            object,
            name: name.to_owned(),
        }
    }
}

impl Object for BoundMethod {
    fn class_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(CLASS)
    }

    fn doc(&self) -> Option<Cow<'static, str>> {
        let methods = self.object.methods();
        let found = methods.into_iter().find(|method| method.name == self.name);
        found.and_then(|method| method.doc)
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
            "__call__" => Arc::clone(&self.object).call_shared(conn, &self.name, args),
            _ => Reply::raise(Exception::no_attribute(CLASS, name)),
        }
    }

    fn repr(&self) -> Result<String, Exception> {
        Ok(format!(
            "<bound method {} of {}>",
            self.name,
            self.object.repr()?
        ))
    }
}
