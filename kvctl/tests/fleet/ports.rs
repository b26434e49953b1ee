//! Ports for nodes. `--init` names all peers before any of them runs, so the kernel cannot choose.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Above the ports that Linux hands out by itself (to 60999): no outgoing connection takes the port of a dead node.
const FIRST: u16 = 61_000;
const LAST: u16 = 65_400;

/// Processes that test at the same time take so many at once, each its own: the first of them is kept taken as long as the process
/// lives. Else the port of a node that is dead just now would be free to others, and the node could not come back.
const STRIDE: u16 = 100;

/// What this process has for itself, and the next port to be looked at.
static CLAIMED: Mutex<Claimed> = Mutex::new(Claimed { strides: Vec::new(), next: 0, end: 0 });

struct Claimed {
    strides: Vec<TcpListener>,
    next: u16,
    end: u16,
}

impl Claimed {
    /// A stride that nobody has.
    fn claim(&mut self) {
        for start in (FIRST..LAST).step_by(usize::from(STRIDE)) {
            if let Ok(kept) = TcpListener::bind((Ipv4Addr::LOCALHOST, start)) {
                self.strides.push(kept);
                (self.next, self.end) = (start + 1, start + STRIDE);
                return;
            }
        }
        panic!("no ports are left between {FIRST} and {LAST}");
    }

    fn port(&mut self) -> u16 {
        loop {
            if self.next == self.end {
                self.claim();
            }
            let port = self.next;
            self.next += 1;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return port;
            }
        }
    }
}

/// Ports at which nobody listens, and which nobody else in this process is given. Somebody else may take one before it is used:
/// whoever starts a fleet begins again with others then.
pub fn free<const COUNT: usize>() -> [u16; COUNT] {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    [(); COUNT].map(|()| claimed.port())
}
