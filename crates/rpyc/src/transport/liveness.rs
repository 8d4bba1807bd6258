//! Having the system notice a peer that is gone without a word.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::ioctl_fionread;
use rustix::net::{AddressFamily, sockopt};

/// Seconds between two probes of an idle connection, and how many go unanswered before it is given
/// up. Where a limit for unacknowledged bytes is set, Linux goes by that instead (tcp(7)).
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 5;

/// How many bytes a socket or pipe has received that nobody has read. 0 if the system can't tell.
pub fn unread(fd: impl AsFd) -> usize {
    ioctl_fionread(fd)
        .ok()
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(0)
}

/// Sets up a connected TCP socket to notice that its peer is gone. Does nothing to other sockets.
///
/// `idle`: the time without traffic after which the peer's system is probed. `unacknowledged`: how
/// long sent bytes may stay unacknowledged, or a peer may refuse to take any, before the connection
/// ends. What the program has turned on itself stays as it is.
///
/// # Errors
/// The descriptor is no socket, or the system refuses.
pub fn notice_lost_peer(
    fd: impl AsFd,
    idle: Option<Duration>,
    unacknowledged: Option<Duration>,
) -> io::Result<()> {
    let fd = fd.as_fd();
    if !matches!(
        sockopt::socket_domain(fd)?,
        AddressFamily::INET | AddressFamily::INET6
    ) || sockopt::socket_keepalive(fd)?
    {
        return Ok(());
    }
    if let Some(idle) = idle {
        sockopt::set_socket_keepalive(fd, true)?;
        // Whole seconds, at least one.
        sockopt::set_tcp_keepidle(fd, idle.max(Duration::from_secs(1)))?;
        sockopt::set_tcp_keepintvl(fd, PROBE_INTERVAL.min(idle.max(Duration::from_secs(1))))?;
        sockopt::set_tcp_keepcnt(fd, PROBES)?;
    }
    if let Some(limit) = unacknowledged {
        let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(fd, millis)?;
    }
    Ok(())
}
