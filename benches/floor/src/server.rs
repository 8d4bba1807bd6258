//! The echo server: reads whole requests, answers each with a reply of the agreed size.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;

/// Reads of small requests ask for this much, so that a burst of requests costs one system call.
const BURST: usize = 64 * 1024;

/// Serves on a free port of the loopback, one connection after the other.
///
/// # Errors
/// Whatever the operating system says to binding or accepting.
pub(crate) fn serve_tcp() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    announce(&listener.local_addr()?.to_string());
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        report(echo(stream));
    }
}

/// Serves on a Unix socket at `path`, one connection after the other.
///
/// # Errors
/// Whatever the operating system says to binding or accepting.
pub(crate) fn serve_unix(path: &str) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    announce(path);
    loop {
        let (stream, _) = listener.accept()?;
        report(echo(stream));
    }
}

/// Prints the address, then lets the end of standard input end the process: no server outlives the benchmark.
fn announce(address: &str) {
    println!("{{\"address\": \"{address}\"}}");
    thread::spawn(|| {
        let mut rest = Vec::new();
        // An unreadable standard input is an ended one.
        let _ = io::stdin().read_to_end(&mut rest);
        std::process::exit(0);
    });
}

/// One failed connection is no reason to end the server, but a reason to say so.
fn report(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("floor server: connection lost: {error}");
    }
}

/// Answers requests until the peer hangs up. The peer first names both sizes: two 8-byte big-endian numbers.
fn echo<S: Read + Write>(mut stream: S) -> io::Result<()> {
    let mut sizes = [0_u8; 16];
    stream.read_exact(&mut sizes)?;
    let (request, reply) = sizes.split_at(8);
    let (request, reply) = (size(request)?, size(reply)?);
    // The kernel copies straight into the place of the whole request, as a good receiver lets it.
    let mut inbox = vec![0_u8; request.max(BURST)];
    let mut outbox = vec![0_u8; reply];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut inbox[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let whole = filled / request;
        if whole > 0 {
            // The bytes mean nothing, so only their number is kept.
            filled %= request;
            outbox.resize(outbox.len().max(whole * reply), 0);
            stream.write_all(&outbox[..whole * reply])?;
        }
    }
}

/// One size of the preamble: 1 byte to 1 GiB.
fn size(bytes: &[u8]) -> io::Result<usize> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a size must be 1 byte to 1 GiB");
    let number = u64::from_be_bytes(bytes.try_into().map_err(|_| wrong())?);
    match usize::try_from(number) {
        Ok(size @ 1..=0x4000_0000) => Ok(size),
        _ => Err(wrong()),
    }
}
