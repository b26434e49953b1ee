//! `kvctl shard transfer-leader ID --to N`: hands a shard's leadership to another node, and waits until that node leads.

use clap::Args;
use flotilla_topology::{NodeId, ShardId};
use serde_json::json;

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::view::Fleet;

/// Arguments of `kvctl shard transfer-leader`.
#[derive(Debug, Args)]
pub struct TransferLeaderArgs {
    /// The shard's id, as `kvctl shard list` prints it; 0 is the meta shard
    #[arg(value_name = "ID")]
    pub id: u64,
    /// The node that shall lead it; it must hold a replica
    #[arg(long, value_name = "NODE")]
    pub to: u64,
}

/// Asks the leader, and prints who leads then.
///
/// # Errors
/// Wrong ids, no leader, the transfer was refused or did not come about, or stdout fails.
pub async fn run(args: &TransferLeaderArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let (shard, to) = (ShardId(args.id), NodeId(args.to));
    let fleet = admin.fleet().await?;
    let leader_addr = leader_addr(&fleet, shard, to)?;
    let (leader, term) = match leads_already(&fleet, shard, to) {
        Some(term) => (to, term),
        None => admin.transfer_leader(shard, to, leader_addr).await?,
    };
    if console.json_wanted() {
        console.json(&json!({ "shard": shard.0, "leader": leader.0, "term": term }))?;
    } else {
        console.line(&format!("shard {}: node {} leads in term {term}", shard.0, leader.0))?;
    }
    if leader == to {
        return Ok(());
    }
    Err(Failure::Refused(format!("shard {}: node {} was elected instead; ask again", shard.0, leader.0)))
}

/// In which term the node leads the shard already: then there is nothing to do.
fn leads_already(fleet: &Fleet, id: ShardId, to: NodeId) -> Option<u64> {
    fleet.shard(id).filter(|shard| shard.leader == Some(to)).map(|shard| shard.term)
}

/// Whom to ask: checked here, so that a wrong id is told from a fleet that refuses.
fn leader_addr(fleet: &Fleet, id: ShardId, to: NodeId) -> Result<&str, Failure> {
    let shard = fleet.shard(id).ok_or_else(|| {
        let ids: Vec<String> = fleet.shards.iter().map(|shard| shard.id.0.to_string()).collect();
        Failure::Usage(format!("ID: there is no shard {}; there are {}", id.0, ids.join(", ")))
    })?;
    if !shard.replicas.iter().any(|replica| replica.node == to) {
        let nodes: Vec<String> = shard.replicas.iter().map(|replica| replica.node.0.to_string()).collect();
        let nodes = nodes.join(", ");
        return Err(Failure::Usage(format!(
            "--to: node {} has no replica of shard {}; {nodes} have",
            to.0, id.0
        )));
    }
    let leader = shard.leader.and_then(|node| fleet.node(node));
    let leader = leader
        .ok_or_else(|| Failure::Refused(format!("shard {} has no leader just now; ask again", id.0)))?;
    Ok(&leader.client_addr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::{map, three_nodes};

    #[test]
    fn the_leader_is_asked_and_wrong_ids_are_named() {
        let fleet = Fleet::of(&map(), three_nodes());
        assert_eq!(leader_addr(&fleet, ShardId(1), NodeId(3)), Ok("127.0.0.1:7502"));
        let no_shard = Failure::Usage("ID: there is no shard 9; there are 0, 1".to_string());
        assert_eq!(leader_addr(&fleet, ShardId(9), NodeId(3)), Err(no_shard));
        let no_replica = Failure::Usage("--to: node 4 has no replica of shard 1; 1, 2, 3 have".to_string());
        assert_eq!(leader_addr(&fleet, ShardId(1), NodeId(4)), Err(no_replica));
    }

    #[test]
    fn whoever_leads_already_is_not_asked() {
        let fleet = Fleet::of(&map(), three_nodes());
        let shard = fleet.shard(ShardId(1)).expect("it is there");
        assert_eq!(leads_already(&fleet, ShardId(1), shard.leader.expect("it leads")), Some(shard.term));
        assert_eq!(leads_already(&fleet, ShardId(1), NodeId(3)), None);
        assert_eq!(leads_already(&fleet, ShardId(9), NodeId(3)), None);
    }

    #[test]
    fn without_a_leader_nothing_was_executed() {
        let mut answers = three_nodes();
        answers.insert(NodeId(2), Err("connection refused".to_string()));
        let fleet = Fleet::of(&map(), answers);
        assert_eq!(leader_addr(&fleet, ShardId(1), NodeId(3)).unwrap_err().code(), 3);
    }
}
