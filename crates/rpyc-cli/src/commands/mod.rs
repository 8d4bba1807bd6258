//! The commands, one file each.

pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod dir;
pub(crate) mod eval;
pub(crate) mod get;
pub(crate) mod info;
pub(crate) mod list;
pub(crate) mod ping;
pub(crate) mod registry;
pub(crate) mod serve_demo;
mod signals;
