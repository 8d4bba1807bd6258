//! What a runtime reads from and writes to: a socket, with TLS or without.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What is on it.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<Socket>>),
}

impl Socket {
    /// A TCP socket that sends at once: every write is a whole burst.
    pub(super) fn tcp(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self::Tcp(socket))
    }
}

impl Stream {
    /// Whether the peer is on this machine.
    pub(super) fn is_local(&self) -> bool {
        match self.socket() {
            Socket::Tcp(socket) => socket
                .peer_addr()
                .is_ok_and(|address| address.ip().to_canonical().is_loopback()),
            Socket::Unix(_) => true,
        }
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The certificate that the peer showed, in DER.
    #[cfg(feature = "tls")]
    pub(super) fn peer_certificate(&self) -> Option<Vec<u8>> {
        let Self::Tls(stream) = self else { return None };
        let certificates = stream.get_ref().1.peer_certificates()?;
        certificates.first().map(|first| first.to_vec())
    }
}

/// Implements tokio's traits by those of the variants.
macro_rules! forward {
    ($name:ident { $($(#[$meta:meta])* $variant:ident),* $(,)? }) => {
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($(#[$meta])* Self::$variant(stream) => Pin::new(stream).poll_read(context, buffer),)*
                }
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($(#[$meta])* Self::$variant(stream) => Pin::new(stream).poll_write(context, bytes),)*
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                pieces: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($(#[$meta])* Self::$variant(stream) => {
                        Pin::new(stream).poll_write_vectored(context, pieces)
                    })*
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $($(#[$meta])* Self::$variant(stream) => stream.is_write_vectored(),)*
                }
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($(#[$meta])* Self::$variant(stream) => Pin::new(stream).poll_flush(context),)*
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($(#[$meta])* Self::$variant(stream) => Pin::new(stream).poll_shutdown(context),)*
                }
            }
        }
    };
}

forward!(Socket { Tcp, Unix });
forward!(Stream {
    Plain,
    #[cfg(feature = "tls")]
    Tls,
});
