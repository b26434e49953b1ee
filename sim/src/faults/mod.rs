//! What goes wrong. A kind is one variant here and one method in the room of its like: network, processes, disks, clocks,
//! operators.
//!
//! Faults spare a quorum of every shard, unless the scenario is ruthless; then availability may end, and nothing else.

mod clocks;
mod disks;
mod fleet;
mod links;
mod operators;
mod processes;

pub use disks::Hit;

use std::collections::BTreeMap;

use flotilla_topology::{NodeId, ShardId};
use serde::Deserialize;

use crate::chance::Chance;
use crate::profile::Aim;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Messages of all links are lost and doubled and late, for a while.
    Storm,
    /// A node is cut off from all others, both ways.
    Isolate,
    /// A group of nodes, as many as a quorum can spare, is cut off from all others, both ways.
    Split,
    /// A node hears all, and nobody hears it.
    Mute,
    /// All hear a node, and it hears nobody.
    Deaf,
    /// One directed link is cut.
    OneWay,
    /// Two halves that only one node can reach.
    Bridge,
    /// What is sent over one directed link waits, and then arrives all at once.
    Clog,
    /// The connections between two nodes break, and nothing else.
    Reset,
    /// A process is killed; what it wrote is in the kernel's hands.
    Kill,
    /// Processes end and are started again at once, one or all, as by an operator or a service manager.
    Bounce,
    /// The power of one machine fails.
    PowerCut,
    /// The power of all machines fails at once.
    PowerCutAll,
    /// A process stands still.
    Pause,
    /// A machine sleeps: nothing happens on it, what is sent to it is lost, its clocks go on.
    Suspend,
    /// A router is killed, and another takes its place.
    RouterKill,
    /// A router stands still.
    RouterPause,
    /// The log's disk is slow.
    SlowDisk,
    /// Readers of the base are slow.
    SlowReads,
    /// The log's disk takes fewer bytes than it was given.
    ShortWrites,
    /// The log's disk is full.
    FullDisk,
    /// A sync of the log fails, and marks its pages clean.
    SyncError,
    /// A part of the log cannot be read for a while, and the process ends and is started again meanwhile.
    ReadError,
    /// A bit of an old segment flips; found at the next start, if it matters.
    Rot,
    /// The flusher hangs.
    FlusherStall,
    /// Every write of the base fails.
    BaseFails,
    /// A wall clock jumps.
    WallJump,
    /// Clocks run at different speeds from the beginning.
    Drift,
    /// An operator moves a leadership.
    Transfer,
    /// An operator has everything written into the base.
    Flush,
    /// An operator moves a replica to another node.
    Move,
    /// An operator has a move undone.
    CancelMove,
    /// An operator has a node emptied, or calls that off.
    Drain,
    /// A node that was not there at the beginning joins the fleet, or tries to under an id that is known.
    Join,
    /// An operator has a node leave the fleet: drains it first, and asks again and again.
    Remove,
    /// A machine is lost for good, and an operator has it removed by force.
    Lose,
    /// An operator has replicas and leaders spread evenly.
    Rebalance,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: &[Self] = &[
        Self::Storm,
        Self::Isolate,
        Self::Split,
        Self::Mute,
        Self::Deaf,
        Self::OneWay,
        Self::Bridge,
        Self::Clog,
        Self::Reset,
        Self::Kill,
        Self::Bounce,
        Self::PowerCut,
        Self::PowerCutAll,
        Self::Pause,
        Self::Suspend,
        Self::RouterKill,
        Self::RouterPause,
        Self::SlowDisk,
        Self::SlowReads,
        Self::ShortWrites,
        Self::FullDisk,
        Self::SyncError,
        Self::ReadError,
        Self::Rot,
        Self::FlusherStall,
        Self::BaseFails,
        Self::WallJump,
        Self::Drift,
        Self::Transfer,
        Self::Flush,
        Self::Move,
        Self::CancelMove,
        Self::Drain,
        Self::Join,
        Self::Remove,
        Self::Lose,
        Self::Rebalance,
    ];

    /// Whether it is one of those that are drawn for themselves, for worlds in which replicas move: the others stay what they were.
    #[must_use]
    pub const fn is_of_moves(self) -> bool {
        matches!(
            self,
            Self::Move
                | Self::CancelMove
                | Self::Drain
                | Self::Join
                | Self::Remove
                | Self::Lose
                | Self::Rebalance
        )
    }

    /// As users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Storm => "storm",
            Self::Isolate => "isolate",
            Self::Split => "split",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
            Self::OneWay => "one-way",
            Self::Bridge => "bridge",
            Self::Clog => "clog",
            Self::Reset => "reset",
            Self::Kill => "kill",
            Self::Bounce => "bounce",
            Self::PowerCut => "power-cut",
            Self::PowerCutAll => "power-cut-all",
            Self::Pause => "pause",
            Self::Suspend => "suspend",
            Self::RouterKill => "router-kill",
            Self::RouterPause => "router-pause",
            Self::SlowDisk => "slow-disk",
            Self::SlowReads => "slow-reads",
            Self::ShortWrites => "short-writes",
            Self::FullDisk => "full-disk",
            Self::SyncError => "sync-error",
            Self::ReadError => "read-error",
            Self::Rot => "rot",
            Self::FlusherStall => "flusher-stall",
            Self::BaseFails => "base-fails",
            Self::WallJump => "wall-jump",
            Self::Drift => "drift",
            Self::Transfer => "transfer",
            Self::Flush => "flush",
            Self::Move => "move",
            Self::CancelMove => "cancel-move",
            Self::Drain => "drain",
            Self::Join => "join",
            Self::Remove => "remove",
            Self::Lose => "lose",
            Self::Rebalance => "rebalance",
        }
    }
}

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// The weather is as before.
    Storm,
    /// A flusher and its base work again.
    Flusher(NodeId),
    /// A log's disk is whole again.
    Disk(NodeId),
}

/// Who suffers, and until when.
#[derive(Debug)]
pub struct Faults {
    /// Where their chance comes from.
    pub chance: Chance,
    suffering: BTreeMap<NodeId, u64>,
    aim: Aim,
    spared: bool,
    minority: usize,
    /// How many entries were proposed since the last choice.
    proposed: BTreeMap<ShardId, u64>,
    /// How many there were of each kind.
    pub made: BTreeMap<FaultKind, u64>,
}

impl Faults {
    /// No fault yet. At most so many nodes suffer at a time, unless nobody is spared.
    #[must_use]
    pub fn new(chance: Chance, aim: Aim, minority: usize, ruthless: bool) -> Self {
        let (suffering, proposed, made) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { chance, suffering, aim, spared: !ruthless, minority, proposed, made }
    }

    /// Chooses one of these nodes to suffer until a moment, if a quorum is spared: perhaps the leader of a shard that chance
    /// chose, perhaps one that suffers already.
    pub fn victim(
        &mut self,
        among: &[NodeId],
        leader: Option<NodeId>,
        now_us: u64,
        until_us: u64,
    ) -> Option<NodeId> {
        self.suffering.retain(|_, until| *until > now_us);
        let (ill, well): (Vec<NodeId>, Vec<NodeId>) =
            among.iter().partition(|node| self.suffering.contains_key(node));
        let again = self.chance.permille(self.aim.again_permille) && !ill.is_empty();
        if !again && self.spared && self.suffering.len() >= self.minority {
            return None;
        }
        let candidates = if again { ill } else { well };
        let aimed = leader.filter(|leader| candidates.contains(leader));
        let aimed = aimed.filter(|_| self.chance.permille(self.aim.leader_permille));
        let node = aimed.or_else(|| self.chance.pick(&candidates).copied())?;
        self.suffer(node, until_us);
        Some(node)
    }

    /// An entry was proposed.
    pub fn busy(&mut self, shard: ShardId) {
        *self.proposed.entry(shard).or_default() += 1;
    }

    /// Chooses the shard whose leader a fault is aimed at: half of them strike where most is under way.
    pub fn struck(&mut self, shards: &[ShardId]) -> Option<ShardId> {
        let proposed = std::mem::take(&mut self.proposed);
        let busiest = proposed.into_iter().max_by_key(|(_, entries)| *entries).map(|(shard, _)| shard);
        let any = self.chance.pick(shards).copied();
        busiest.filter(|_| self.chance.permille(500)).or(any)
    }

    /// Whether somebody who asks is cut off together with whom a fault cuts off.
    pub fn strands(&mut self) -> bool {
        self.chance.permille(self.aim.stranded_permille)
    }

    /// How many nodes may suffer at the same time and leave a quorum of every shard.
    pub const fn minority(&self) -> usize {
        self.minority
    }

    /// Whether a quorum is spared when this node suffers: it does already, or there is room for one more.
    pub fn may_suffer(&mut self, node: NodeId, now_us: u64) -> bool {
        self.suffering.retain(|_, until| *until > now_us);
        !self.spared || self.suffering.contains_key(&node) || self.suffering.len() < self.minority
    }

    /// A node suffers until a moment.
    pub fn suffer(&mut self, node: NodeId, until_us: u64) {
        let until = self.suffering.entry(node).or_default();
        *until = until_us.max(*until);
    }

    /// A node suffers no more, by whatever.
    pub fn recover(&mut self, node: NodeId) {
        self.suffering.remove(&node);
    }

    /// One more of a kind.
    pub fn count(&mut self, kind: FaultKind) {
        *self.made.entry(kind).or_default() += 1;
    }
}

impl crate::world::World {
    /// A fault begins, if one can: nobody may be left to suffer it.
    pub(crate) fn begin_fault(&mut self, kind: FaultKind) {
        let begun = match kind {
            FaultKind::Storm => self.storm(),
            FaultKind::Isolate => self.isolate(),
            FaultKind::Split => self.split(),
            FaultKind::Mute | FaultKind::Deaf => self.silence(kind),
            FaultKind::OneWay | FaultKind::Clog => self.block_one_way(kind),
            FaultKind::Bridge => self.bridge(),
            FaultKind::Reset => self.reset(),
            FaultKind::Kill => self.kill(),
            FaultKind::Bounce => self.bounce(),
            FaultKind::PowerCut | FaultKind::PowerCutAll => self.power_cut(kind),
            FaultKind::Pause => self.pause(),
            FaultKind::Suspend => self.suspend(),
            FaultKind::RouterKill | FaultKind::RouterPause => self.router_fault(kind),
            FaultKind::SlowDisk | FaultKind::SlowReads => self.slow(kind),
            FaultKind::ShortWrites | FaultKind::FullDisk | FaultKind::SyncError => self.disk_fault(kind),
            FaultKind::ReadError => self.read_error(),
            FaultKind::Rot => self.rot(),
            FaultKind::FlusherStall | FaultKind::BaseFails => self.base_fault(kind),
            FaultKind::WallJump => self.wall_jump(),
            // From the beginning of the world to its end, and counted there: nothing begins here.
            FaultKind::Drift => false,
            FaultKind::Transfer => self.transfer(),
            FaultKind::Flush => self.flush(),
            FaultKind::Move => self.start_move(),
            FaultKind::CancelMove => self.cancel_move(),
            FaultKind::Drain => self.drain(),
            FaultKind::Join => self.grow(),
            FaultKind::Remove => self.remove(),
            FaultKind::Lose => self.lose(),
            FaultKind::Rebalance => self.rebalance(),
        };
        if begun {
            self.faults.count(kind);
            self.trace.line(self.now_us, || format!("fault: {}", kind.name()));
        }
    }
}
