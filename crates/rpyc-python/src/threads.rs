//! Facts about the calling thread.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;

thread_local! {
    static IS_MAIN: Cell<Option<bool>> = const { Cell::new(None) };
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
