//! Stopping gently: what servers with threads and those of a runtime have in common of it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::connections::Connections;
use crate::address::Address;

/// How often it is looked whether connections have become quiet.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// A server that takes no more connections, and ends those it has as soon as they are quiet.
///
/// The server's own way to wait goes between the looks.
pub(crate) struct Drain<'a> {
    connections: &'a Connections,
    timeout: Duration,
    /// `None`: it takes as long as it takes.
    deadline: Option<Instant>,
    /// What was quiet at the last look.
    quiet: HashSet<u64>,
}

impl<'a> Drain<'a> {
    /// Closes the door.
    pub(crate) fn begin(connections: &'a Connections, timeout: Duration) -> Self {
        connections.refuse();
        Self {
            connections,
            timeout,
            deadline: Instant::now().checked_add(timeout),
            quiet: HashSet::new(),
        }
    }

    /// Closes the connections that are quiet. When it is over: whether none is left.
    pub(crate) fn look(&mut self, address: &Address) -> Option<bool> {
        for entry in self.connections.take_quiet(&mut self.quiet) {
            entry.hang_up();
        }
        let left = self.connections.count();
        if left == 0 {
            return Some(true);
        }
        if self.left().is_zero() {
            log::warn!(
                "{address}: a drain has ended after {} s; still busy and cut are {left}: {}",
                self.timeout.as_secs_f64(),
                self.connections.names()
            );
            return Some(false);
        }
        None
    }

    /// How long to wait before the next look.
    pub(crate) fn pause(&self) -> Duration {
        self.left().min(LOOK)
    }

    fn left(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        })
    }
}
