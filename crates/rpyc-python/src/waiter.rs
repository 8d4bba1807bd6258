//! What waits for an answer.

use std::sync::Arc;

use pyo3::prelude::*;
use rpyc_proto::wire::Payload;

use crate::bulk::PyBulk;
use crate::netref::PyNetref;
use crate::result::PyAsyncResult;

/// What a pending request hands its answer to.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A thread that waits for just this.
    Thread(Arc<Slot>),
    /// The same, for an answer that tells nothing of what else happens at the peer, see `ahead`.
    Quiet(Arc<Slot>),
    /// An asynchronous result.
    Result(Py<PyAsyncResult>),
    /// A Python callable, called with (is exception, object).
    Callback(Py<PyAny>),
    /// A Python callable of the connection itself, called likewise; no code of the user.
    Own(Py<PyAny>),
    /// Nothing: the answer to a release.
    Nobody,
}

impl Waiter {
    /// Whether an answer to it tells nothing of what else happens at the peer.
    pub(crate) const fn is_quiet(&self) -> bool {
        matches!(self, Self::Quiet(_) | Self::Nobody)
    }
}

/// Where one thread waits for one answer.
pub(crate) type Slot = rpyc::link::Slot<Outcome>;

/// An answer.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A value, and the proxies in it whose class is still to be found out.
    Value(Py<PyAny>, Vec<Py<PyNetref>>),
    /// A serialized exception, which the waiting thread decodes.
    Exception(Payload<PyBulk>, usize),
    /// The answer could not be read.
    Unreadable(PyErr),
}

/// A waiting thread as a callable, for programs that look into the pending requests.
#[pyclass(frozen, module = "rpyc._rpyc")]
#[derive(Debug)]
pub(crate) struct SlotCallback {
    pub(crate) slot: Arc<Slot>,
}

#[pymethods]
impl SlotCallback {
    fn __call__(&self, is_exc: bool, obj: Bound<'_, PyAny>) {
        let outcome = if is_exc {
            Outcome::Unreadable(PyErr::from_value(obj))
        } else {
            Outcome::Value(obj.unbind(), Vec::new())
        };
        self.slot.put(outcome);
    }
}
