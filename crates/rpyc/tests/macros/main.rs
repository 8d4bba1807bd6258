//! What the macros generate: a service, its typed client, and conversions.
#![cfg(feature = "macros")]

mod account;
mod conditions;
mod errors;
mod proxy;
mod service;
mod values;
