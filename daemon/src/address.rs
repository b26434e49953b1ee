//! `host:port`, where the host may be a name that is resolved again on every connection, and what may be bound.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use flotilla_topology::ADDRESS_BYTES_MAX;
use tokio::net::TcpListener;

/// An address as a user writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort(String);

impl HostPort {
    /// The text, `host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.rsplit_once(':').map_or("", |(host, _)| host)
    }

    /// The addresses to bind for this one, which the flag `flag` gave. `anywhere`: what comes in is encrypted, or the user said
    /// `--insecure`.
    ///
    /// # Errors
    /// The name cannot be resolved; or an address is not loopback, and may not be bound.
    pub async fn resolve(&self, flag: &'static str, anywhere: bool) -> Result<Resolved, ListenError> {
        let found = tokio::net::lookup_host(self.as_str()).await;
        let found = found.map_err(|source| ListenError::Resolve { flag, address: self.clone(), source })?;
        let addresses: Vec<SocketAddr> = found.collect();
        if !anywhere && !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(ListenError::Insecure { flag, address: self.clone() });
        }
        Ok(Resolved { flag, address: self.clone(), addresses })
    }
}

/// An address that may be bound, with what its host means now.
#[derive(Clone, Debug)]
pub struct Resolved {
    flag: &'static str,
    address: HostPort,
    addresses: Vec<SocketAddr>,
}

impl Resolved {
    /// Binds it.
    ///
    /// # Errors
    /// It cannot be bound.
    pub async fn bind(self) -> Result<TcpListener, ListenError> {
        let Self { flag, address, addresses } = self;
        let bound = TcpListener::bind(&addresses[..]).await;
        bound.map_err(|source| ListenError::Bind { flag, address, source })
    }
}

/// Why an address is not listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It is not loopback, and there is no encryption.
    #[error(
        "{flag}: {address} is not loopback and nothing is encrypted; give --tls-cert, --tls-key and --tls-ca, or --insecure to serve it all the same"
    )]
    Insecure {
        /// The flag.
        flag: &'static str,
        /// What it says.
        address: HostPort,
    },
    /// Its host has no address.
    #[error("{flag}: {address} cannot be resolved: {source}")]
    Resolve {
        /// The flag.
        flag: &'static str,
        /// What it says.
        address: HostPort,
        /// What the resolver says.
        source: std::io::Error,
    },
    /// It cannot be bound.
    #[error("{flag}: cannot listen on {address}: {source}")]
    Bind {
        /// The flag.
        flag: &'static str,
        /// What it says.
        address: HostPort,
        /// Why.
        source: std::io::Error,
    },
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError::Port)?;
        // Port 0 would be another one at each start, and no other node could find it.
        if port.parse::<u16>().unwrap_or(0) == 0 {
            return Err(HostPortError::Port);
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_ok = match bare {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && !host.contains([':', '[', ']', '/'])
                    && !host.contains(|letter: char| letter.is_whitespace() || letter.is_control())
            }
        };
        // The cluster map takes no longer one.
        if host_ok && text.len() <= ADDRESS_BYTES_MAX {
            Ok(Self(text.to_string()))
        } else {
            Err(HostPortError::Host)
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is no `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// There is no port, or it is no number from 1 to 65535.
    #[error("expected HOST:PORT with a port from 1 to 65535")]
    Port,
    /// The host is empty, too long, or holds characters that no host has.
    #[error("expected HOST:PORT; the host is no name, no IPv4 address and no [IPv6] address")]
    Host,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_accepted() {
        for text in ["127.0.0.1:7501", "localhost:1", "[::1]:65535", "node-1.fleet:80"] {
            assert_eq!(text.parse::<HostPort>().map(|address| address.to_string()), Ok(text.to_string()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "7501",
            ":7501",
            "host",
            "host:",
            "host:65536",
            "host:0",
            "::1:7501",
            "[host]:1",
            "a b:1",
            "http://a:1",
            "a\u{1b}b:1",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text:?} was accepted");
        }
        let long = |host_bytes: usize| format!("{}:65535", "a".repeat(host_bytes)).parse::<HostPort>();
        assert!(long(ADDRESS_BYTES_MAX - 6).is_ok() && long(ADDRESS_BYTES_MAX - 5).is_err());
    }
}
