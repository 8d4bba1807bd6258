//! A connection before its first message.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::config::Config;
use crate::transport::{Stream, poll};

/// A connection on which both sides make sure who the other one is, before the first message.
///
/// Reading and writing wait, until one deadline for all of it; after that they fail with
/// [`io::ErrorKind::TimedOut`]. With TLS they are what is said inside it.
pub struct Opening<'a>(&'a mut (dyn Talk + Send));

/// What is said before the first message goes through this.
pub(crate) trait Talk: Read + Write {}

impl<T: Read + Write> Talk for T {}

impl<'a> Opening<'a> {
    pub(crate) fn over(stream: &'a mut (dyn Talk + Send)) -> Self {
        Self(stream)
    }
}

impl Read for Opening<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Opening<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

/// A connected socket that a thread opens.
#[derive(Debug)]
pub(crate) struct Entrance {
    socket: Waiting,
    #[cfg(feature = "tls")]
    session: Option<Box<rustls::Connection>>,
}

/// The socket, with a deadline.
#[derive(Debug)]
struct Waiting {
    socket: Arc<OwnedFd>,
    timeout: Duration,
    deadline: Instant,
}

impl Entrance {
    pub(crate) fn new(socket: OwnedFd, timeout: Duration, deadline: Instant) -> Self {
        Self {
            socket: Waiting {
                socket: Arc::new(socket),
                timeout,
                deadline,
            },
            #[cfg(feature = "tls")]
            session: None,
        }
    }

    pub(crate) fn socket(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.socket.socket)
    }

    /// Does the handshake of a TLS session; everything that follows goes through it.
    #[cfg(feature = "tls")]
    pub(crate) fn secure(&mut self, mut session: rustls::Connection) -> io::Result<()> {
        while session.is_handshaking() {
            session.complete_io(&mut self.socket)?;
        }
        // What is left to say at its end: tickets to resume the session.
        send_secured(&mut session, &mut self.socket)?;
        self.session = Some(Box::new(session));
        Ok(())
    }

    /// The certificate that the peer showed, in DER.
    #[cfg(feature = "tls")]
    pub(crate) fn peer_certificate(&self) -> Option<Vec<u8>> {
        let certificates = self.session.as_ref()?.peer_certificates()?;
        certificates.first().map(|first| first.to_vec())
    }

    pub(crate) fn into_stream(self, config: &Config) -> io::Result<Stream> {
        #[cfg(feature = "tls")]
        if let Some(session) = self.session {
            return Ok(Stream::tls(self.socket.socket, *session));
        }
        Stream::shared_socket(self.socket.socket, config)
    }
}

impl Read for Entrance {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return read_secured(session, &mut self.socket, buffer);
        }
        self.socket.read(buffer)
    }
}

impl Write for Entrance {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.writer().write(buffer);
        }
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return send_secured(session, &mut self.socket);
        }
        Ok(())
    }
}

/// The error of a handshake that is not done in time.
pub(crate) fn too_long(timeout: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the handshake took longer than {timeout:?}"),
    )
}

#[cfg(feature = "tls")]
fn send_secured(session: &mut rustls::Connection, socket: &mut Waiting) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    Ok(())
}

#[cfg(feature = "tls")]
fn read_secured(
    session: &mut rustls::Connection,
    socket: &mut Waiting,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        match session.reader().read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        session.read_tls(socket)?;
        let processed = session.process_new_packets();
        send_secured(session, socket)?;
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
}

impl Waiting {
    /// Waits until the socket is ready for this, or the deadline.
    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(too_long(self.timeout));
        }
        poll::wait(&[(self.socket.as_fd(), wanted)], Some(left)).map(drop)
    }
}

impl Read for Waiting {
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

impl Write for Waiting {
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
