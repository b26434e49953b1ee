//! `kvctl shard list`: every shard with its leader, size and lag.

use clap::Args;
use flotilla_daemon::table::{self, Align, Table, or_dash};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::view::{Fleet, Shard};

/// Arguments of `kvctl shard list`.
#[derive(Debug, Args)]
pub struct ShardListArgs {}

/// Asks all nodes and prints their shards.
///
/// # Errors
/// No endpoint answers, or stdout fails.
pub async fn run(_: &ShardListArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let fleet = admin.fleet().await?;
    if console.json_wanted() { console.json(&document(&fleet)) } else { console.text(&table(&fleet.shards)) }
}

/// Also the shards of `kvctl status`. LAG is the greatest of the replicas', in entries.
pub fn table<'a>(shards: impl IntoIterator<Item = &'a Shard>) -> String {
    let mut table = Table::new(&[
        ("SHARD", Align::Right),
        ("LEADER", Align::Right),
        ("TERM", Align::Right),
        ("SLOTS", Align::Right),
        ("KEYS", Align::Right),
        ("BYTES", Align::Right),
        ("LAG", Align::Right),
        ("NODES", Align::Left),
    ]);
    for shard in shards {
        table.row(vec![
            shard.id.0.to_string(),
            or_dash(shard.leader.map(|node| node.0)),
            shard.term.to_string(),
            shard.slots.to_string(),
            shard.keys.to_string(),
            table::bytes(shard.bytes),
            or_dash(shard.lag_max()),
            nodes(shard),
        ]);
    }
    table.render()
}

/// Where its replicas are; those that are down in brackets.
fn nodes(shard: &Shard) -> String {
    let place = |replica: &crate::view::Replica| match replica.seen {
        Some(_) => replica.node.0.to_string(),
        None => format!("({})", replica.node.0),
    };
    shard.replicas.iter().map(place).collect::<Vec<_>>().join(" ")
}

/// The document of the contract.
fn document(fleet: &Fleet) -> Value {
    json!({ "shards": fleet.shards.iter().map(object).collect::<Vec<_>>() })
}

/// One shard, also as `kvctl status` shows it. What nobody says is null.
pub fn object(shard: &Shard) -> Value {
    let replicas = shard.replicas.iter().map(|replica| {
        let seen = replica.seen.as_ref();
        json!({
            "replica": replica.id,
            "node": replica.node.0,
            "role": replica.membership(),
            "commit": seen.map(|seen| seen.commit_index),
            "applied": seen.map(|seen| seen.applied_index),
            "lag": replica.lag,
        })
    });
    json!({
        "shard": shard.id.0,
        "leader": shard.leader.map(|node| node.0),
        "term": shard.term,
        "slots": shard.slots,
        "keys": shard.keys,
        "bytes": shard.bytes,
        "replicas": replicas.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::{map, three_nodes};
    use flotilla_topology::NodeId;

    #[test]
    fn the_table_shows_leaders_sizes_and_lag() {
        let mut answers = three_nodes();
        answers.insert(NodeId(3), Err("connection refused".to_string()));
        let expected = "\
SHARD  LEADER  TERM  SLOTS  KEYS  BYTES  LAG  NODES
    0       1     2      0     1    700    0  1 2 (3)
    1       2     4  16384  1234   5.0M    7  1 2 (3)
";
        assert_eq!(table(&Fleet::of(&map(), answers).shards), expected);
    }

    #[test]
    fn the_document_has_the_shape_of_the_contract() {
        let document = document(&Fleet::of(&map(), three_nodes()));
        let expected = json!({
            "shard": 1, "leader": 2, "term": 4, "slots": 16384, "keys": 1234, "bytes": 5 << 20,
            "replicas": [
                { "replica": 11, "node": 1, "role": "voter", "commit": 100, "applied": 100, "lag": 0 },
                { "replica": 12, "node": 2, "role": "voter", "commit": 100, "applied": 100, "lag": 0 },
                { "replica": 13, "node": 3, "role": "voter", "commit": 93, "applied": 93, "lag": 7 },
            ],
        });
        assert_eq!(document["shards"][1], expected);
    }

    #[test]
    fn a_shard_without_a_leader_shows_null_and_dashes() {
        let mut answers = three_nodes();
        answers.insert(NodeId(2), Err("connection refused".to_string()));
        let fleet = Fleet::of(&map(), answers);
        let document = document(&fleet);
        assert_eq!(document["shards"][1]["leader"], Value::Null);
        assert_eq!(document["shards"][1]["replicas"][0]["lag"], Value::Null);
        assert!(table(&fleet.shards).ends_with("    1       -     4  16384  1234   5.0M    -  1 (2) 3\n"));
    }
}
