//! `kvctl route KEY`: slot, shard, epoch, term, leader and replicas of a key.

use std::ffi::OsString;

use clap::Args;
use flotilla_daemon::table::{Align, Table, or_dash};
use flotilla_proto::v1 as wire;
use flotilla_topology::{ShardId, Slot};
use serde_json::{Map, Value, json};

use crate::admin::Admin;
use crate::argument;
use crate::console::Console;
use crate::encoding::{escape, insert};
use crate::failure::Failure;
use crate::view::{Fleet, Shard};

/// Arguments of `kvctl route`.
#[derive(Debug, Args)]
pub struct RouteArgs {
    /// The key; it need not exist
    #[arg(value_name = "KEY")]
    pub key: OsString,
}

/// Where the key lives by the newest map, and who leads there by the nodes' word.
///
/// # Errors
/// No endpoint answers, no shard owns the slot, or stdout fails.
pub async fn run(args: &RouteArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let key = argument::key(&args.key)?;
    let map = admin.map().await?;
    let slot = Slot::of(&key);
    let id = owner(&map, slot)
        .ok_or_else(|| Failure::Internal(format!("the map has no owner for slot {slot}")))?;
    let fleet = admin.fleet().await?;
    let shard = fleet
        .shard(id)
        .ok_or_else(|| Failure::Refused(format!("shard {} just went away; ask again", id.0)))?;
    let route = Route { key: &key, slot, shard, fleet: &fleet };
    if console.json_wanted() { console.json(&route.document()) } else { console.text(&route.page()) }
}

/// The shard that owns a slot by the map.
pub fn owner(map: &wire::ClusterMap, slot: Slot) -> Option<ShardId> {
    let number = u32::from(slot.number());
    let owns =
        |shard: &&wire::Shard| shard.slots.iter().any(|range| (range.first..=range.last).contains(&number));
    map.shards.iter().find(owns).map(|shard| ShardId(shard.shard))
}

/// Everything to be said about a key's way.
struct Route<'a> {
    key: &'a [u8],
    slot: Slot,
    shard: &'a Shard,
    fleet: &'a Fleet,
}

impl Route<'_> {
    fn address(&self, node: flotilla_topology::NodeId) -> Option<&str> {
        self.fleet.node(node).map(|node| node.client_addr.as_str())
    }

    fn page(&self) -> String {
        let mut table = Table::new(&[
            ("REPLICA", Align::Right),
            ("NODE", Align::Right),
            ("ROLE", Align::Left),
            ("LAG", Align::Right),
            ("CLIENT", Align::Left),
        ]);
        for replica in &self.shard.replicas {
            table.row(vec![
                replica.id.to_string(),
                replica.node.0.to_string(),
                replica.role().to_string(),
                or_dash(replica.lag),
                or_dash(self.address(replica.node)),
            ]);
        }
        let leader = match self.shard.leader {
            None => "none known".to_string(),
            Some(node) => format!("node {} at {}", node.0, or_dash(self.address(node))),
        };
        format!(
            "key {}\nslot {}, shard {}, epoch {}, term {}\nleader {leader}\n\n{}",
            escape(self.key),
            self.slot,
            self.shard.id.0,
            self.fleet.epoch,
            self.shard.term,
            table.render()
        )
    }

    fn document(&self) -> Value {
        let replicas = self.shard.replicas.iter().map(|replica| {
            json!({
                "replica": replica.id,
                "node": replica.node.0,
                "role": replica.membership(),
                "client_addr": self.address(replica.node),
                "lag": replica.lag,
            })
        });
        let mut object = Map::new();
        insert(&mut object, "key", self.key);
        object.insert("slot".to_string(), json!(self.slot.number()));
        object.insert("shard".to_string(), json!(self.shard.id.0));
        object.insert("epoch".to_string(), json!(self.fleet.epoch.0));
        object.insert("term".to_string(), json!(self.shard.term));
        object.insert("leader".to_string(), json!(self.shard.leader.map(|node| node.0)));
        object
            .insert("leader_addr".to_string(), json!(self.shard.leader.and_then(|node| self.address(node))));
        object.insert("replicas".to_string(), replicas.collect());
        Value::from(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::{map, three_nodes};

    #[test]
    fn the_page_and_the_document_say_the_same() {
        let fleet = Fleet::of(&map(), three_nodes());
        let slot = Slot::of(b"foo");
        let id = owner(&map(), slot).unwrap();
        let route = Route { key: b"foo", slot, shard: fleet.shard(id).unwrap(), fleet: &fleet };
        let expected = "\
key foo
slot 12182, shard 1, epoch 5, term 4
leader node 2 at 127.0.0.1:7502

REPLICA  NODE  ROLE      LAG  CLIENT
     11     1  follower    0  127.0.0.1:7501
     12     2  leader      0  127.0.0.1:7502
     13     3  follower    7  127.0.0.1:7503
";
        assert_eq!(route.page(), expected);
        let mut document = route.document();
        let replicas = document["replicas"].take();
        let expected = json!({
            "key": "foo", "slot": 12182, "shard": 1, "epoch": 5, "term": 4, "leader": 2,
            "leader_addr": "127.0.0.1:7502", "replicas": null,
        });
        assert_eq!(document, expected);
        let expected =
            json!({ "replica": 13, "node": 3, "role": "voter", "client_addr": "127.0.0.1:7503", "lag": 7 });
        assert_eq!(replicas[2], expected);
    }

    #[test]
    fn a_slot_between_ranges_has_no_owner() {
        let mut map = map();
        map.shards[1].slots = vec![wire::SlotRange { first: 1, last: 16383 }];
        assert_eq!(owner(&map, Slot::new(0).unwrap()), None);
        assert_eq!(owner(&map, Slot::new(1).unwrap()), Some(ShardId(1)));
    }
}
