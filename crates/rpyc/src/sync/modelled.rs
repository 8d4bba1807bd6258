//! The names of `parking_lot`, `std::sync` and `std::time` that the link uses, over loom.

use std::fmt;
use std::ops::{Add, Deref, DerefMut};
use std::time::Duration;

use loom::sync as model;
pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A lock with `parking_lot`'s interface.
pub struct Mutex<T>(model::Mutex<T>);

/// The right to what a [`Mutex`] guards. It holds nothing only while its thread sleeps.
pub struct MutexGuard<'a, T>(Option<model::MutexGuard<'a, T>>);

/// A condition variable with `parking_lot`'s interface.
#[derive(Debug)]
pub struct Condvar(model::Condvar);

/// Whether a wait ended because its time was over.
#[derive(Debug, Clone, Copy)]
pub struct WaitTimeoutResult(bool);

/// A moment of the model's time, in nanoseconds since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

/// A cell that is written once. Each look at it is a step that other threads can come before.
#[derive(Debug)]
pub struct OnceLock<T> {
    step: Mutex<()>,
    value: std::sync::OnceLock<T>,
}

loom::lazy_static! {
    static ref CLOCK: AtomicU64 = AtomicU64::new(0);
}

impl<T> Mutex<T> {
    /// A free lock.
    pub fn new(value: T) -> Self {
        Self(model::Mutex::new(value))
    }

    /// Waits for the lock and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(
            self.0
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        ))
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().expect("held while its thread is awake")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0
            .as_deref_mut()
            .expect("held while its thread is awake")
    }
}

impl Condvar {
    /// Nobody waits.
    pub fn new() -> Self {
        Self(model::Condvar::new())
    }

    /// Gives up the lock, sleeps until notified, and takes the lock again.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect("held while its thread is awake");
        guard.0 = Some(
            self.0
                .wait(held)
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        );
    }

    /// The same, until `deadline` at most. Who lets time run out must notify too.
    pub fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        if Instant::now() >= deadline {
            // Who tries again and again must let the others go on.
            loom::thread::yield_now();
            return WaitTimeoutResult(true);
        }
        self.wait(guard);
        WaitTimeoutResult(Instant::now() >= deadline)
    }

    /// Wakes one waiting thread.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiting threads.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitTimeoutResult {
    /// Whether the time was over.
    pub const fn timed_out(self) -> bool {
        self.0
    }
}

impl Instant {
    /// The model's time.
    pub fn now() -> Self {
        Self(CLOCK.load(Ordering::SeqCst))
    }

    /// Lets all time pass: every bound is over. The model must wake whoever sleeps with a bound.
    pub fn run_out() {
        CLOCK.store(u64::MAX, Ordering::SeqCst);
    }

    /// The time from `earlier` to this moment.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Instant {
    /// The moment that much later.
    pub fn checked_add(self, by: Duration) -> Option<Self> {
        Some(self + by)
    }

    /// The time from this moment until now.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(by)))
    }
}

impl<T> OnceLock<T> {
    /// An empty cell.
    pub fn new() -> Self {
        Self {
            step: Mutex::new(()),
            value: std::sync::OnceLock::new(),
        }
    }

    /// What is in the cell.
    pub fn get(&self) -> Option<&T> {
        let _step = self.step.lock();
        self.value.get()
    }

    /// Fills the cell.
    ///
    /// # Errors
    /// It is full; `value` comes back.
    pub fn set(&self, value: T) -> Result<(), T> {
        let _step = self.step.lock();
        self.value.set(value)
    }

    /// What is in the cell, which is filled if it was empty.
    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        let _step = self.step.lock();
        self.value.get_or_init(init)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
