//! A connection's place in the list of its server.

use std::convert::Infallible;
use std::sync::Arc;

use ::tokio::sync::mpsc;

use crate::server::Connections;

/// Given back when it is dropped: the task of the connection has ended.
pub(super) struct Place {
    connections: Arc<Connections>,
    key: u64,
    /// The server waits until all are gone.
    _here: mpsc::Sender<Infallible>,
}

impl Place {
    /// The place with this key of the list.
    pub(super) const fn new(
        connections: Arc<Connections>,
        key: u64,
        here: mpsc::Sender<Infallible>,
    ) -> Self {
        Self {
            connections,
            key,
            _here: here,
        }
    }

    /// What it is a place of, and which one.
    pub(super) fn entry(&self) -> (Arc<Connections>, u64) {
        (Arc::clone(&self.connections), self.key)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.remove(self.key);
    }
}
