//! TLS over a stream socket.
//!
//! # Theory of operation
//!
//! One thread sends while another one receives, and both need the TLS session. Its lock is held to
//! encrypt, to decrypt and for system calls that don't wait; whoever waits for the socket waits in
//! `poll`, without it.
//!
//! What was given to the session counts as sent when its ciphertext has left: until then it stays at
//! the front of the queue, and `accepted` says how much of it the session has already.
//!
//! A receive takes all plaintext out of the session, so that bytes never wait there while the socket
//! says that nothing is to be read.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rpyc_proto::wire::BulkBuffer;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustls::Connection as Session;

use super::descriptor::Descriptor;
use super::{BulkOf, Peeked, Received, SendQueue, Transport, is_local_peer, poll, unread};
use crate::link::Inbox;

/// How much plaintext is encrypted before the ciphertext leaves.
const CHUNK: usize = 64 * 1024;
/// How many pieces of frames are looked at for one chunk.
const MAX_PIECES: usize = 64;

/// A TLS session over a connected stream socket, after its handshake.
#[derive(Debug)]
pub struct Tls<B> {
    fd: Descriptor,
    state: Mutex<State>,
    local: bool,
    buffer: PhantomData<fn() -> B>,
}

#[derive(Debug)]
struct State {
    session: Session,
    /// Bytes at the front of the queue that the session has, and whose ciphertext has not left.
    accepted: usize,
}

impl<B> Tls<B> {
    pub(crate) fn new(fd: Arc<OwnedFd>, session: Session) -> Self {
        Self {
            local: is_local_peer(&fd),
            fd: Descriptor::new(fd),
            state: Mutex::new(State {
                session,
                accepted: 0,
            }),
            buffer: PhantomData,
        }
    }
}

impl<B: BulkBuffer<Done: AsRef<[u8]> + Send> + Send> Tls<B> {
    /// Decrypts what the socket has, without waiting.
    fn look(&self, fd: &OwnedFd, inbox: &mut Inbox<B>) -> io::Result<Option<Received>> {
        let mut state = self.state.lock();
        let session = &mut state.session;
        let mut any = false;
        loop {
            match session.reader().read(inbox.space()) {
                Ok(0) => return Ok(Some(data_or_end(any))),
                Ok(count) => {
                    inbox.filled(count);
                    any = true;
                    continue;
                }
                // Many peers end without saying so in TLS. A message that is cut off is seen in the
                // frames.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(Some(data_or_end(any)));
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if any => return Ok(Some(Received::Data)),
                Err(_) => {}
            }
            match session.read_tls(&mut Raw(fd)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            let processed = session.process_new_packets();
            // What the session answers by itself, such as alerts. What can't leave at once leaves with
            // the next message.
            while session.wants_write() && session.write_tls(&mut Raw(fd)).is_ok() {}
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }
}

const fn data_or_end(any: bool) -> Received {
    if any { Received::Data } else { Received::End }
}

impl State {
    /// Sends ciphertext without waiting.
    fn send_encrypted(&mut self, fd: &OwnedFd) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Raw(fd))?;
        }
        Ok(())
    }
}

impl<B: BulkBuffer<Done: AsRef<[u8]> + Send> + Send> Transport for Tls<B> {
    type Buffer = B;

    fn send(&self, queue: &mut SendQueue<BulkOf<Self>>) -> io::Result<()> {
        let fd = self.fd.held()?;
        let mut state = self.state.lock();
        loop {
            state.send_encrypted(&fd)?;
            queue.advance(std::mem::take(&mut state.accepted));
            if queue.frames.is_empty() {
                return Ok(());
            }
            let mut accepted = 0;
            for piece in queue.pieces(MAX_PIECES) {
                let part = &piece[..piece.len().min(CHUNK - accepted)];
                accepted += state.session.writer().write(part)?;
                if accepted == CHUNK {
                    break;
                }
            }
            state.accepted = accepted;
        }
    }

    fn receive(
        &self,
        inbox: &mut Inbox<Self::Buffer>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        let fd = self.fd.held()?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(received) = self.look(&fd, inbox)? {
                return Ok(received);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO)
                || poll::wait(&[(fd.as_fd(), PollFlags::IN)], left)?.is_empty()
            {
                return Ok(Received::Nothing);
            }
        }
    }

    fn wait_to_send(&self, or_read: bool, timeout: Duration) -> io::Result<bool> {
        self.fd.wait_to_send(or_read, timeout)
    }

    /// What is encrypted is seen to be there, and no more.
    fn peek(&self, _: &mut [u8]) -> io::Result<Peeked> {
        let fd = self.fd.held()?;
        Ok(match unread(&fd) {
            0 => Peeked::Nothing,
            all => Peeked::Bytes { seen: 0, all },
        })
    }

    fn is_local(&self) -> bool {
        self.local
    }

    fn shutdown(&self) {
        let Some(fd) = self.fd.take() else {
            return;
        };
        let mut state = self.state.lock();
        state.session.send_close_notify();
        // The peer may have closed it already; then there is nothing to say, and nothing to end.
        let _ = state.send_encrypted(&fd);
        let _ = shutdown(&fd, Shutdown::Both);
    }
}

/// A socket that is read and written without waiting.
pub(crate) struct Raw<'a>(pub(crate) &'a OwnedFd);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.0, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            match send(self.0, buffer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
