//! The extension module `rpyc._rpyc`: the engine for CPython.
//!
//! This crate only translates between CPython and the engine. What the protocol is stands in
//! `rpyc-proto`; who reads and who waits, in `rpyc`.
//!
//! # Layout
//!
//! | module | what it is about |
//! |---|---|
//! | `engine` | `Engine`, the native base of `Connection`: the link and the tables |
//! | `native` | whether a connection takes the native path or that of its Python methods |
//! | `driver`, `bound` | what happens with each message, and in which thread |
//! | `request`, `waiter`, `failure` | requests, what waits for their answers, and the errors of waits |
//! | `model`, `operations` | CPython objects as values of the protocol, and what handlers do with them |
//! | `access` | which attributes of an object a peer may touch |
//! | `netref`, `attributes`, `classes`, `proxies`, `methods` | proxies, their classes and cache, methods that are called without being fetched |
//! | `result`, `cancel` | `AsyncResult`; calls that were given up |
//! | `timeout` | how long a request waits |
//! | `buffers` | buffers of pickles, used where they were received |
//! | `batch` | calls that are collected, and performed one after the other |
//! | `ahead`, `peek` | items of remote iterators, read ahead: where they are used, and where they are from |
//! | `brine`, `bulk` | values to and from bytes |
//! | `transport`, `greenlets` | descriptors and Python channels; waits of green threads |

use pyo3::prelude::*;

mod access;
mod ahead;
mod attributes;
mod batch;
mod bound;
mod brine;
mod buffers;
mod bulk;
mod cancel;
mod classes;
mod driver;
mod engine;
mod failure;
mod greenlets;
mod introduction;
mod methods;
mod model;
mod names;
mod native;
mod nesting;
mod netref;
mod operations;
mod peek;
mod proxies;
mod request;
mod result;
mod threads;
mod timeout;
mod transport;
mod waiter;

// Proxies are found by their address, which is sound under the interpreter lock only.
#[pymodule(gil_used = true)]
mod _rpyc {
    #[pymodule_export]
    use super::batch::Calls;
    #[pymodule_export]
    use super::brine::{BrineError, brine_dump, brine_dumpable, brine_load};
    #[pymodule_export]
    use super::buffers::take_buffers;
    #[pymodule_export]
    use super::cancel::is_cancelled;
    #[pymodule_export]
    use super::classes::{install_call, install_next, set_metaclass};
    #[pymodule_export]
    use super::engine::{Engine, same_items};
    #[pymodule_export]
    use super::greenlets::use_greenlets;
    #[pymodule_export]
    use super::methods::fetch_if_just_read;
    #[pymodule_export]
    use super::native::{extension_changed, type_version};
    #[pymodule_export]
    use super::netref::{PyNetref, syncreq};
    #[pymodule_export]
    use super::result::PyAsyncResult;
    #[pymodule_export]
    use super::threads::{note_fork, prepare_fork, quiesce};
}
