//! Locks, condition variables, atomics and the clock of the link: the real ones, or loom's.
//!
//! Built with `--cfg loom`, the link runs under [loom](https://docs.rs/loom), which tries every
//! order in which threads can go on. There a moment is a number, and time passes only when the
//! model says so ([`Instant::run_out`]): a wait with a bound ends by being woken, or because the
//! model let its time run out. So a lost wake-up is a deadlock that loom reports, even where a
//! timeout would heal it in real life.

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::OnceLock;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use std::thread_local;
    pub(crate) use std::time::Instant;

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
}

#[cfg(loom)]
mod modelled;

#[cfg(loom)]
pub(crate) use loom::thread_local;
#[cfg(loom)]
pub use modelled::{
    AtomicBool, AtomicU64, AtomicUsize, Condvar, Instant, Mutex, MutexGuard, OnceLock, Ordering,
    WaitTimeoutResult,
};
#[cfg(not(loom))]
pub(crate) use real::*;
