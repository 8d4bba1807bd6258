//! The raw floor: requests and replies of given sizes over a blocking socket, and nothing else.
//!
//! No encoding, no dispatch, no second thread: what remains is the price of the system calls, of copying the bytes
//! through the kernel and of waking the other process. A remote call cannot be cheaper while both ends block.
//!
//! # Use
//!
//! ```text
//! floor server tcp              # prints {"address": "127.0.0.1:PORT"}
//! floor server unix PATH        # prints {"address": "PATH"}
//! floor client tcp|unix ADDRESS
//! ```
//!
//! The client reads one measurement a line, `REQUEST_BYTES REPLY_BYTES OUTSTANDING SECONDS`, and answers each with one
//! line `{"calls": N, "seconds": S}`. Both roles end when their standard input ends.

mod client;
mod server;

use std::io;
use std::process::ExitCode;

const USAGE: &str = "usage: floor server tcp | server unix PATH | client tcp|unix ADDRESS";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["server", "tcp"] => server::serve_tcp(),
        ["server", "unix", path] => server::serve_unix(path),
        ["client", "tcp", address] => client::run(&|| client::connect_tcp(address)),
        ["client", "unix", path] => client::run(&|| client::connect_unix(path)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error} (arguments: {words:?})");
            ExitCode::FAILURE
        }
    }
}
