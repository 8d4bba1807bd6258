//! Looking hosts up, for as long as there is time.
//!
//! The system's resolver can't be interrupted, and may take minutes where name servers are silent. So it
//! runs in a thread of its own, which whoever has waited long enough leaves behind: it ends when the
//! resolver does.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::ConnectError;

/// The addresses of a host, found by `deadline`, which is `allowed` after the beginning. `name` is the
/// whole address, for error texts.
pub(crate) fn addresses(
    name: &str,
    host: &str,
    port: u16,
    deadline: Instant,
    allowed: Duration,
) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Some(known) = numeric(host, port) {
        return Ok(vec![known]);
    }
    let (sender, receiver) = mpsc::channel();
    let found = in_thread(lookup(host, port), move |found| drop(sender.send(found)))
        .and_then(|()| wait(&receiver, deadline));
    found.map_err(|error| failed(name, error, allowed))
}

/// The same for a task.
#[cfg(feature = "tokio")]
pub(crate) async fn addresses_async(
    name: &str,
    host: &str,
    port: u16,
    deadline: Instant,
    allowed: Duration,
) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Some(known) = numeric(host, port) {
        return Ok(vec![known]);
    }
    let (sender, receiver) = ::tokio::sync::oneshot::channel();
    let found = match in_thread(lookup(host, port), move |found| drop(sender.send(found))) {
        Ok(()) => match ::tokio::time::timeout_at(deadline.into(), receiver).await {
            Ok(found) => found.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked"))),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        },
        Err(error) => Err(error),
    };
    found.map_err(|error| failed(name, error, allowed))
}

/// An address that need not be looked up.
fn numeric(host: &str, port: u16) -> Option<SocketAddr> {
    let number: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(number, port))
}

fn lookup(host: &str, port: u16) -> impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static {
    let host = host.to_owned();
    move || Ok((host.as_str(), port).to_socket_addrs()?.collect())
}

fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    done: impl FnOnce(T) + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new()
        .name("rpyc-resolve".to_owned())
        .spawn(move || done(work()))
        .map(drop)
}

fn wait<T>(receiver: &mpsc::Receiver<io::Result<T>>, deadline: Instant) -> io::Result<T> {
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(found) => found,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("the resolver panicked")),
    }
}

fn failed(name: &str, error: io::Error, allowed: Duration) -> ConnectError {
    let source = match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the resolver did not answer within {allowed:?} (Config::connect_timeout)"),
        ),
        _ => error,
    };
    ConnectError::Resolve {
        address: name.to_owned(),
        source,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_that_says_nothing_is_given_up() {
        let allowed = Duration::from_millis(50);
        let (release, released) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        let silent = move || {
            let _ = released.recv();
            Ok(Vec::<SocketAddr>::new())
        };
        in_thread(silent, move |found| drop(sender.send(found))).unwrap();
        let error = wait(&receiver, Instant::now() + allowed).unwrap_err();
        assert_eq!(
            failed("far.away:1", error, allowed).to_string(),
            "can't resolve the host of far.away:1: the resolver did not answer within 50ms \
             (Config::connect_timeout)"
        );
        // The thread that was left behind ends when the resolver does.
        drop(release);
        assert!(receiver.recv().unwrap().unwrap().is_empty());
    }

    #[test]
    fn numbers_are_not_looked_up() {
        let past = Instant::now();
        for host in ["127.0.0.1", "::1"] {
            let found = addresses("it", host, 80, past, Duration::ZERO).unwrap();
            assert_eq!(found, [numeric(host, 80).unwrap()]);
        }
    }

    #[test]
    fn a_name_is_looked_up() {
        let allowed = Duration::from_secs(30);
        let deadline = Instant::now() + allowed;
        let found = addresses("localhost:1", "localhost", 1, deadline, allowed).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
    }
}
