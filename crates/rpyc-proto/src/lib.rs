//! The RPyC 6.0 protocol, without IO.
//!
//! This crate performs no IO, starts no thread, reads no clock and calls no user code. It is
//! `no_std`, so the compiler holds it to that. Drivers (the crate `rpyc`, the Python extension)
//! feed it bytes and act on what it yields.
//!
//! The protocol is small: three kinds of [message], four [labels](consts::Label) for
//! values, twenty [handlers](consts::Handler), and a few more between peers that have the same
//! [extensions](features).
//!
//! # Layout
//!
//! | module | what it is about |
//! |---|---|
//! | [`wire`] | bytes: [frames](wire::frame), [zlib](wire::zlib), the brine [reader](wire::reader) and [writer](wire::writer) |
//! | [`message`] | one payload: its kind, sequence number and body |
//! | [`session`] | sequence numbers and the requests that wait for an answer |
//! | [`exports`] | the table of objects that the peer holds references to |
//! | [`id`] | id packs, the names of objects on the wire |
//! | [`model`] | the seam: what a face (Python, Rust) must offer |
//! | [`boxing`] | values to and from their boxed form, for any model |
//! | [`features`] | extensions, and how a peer's are learned |
//! | [`dispatch`] | the handlers, for any model |
//! | [`policy`] | which attributes a peer may touch |
//! | [`vinegar`] | exceptions on the wire |
//! | [`limits`] | bounds on what a peer can make us do |
//!
//! # Two decisions that shape the rest
//!
//! *Tokens, not trees.* Values are read by a pull reader that yields tokens and written by a push
//! writer that can be rolled back. Each face builds its own objects straight from the tokens.
//!
//! *Bulk data takes a path of its own.* A large `bytes` value is not part of the contiguous
//! payload. It is received straight into the buffer that becomes the value, and sent straight from
//! the value's memory. A payload records where such [bulk](wire::Payload) parts belong.
#![no_std]
#![warn(clippy::undocumented_unsafe_blocks)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod boxing;
pub mod consts;
pub mod dispatch;
pub mod exports;
pub mod features;
pub mod id;
pub mod introduction;
pub mod limits;
pub mod message;
pub mod model;
pub mod policy;
pub mod session;
pub mod vinegar;
pub mod wire;
