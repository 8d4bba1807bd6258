//! Transparent, symmetric remote procedure calls.
//!
//! A program holds *netrefs*, proxies of objects that live in another process, and uses them as if
//! they were local; the other side can do the same back. There is no schema. The peer may be a Rust
//! program with this crate, or a Python program with RPyC.
//!
//! # The waiter reads
//!
//! No thread owns a connection. A thread that waits for an answer takes the *read role* (it is the
//! leader), handles what arrives, and hands the role on before it runs a request. So nested
//! callbacks run in the waiting thread, a synchronous call costs one send and one receive, and
//! forking is safe. See [`link`] for how it works.
//!
//! # Layout
//!
//! | module | what it is about |
//! |---|---|
//! | [`link`] | one connection: who reads, who waits, how frames leave |
//! | [`Server`] | accepts connections and serves a root object to each |
//! | [`RegistryServer`], [`RegistryClient`] | where servers say what they offer |
//! | [`transport`] | sockets, pipes and memory, behind one trait |

/// For the code that the macros generate.
#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "macros.rs"]
pub mod __macros;
mod address;
mod args;
mod auth;
mod brine;
mod config;
mod connect;
mod connection;
mod convert;
mod error;
pub mod link;
mod netref;
mod object;
mod opening;
mod pending;
pub mod random;
mod registry;
mod server;
#[cfg(not(loom))]
mod sync;
#[cfg(loom)]
pub mod sync;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tokio")]
mod tokio;
pub mod transport;
mod value;
mod waiter;

pub use address::Address;
pub use args::{Args, IntoArgs, Parameters};
pub use auth::{Authenticator, ClientAuthenticator, TokenAuthenticator};
pub use config::{Config, Limits};
pub use connect::{Connector, connect};
pub use connection::Connection;
pub use convert::{ConversionError, FromValue, IntoOutcome, IntoValue};
pub use error::{BindError, ConnectError, ConnectionLost, Error, Exception, Result, TimedOut};
pub use netref::{Comparison, Netref, NetrefIter, Operator};
pub use object::{
    Callable, ContextManager, Function, Iter, LaterReply, Member, Method, Object, Reply, function,
    raw_function,
};
pub use opening::Opening;
pub use pending::AsyncResult;
pub use registry::{REGISTRY_PORT, RegistryClient, RegistryError, RegistryServer};
pub use server::{PeerInfo, Server, ServerBuilder};
#[cfg(feature = "tls")]
pub use tls::{TlsClient, TlsError, TlsServer};
#[cfg(feature = "tokio")]
pub use tokio::{AsyncConnection, AsyncServer};
pub use value::{Slice, Value};

#[cfg(feature = "macros")]
pub use rpyc_macros::{Error, FromValue, IntoValue, proxy, service};

/// The version that is told to peers; they compare its first part with theirs.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
