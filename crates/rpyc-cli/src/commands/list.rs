//! `rpyc list`: what a registry knows.

use std::time::Duration;

use rpyc::RegistryClient;
use serde_json::json;

use crate::arguments::List;
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(list: &List, as_json: bool) -> Result<(), Failure> {
    let timeout = Duration::from_secs_f64(list.timeout);
    let registry = client(&list.registry)?.timeout(timeout);
    let found: Vec<String> = match &list.service {
        Some(service) => {
            let addresses = registry.discover(service)?;
            addresses.iter().map(ToString::to_string).collect()
        }
        None => registry.list(list.host.as_deref())?,
    };
    if as_json {
        return output::json(&json!(found));
    }
    found.iter().try_for_each(|name| output::line(name))
}

/// The way to a registry: `udp://host:port`, `tcp://host:port`, or `host:port` for UDP.
pub(super) fn client(text: &str) -> Result<RegistryClient, Failure> {
    let client = match text.strip_prefix("tcp://") {
        Some(address) => RegistryClient::tcp(address),
        None => RegistryClient::udp(text.strip_prefix("udp://").unwrap_or(text)),
    };
    Ok(client?)
}
