//! `kvctl move cancel ID`: a move is undone, if its new replica does not vote yet.

use clap::Args;
use serde_json::json;

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;

/// Arguments of `kvctl move cancel`.
#[derive(Debug, Args)]
pub struct MoveCancelArgs {
    /// The move's id, as `kvctl move list` prints it
    #[arg(value_name = "ID")]
    pub id: u64,
}

/// Asks for it. The fleet undoes the move by itself.
///
/// # Errors
/// There is no such move, it is too late, nobody answers, or stdout fails.
pub async fn run(args: &MoveCancelArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    admin.cancel_move(args.id).await?;
    if console.json_wanted() {
        console.json(&json!({ "move": args.id, "cancelled": true }))
    } else {
        console.line(&format!("move {} is being undone", args.id))
    }
}
