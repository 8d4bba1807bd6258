//! Any transport of the Rust face.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::{BulkOf, Memory, Peeked, Pipe, Received, SendQueue, Socket, Transport};
use crate::brine::BytesBuffer;
use crate::config::Config;
use crate::link::Inbox;

/// The transports that a [`Connection`](crate::Connection) can run over.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// A TCP or Unix stream socket.
    Socket(Socket<BytesBuffer>),
    /// A pair of pipes, such as the standard input and output of a child process.
    Pipe(Pipe<BytesBuffer>),
    /// Memory of this process.
    Memory(Memory<BytesBuffer>),
    /// TLS over a TCP or Unix stream socket.
    #[cfg(feature = "tls")]
    Tls(Box<super::Tls<BytesBuffer>>),
}

impl Stream {
    /// A connected TCP or Unix socket, in blocking mode.
    ///
    /// # Errors
    /// It is no connected stream socket.
    pub fn socket(socket: impl Into<OwnedFd>, config: &Config) -> io::Result<Self> {
        Self::shared_socket(Arc::new(socket.into()), config)
    }

    /// A socket that others hold, too, to see what happens to it.
    pub(crate) fn shared_socket(socket: Arc<OwnedFd>, config: &Config) -> io::Result<Self> {
        Socket::new(socket, config.busy_poll).map(Self::Socket)
    }

    /// A TLS session after its handshake.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(socket: Arc<OwnedFd>, session: rustls::Connection) -> Self {
        Self::Tls(Box::new(super::Tls::new(socket, session)))
    }
}

macro_rules! each {
    ($self:ident, $transport:ident => $call:expr) => {
        match $self {
            Self::Socket($transport) => $call,
            Self::Pipe($transport) => $call,
            Self::Memory($transport) => $call,
            #[cfg(feature = "tls")]
            Self::Tls($transport) => $call,
        }
    };
}

impl Transport for Stream {
    type Buffer = BytesBuffer;

    fn send(&self, queue: &mut SendQueue<BulkOf<Self>>) -> io::Result<()> {
        each!(self, transport => transport.send(queue))
    }

    fn receive(
        &self,
        inbox: &mut Inbox<BytesBuffer>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        each!(self, transport => transport.receive(inbox, timeout))
    }

    fn wait_to_send(&self, or_read: bool, timeout: Duration) -> io::Result<bool> {
        each!(self, transport => transport.wait_to_send(or_read, timeout))
    }

    fn peek(&self, first: &mut [u8]) -> io::Result<Peeked> {
        each!(self, transport => transport.peek(first))
    }

    fn skip(&self, count: usize) -> io::Result<()> {
        each!(self, transport => transport.skip(count))
    }

    fn fills_pages(&self) -> bool {
        each!(self, transport => transport.fills_pages())
    }

    fn is_local(&self) -> bool {
        each!(self, transport => transport.is_local())
    }

    fn shutdown(&self) {
        each!(self, transport => transport.shutdown());
    }
}

impl From<Memory<BytesBuffer>> for Stream {
    fn from(memory: Memory<BytesBuffer>) -> Self {
        Self::Memory(memory)
    }
}

impl From<Pipe<BytesBuffer>> for Stream {
    fn from(pipe: Pipe<BytesBuffer>) -> Self {
        Self::Pipe(pipe)
    }
}

impl From<Socket<BytesBuffer>> for Stream {
    fn from(socket: Socket<BytesBuffer>) -> Self {
        Self::Socket(socket)
    }
}
