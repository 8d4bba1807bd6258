//! `rpyc registry`: be a registry.

use std::time::Duration;

use rpyc::RegistryServer;
use serde_json::json;

use super::signals;
use crate::arguments::Registry;
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(registry: &Registry, as_json: bool) -> Result<(), Failure> {
    let address = registry.address.as_str();
    let bound = if registry.tcp {
        RegistryServer::tcp(address)
    } else {
        RegistryServer::udp(address)
    };
    let failed = |error| Failure::local(&format!("can't listen at {address}"), error);
    let server = bound
        .map_err(failed)?
        .prune_after(Duration::from_secs_f64(registry.prune_after))
        .allow_listing(!registry.no_listing);
    let kind = if registry.tcp { "tcp" } else { "udp" };
    let url = format!("{kind}://{}", server.address());
    let stopped = server.clone();
    signals::on_end(move || stopped.stop())?;
    if as_json {
        output::json(&json!({ "registry": url }))?;
    } else {
        output::line(&format!("a registry at {url}"))?;
    }
    server.serve().map_err(failed)
}
