//! Three doors, and everybody who may knock: who comes in at which, as whom, and why the others do not.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use flotilla_notary::{Authority, Issued, Subject};
use flotilla_tls::{Caller, Door, Files, Owner, Reason, Tls};
use flotilla_topology::NodeId;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

const HOST: &str = "localhost";

/// What a pipe between two sides holds, in bytes.
const PIPE_BYTES: usize = 1 << 14;

/// Node 1, as its files have it.
fn node(authority: &Authority) -> Tls {
    let directory = tempfile::tempdir().unwrap();
    let paths = authority.write(directory.path(), "n1", &Subject::node(1, [HOST]));
    let files = Files { certificate: paths.certificate, key: paths.key, authority: paths.authority };
    Tls::load(files, Owner::Node { id: NodeId(1), hosts: vec![HOST.to_owned()] }).unwrap()
}

/// Knocks, and shows this or nothing.
async fn knock(
    authority: &Authority,
    at: &Tls,
    door: Door,
    shows: Option<&Issued>,
) -> Result<Caller, Reason> {
    let config = Arc::new(authority.stranger(shows));
    let (inside, outside) = tokio::io::duplex(PIPE_BYTES);
    let knocking = TlsConnector::from(config).connect(ServerName::try_from(HOST).unwrap(), outside);
    // Who knocks has done its part before it is judged.
    let (accepted, knocked) = tokio::join!(at.accept(door, inside), knocking);
    knocked.unwrap();
    accepted.map(|stream| stream.caller()).map_err(|refusal| refusal.reason)
}

#[tokio::test]
async fn each_door_lets_in_whom_it_is_for() {
    let (ours, elsewhere) = (Authority::new("our fleet"), Authority::new("our fleet"));
    let one = node(&ours);
    let (client, two) = (Subject::client("sdk"), Subject::node(2, [HOST]));
    let is_client = Ok(Caller::Certified(None));
    let is_two = Ok(Caller::Certified(Some(NodeId(2))));
    // Who knocks; and what comes of it at the doors for nodes, for clients, and for HTTP.
    let knocks = [
        (None, [Err(Reason::NoCertificate), Err(Reason::NoCertificate), Ok(Caller::Anonymous)]),
        (Some(ours.issue(&client)), [Err(Reason::NotANode), is_client, is_client]),
        (Some(ours.issue(&Subject::server("router", [HOST]))), [Err(Reason::NotANode), is_client, is_client]),
        (Some(ours.issue(&two)), [is_two; 3]),
        (Some(ours.issue(&client.clone().expired())), [Err(Reason::Expired); 3]),
        (Some(ours.issue(&two.clone().expired())), [Err(Reason::Expired); 3]),
        (Some(elsewhere.issue(&client)), [Err(Reason::UnknownAuthority); 3]),
        (Some(elsewhere.issue(&two)), [Err(Reason::UnknownAuthority); 3]),
    ];
    for (at, (shows, expected)) in knocks.iter().enumerate() {
        for (door, expected) in [Door::Peer, Door::Client, Door::Http].into_iter().zip(expected) {
            assert_eq!(knock(&ours, &one, door, shows.as_ref()).await, *expected, "knock {at} at {door:?}");
        }
    }
}

#[test]
fn a_certificate_that_is_not_for_the_hosts_of_its_node_is_refused() {
    let authority = Authority::new("our fleet");
    let directory = tempfile::tempdir().unwrap();
    let paths =
        authority.write(directory.path(), "n1", &Subject::node(1, [HOST, "192.0.2.1", "*.fleet.example"]));
    let load = |host: &str| {
        let paths = paths.clone();
        let files = Files { certificate: paths.certificate, key: paths.key, authority: paths.authority };
        let owner = Owner::Node { id: NodeId(1), hosts: vec![HOST.to_owned(), host.to_owned()] };
        Tls::load(files, owner).map(drop).map_err(|error| error.to_string())
    };
    for host in [HOST, "192.0.2.1", "n1.fleet.example"] {
        assert_eq!(load(host), Ok(()), "{host}");
    }
    for host in ["192.0.2.2", "example", "n1.example"] {
        let said = load(host).unwrap_err();
        assert!(said.contains(&format!("is not for {host}, where others reach this node")), "{said}");
    }
}
