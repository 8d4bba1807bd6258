//! Classic mode: driving a remote Python whose server offers its interpreter, as `rpyc_classic` does.

use std::fmt;

use crate::connection::Connection;
use crate::error::Result;
use crate::netref::Netref;
use crate::value::Value;

/// What the root of a classic server is asked for. On other servers these are `AttributeError`s.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let conn = rpyc::connect("localhost:18812")?;
/// let numpy = conn.modules().import("numpy")?;
/// let mean: f64 = numpy.call_method("mean", (vec![1, 2, 6],))?.extract()?;
///
/// conn.execute("import math; answer = math.factorial(20)")?;
/// let answer: u64 = conn.eval("answer")?.extract()?;
/// # Ok(())
/// # }
/// ```
impl Connection {
    /// The modules of the remote Python.
    #[must_use]
    pub fn modules(&self) -> Modules<'_> {
        Modules(self)
    }

    /// The module `builtins` of the remote Python: `open`, `list`, `print`.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error).
    pub fn builtins(&self) -> Result<Netref> {
        self.modules().import("builtins")
    }

    /// Evaluates an expression in the namespace that the server keeps for this connection.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error); whatever it raises.
    pub fn eval(&self, expression: &str) -> Result<Value> {
        self.root()?.call_method("eval", (expression,))
    }

    /// Runs statements in that namespace.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error); whatever they raise.
    pub fn execute(&self, statements: &str) -> Result<()> {
        self.root()?.call_method("execute", (statements,)).map(drop)
    }

    /// That namespace, a dict: values can be put into it by [`Netref::set_item`].
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error).
    pub fn namespace(&self) -> Result<Netref> {
        Ok(self.root()?.attr("namespace")?.extract()?)
    }
}

/// The modules of a remote Python; see [`Connection::modules`].
#[derive(Clone, Copy)]
pub struct Modules<'a>(&'a Connection);

impl Modules<'_> {
    /// Imports a module, such as `os.path`, unless it is imported already.
    ///
    /// # Errors
    /// See [`Error`](enum@crate::Error); `ModuleNotFoundError` if the peer has none of this name.
    pub fn import(&self, name: &str) -> Result<Netref> {
        Ok(self
            .0
            .root()?
            .call_method("getmodule", (name,))?
            .extract()?)
    }
}

impl fmt::Debug for Modules<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the modules of {}", self.0.peer_name())
    }
}
