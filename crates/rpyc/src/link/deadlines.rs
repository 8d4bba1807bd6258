//! Limits that a thread has set for all of its requests.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Parker;
use crate::sync::{AtomicUsize, Instant, Ordering};

/// The limits in force on one connection.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// How many there are: nearly always none, and then a request pays for this look only.
    count: AtomicUsize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    list: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// The thread, or green thread, that it binds. Never read through: it may be gone.
    thread: usize,
    limit: Limit,
}

/// A moment, and how far away it was when it was set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The moment.
    pub deadline: Instant,
    /// How far away it was.
    pub length: Duration,
}

impl Deadlines {
    /// Binds the calling thread to a limit, or to the one it is bound to if that is earlier. Returns
    /// the number to [`leave`](Self::leave) with.
    pub fn enter(&self, length: Duration) -> u64 {
        let now = Instant::now();
        // Too far away to be told from never; a century is as good.
        let far = Duration::from_secs(3600 * 24 * 365 * 100);
        let length = length.min(far);
        let limit = Limit {
            deadline: now + length,
            length,
        };
        let outer = self.current();
        let limit = outer
            .filter(|outer| outer.deadline < limit.deadline)
            .unwrap_or(limit);
        let mut entries = self.entries.lock();
        let number = entries.next;
        entries.next += 1;
        entries.list.push(Entry {
            number,
            thread: thread(),
            limit,
        });
        self.count.store(entries.list.len(), Ordering::Release);
        number
    }

    /// Ends a limit, in whichever thread that happens.
    pub fn leave(&self, number: u64) {
        let mut entries = self.entries.lock();
        entries.list.retain(|entry| entry.number != number);
        self.count.store(entries.list.len(), Ordering::Release);
    }

    /// The limit of the calling thread.
    #[must_use]
    pub fn current(&self) -> Option<Limit> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let me = thread();
        let entries = self.entries.lock();
        let mine = entries.list.iter().rev().find(|entry| entry.thread == me);
        mine.map(|entry| entry.limit)
    }
}

/// Tells threads apart, and green threads.
fn thread() -> usize {
    Arc::as_ptr(&Parker::current()) as usize
}
