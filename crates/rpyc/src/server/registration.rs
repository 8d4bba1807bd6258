//! Telling a registry that a server is there.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::registry::RegistryClient;

/// How often: registries forget after four minutes.
const AGAIN: Duration = Duration::from_secs(60);
/// How soon, if the registry did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// What is registered, and where.
#[derive(Clone)]
pub(super) struct Registration {
    pub(super) registry: RegistryClient,
    pub(super) names: Vec<String>,
}

/// Registers again and again, until the server closes its door.
pub(super) fn keep(shared: &Arc<Shared>, registration: &Registration) {
    let Registration { registry, names } = registration;
    let mut complained = false;
    while shared.connections.is_open() {
        let registered = registry.register(names, shared.address());
        let pause = match &registered {
            Ok(()) => AGAIN,
            Err(_) => RETRY,
        };
        if let Err(error) = registered
            && !std::mem::replace(&mut complained, true)
        {
            log::warn!("{}: not registered: {error}", shared.address());
        }
        shared.connections.wait_for_close(pause);
    }
    if let Err(error) = registry.unregister(shared.address()) {
        log::warn!("{}: still registered: {error}", shared.address());
    }
}
