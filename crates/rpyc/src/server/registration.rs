//! Telling a registry that a server is there.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::address::Address;
use crate::registry::RegistryClient;

/// How often: registries forget after four minutes.
const AGAIN: Duration = Duration::from_secs(60);
/// How soon, if the registry did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// What is registered, and where.
#[derive(Clone)]
pub(crate) struct Registration {
    pub(super) registry: RegistryClient,
    pub(super) names: Vec<String>,
}

impl Registration {
    /// Registers once. Tells when to do so again, and whether it failed; says so in the log unless it is
    /// known.
    pub(crate) fn renew(&self, address: &Address, known: bool) -> (Duration, bool) {
        match self.registry.register(&self.names, address) {
            Ok(()) => (AGAIN, false),
            Err(error) => {
                if !known {
                    log::warn!("{address}: not registered: {error}");
                }
                (RETRY, true)
            }
        }
    }

    /// The server is going.
    pub(crate) fn end(&self, address: &Address) {
        if let Err(error) = self.registry.unregister(address) {
            log::warn!("{address}: still registered: {error}");
        }
    }
}

/// Registers again and again, until the server closes its door.
pub(super) fn keep(shared: &Arc<Shared>, registration: &Registration) {
    let mut complained = false;
    while shared.connections.is_open() {
        let (pause, failed) = registration.renew(shared.address(), complained);
        complained = failed;
        shared.connections.wait_for_close(pause);
    }
    registration.end(shared.address());
}
