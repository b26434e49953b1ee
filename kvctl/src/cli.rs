//! The command line: every command, and the flags that all of them share.
//!
//! A command's own arguments are described in its file under `verbs/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::console::Format;
use crate::credentials::TlsFlags;
use crate::duration::Span;
use crate::endpoint::Endpoint;
use crate::failure::Effect;
use crate::verbs::{
    cas, completion, del, demo, dev, dump, get, load, move_cancel, move_list, node_drain, node_list,
    node_remove, put, ring_show, route, scan, shard_list, shard_move, shard_rebalance, shard_show,
    shard_transfer_leader, status, txn,
};

/// Where a fleet is looked for when nothing else is said: a router on this machine, then the nodes of `kvctl dev`.
pub const DEFAULT_ENDPOINTS: [&str; 4] =
    ["127.0.0.1:7400", "127.0.0.1:7501", "127.0.0.1:7502", "127.0.0.1:7503"];

/// kvctl writes, reads and looks after a Flotilla fleet, a sharded and replicated key-value store.
#[derive(Debug, Parser)]
#[command(
    name = "kvctl",
    version = flotilla_node::VERSION_LINE,
    max_term_width = 100,
    after_help = "Start with `kvctl dev`: a whole fleet on this machine. Without a command, in a terminal, kvctl reads commands \
        interactively: `help` lists them.\n\n\
        Every flag can also be set in the environment (KVCTL_…) and in a TOML file (--config FILE; the flags of a command \
        stand in a table of its name). A flag beats the environment, the environment beats the file.\n\n\
        Exit codes: 0 done · 1 the answer is no (no such key, comparison failed) · 2 wrong usage · 3 refused or unavailable, \
        surely not executed · 4 unknown, may have been executed · 5 internal · 130 interrupted."
)]
pub struct Cli {
    /// What all commands share.
    #[command(flatten)]
    pub common: Common,
    /// Whether the interactive mode remembers its lines in ~/.local/state/flotilla/kvctl-history
    #[arg(long, value_enum, value_name = "ON|OFF", default_value = "on")]
    pub history: Remember,
    /// What to do; nothing: read commands from the terminal.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Whether lines are kept for the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Remember {
    /// They are.
    On,
    /// They are not, and those of earlier times are not read.
    Off,
}

/// What help calls the flags of all commands, so that a command's own stand together.
const SHARED: &str = "Options of all commands";

/// Flags of all commands.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Router or node to talk to; repeat it or separate by commas. They are tried in turn
    #[arg(long, help_heading = SHARED, global = true, value_name = "HOST:PORT", value_delimiter = ',', default_values = DEFAULT_ENDPOINTS)]
    pub endpoint: Vec<Endpoint>,
    /// How results are written to stdout
    #[arg(long, short, help_heading = SHARED, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    /// How long one request may take, retries included: 250ms, 5s, 2m
    #[arg(long, help_heading = SHARED, global = true, value_name = "DURATION", default_value = "5s")]
    pub timeout: Span,
    /// Answer yes to every question (no command of this version asks one)
    #[arg(long, short, help_heading = SHARED, global = true)]
    pub yes: bool,
    /// Settings in TOML: flag names as keys, those of a command in a table of its name
    #[arg(long, help_heading = SHARED, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Who it is.
    #[command(flatten)]
    pub tls: TlsFlags,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value per process")]
pub enum Command {
    /// Run a whole fleet on this machine: real processes, ended by Ctrl-C
    Dev(dev::DevArgs),
    /// Kill leaders of a fleet of its own, measure the gaps, prove that nothing was lost
    Demo(demo::DemoArgs),
    /// Write a value
    Put(put::PutArgs),
    /// Read a value: its exact bytes
    Get(get::GetArgs),
    /// Delete a key; a missing key is no error
    Del(del::DelArgs),
    /// Write a value if the key still has a version (compare and swap)
    Cas(cas::CasArgs),
    /// Compare keys, then do one of two lists of operations, all of it at once
    Txn(txn::TxnArgs),
    /// List keys and values in order, over all shards
    Scan(scan::ScanArgs),
    /// Write all records of a file
    Load(load::LoadArgs),
    /// Print all records as lines that `load` reads
    Dump(dump::DumpArgs),
    /// Show where a key lives
    Route(route::RouteArgs),
    /// Show the fleet at a glance: nodes, shards, and what is wrong
    Status(status::StatusArgs),
    /// Look at shards, move their replicas and leaders
    #[command(subcommand)]
    Shard(ShardCommand),
    /// Look at moves that are under way, undo them
    #[command(subcommand)]
    Move(MoveCommand),
    /// Look at nodes, empty them, take them out of the fleet
    #[command(subcommand)]
    Node(NodeCommand),
    /// Look at the ring
    #[command(subcommand)]
    Ring(RingCommand),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
}

impl Command {
    /// What Ctrl-C does to it.
    #[must_use]
    pub const fn ctrl_c(&self) -> CtrlC {
        match self {
            Self::Dev(_)
            | Self::Demo(_)
            | Self::Load(_)
            | Self::Shard(ShardCommand::Move(_) | ShardCommand::Rebalance(_))
            | Self::Node(NodeCommand::Drain(_) | NodeCommand::Remove(_)) => CtrlC::IsHandled,
            Self::Dump(_) => CtrlC::EndsAtTheSecond,
            _ => CtrlC::Ends,
        }
    }

    /// What it does to the fleet.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Put(_)
            | Self::Del(_)
            | Self::Cas(_)
            | Self::Txn(_)
            | Self::Load(_)
            | Self::Move(MoveCommand::Cancel(_))
            | Self::Node(NodeCommand::Drain(_) | NodeCommand::Undrain(_) | NodeCommand::Remove(_))
            | Self::Shard(
                ShardCommand::Move(_) | ShardCommand::TransferLeader(_) | ShardCommand::Rebalance(_),
            ) => Effect::Write,
            Self::Dev(_)
            | Self::Demo(_)
            | Self::Get(_)
            | Self::Scan(_)
            | Self::Dump(_)
            | Self::Route(_)
            | Self::Status(_)
            | Self::Shard(ShardCommand::List(_) | ShardCommand::Show(_))
            | Self::Move(MoveCommand::List(_))
            | Self::Node(NodeCommand::List(_))
            | Self::Ring(RingCommand::Show(_))
            | Self::Completion(_) => Effect::Read,
        }
    }
}

/// What Ctrl-C does to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtrlC {
    /// It ends at once.
    Ends,
    /// The command ends in order by itself; a second one ends it at once.
    EndsAtTheSecond,
    /// The command sees to it altogether.
    IsHandled,
}

/// `kvctl shard …`
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub enum ShardCommand {
    /// List all shards
    List(shard_list::ShardListArgs),
    /// Show one shard: replicas, positions, digests
    Show(shard_show::ShardShowArgs),
    /// Move a replica of a shard from one node to another
    Move(shard_move::ShardMoveArgs),
    /// Hand a shard's leadership to another node
    TransferLeader(shard_transfer_leader::TransferLeaderArgs),
    /// Spread replicas and leaders evenly over the nodes
    Rebalance(shard_rebalance::ShardRebalanceArgs),
}

/// `kvctl move …`
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub enum MoveCommand {
    /// List the moves that are under way
    List(move_list::MoveListArgs),
    /// Undo a move whose new replica does not vote yet
    Cancel(move_cancel::MoveCancelArgs),
}

/// `kvctl node …`
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub enum NodeCommand {
    /// List all nodes
    List(node_list::NodeListArgs),
    /// Move everything away from a node; it gets nothing new
    Drain(node_drain::NodeDrainArgs),
    /// Let a node stay that is being drained, or was
    Undrain(node_drain::NodeUndrainArgs),
    /// Take an empty node out of the fleet, or with --force a dead one
    Remove(node_remove::NodeRemoveArgs),
}

/// `kvctl ring …`
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub enum RingCommand {
    /// Draw the ring: shares of the slots, leaders and replicas of each node
    Show(ring_show::RingShowArgs),
}
