//! The registry: where servers say what they offer, and clients find them.
//!
//! A request is one encoded tuple `("RPYC", command, arguments)`, a reply one encoded value. There is
//! no framing: each is one datagram, or all that one side of a TCP connection sends. What a registry
//! does not understand it does not answer.

mod client;
mod messages;
mod server;
mod services;
mod tcp;

pub use client::{RegistryClient, RegistryError};
pub use server::RegistryServer;

/// The port of registries, UDP and TCP.
pub const REGISTRY_PORT: u16 = 18811;
