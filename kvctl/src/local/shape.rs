//! What a local fleet looks like: how many nodes and shards, and on which ports.

use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Ports of one kind are numbered from the base, a hundred per kind: more nodes would run into the next kind.
pub const NODES_MAX: u16 = 99;
/// Stands for the router where a process of the fleet is named by a number. Nodes are numbered from 1.
pub const ROUTER: u16 = 0;

/// More shards than these need more than one machine's processors.
pub const SHARDS_MAX: u32 = 1024;

const ROUTER_HTTP_OFFSET: u16 = 80;
const CLIENT_OFFSET: u16 = 100;
const PEER_OFFSET: u16 = 200;
const HTTP_OFFSET: u16 = 300;

/// The last port that a fleet on this base may use: that of the last node's HTTP server.
const PORT_SPAN: u16 = HTTP_OFFSET + NODES_MAX;

/// The shape of a fleet. It is fixed when the fleet is first started, because the nodes remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// How many nodes; their ids are 1 to this.
    pub nodes: u16,
    /// How many shards besides the meta shard.
    pub shards: u32,
    /// How many replicas each shard has.
    pub replicas: u16,
    /// The router listens on base (clients) and base + 80 (HTTP), node `i` on base + 100 + i (clients), base + 200 + i (peers), base + 300 + i (HTTP).
    pub base_port: u16,
}

impl Shape {
    /// Checks the numbers against each other.
    ///
    /// # Errors
    /// [`Failure::Usage`], naming the flag.
    pub fn check(self) -> Result<Self, Failure> {
        let wrong = |text: String| Err(Failure::Usage(text));
        let Self { nodes, shards, replicas, base_port } = self;
        if !(1..=NODES_MAX).contains(&nodes) {
            return wrong(format!("--nodes {nodes}: expected 1 to {NODES_MAX}"));
        }
        if !(1..=SHARDS_MAX).contains(&shards) {
            return wrong(format!("--shards {shards}: expected 1 to {SHARDS_MAX}"));
        }
        if replicas == 0 || replicas > nodes {
            return wrong(format!(
                "--replicas {replicas}: expected 1 to {nodes}, as many as there are nodes"
            ));
        }
        if base_port == 0 || base_port > u16::MAX - PORT_SPAN {
            return wrong(format!("--base-port {base_port}: expected 1 to {}", u16::MAX - PORT_SPAN));
        }
        Ok(self)
    }

    /// The ids of the nodes.
    pub fn ids(self) -> impl Iterator<Item = u16> + Clone {
        1..=self.nodes
    }

    /// The client address of a node.
    #[must_use]
    pub fn client_addr(self, id: u16) -> String {
        address(self.base_port + CLIENT_OFFSET + id)
    }

    /// The peer address of a node.
    #[must_use]
    pub fn peer_addr(self, id: u16) -> String {
        address(self.base_port + PEER_OFFSET + id)
    }

    /// The HTTP address of a node.
    #[must_use]
    pub fn http_addr(self, id: u16) -> String {
        address(self.base_port + HTTP_OFFSET + id)
    }

    /// The client address of the router.
    #[must_use]
    pub fn router_addr(self) -> String {
        address(self.base_port)
    }

    /// The HTTP address of the router.
    #[must_use]
    pub fn router_http_addr(self) -> String {
        address(self.base_port + ROUTER_HTTP_OFFSET)
    }

    /// Every port, with words that say whose it is.
    pub fn ports(self) -> impl Iterator<Item = (u16, String)> {
        let router = [(0, "router, clients"), (ROUTER_HTTP_OFFSET, "router, HTTP")];
        let router = router.map(|(offset, whose)| (self.base_port + offset, whose.to_string()));
        let nodes = self.ids().flat_map(move |id| {
            let kinds = [(CLIENT_OFFSET, "clients"), (PEER_OFFSET, "peers"), (HTTP_OFFSET, "HTTP")];
            kinds.map(|(offset, kind)| (self.base_port + offset + id, format!("node {id}, {kind}")))
        });
        router.into_iter().chain(nodes)
    }

    /// How many threads each process gets on a machine with so many processors: its share.
    #[must_use]
    pub fn threads_each(self, cores: usize) -> usize {
        (cores / usize::from(self.nodes)).max(1)
    }

    /// The arguments that `kvrouter` gets, the same at each start.
    #[must_use]
    pub fn router_args(self) -> Vec<OsString> {
        let nodes: Vec<String> = self.ids().map(|id| self.client_addr(id)).collect();
        let flags = [
            ("--nodes", nodes.join(",")),
            ("--client-addr", self.router_addr()),
            ("--http-addr", self.router_http_addr()),
        ];
        flags.into_iter().flat_map(|(flag, value)| [OsString::from(flag), OsString::from(value)]).collect()
    }

    /// The arguments that `kvnode` gets for one node, the same at each start.
    #[must_use]
    pub fn node_args(self, id: u16, data_dir: &Path) -> Vec<OsString> {
        let init: Vec<String> = self.ids().map(|id| format!("{id}={}", self.peer_addr(id))).collect();
        let flags = [
            ("--id", id.to_string()),
            ("--client-addr", self.client_addr(id)),
            ("--peer-addr", self.peer_addr(id)),
            ("--http-addr", self.http_addr(id)),
            ("--init", init.join(",")),
            ("--shards", self.shards.to_string()),
            ("--replicas", self.replicas.to_string()),
        ];
        let words = flags.into_iter().flat_map(|(flag, value)| [OsString::from(flag), OsString::from(value)]);
        words.chain([OsString::from("--data-dir"), data_dir.into()]).collect()
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Shape = Shape { nodes: 3, shards: 8, replicas: 3, base_port: 7400 };

    #[test]
    fn the_ports_are_those_of_the_contract() {
        assert_eq!(DEFAULT.client_addr(1), "127.0.0.1:7501");
        assert_eq!(DEFAULT.peer_addr(2), "127.0.0.1:7602");
        assert_eq!(DEFAULT.http_addr(3), "127.0.0.1:7703");
        let ports: Vec<u16> = DEFAULT.ports().map(|(port, _)| port).collect();
        assert_eq!(ports, [7400, 7480, 7501, 7601, 7701, 7502, 7602, 7702, 7503, 7603, 7703]);
    }

    #[test]
    fn a_node_gets_the_flags_of_the_contract() {
        let args: Vec<String> =
            DEFAULT.node_args(2, Path::new("n2")).into_iter().map(|arg| arg.into_string().unwrap()).collect();
        let expected = "--id 2 --client-addr 127.0.0.1:7502 --peer-addr 127.0.0.1:7602 --http-addr 127.0.0.1:7702 \
                        --init 1=127.0.0.1:7601,2=127.0.0.1:7602,3=127.0.0.1:7603 --shards 8 --replicas 3 --data-dir n2";
        assert_eq!(args.join(" "), expected);
    }

    #[test]
    fn the_processors_are_shared_out_and_everybody_gets_one() {
        assert_eq!([1, 2, 6, 64].map(|cores| DEFAULT.threads_each(cores)), [1, 1, 2, 21]);
    }

    #[test]
    fn the_router_gets_the_flags_of_the_contract() {
        let args: Vec<String> =
            DEFAULT.router_args().into_iter().map(|arg| arg.into_string().unwrap()).collect();
        let expected = "--nodes 127.0.0.1:7501,127.0.0.1:7502,127.0.0.1:7503 --client-addr 127.0.0.1:7400 \
                        --http-addr 127.0.0.1:7480";
        assert_eq!(args.join(" "), expected);
    }

    #[test]
    fn numbers_that_do_not_fit_each_other_name_their_flag() {
        let cases = [
            (Shape { nodes: 0, ..DEFAULT }, "--nodes 0"),
            (Shape { nodes: 100, ..DEFAULT }, "--nodes 100"),
            (Shape { shards: 0, ..DEFAULT }, "--shards 0"),
            (Shape { replicas: 4, ..DEFAULT }, "--replicas 4"),
            (Shape { base_port: 65_137, ..DEFAULT }, "--base-port 65137"),
        ];
        for (shape, flag) in cases {
            let failure = shape.check().unwrap_err();
            assert!(failure.code() == 2 && failure.to_string().starts_with(flag), "{failure}");
        }
        let last = Shape { nodes: 99, base_port: 65_136, ..DEFAULT };
        assert_eq!(last.check(), Ok(last));
        assert_eq!(last.http_addr(99), "127.0.0.1:65535");
    }
}
