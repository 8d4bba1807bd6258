//! Remote context managers.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rpyc_proto::consts::Handler;

use super::Netref;
use crate::error::{Error, Result};
use crate::value::Value;

impl Netref {
    /// `with object as value: body(value)`.
    ///
    /// If `body` fails or panics, the context manager is told of an exception, such as to roll back:
    /// its class is `TypeError`, as with RPyC in Python, since an exception of this process is none
    /// that the peer could raise. It can't swallow an error: `body`'s result is what this returns.
    ///
    /// ```
    /// # fn demo(conn: &rpyc::Connection) -> rpyc::Result<()> {
    /// let lock = conn.modules().import("threading")?.call_method("Lock", ())?;
    /// let held = lock.as_netref()?.with(|_| -> rpyc::Result<bool> { Ok(true) })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// That of `body`; else what entering or leaving raised.
    pub fn with<T, E>(&self, body: impl FnOnce(Value) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error> + fmt::Display,
    {
        let value = self.call_method("__enter__", ())?;
        match catch_unwind(AssertUnwindSafe(|| body(value))) {
            Ok(Ok(result)) => {
                self.leave(Value::None)?;
                Ok(result)
            }
            Ok(Err(error)) => {
                // The first error is the one to tell.
                let _ = self.leave(Value::Str(error.to_string()));
                Err(error)
            }
            Err(panic) => {
                let _ = self.leave(Value::Str("a panic".to_owned()));
                resume_unwind(panic)
            }
        }
    }

    fn leave(&self, exception: Value) -> Result<()> {
        self.ask(Handler::CtxExit, (exception,)).map(drop)
    }
}
