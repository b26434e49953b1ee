//! Which ports are free. Asked by binding them for a moment: only the kernel knows.

use std::net::{Ipv4Addr, TcpListener};

use crate::failure::Failure;
use crate::local::shape::Shape;

/// Bases that `kvctl demo` tries: below the ports that Linux hands out by itself (from 32768), so that no outgoing
/// connection takes the port of a node while that node is down.
const BASE_FIRST: u16 = 12_000;
const BASE_STEP: u16 = 400;
const BASES: u16 = 50;

/// Whether nobody listens on this port of the loopback address.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Refuses a fleet whose ports are taken, naming the first.
///
/// # Errors
/// [`Failure::Refused`].
pub fn check(shape: Shape) -> Result<(), Failure> {
    match shape.ports().find(|(port, _)| !is_free(*port)) {
        None => Ok(()),
        Some((port, whose)) => Err(Failure::Refused(format!(
            "port {port} ({whose}) is in use: is another fleet running? Choose other ports with --base-port"
        ))),
    }
}

/// The shape on a base whose ports are all free. `seed` chooses where the search begins, so that two demos that start
/// together look at different ports.
///
/// # Errors
/// [`Failure::Refused`] when no base is free.
pub fn find(shape: Shape, seed: u32) -> Result<Shape, Failure> {
    let start = (seed % u32::from(BASES)) as u16;
    let bases = (0..BASES).map(|step| BASE_FIRST + (start + step) % BASES * BASE_STEP);
    let mut shapes = bases.map(|base_port| Shape { base_port, ..shape });
    let free = shapes.find(|shape| shape.ports().all(|(port, _)| is_free(port)));
    free.ok_or_else(|| {
        let last = BASE_FIRST + BASES * BASE_STEP;
        Failure::Refused(format!("no free ports for {} nodes between {BASE_FIRST} and {last}", shape.nodes))
    })
}

const _: () = assert!(BASE_FIRST + BASES * BASE_STEP <= 32_768);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_its_owner_and_another_base_is_found() {
        let shape = Shape { nodes: 3, shards: 8, replicas: 3, base_port: 0 };
        let found = find(shape, 7).unwrap();
        let taken = TcpListener::bind(found.peer_addr(2)).unwrap();
        let failure = check(found).unwrap_err();
        let port = taken.local_addr().unwrap().port();
        assert!(
            failure.to_string().starts_with(&format!("port {port} (node 2, peers) is in use")),
            "{failure}"
        );
        assert_ne!(find(shape, 7).unwrap().base_port, found.base_port);
    }
}
