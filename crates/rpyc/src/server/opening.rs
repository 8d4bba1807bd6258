//! A connection before its first message.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::config::Config;
use crate::transport::{Stream, poll};

/// A connected socket on which both sides make sure who the other one is, before the first message.
///
/// Reading and writing wait, until one deadline for all of it; after that they fail with
/// [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub struct Opening {
    socket: Arc<OwnedFd>,
    timeout: Duration,
    deadline: Instant,
}

impl Opening {
    pub(crate) fn new(socket: OwnedFd, timeout: Duration) -> Self {
        Self {
            socket: Arc::new(socket),
            timeout,
            deadline: Instant::now() + timeout,
        }
    }

    pub(crate) fn socket(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.socket)
    }

    pub(crate) fn into_stream(self, config: &Config) -> io::Result<Stream> {
        Stream::shared_socket(self.socket, config)
    }

    /// Waits until the socket is ready for this, or the deadline.
    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the handshake took longer than {:?}", self.timeout),
            ));
        }
        poll::wait(&[(self.socket.as_fd(), wanted)], Some(left)).map(drop)
    }
}

impl Read for Opening {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Write for Opening {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match rustix::net::send(&self.socket, buffer, flags) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
