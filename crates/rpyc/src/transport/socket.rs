//! TCP and Unix stream sockets.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use rpyc_proto::wire::BulkBuffer;
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg,
    shutdown, sockopt,
};

use super::busy::BusyPoll;
use super::descriptor::Descriptor;
use super::{BulkOf, Peeked, Received, SendQueue, Transport, poll, unread};
use crate::link::Inbox;

/// How many pieces go into one system call; the kernel takes up to 1024.
const MAX_PIECES: usize = 64;

/// A connected stream socket.
///
/// A blocking descriptor is expected: then a wait for bytes is one system call, with the kernel's
/// receive timeout as its bound. A non-blocking one works too, at the price of a `poll` per wait.
#[derive(Debug)]
pub struct Socket<B> {
    fd: Descriptor,
    tcp: bool,
    local: bool,
    /// The receive timeout set on the descriptor, see [`Slice`].
    slice: AtomicU8,
    /// Bytes were received since the last send, so an acknowledgement may be due.
    received: AtomicBool,
    busy: BusyPoll,
    buffer: PhantomData<fn() -> B>,
}

/// The receive timeouts that are set on descriptors. Few, so that they rarely change.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Slice {
    Unset,
    Endless,
    Second,
    Short,
}

const SHORT: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

impl<B> Socket<B> {
    /// Takes over a connected stream socket. A wait polls for `busy_poll` at most before it sleeps,
    /// if that promises to be faster; zero: never.
    ///
    /// TCP sockets get `TCP_NODELAY`: every write here is a whole burst already.
    ///
    /// # Errors
    /// The descriptor is no connected socket.
    pub fn new(fd: impl Into<Arc<OwnedFd>>, busy_poll: Duration) -> io::Result<Self> {
        let fd = fd.into();
        let family = sockopt::socket_domain(&fd)?;
        let tcp = matches!(family, AddressFamily::INET | AddressFamily::INET6);
        let local = !tcp || peer_is_loopback(&fd);
        if tcp {
            sockopt::set_tcp_nodelay(&fd, true)?;
        }
        Ok(Self {
            fd: Descriptor::new(fd),
            tcp,
            local,
            slice: AtomicU8::new(Slice::Unset as u8),
            received: AtomicBool::new(false),
            busy: BusyPoll::new(busy_poll),
            buffer: PhantomData,
        })
    }

    /// Sets the kernel's receive timeout to the longest slice within `timeout`. `false`: the timeout
    /// is too short for that.
    fn set_slice(&self, fd: &OwnedFd, timeout: Option<Duration>) -> io::Result<bool> {
        let (slice, duration) = match timeout {
            None => (Slice::Endless, None),
            Some(timeout) if timeout >= SECOND => (Slice::Second, Some(SECOND)),
            Some(timeout) if timeout >= SHORT => (Slice::Short, Some(SHORT)),
            Some(_) => return Ok(false),
        };
        if self.slice.load(Ordering::Relaxed) != slice as u8 {
            sockopt::set_socket_timeout(fd, sockopt::Timeout::Recv, duration)?;
            self.slice.store(slice as u8, Ordering::Relaxed);
        }
        Ok(true)
    }
}

impl<B: BulkBuffer<Done: AsRef<[u8]> + Send> + Send> Socket<B> {
    /// Receives without waiting. `None`: nothing is there, or a signal came.
    fn look(&self, fd: &OwnedFd, inbox: &mut Inbox<B>) -> io::Result<Option<Received>> {
        match receive_into(fd, inbox, RecvFlags::DONTWAIT) {
            Ok(count) => Ok(Some(self.note(inbox, count))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives, and sleeps up to `timeout` until something is there.
    fn sleep(
        &self,
        fd: &OwnedFd,
        inbox: &mut Inbox<B>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        let mut rest = timeout;
        if self.set_slice(fd, timeout)? {
            match receive_into(fd, inbox, RecvFlags::empty()) {
                Ok(count) => return Ok(self.note(inbox, count)),
                Err(Errno::INTR) => return Ok(Received::Nothing),
                // Either the kernel's timeout is over or the descriptor is non-blocking: find out by
                // waiting in `poll` for the rest of a short slice.
                Err(Errno::AGAIN) => rest = timeout.map(|timeout| timeout.min(SHORT)),
                Err(error) => return Err(error.into()),
            }
        }
        if poll::wait(&[(fd.as_fd(), PollFlags::IN)], rest)?.is_empty() {
            return Ok(Received::Nothing);
        }
        Ok(self.look(fd, inbox)?.unwrap_or(Received::Nothing))
    }

    fn note(&self, inbox: &mut Inbox<B>, count: usize) -> Received {
        if count == 0 {
            return Received::End;
        }
        self.received.store(true, Ordering::Relaxed);
        inbox.filled(count);
        Received::Data
    }
}

/// Receives once; tells how many bytes.
fn receive_into<B: BulkBuffer<Done: AsRef<[u8]>>>(
    fd: &OwnedFd,
    inbox: &mut Inbox<B>,
    flags: RecvFlags,
) -> rustix::io::Result<usize> {
    if let Some(memory) = inbox.unwritten() {
        return recv(fd, spare_capacity(memory), flags).map(|(count, _)| count);
    }
    recv(fd, inbox.space(), flags).map(|(_, count)| count)
}

/// Whether the peer of a socket is on this machine.
#[cfg(feature = "tls")]
pub(super) fn is_local_peer(fd: &OwnedFd) -> bool {
    sockopt::socket_domain(fd).is_ok_and(|family| family == AddressFamily::UNIX)
        || peer_is_loopback(fd)
}

fn peer_is_loopback(fd: &OwnedFd) -> bool {
    rustix::net::getpeername(fd)
        .ok()
        .flatten()
        .and_then(|address| std::net::SocketAddr::try_from(address).ok())
        .is_some_and(|address| address.ip().to_canonical().is_loopback())
}

impl<B: BulkBuffer<Done: AsRef<[u8]> + Send> + Send> Transport for Socket<B> {
    type Buffer = B;

    fn send(&self, queue: &mut SendQueue<BulkOf<Self>>) -> io::Result<()> {
        let fd = self.fd.held()?;
        self.received.store(false, Ordering::Relaxed);
        while !queue.frames.is_empty() {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            // Most often it is one small frame, and `send` costs the kernel less than `sendmsg`.
            let sent = match queue.only_piece() {
                Some(piece) => send(&fd, piece, flags),
                None => {
                    let pieces = queue.pieces(MAX_PIECES);
                    sendmsg(&fd, &pieces, &mut SendAncillaryBuffer::default(), flags)
                }
            };
            match sent {
                Ok(count) => queue.advance(count),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(
        &self,
        inbox: &mut Inbox<Self::Buffer>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        let fd = self.fd.held()?;
        if timeout == Some(Duration::ZERO) {
            return Ok(self.look(&fd, inbox)?.unwrap_or(Received::Nothing));
        }
        if self.tcp && self.received.load(Ordering::Relaxed) {
            // We wait again without having sent anything. A peer with Nagle's algorithm on holds its
            // next small segment until this acknowledgement, which the kernel would delay by 40 ms.
            // If more is here already the peer holds nothing, and a segment of its own for the
            // acknowledgement would be in vain.
            if let Some(received) = self.look(&fd, inbox)? {
                return Ok(received);
            }
            sockopt::set_tcp_quickack(&fd, true)?;
        }
        let mut wait = self.busy.begin(timeout);
        while wait.polls() {
            if let Some(received) = self.look(&fd, inbox)? {
                wait.succeeded();
                return Ok(received);
            }
        }
        let received = self.sleep(&fd, inbox, timeout)?;
        match received {
            Received::Data => wait.succeeded(),
            Received::Nothing | Received::End => wait.failed(),
        }
        Ok(received)
    }

    fn wait_to_send(&self, or_read: bool, timeout: Duration) -> io::Result<bool> {
        self.fd.wait_to_send(or_read, timeout)
    }

    fn peek(&self, first: &mut [u8]) -> io::Result<Peeked> {
        let fd = self.fd.held()?;
        match recv(&fd, first, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Ok(Peeked::End),
            Ok((_, seen)) => {
                let all = unread(&fd).max(seen);
                Ok(Peeked::Bytes { seen, all })
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Peeked::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    fn skip(&self, mut count: usize) -> io::Result<()> {
        let fd = self.fd.held()?;
        let mut scratch = [0; 1024];
        while count > 0 {
            let room = count.min(scratch.len());
            match recv(&fd, &mut scratch[..room], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, taken)) => count -= taken,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn fills_pages(&self) -> bool {
        // A Unix socket puts a part of each piece of 48 KiB elsewhere.
        self.tcp
    }

    fn is_local(&self) -> bool {
        self.local
    }

    fn shutdown(&self) {
        if let Some(fd) = self.fd.take() {
            // The peer may have closed it already; then there is nothing to end.
            let _ = shutdown(&fd, Shutdown::Both);
        }
    }
}
