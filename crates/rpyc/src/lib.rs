//! The RPyC engine: driving the protocol of [`rpyc_proto`] over real transports, without a hidden
//! thread.
//!
//! # Layout
//!
//! | module | what it is about |
//! |---|---|
//! | [`link`] | one connection: who reads, who waits, how frames leave |
//! | [`transport`] | sockets, pipes and memory, behind one trait |
//!
//! # The waiter reads
//!
//! No thread owns a connection. A thread that waits for an answer takes the *read role* (it is the
//! leader), handles what arrives, and hands the role on before it runs a request. So nested
//! callbacks run in the waiting thread, a synchronous call costs one send and one receive, and
//! forking is safe. See [`link`] for how it works.

pub mod link;
#[cfg(not(loom))]
mod sync;
#[cfg(loom)]
pub mod sync;
pub mod transport;
