//! One file per verb: its arguments, what it does, and how its result looks as a table and as JSON. `run` leads to the
//! right one.

pub mod cas;
pub mod completion;
pub mod del;
pub mod demo;
pub mod dev;
pub mod dump;
pub mod emptying;
pub mod get;
pub mod load;
pub mod move_cancel;
pub mod move_list;
pub mod node_drain;
pub mod node_list;
pub mod node_remove;
pub mod put;
pub mod ring_show;
pub mod route;
pub mod scan;
pub mod shard_list;
pub mod shard_move;
pub mod shard_rebalance;
pub mod shard_show;
pub mod shard_transfer_leader;
pub mod status;
pub mod txn;

use crate::cli::{Command, Common, MoveCommand, NodeCommand, RingCommand, ShardCommand};
use crate::console::Console;
use crate::failure::Failure;
use crate::session::Session;

/// Runs one command.
///
/// # Errors
/// As its verb says.
pub async fn run(
    command: &Command,
    common: &Common,
    session: &Session,
    console: &mut Console,
) -> Result<(), Failure> {
    let admin = session.admin();
    match command {
        Command::Dev(args) => dev::run(args, common, console).await,
        Command::Demo(args) => demo::run(args, common, console).await,
        Command::Put(args) => put::run(args, session, console).await,
        Command::Get(args) => get::run(args, session, console).await,
        Command::Del(args) => del::run(args, session, console).await,
        Command::Cas(args) => cas::run(args, session, console).await,
        Command::Txn(args) => txn::run(args, session, console).await,
        Command::Scan(args) => scan::run(args, session, console).await,
        Command::Load(args) => load::run(args, common, session, console).await,
        Command::Dump(args) => dump::run(args, session, console).await,
        Command::Route(args) => route::run(args, admin, console).await,
        Command::Status(args) => status::run(args, admin, console).await,
        Command::Shard(ShardCommand::List(args)) => shard_list::run(args, admin, console).await,
        Command::Shard(ShardCommand::Show(args)) => shard_show::run(args, admin, console).await,
        Command::Shard(ShardCommand::TransferLeader(args)) => {
            shard_transfer_leader::run(args, admin, console).await
        }
        Command::Shard(ShardCommand::Move(args)) => shard_move::run(args, admin, console).await,
        Command::Move(MoveCommand::List(args)) => move_list::run(args, admin, console).await,
        Command::Move(MoveCommand::Cancel(args)) => move_cancel::run(args, admin, console).await,
        Command::Shard(ShardCommand::Rebalance(args)) => shard_rebalance::run(args, admin, console).await,
        Command::Node(NodeCommand::List(args)) => node_list::run(args, admin, console).await,
        Command::Node(NodeCommand::Drain(args)) => node_drain::run(args, admin, console).await,
        Command::Node(NodeCommand::Undrain(args)) => node_drain::undrain(args, admin, console).await,
        Command::Node(NodeCommand::Remove(args)) => node_remove::run(args, admin, console).await,
        Command::Ring(RingCommand::Show(args)) => ring_show::run(args, admin, console).await,
        Command::Completion(args) => completion::run(args, console),
    }
}
