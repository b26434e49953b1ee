//! Free ports. Asked by binding them for a moment: only the kernel knows.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that Linux hands out by itself (from 32768), so that no outgoing connection takes the port of a server while
/// that server is down.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

const _: () = assert!(FIRST + COUNT <= 32_768);

/// Ports that this process has handed out are not handed out again soon.
static HANDED_OUT: AtomicU16 = AtomicU16::new(0);

/// So many free ports. Two benchmarks that start together look at different ones.
pub(super) fn take(count: usize) -> Result<Vec<u16>, String> {
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    let mut ports = Vec::new();
    for _ in 0..COUNT {
        if ports.len() == count {
            break;
        }
        let step = HANDED_OUT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start.wrapping_mul(37) % COUNT + step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
    }
    if ports.len() == count { Ok(ports) } else { Err(format!("no {count} free ports from {FIRST} on")) }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// Binds a port that was free. A process that another test is just starting shares the socket with which it was tried, until it
    /// has become another program.
    fn bind(port: u16) -> TcpListener {
        let began = Instant::now();
        loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(listener) => return listener,
                Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "{port}: {error}"),
            }
            thread::yield_now();
        }
    }

    #[test]
    fn ports_are_free_and_never_the_same() {
        let taken = take(50).unwrap();
        let listeners: Vec<_> = taken.iter().map(|port| bind(*port)).collect();
        let more = take(50).unwrap();
        assert!(more.iter().all(|port| !taken.contains(port)), "{taken:?} {more:?}");
        assert_eq!(listeners.len(), 50);
    }
}
