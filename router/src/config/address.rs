//! `host:port`, where the host may be a name, and what may be bound without encryption.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::ConfigError;

/// An address as a user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort(String);

impl HostPort {
    /// What to bind for this address, which the flag `flag` gave.
    ///
    /// # Errors
    ///
    /// The host has no address; or one that is not loopback, and the user did not say `--insecure`.
    pub async fn to_bind(&self, flag: &str, insecure: bool) -> Result<Vec<SocketAddr>, ConfigError> {
        let found = tokio::net::lookup_host(&self.0).await;
        let found =
            found.map_err(|error| ConfigError(format!("{flag}: {self} cannot be resolved: {error}")))?;
        let found: Vec<SocketAddr> = found.collect();
        if !insecure && !found.iter().all(|address| address.ip().is_loopback()) {
            return Err(ConfigError(format!(
                "{flag}: {self} is not loopback and nothing is encrypted; give --insecure to serve it all the same"
            )));
        }
        Ok(found)
    }
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "expected HOST:PORT with a port from 1 to 65535";
        let (host, port) = text.rsplit_once(':').ok_or(WANTED)?;
        // Port 0 would be another one at each start, and no client could find it.
        if port.parse::<u16>().unwrap_or(0) == 0 {
            return Err(WANTED);
        }
        let plain = |host: &str| !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']);
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(bare) if bare.parse::<Ipv6Addr>().is_ok() => Ok(Self(text.to_owned())),
            None if plain(host) => Ok(Self(text.to_owned())),
            _ => Err("expected HOST:PORT; the host is no name, no IPv4 address and no [IPv6] address"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_from_nonsense() {
        for text in ["127.0.0.1:7400", "localhost:1", "[::1]:65535", "node-1.fleet:80"] {
            assert_eq!(text.parse::<HostPort>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "7400", ":7400", "host:", "host:65536", "host:0", "::1:74", "[host]:1", "http://a:1"]
        {
            assert!(text.parse::<HostPort>().is_err(), "{text:?} was accepted");
        }
    }
}
