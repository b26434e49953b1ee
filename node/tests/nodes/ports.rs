//! Ports for nodes. `--init` names all peers before any of them runs, so the kernel cannot choose.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Above the ports that Linux hands out by itself (to 60999): no outgoing connection takes one before its node does.
const FIRST: u16 = 61_000;
const LAST: u16 = 65_400;

/// Where processes that test at the same time begin their search, apart from each other.
const STRIDE: u16 = 550;

/// The next port to be looked at; none was looked at yet.
static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// A port at which nobody listens, and which nobody else in this process was given lately.
pub fn free() -> u16 {
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let strides = u32::from((LAST - FIRST) / STRIDE);
    let start = FIRST + (std::process::id() % strides) as u16 * STRIDE;
    let mut at = next.unwrap_or(start);
    for _ in FIRST..=LAST {
        let port = at;
        at = if at == LAST { FIRST } else { at + 1 };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            *next = Some(at);
            return port;
        }
    }
    panic!("no port is free between {FIRST} and {LAST}");
}
