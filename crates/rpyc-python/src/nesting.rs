//! How many requests of peers a thread is performing, each inside the one before.
//!
//! A handler that waits for an answer performs what the peer asks meanwhile, in the same thread. A
//! peer that only ever asks would use up the stack, and that ends the process: no exception, just
//! a signal. So the nesting is counted, and bounded by [`Limits::nested`].
//!
//! [`Limits::nested`]: rpyc_proto::limits::Limits::nested

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyRecursionError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::engine::Engine;
use crate::greenlets;

/// Levels that fit on any stack.
const SHALLOW: usize = 16;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// One message that is being handled; counts while it lives.
pub(crate) struct Nested<'a> {
    /// Green threads share a thread: there the connection counts.
    green: Option<&'a AtomicUsize>,
}

impl<'a> Nested<'a> {
    pub(crate) fn begin(engine: &'a Engine) -> Self {
        let green = greenlets::in_use().then_some(&engine.performing);
        match green {
            Some(count) => _ = count.fetch_add(1, Ordering::Relaxed),
            None => DEPTH.set(DEPTH.get() + 1),
        }
        Self { green }
    }
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        match self.green {
            Some(count) => _ = count.fetch_sub(1, Ordering::Relaxed),
            None => DEPTH.set(DEPTH.get() - 1),
        }
    }
}

/// RecursionError if the message that is being handled is one level too deep for a request.
pub(crate) fn check(py: Python<'_>, engine: &Engine) -> PyResult<()> {
    let depth = if greenlets::in_use() {
        engine.performing.load(Ordering::Relaxed)
    } else {
        DEPTH.get()
    };
    let limit = engine.limits().nested;
    if depth <= limit.min(SHALLOW) {
        return Ok(());
    }
    if depth <= limit {
        // Python has a limit of its own. Reached in the middle of a cleanup, it would leave that
        // half done, so it is looked for here.
        py.import(intern!(py, "rpyc.core._connection.depth"))?
            .call_method0(intern!(py, "keep_room"))?;
        return Ok(());
    }
    Err(PyRecursionError::new_err(format!(
        "{limit} requests are being performed, each while the one before waits for its peer \
         (config key max_nested_requests)"
    )))
}
