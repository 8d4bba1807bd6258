//! The connections of a server.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::Shutdown;

use crate::connection::Connection;
use crate::signal::Signal;

/// How many connections are named in a text.
const NAMED: usize = 8;

/// All connections, from being accepted to their end.
pub(crate) struct Connections {
    max: usize,
    state: Mutex<State>,
    changed: Signal,
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
pub(crate) enum Entry {
    /// It is being opened.
    Opening(Arc<OwnedFd>),
    /// It is being opened by a task, which ends when the door is closed.
    #[cfg(feature = "tokio")]
    InTask,
    /// It is open.
    Open(Connection),
}

impl Entry {
    /// Closes it, without waiting.
    pub(crate) fn hang_up(self) {
        match self {
            // The peer may be gone already.
            Self::Opening(socket) => drop(rustix::net::shutdown(&*socket, Shutdown::Both)),
            #[cfg(feature = "tokio")]
            Self::InTask => {}
            Self::Open(conn) => conn.hang_up(),
        }
    }

    fn is_quiet(&self) -> bool {
        match self {
            Self::Opening(_) => true,
            #[cfg(feature = "tokio")]
            Self::InTask => true,
            Self::Open(conn) => conn.is_quiet(),
        }
    }
}

impl Connections {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            state: Mutex::default(),
            changed: Signal::default(),
        }
    }

    /// Lists what was accepted, unless there are too many or the server stops.
    pub(crate) fn admit(&self, entry: Entry) -> Option<u64> {
        let mut state = self.state.lock();
        if state.door != Door::Open || state.entries.len() >= self.max {
            return None;
        }
        let key = state.next;
        state.next += 1;
        state.entries.insert(key, entry);
        Some(key)
    }

    /// Notes that a connection is open. `false`: the server stops, and it must be closed.
    pub(crate) fn opened(&self, key: u64, conn: &Connection) -> bool {
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

    pub(crate) fn count(&self) -> usize {
        self.state.lock().entries.len()
    }

    pub(crate) fn remove(&self, key: u64) {
        let entry = self.state.lock().entries.remove(&key);
        self.changed.give();
        drop(entry);
    }

    /// Whether new connections are listed.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().door == Door::Open
    }

    /// Lists no more.
    pub(crate) fn refuse(&self) {
        let mut state = self.state.lock();
        if state.door == Door::Open {
            state.door = Door::Refusing;
        }
        drop(state);
        self.changed.give();
    }

    /// Lists no more, and empties the list.
    pub(crate) fn close(&self) -> Vec<Entry> {
        let mut state = self.state.lock();
        state.door = Door::Closed;
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        self.changed.give();
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

    /// Who they are, for texts; not all of many.
    pub(super) fn names(&self) -> String {
        let state = self.state.lock();
        let name = |entry: &Entry| match entry {
            Entry::Open(conn) => Some(conn.peer_name().to_owned()),
            _ => None,
        };
        let mut names: Vec<_> = state.entries.values().filter_map(name).collect();
        drop(state);
        names.sort_unstable();
        if names.len() > NAMED {
            names.truncate(NAMED);
            names.push("...".to_owned());
        }
        names.join(", ")
    }

    /// Waits until one is removed.
    pub(super) fn wait_for_change(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.changed.wait_until(&mut self.state.lock(), deadline);
    }

    /// Waits until the list is closed, for this long at most.
    pub(super) fn wait_for_close(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.state.lock();
        while state.door == Door::Open {
            if self.changed.wait_until(&mut state, deadline) {
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

    /// For tasks: until no more are listed.
    #[cfg(feature = "tokio")]
    pub(crate) async fn refused(&self) {
        let look = || (!self.is_open()).then_some(());
        self.changed.find(look).await;
    }

    /// For tasks: until the list is closed.
    #[cfg(feature = "tokio")]
    pub(crate) async fn closed(&self) {
        let look = || (self.state.lock().door == Door::Closed).then_some(());
        self.changed.find(look).await;
    }
}
