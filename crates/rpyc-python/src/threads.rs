//! Facts about the calling thread and process.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::intern;
use pyo3::prelude::*;

/// How often this process, and those it descends from, were forked.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Set when the interpreter is about to end.
static EXITING: AtomicBool = AtomicBool::new(false);
/// Threads, nested calls counted, that run Python code on behalf of a peer.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// While it lives, the thread runs Python code below native frames.
///
/// Up to Python 3.13 a daemon thread that wants the interpreter while that is ending is terminated
/// where it stands. With native frames on its stack the whole process would abort. So the end of
/// the interpreter waits for such threads, and no new ones begin.
pub(crate) struct Busy(());

impl Busy {
    /// Does not return in a daemon thread of an interpreter that is about to end; `before` is called
    /// then, so that nobody waits for what the thread would have done.
    pub(crate) fn begin(py: Python<'_>, before: impl FnOnce()) -> Self {
        BUSY.fetch_add(1, Ordering::SeqCst);
        if EXITING.load(Ordering::SeqCst) && !is_main(py) {
            BUSY.fetch_sub(1, Ordering::SeqCst);
            before();
            py.detach(|| {
                loop {
                    thread::park();
                }
            });
        }
        Self(())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// To be called before a fork: the child must not have copies of calls that are about to leave.
#[pyfunction]
pub(crate) fn prepare_fork(py: Python<'_>) {
    py.detach(rpyc::link::dismiss_courier);
}

/// To be called when the interpreter is about to end: sends what is held back, and waits up to
/// `timeout` seconds until no thread performs a request any more.
#[pyfunction]
pub(crate) fn quiesce(py: Python<'_>, timeout: f64) {
    EXITING.store(true, Ordering::SeqCst);
    py.detach(|| {
        rpyc::link::retire_courier();
        let limit = Instant::now() + Duration::from_secs_f64(timeout.clamp(0.0, 60.0));
        while BUSY.load(Ordering::SeqCst) > 0 && Instant::now() < limit {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

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
    // The other threads did not come along.
    BUSY.store(0, Ordering::SeqCst);
    rpyc::transport::forget_polling_threads();
    rpyc::link::forget_courier();
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
