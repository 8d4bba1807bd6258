//! Rust to Rust: the crate `rpyc` beside tarpc, capnp-rpc, remoc and bare sockets, over TCP.
//!
//! # Use
//!
//! ```text
//! rust-bench server NAME              # prints {"address": "127.0.0.1:PORT", "version": "..."}
//! rust-bench client NAME ADDRESS      # prints {"version": "..."}
//! ```
//!
//! `NAME` is `rpyc`, `rpyc-tokio`, `tarpc`, `capnp`, `remoc` or `socket`. The client then reads one order a line, `WORKLOAD SECONDS`
//! or `idle COUNT`, and answers each with one line of JSON. Both roles end when their standard input ends.
//!
//! The asynchronous ones get a runtime of one thread at each end: on these workloads it is faster than one of several
//! threads, also where there are cores to spare. Every socket has `TCP_NODELAY`.

#[allow(
    clippy::all,
    clippy::use_self,
    dead_code,
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    reason = "generated"
)]
mod bench_capnp;
mod capnp_end;
mod measure;
mod remoc_end;
mod rpyc_end;
mod rpyc_tokio_end;
mod socket_end;
mod tarpc_end;

use std::error::Error;
use std::io::Read;
use std::process::ExitCode;

/// What goes wrong is told, and ends the process.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const USAGE: &str =
    "usage: rust-bench server|client rpyc|rpyc-tokio|tarpc|capnp|remoc|socket [ADDRESS]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rust-bench: {error} (arguments: {words:?})");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Outcome {
    match *words {
        ["server", "rpyc"] => rpyc_end::serve(),
        ["server", "rpyc-tokio"] => runtime()?.block_on(rpyc_tokio_end::serve()),
        ["server", "socket"] => socket_end::serve(),
        ["server", "tarpc"] => runtime()?.block_on(tarpc_end::serve()),
        ["server", "capnp"] => {
            tokio::task::LocalSet::new().block_on(&runtime()?, capnp_end::serve())
        }
        ["server", "remoc"] => runtime()?.block_on(remoc_end::serve()),
        ["client", "rpyc", address] => rpyc_end::drive(address),
        ["client", "rpyc-tokio", address] => {
            runtime()?.block_on(measure::drive::<rpyc_tokio_end::Client>(address))
        }
        ["client", "socket", address] => socket_end::drive(address),
        ["client", "tarpc", address] => {
            runtime()?.block_on(measure::drive::<tarpc_end::Client>(address))
        }
        ["client", "capnp", address] => tokio::task::LocalSet::new()
            .block_on(&runtime()?, measure::drive::<capnp_end::Client>(address)),
        ["client", "remoc", address] => {
            runtime()?.block_on(measure::drive::<remoc_end::Client>(address))
        }
        _ => Err(USAGE.into()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Tells the driver where the server is, and lets the end of standard input end the process.
fn announce(address: &impl std::fmt::Display, version: &str) {
    println!("{{\"address\": \"{address}\", \"version\": \"{version}\"}}");
    std::thread::spawn(|| {
        // An unreadable standard input is an ended one.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
