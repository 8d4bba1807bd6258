//! The connections of a server.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::net::Shutdown;

use crate::connection::Connection;

/// All connections, from being accepted to their end.
pub(super) struct Connections {
    max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    entries: HashMap<u64, Entry>,
    next: u64,
    door: Door,
    /// The one connection of a one-shot server has come.
    taken: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Door {
    #[default]
    Open,
    /// Those that are in may stay until they are quiet.
    Refusing,
    Closed,
}

/// A connection.
pub(super) enum Entry {
    /// It is being opened.
    Opening(Arc<OwnedFd>),
    /// It is open.
    Open(Connection),
}

impl Entry {
    /// Closes it, without waiting.
    pub(super) fn hang_up(self) {
        match self {
            // The peer may be gone already.
            Self::Opening(socket) => drop(rustix::net::shutdown(&*socket, Shutdown::Both)),
            Self::Open(conn) => conn.hang_up(),
        }
    }

    fn is_quiet(&self) -> bool {
        match self {
            Self::Opening(_) => true,
            Self::Open(conn) => conn.is_quiet(),
        }
    }
}

impl Connections {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Lists a socket that was accepted, unless there are too many or the server stops.
    pub(super) fn admit(&self, socket: Arc<OwnedFd>) -> Option<u64> {
        let mut state = self.state.lock();
        if state.door != Door::Open || state.entries.len() >= self.max {
            return None;
        }
        let key = state.next;
        state.next += 1;
        state.entries.insert(key, Entry::Opening(socket));
        Some(key)
    }

    /// Notes that a connection is open. `false`: the server stops, and it must be closed.
    pub(super) fn opened(&self, key: u64, conn: &Connection) -> bool {
        let before = match self.state.lock().entries.get_mut(&key) {
            Some(entry) => std::mem::replace(entry, Entry::Open(conn.clone())),
            None => return false,
        };
        drop(before);
        true
    }

    /// For one-shot servers: whether this is the first connection that comes so far.
    pub(super) fn take(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().taken, true)
    }

    /// Whether the one connection of a one-shot server has come.
    pub(super) fn is_taken(&self) -> bool {
        self.state.lock().taken
    }

    pub(super) fn count(&self) -> usize {
        self.state.lock().entries.len()
    }

    pub(super) fn remove(&self, key: u64) {
        let entry = self.state.lock().entries.remove(&key);
        self.changed.notify_all();
        drop(entry);
    }

    /// Whether new connections are listed.
    pub(super) fn is_open(&self) -> bool {
        self.state.lock().door == Door::Open
    }

    /// Lists no more.
    pub(super) fn refuse(&self) {
        let mut state = self.state.lock();
        if state.door == Door::Open {
            state.door = Door::Refusing;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Lists no more, and empties the list.
    pub(super) fn close(&self) -> Vec<Entry> {
        let mut state = self.state.lock();
        state.door = Door::Closed;
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        self.changed.notify_all();
        entries.into_values().collect()
    }

    /// Takes those out that have nothing to do, and had nothing at the look before. A single look
    /// could fall between the moments when a request is received and when it is handled.
    pub(super) fn take_quiet(&self, before: &mut HashSet<u64>) -> Vec<Entry> {
        let mut state = self.state.lock();
        let quiet = |(key, entry): (&u64, &Entry)| entry.is_quiet().then_some(*key);
        let now: HashSet<u64> = state.entries.iter().filter_map(quiet).collect();
        let taken = now
            .intersection(before)
            .filter_map(|key| state.entries.remove(key))
            .collect();
        *before = now;
        taken
    }

    /// Waits until one is removed.
    pub(super) fn wait_for_change(&self, timeout: Duration) {
        self.changed.wait_for(&mut self.state.lock(), timeout);
    }

    /// Waits until the list is closed, for this long at most.
    pub(super) fn wait_for_close(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        while state.door == Door::Open {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }

    /// Waits until the list is closed.
    pub(super) fn wait_until_closed(&self) {
        let mut state = self.state.lock();
        while state.door != Door::Closed {
            self.changed.wait(&mut state);
        }
    }

    /// Waits until there is no connection.
    pub(super) fn wait_until_empty(&self) {
        let mut state = self.state.lock();
        while !state.entries.is_empty() {
            self.changed.wait(&mut state);
        }
    }
}
