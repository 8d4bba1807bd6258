//! What waits for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Counts the answers that threads have waited for.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    all: AtomicU64,
    passed_on: AtomicU64,
}

impl Answers {
    /// One more was received, by the thread that waits for it or by another one. Only the holder of the
    /// read role comes here.
    pub(crate) fn note(&self, by_waiter: bool) {
        let more = |count: &AtomicU64| {
            count.store(
                count.load(Ordering::Relaxed).wrapping_add(1),
                Ordering::Relaxed,
            );
        };
        more(&self.all);
        if !by_waiter {
            more(&self.passed_on);
        }
    }

    /// How many there were, and how many of them another thread received.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.all.load(Ordering::Relaxed),
            self.passed_on.load(Ordering::Relaxed),
        )
    }
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
