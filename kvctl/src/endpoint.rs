//! `HOST:PORT` of a router or a node.

use std::fmt;
use std::str::FromStr;

/// An address to talk to. The host may be a name; it is resolved again on every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The text, `HOST:PORT`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError)?;
        let port_ok = port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+');
        let host_ok = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
                !host.is_empty() && host.bytes().all(allowed)
            }
        };
        if port_ok && host_ok { Ok(Self(text.to_string())) } else { Err(EndpointError) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT, such as 127.0.0.1:7400, node-1:7501 or [::1]:7400")]
pub struct EndpointError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_accepted() {
        for text in ["127.0.0.1:7400", "localhost:1", "[::1]:65535", "node-1.fleet:7501"] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(text.to_string()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "7400", ":7400", "host", "host:", "host:0", "host:65536", "::1:7400", "a b:1", "http://a:1"]
        {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError), "{text:?}");
        }
    }
}
