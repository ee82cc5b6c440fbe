//! Where a node is: an address, or a name that is looked up anew at each attempt.

use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address of IP and a port.
    Socket(SocketAddr),
    /// A host and a port, as in `db1.example.org:7400`; the host is looked up at each attempt, as its address may change.
    Host(String),
}

/// A text that names no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: give a host and a port, as in db1.example.org:7400 or [::1]:7400")]
pub struct InvalidAddress(String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Socket(address));
        }
        let is_host = |(host, port): &(&str, &str)| {
            let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
            !host.is_empty() && host.chars().all(is_name) && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        match text.rsplit_once(':').filter(is_host) {
            Some(_) => Ok(Self::Host(text.to_owned())),
            None => Err(InvalidAddress(text.to_owned())),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Host(host) => f.write_str(host),
        }
    }
}

impl Address {
    /// An address to try that a socket at `local` can send to. A name with several gives one after the other.
    ///
    /// *Errors*: the name is not known, or has no address of the socket's kind.
    pub(crate) async fn resolve(&self, local: SocketAddr, attempt: usize) -> io::Result<SocketAddr> {
        let found: Vec<SocketAddr> = match self {
            Self::Socket(address) => vec![*address],
            Self::Host(host) => tokio::net::lookup_host(host).await?.collect(),
        };
        let usable: Vec<SocketAddr> = found.into_iter().filter_map(|found| reachable(local, found)).collect();
        match usable.len() {
            0 => Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("{self} has no address that a socket at {local} can send to"),
            )),
            count => Ok(usable[attempt % count]),
        }
    }
}

/// The address in the form that a socket at `local` can send to, if it can.
fn reachable(local: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
    match (local, to) {
        (SocketAddr::V4(_), SocketAddr::V6(_)) => None,
        (SocketAddr::V6(_), SocketAddr::V4(to)) => {
            let mapped = to.ip().to_ipv6_mapped();
            Some(SocketAddr::V6(SocketAddrV6::new(mapped, to.port(), 0, 0)))
        }
        _ => Some(to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_address_or_a_host_with_a_port() {
        for (text, is_host) in [
            ("127.0.0.1:80", false),
            ("[::1]:80", false),
            ("localhost:80", true),
            ("a.b-c:1", true),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(matches!(address, Address::Host(_)), is_host, "{text}");
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "localhost",
            "localhost:",
            ":80",
            "localhost:65536",
            "localhost:0",
            "a b:80",
            "a:b:80",
            "::1:x",
        ] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.to_string().contains("give a host and a port"), "{error}");
        }
    }
}
