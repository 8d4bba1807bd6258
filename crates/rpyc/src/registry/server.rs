//! Being a registry.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::messages::MAX_REQUEST;
use super::services::Services;
use super::tcp;

/// How often a registry looks whether it is to stop, if it is not told.
const LOOK: Duration = Duration::from_secs(1);
/// How long a registry rests after an error, which may last.
const REST: Duration = Duration::from_millis(100);

/// A registry, over UDP or TCP. Clones are the same one.
///
/// What servers register is theirs to say: a registry is for networks whose hosts trust each other.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = rpyc::RegistryServer::udp("127.0.0.1:0")?;
/// let address = registry.address().to_string();
/// let serving = std::thread::spawn({
///     let registry = registry.clone();
///     move || registry.serve()
/// });
///
/// let client = rpyc::RegistryClient::udp(&address)?;
/// client.register(&["CALC".to_owned()], &"localhost:18861".parse()?)?;
/// assert_eq!(client.discover("calc")?, ["127.0.0.1:18861".parse()?]);
///
/// registry.stop();
/// serving.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RegistryServer(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    socket: Socket,
    address: SocketAddr,
    services: Mutex<Services>,
    stopping: AtomicBool,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl RegistryServer {
    /// A registry that answers datagrams. Port 0: any that is free.
    ///
    /// # Errors
    /// The operating system's.
    pub fn udp(address: &str) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self::new(Socket::Udp(socket), address))
    }

    /// A registry that answers one request per TCP connection. Port 0: any that is free.
    ///
    /// # Errors
    /// The operating system's.
    pub fn tcp(address: &str) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self::new(Socket::Tcp(socket), address))
    }

    fn new(socket: Socket, address: SocketAddr) -> Self {
        Self(Arc::new(Inner {
            socket,
            address,
            services: Mutex::new(Services::new()),
            stopping: AtomicBool::new(false),
        }))
    }

    /// Sets after how long a server that did not register again is forgotten: 240 seconds by default.
    #[must_use]
    pub fn prune_after(self, time: Duration) -> Self {
        self.0.services.lock().prune_after = time;
        self
    }

    /// Sets whether the names of all services are told: yes by default.
    #[must_use]
    pub fn allow_listing(self, allow: bool) -> Self {
        self.0.services.lock().allow_listing = allow;
        self
    }

    /// The address that it listens at.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Answers until [`stop`](Self::stop).
    ///
    /// # Errors
    /// The operating system's.
    pub fn serve(&self) -> io::Result<()> {
        match &self.0.socket {
            Socket::Udp(socket) => self.serve_datagrams(socket),
            Socket::Tcp(socket) => tcp::serve(&self.0, socket),
        }
    }

    /// Ends [`serve`](Self::serve).
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        match &self.0.socket {
            // Its own wait ends within a second, if this does not end it.
            Socket::Udp(socket) => drop(socket.send_to(&[], self.0.address)),
            Socket::Tcp(socket) => {
                let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
            }
        }
    }

    fn serve_datagrams(&self, socket: &UdpSocket) -> io::Result<()> {
        socket.set_read_timeout(Some(LOOK))?;
        // One more byte, to see what is longer than it may be.
        let mut request = [0; MAX_REQUEST + 1];
        while !self.0.is_stopping() {
            let (count, sender) = match socket.recv_from(&mut request) {
                Ok(received) => received,
                Err(error) if is_empty_handed(&error) => continue,
                Err(error) => {
                    log::warn!("receiving a request failed: {error}");
                    std::thread::sleep(REST);
                    continue;
                }
            };
            if count == 0 || count > MAX_REQUEST {
                continue;
            }
            if let Some(reply) = self.0.answer(&sender, &request[..count])
                && let Err(error) = socket.send_to(&reply, sender)
            {
                log::warn!("replying to {sender} failed: {error}");
            }
        }
        Ok(())
    }
}

impl Inner {
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn answer(&self, sender: &SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
        let host = sender.ip().to_canonical().to_string();
        self.services.lock().answer(&host, request, Instant::now())
    }
}

/// Nothing came in time; or an earlier reply reached nobody, which Linux says now.
fn is_empty_handed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
    )
}
