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
//! | | what it is about |
//! |---|---|
//! | [`service`], [`Object`], [`function`], [`Iter`], [`ContextManager`] | what is served |
//! | [`Server`], `AsyncServer` | accepting connections, a root object for each |
//! | [`connect`], [`Connector`], [`Connection`], `AsyncConnection` | one end of a conversation |
//! | [`ReconnectingClient`], `AsyncReconnectingClient` | a connection that is made again when it was lost |
//! | [`Netref`], [`proxy`], [`AsyncResult`] | using what the peer serves |
//! | [`Value`], [`trait@FromValue`], [`trait@IntoValue`], [`Args`] | what travels |
//! | [`enum@Error`], [`ConnectError`], [`Exception`] | what can go wrong |
//! | [`Modules`] | classic mode: driving a remote Python |
//! | [`RegistryServer`], [`RegistryClient`] | where servers say what they offer |
//! | [`link`] | under all that: who reads, who waits, how frames leave |
//! | [`transport`] | sockets, pipes and memory, behind one trait |

/// The quick start, as a test.
#[cfg(all(doctest, feature = "macros", feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// For the code that the macros generate.
#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "macros.rs"]
pub mod __macros;
mod address;
mod args;
mod auth;
mod brine;
mod classic;
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
mod reconnecting;
mod registry;
mod resolve;
mod server;
mod signal;
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
pub use classic::Modules;
pub use config::{Config, Limits};
pub use connect::{Connector, connect};
pub use connection::{Connection, is_cancelled};
pub use convert::{ConversionError, FromValue, IntoOutcome, IntoValue};
pub use error::{
    BindError, ConnectError, ConnectionLost, Error, Exception, ReconnectError, Result, TimedOut,
};
pub use netref::{Comparison, Netref, NetrefIter, Operator, Unary};
pub use object::{
    Callable, ContextManager, Function, Iter, LaterReply, Member, Method, Object, Reply,
    WithConnection, function, raw_function,
};
pub use opening::Opening;
pub use pending::AsyncResult;
#[cfg(feature = "tokio")]
pub use reconnecting::AsyncReconnectingClient;
pub use reconnecting::{ReconnectEvent, ReconnectingClient};
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
