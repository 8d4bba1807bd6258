//! A registry's TCP clients: each has one request, and little time for it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::messages::{MAX_REQUEST, decode};
use super::server::Inner;

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many clients are waited for at once; with one more, the oldest is dropped.
const MAX_CLIENTS: usize = 128;
/// How long accepting rests when descriptors or threads are short.
const REST: Duration = Duration::from_millis(100);

/// Accepts until the registry stops.
pub(super) fn serve(registry: &Arc<Inner>, listener: &TcpListener) -> io::Result<()> {
    let clients: Arc<Mutex<VecDeque<Arc<TcpStream>>>> = Arc::default();
    while !registry.is_stopping() {
        let accepted = listener.accept();
        if registry.is_stopping() {
            break;
        }
        let Ok((socket, address)) = accepted else {
            std::thread::sleep(REST);
            continue;
        };
        let socket = Arc::new(socket);
        let oldest = {
            let mut clients = clients.lock();
            clients.push_back(Arc::clone(&socket));
            let full = clients.len() > MAX_CLIENTS;
            full.then(|| clients.pop_front()).flatten()
        };
        if let Some(oldest) = oldest {
            // Its thread sees the end, and leaves.
            drop(oldest.shutdown(Shutdown::Both));
        }
        let (registry, clients) = (Arc::clone(registry), Arc::clone(&clients));
        let work = move || {
            if let Err(error) = answer(&registry, &socket, &address) {
                log::warn!("the request of {address} was not answered: {error}");
            }
            clients.lock().retain(|known| !Arc::ptr_eq(known, &socket));
        };
        let started = std::thread::Builder::new()
            .name("rpyc-registry".to_owned())
            .spawn(work);
        if let Err(error) = started {
            log::error!("no thread for a client of the registry: {error}");
            std::thread::sleep(REST);
        }
    }
    Ok(())
}

fn answer(registry: &Inner, mut socket: &TcpStream, address: &SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut request = Vec::new();
    let mut chunk = [0; MAX_REQUEST];
    // There is no framing: a request is complete when it makes sense.
    while decode(&request).is_none() && request.len() < MAX_REQUEST {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let count = socket.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        request.extend_from_slice(&chunk[..count]);
    }
    if let Some(reply) = registry.answer(address, &request) {
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.write_all(&reply)?;
    }
    Ok(())
}
