//! Facts about the calling thread and process.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;

/// How often this process, and those it descends from, were forked.
static FORKS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_MAIN: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Which process this is, seen from its ancestors: connections remember the one they belong to.
pub(crate) fn process() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// To be called in the child of a fork: its copies of connections belong to the parent.
#[pyfunction]
pub(crate) fn note_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    // The thread that forked is the main thread now.
    IS_MAIN.set(None);
}

/// Whether Python runs signal handlers in the calling thread.
pub(crate) fn is_main(py: Python<'_>) -> bool {
    IS_MAIN.get().unwrap_or_else(|| {
        let is_main = ask(py).unwrap_or(false);
        IS_MAIN.set(Some(is_main));
        is_main
    })
}

fn ask(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import(intern!(py, "threading"))?;
    let main = threading
        .call_method0(intern!(py, "main_thread"))?
        .getattr(intern!(py, "ident"))?;
    let here = py
        .import(intern!(py, "_thread"))?
        .call_method0(intern!(py, "get_ident"))?;
    main.eq(here)
}
