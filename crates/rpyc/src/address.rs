//! Where a peer is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::ConnectError;

/// An address: `host:port`, `[ipv6]:port`, `tcp://host:port`, `ssl://host:port` or `unix:/path`.
///
/// ```
/// use rpyc::Address;
///
/// let address: Address = "unix:/run/lab.sock".parse().unwrap();
/// assert_eq!(address, Address::Unix("/run/lab.sock".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// Name or number of the host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A TCP port that speaks TLS.
    Ssl {
        /// Name or number of the host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(bad(text, "the path is missing"));
            }
            return Ok(Self::Unix(path.into()));
        }
        if let Some(rest) = text.strip_prefix("ssl://") {
            let (host, port) = host_and_port(text, rest)?;
            return Ok(Self::Ssl { host, port });
        }
        let (host, port) = host_and_port(text, text.strip_prefix("tcp://").unwrap_or(text))?;
        Ok(Self::Tcp { host, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| {
            if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            }
        };
        match self {
            Self::Tcp { host, port } => write!(f, "{}:{port}", bracketed(host)),
            Self::Ssl { host, port } => write!(f, "ssl://{}:{port}", bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn host_and_port(text: &str, rest: &str) -> Result<(String, u16), ConnectError> {
    let (host, port) = rest
        .rsplit_once(':')
        .ok_or_else(|| bad(text, "expected host:port, ssl://host:port or unix:/path"))?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err(bad(text, "the host is missing"));
    }
    let port = port
        .parse()
        .map_err(|_| bad(text, "the port is no number from 0 to 65535"))?;
    Ok((host.to_owned(), port))
}

fn bad(address: &str, reason: &str) -> ConnectError {
    ConnectError::Address {
        address: address.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["host:18812", "[::1]:1", "ssl://h:2", "unix:/tmp/s"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        assert_eq!(
            "unix:///tmp/s".parse::<Address>().unwrap(),
            Address::Unix("/tmp/s".into())
        );
        assert_eq!("tcp://h:1".parse::<Address>().unwrap().to_string(), "h:1");
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, why) in [
            ("host", "expected host:port"),
            (":1", "the host is missing"),
            ("host:66000", "the port is no number"),
            ("unix:", "the path is missing"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
