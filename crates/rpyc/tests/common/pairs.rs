//! Pairs of connected transports.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rpyc::transport::{Memory, Pipe, Socket, memory_pair};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::pipe::fcntl_setpipe_size;

/// The least that the kernel grants; it rounds up.
const TINY: usize = 4096;

/// Two ends of a Unix socket pair.
pub(crate) fn socket_pair() -> (Socket<Vec<u8>>, Socket<Vec<u8>>) {
    let (a, b) = UnixStream::pair().unwrap();
    (socket(a), socket(b))
}

/// Two ends of a TCP connection over loopback.
pub(crate) fn tcp() -> (Socket<Vec<u8>>, Socket<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (socket(client), socket(server))
}

/// Two ends of a pair of pipes that hold four pages each. With less, a second small message would
/// not fit beside a first one.
pub(crate) fn pipes() -> (Pipe<Vec<u8>>, Pipe<Vec<u8>>) {
    let (read_a, write_b) = std::io::pipe().unwrap();
    let (read_b, write_a) = std::io::pipe().unwrap();
    fcntl_setpipe_size(&write_a, 4 * TINY).unwrap();
    fcntl_setpipe_size(&write_b, 4 * TINY).unwrap();
    (
        Pipe::new(read_a.into(), write_a.into()),
        Pipe::new(read_b.into(), write_b.into()),
    )
}

/// Two ends in memory that hold little.
pub(crate) fn memory() -> (Memory<Vec<u8>>, Memory<Vec<u8>>) {
    memory_pair(TINY)
}

/// One end of a Unix socket pair as a transport, the other one raw.
pub(crate) fn half_raw() -> (Socket<Vec<u8>>, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    (socket(a), b)
}

fn socket(stream: impl Into<OwnedFd>) -> Socket<Vec<u8>> {
    let fd = stream.into();
    set_socket_send_buffer_size(&fd, TINY).unwrap();
    Socket::new(fd, Duration::from_micros(50)).unwrap()
}

/// Makes each of these tests run over every transport.
#[macro_export]
macro_rules! on_every_transport {
    ($($test:ident),* $(,)?) => {
        $crate::on_every_transport!(@ socket_pair $($test)*);
        $crate::on_every_transport!(@ tcp $($test)*);
        $crate::on_every_transport!(@ pipes $($test)*);
        $crate::on_every_transport!(@ memory $($test)*);
    };
    (@ $pair:ident $($test:ident)*) => {
        mod $pair {
            $(
                #[test]
                fn $test() {
                    $crate::common::within(|| {
                        let (a, b) = $crate::common::pairs::$pair();
                        super::$test(a, b);
                    });
                }
            )*
        }
    };
}
