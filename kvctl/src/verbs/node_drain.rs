//! `kvctl node drain N`: everything moves away from a node, and nothing comes. `kvctl node undrain N`: it stays after all.

use clap::Args;
use flotilla_proto::v1 as wire;
use serde_json::{Value, json};

use super::emptying::Emptying;
use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::progress::size;

/// Arguments of `kvctl node drain`.
#[derive(Debug, Args)]
pub struct NodeDrainArgs {
    /// The node's id, as `kvctl node list` prints it
    #[arg(value_name = "NODE")]
    pub node: u64,
    /// Only say what would move, and whether it could
    #[arg(long)]
    pub dry_run: bool,
    /// Return as soon as the fleet knows
    #[arg(long)]
    pub detach: bool,
}

/// Arguments of `kvctl node undrain`.
#[derive(Debug, Args)]
pub struct NodeUndrainArgs {
    /// The node's id, as `kvctl node list` prints it
    #[arg(value_name = "NODE")]
    pub node: u64,
}

/// Asks for it, and waits until the node is empty.
///
/// # Errors
/// Refused (with the reason), undrained by somebody, or nobody answers; or stdout fails.
pub async fn run(args: &NodeDrainArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let node = args.node;
    let begun = admin.change_node(node, wire::NodeChange::Drain, args.dry_run).await?;
    if args.dry_run {
        return plan(node, &begun.moves, console);
    }
    if !args.detach {
        Emptying { node, removed: false }.watch(admin, console).await?;
    }
    let state = if args.detach { "draining" } else { "empty" };
    if console.json_wanted() {
        return console.json(&json!({ "node": node, "state": state, "moves": begun.moves.iter().map(object).collect::<Vec<_>>() }));
    }
    console.line(&if args.detach {
        format!("node {node} is being emptied; look on with: kvctl status; end it with: kvctl node undrain {node}")
    } else {
        format!("node {node} is empty, and gets no replicas; remove it with: kvctl node remove {node}; or let it have some: kvctl node undrain {node}")
    })
}

/// Lets a node have replicas again.
///
/// # Errors
/// There is no such node, nobody answers, or stdout fails.
pub async fn undrain(args: &NodeUndrainArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    admin.change_node(args.node, wire::NodeChange::Undrain, false).await?;
    if console.json_wanted() {
        return console.json(&json!({ "node": args.node, "state": "stays" }));
    }
    console.line(&format!(
        "node {} stays; what moves already goes on (kvctl move list, kvctl move cancel)",
        args.node
    ))
}

/// What would move, also of `kvctl node remove --force`.
pub fn plan(node: u64, moves: &[wire::PlannedMove], console: &mut Console) -> Result<(), Failure> {
    if console.json_wanted() {
        let moves: Vec<Value> = moves.iter().map(object).collect();
        return console.json(&json!({ "dry_run": true, "node": node, "moves": moves }));
    }
    if moves.is_empty() {
        return console.line(&format!("node {node} has no replica that would have to move"));
    }
    moves.iter().enumerate().try_for_each(|(at, it)| console.line(&format!("{}. {}", at + 1, sentence(it))))
}

/// One move that would be begun.
pub fn sentence(it: &wire::PlannedMove) -> String {
    let leads = if it.leads { ", after its leadership" } else { "" };
    format!(
        "shard {}: from node {} to node {}, about {}{leads}",
        it.shard,
        it.from_node,
        it.to_node,
        size(it.bytes)
    )
}

/// The same for programs.
pub fn object(it: &wire::PlannedMove) -> Value {
    json!({ "shard": it.shard, "from": it.from_node, "to": it.to_node, "bytes": it.bytes, "leads": it.leads })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_move_is_a_sentence() {
        let it = wire::PlannedMove { shard: 3, from_node: 1, to_node: 4, bytes: 5 << 20, leads: true };
        assert_eq!(sentence(&it), "shard 3: from node 1 to node 4, about 5.0 MiB, after its leadership");
        assert_eq!(
            sentence(&wire::PlannedMove { leads: false, ..it }),
            "shard 3: from node 1 to node 4, about 5.0 MiB"
        );
        assert_eq!(object(&it)["to"], 4);
    }
}
