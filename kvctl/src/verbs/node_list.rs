//! `kvctl node list`: every node of the map, and whether it answers.

use clap::Args;
use flotilla_daemon::table::{Align, Table, or_dash};
use flotilla_proto::v1 as wire;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::view::{Fleet, Node};

/// Arguments of `kvctl node list`.
#[derive(Debug, Args)]
pub struct NodeListArgs {}

/// Asks all nodes and prints them.
///
/// # Errors
/// No endpoint answers, or stdout fails.
pub async fn run(_: &NodeListArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let fleet = admin.fleet().await?;
    if console.json_wanted() { console.json(&document(&fleet)) } else { console.text(&table(&fleet)) }
}

/// Of use to eyes: the peer address is left to the JSON, so that a line fits 80 columns.
fn table(fleet: &Fleet) -> String {
    let mut table = Table::new(&[
        ("NODE", Align::Right),
        ("STATE", Align::Left),
        ("PID", Align::Right),
        ("REPLICAS", Align::Right),
        ("LEADERS", Align::Right),
        ("CLIENT", Align::Left),
        ("HTTP", Align::Left),
    ]);
    for node in &fleet.nodes {
        let up = node.answer.as_ref().ok();
        table.row(vec![
            node.id.0.to_string(),
            condition(fleet, node),
            or_dash(up.map(|up| up.pid)),
            or_dash(up.map(|up| up.replicas)),
            or_dash(up.map(|up| up.leaders)),
            node.client_addr.clone(),
            node.http_addr.clone(),
        ]);
    }
    table.render()
}

/// The document of the contract.
fn document(fleet: &Fleet) -> Value {
    json!({ "nodes": fleet.nodes.iter().map(object).collect::<Vec<_>>() })
}

/// One node, also as `kvctl status` shows it. What a silent node does not say is null, and `error` says why it is silent.
pub fn object(node: &Node) -> Value {
    let up = node.answer.as_ref().ok();
    json!({
        "node": node.id.0,
        "client_addr": node.client_addr,
        "peer_addr": node.peer_addr,
        "http_addr": node.http_addr,
        "state": state(node),
        "leaving": leaving(node),
        "error": node.answer.as_ref().err(),
        "replicas": up.map(|up| up.replicas),
        "leaders": up.map(|up| up.leaders),
        "pid": up.map(|up| up.pid),
        "uptime_ms": up.map(|up| up.uptime_ms),
        "version": up.map(|up| &up.version),
        "disk": up.and_then(|up| up.room).map(|room| json!({
            "free_bytes": room.free_bytes,
            "total_bytes": room.total_bytes,
            "reserve_bytes": room.reserve_bytes,
        })),
    })
}

/// For eyes: `up`, `down`, and whether it shall be empty, or is.
pub fn condition(fleet: &Fleet, node: &Node) -> String {
    let leaves = match (node.leaving, fleet.replicas_on(node.id)) {
        (wire::Leaving::Stays, _) => return state(node).to_string(),
        (wire::Leaving::Removed, _) => "removing",
        (wire::Leaving::Drained, 0) => "drained",
        (wire::Leaving::Drained, _) => "draining",
    };
    format!("{}, {leaves}", state(node))
}

/// `drained`: it shall be empty; `removed`: and be no member then.
pub fn leaving(node: &Node) -> Option<&'static str> {
    match node.leaving {
        wire::Leaving::Stays => None,
        wire::Leaving::Drained => Some("drained"),
        wire::Leaving::Removed => Some("removed"),
    }
}

/// `up` or `down`: whether it answered.
pub fn state(node: &Node) -> &'static str {
    if node.answer.is_ok() { "up" } else { "down" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::{map, three_nodes};
    use flotilla_topology::NodeId;

    fn one_down() -> Fleet {
        let mut answers = three_nodes();
        answers.insert(NodeId(3), Err("connection refused".to_string()));
        Fleet::of(&map(), answers)
    }

    #[test]
    fn the_table_fits_80_columns() {
        let expected = "\
NODE  STATE   PID  REPLICAS  LEADERS  CLIENT          HTTP
   1  up     4001         2        1  127.0.0.1:7501  127.0.0.1:7701
   2  up     4002         2        1  127.0.0.1:7502  127.0.0.1:7702
   3  down      -         -        -  127.0.0.1:7503  127.0.0.1:7703
";
        assert_eq!(table(&one_down()), expected);
        assert!(expected.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn who_shall_be_empty_says_so() {
        let mut map = map();
        map.nodes[0].set_leaving(wire::Leaving::Drained);
        map.nodes[2].set_leaving(wire::Leaving::Removed);
        let mut answers = three_nodes();
        answers.insert(NodeId(3), Err("connection refused".to_string()));
        let conditions = |map: &wire::ClusterMap| {
            let fleet = Fleet::of(map, answers.clone());
            fleet.nodes.iter().map(|node| condition(&fleet, node)).collect::<Vec<_>>()
        };
        assert_eq!(conditions(&map), ["up, draining", "up", "down, removing"]);
        map.shards.iter_mut().for_each(|shard| shard.replicas.retain(|replica| replica.node != 1));
        assert_eq!(conditions(&map)[0], "up, drained");
        assert_eq!(document(&Fleet::of(&map, answers.clone()))["nodes"][0]["leaving"], "drained");
    }

    #[test]
    fn the_document_has_the_shape_of_the_contract() {
        let document = document(&one_down());
        let expected = json!({
            "node": 1, "client_addr": "127.0.0.1:7501", "peer_addr": "127.0.0.1:7601", "http_addr": "127.0.0.1:7701",
            "state": "up", "leaving": null, "replicas": 2, "leaders": 1, "pid": 4001,
            "error": null, "uptime_ms": 65_000, "version": "0.1.0 (abc)",
            "disk": { "free_bytes": 30_u64 << 30, "total_bytes": 40_u64 << 30, "reserve_bytes": 2_u64 << 30 },
        });
        assert_eq!(document["nodes"][0], expected);
        assert_eq!(document["nodes"][2]["state"], "down");
        assert_eq!(document["nodes"][2]["pid"], Value::Null);
        assert_eq!(document["nodes"][2]["error"], "connection refused");
    }
}
