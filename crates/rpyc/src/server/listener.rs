//! The listening socket.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, connect,
    socket_with,
};

use super::peer::PeerInfo;
use crate::address::Address;
use crate::error::BindError;

/// How many connections the kernel holds until they are accepted; it may allow fewer.
const BACKLOG: i32 = 4096;

/// A listening socket; it can be closed while a thread accepts.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Mutex<Option<Arc<OwnedFd>>>,
    address: Address,
    /// The socket file, and the numbers of its device and node: another server may have replaced it.
    file: Option<(PathBuf, u64, u64)>,
}

/// What accepting brought.
pub(super) enum Accepted {
    /// A connected socket, in blocking mode.
    Socket(OwnedFd, PeerInfo),
    /// The listener has been closed.
    Closed,
}

impl Listener {
    pub(crate) fn bind(address: &Address) -> Result<Self, BindError> {
        let failed = |source| BindError::from_io(address, source);
        let (socket, address, file) = match address {
            Address::Tcp { host, port } => {
                let (socket, port) = bind_tcp(host, *port).map_err(failed)?;
                let host = host.clone();
                (socket, Address::Tcp { host, port }, None)
            }
            Address::Ssl { host, port } => {
                let (socket, port) = bind_tcp(host, *port).map_err(failed)?;
                let host = host.clone();
                (socket, Address::Ssl { host, port }, None)
            }
            Address::Unix(path) => {
                let socket = bind_unix(path).map_err(failed)?;
                let file = fs::symlink_metadata(path).map_err(failed)?;
                let file = (path.clone(), file.dev(), file.ino());
                (socket, address.clone(), Some(file))
            }
        };
        rustix::net::listen(&socket, BACKLOG).map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            socket: Mutex::new(Some(Arc::new(socket))),
            address,
            file,
        })
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for a connection.
    pub(super) fn accept(&self) -> io::Result<Accepted> {
        loop {
            let Some(socket) = self.socket.lock().clone() else {
                return Ok(Accepted::Closed);
            };
            match acceptfrom_with(socket.as_fd(), SocketFlags::CLOEXEC) {
                Ok((accepted, address)) => {
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    return Ok(Accepted::Socket(accepted, self.peer(address)));
                }
                // It was closed meanwhile.
                Err(_) if self.socket.lock().is_none() => return Ok(Accepted::Closed),
                Err(errno) => {
                    let error = errno.into();
                    if !is_of_one_connection(&error) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// A second descriptor, in non-blocking mode, for a runtime that accepts by itself. From then on
    /// the first one is in that mode, too.
    #[cfg(feature = "tokio")]
    pub(crate) fn non_blocking(&self) -> io::Result<OwnedFd> {
        let socket = self.socket.lock().clone();
        let socket = socket.ok_or(io::ErrorKind::NotConnected)?;
        rustix::io::ioctl_fionbio(&*socket, true)?;
        socket.try_clone()
    }

    /// Stops listening, at once, and wakes who accepts. Removes the socket file.
    pub(crate) fn close(&self) {
        let Some(socket) = self.socket.lock().take() else {
            return;
        };
        if let Some((path, device, node)) = &self.file
            && fs::symlink_metadata(path)
                .is_ok_and(|file| file.dev() == *device && file.ino() == *node)
        {
            // If it can't be removed, the next server finds that nobody listens there.
            let _ = fs::remove_file(path);
        }
        // On Linux this refuses connections from now on, and ends the wait of whoever accepts.
        let _ = rustix::net::shutdown(&*socket, Shutdown::Both);
    }

    /// Whether it was closed: what accepting then fails with is no error.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_closed(&self) -> bool {
        self.socket.lock().is_none()
    }

    /// Who connected from `address`; `None` stands for a Unix socket.
    pub(crate) fn peer(&self, address: Option<SocketAddr>) -> PeerInfo {
        let name = match address {
            Some(address) => address.to_string(),
            None => format!("a client of {}", self.address),
        };
        PeerInfo::new(name, address)
    }
}

/// Errors that end when others let go of what they hold.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// A signal came, or accept(2) passes on an error of the connection that was waiting: none of them
/// is the listener's.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::INTR
                | Errno::AGAIN
                | Errno::CONNABORTED
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::TIMEDOUT
        )
    )
}

/// Binds to the first address of the host that works; IPv4 comes first, as with RPyC.
fn bind_tcp(host: &str, port: u16) -> io::Result<(OwnedFd, u16)> {
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let socket = TcpListener::bind(addresses.as_slice())?;
    let port = socket.local_addr()?.port();
    Ok((socket.into(), port))
}

/// Binds to a path. A socket file that nobody listens at is left from a server that was killed: it
/// is replaced.
fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            if !is_socket || !is_deserted(path) {
                return Err(error);
            }
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
    .map(OwnedFd::from)
}

/// Whether nobody listens at a socket file. Doesn't wait: a listener with a full queue is one, too.
fn is_deserted(path: &Path) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let address = SocketAddrUnix::new(path);
    match (socket, address) {
        (Ok(socket), Ok(address)) => connect(&socket, &address) == Err(Errno::CONNREFUSED),
        _ => false,
    }
}
