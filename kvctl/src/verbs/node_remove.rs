//! `kvctl node remove N`: a node that is empty leaves the fleet; with `--force` one that is dead, after its replicas were replaced.

use clap::Args;
use flotilla_proto::v1 as wire;
use serde_json::json;

use super::emptying::Emptying;
use super::node_drain;
use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;

/// Arguments of `kvctl node remove`.
#[derive(Debug, Args)]
pub struct NodeRemoveArgs {
    /// The node's id, as `kvctl node list` prints it. It never comes back
    #[arg(value_name = "NODE")]
    pub node: u64,
    /// The node is dead for good: replace its replicas from the survivors first
    #[arg(long)]
    pub force: bool,
    /// Only say what would be done, and whether it could be
    #[arg(long)]
    pub dry_run: bool,
    /// With --force: return as soon as the fleet knows
    #[arg(long, requires = "force")]
    pub detach: bool,
}

/// Asks for it; with `--force` waits until the node is gone.
///
/// # Errors
/// Refused (with the reason), or nobody answers; or stdout fails.
pub async fn run(args: &NodeRemoveArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let node = args.node;
    let change = if args.force { wire::NodeChange::RemoveByForce } else { wire::NodeChange::Remove };
    let begun = admin.change_node(node, change, args.dry_run).await?;
    if args.dry_run {
        return node_drain::plan(node, &begun.moves, console);
    }
    if args.force && !args.detach {
        Emptying { node, removed: true }.watch(admin, console).await?;
    }
    if console.json_wanted() {
        let state = if args.detach { "removing" } else { "removed" };
        return console.json(&json!({ "node": node, "state": state }));
    }
    console.line(&if args.detach {
        format!(
            "the replicas of node {node} are being replaced, then it is removed; look on with: kvctl status"
        )
    } else {
        format!("node {node} is no member any more: if its process runs, stop it; its directory is of no use")
    })
}
