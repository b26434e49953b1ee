//! What a world is about. Chance alone spreads all faults evenly, and hardly ever makes the long stories in which consensus
//! and recovery go wrong: a leader cut off while many write to it, elected out, and back before its disk has caught up. So a
//! world has a profile: which faults are likely, whom they strike, how close together, and how hurried clients are. No
//! profile knows of a particular bug.

use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::chance::Chance;
use crate::clients::Habits;
use crate::faults::FaultKind;

/// The kinds of worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A bit of everything.
    Mixed,
    /// Leaders that are cut off, stand still or crawl while many write: logs diverge by long tails over several terms.
    Divergence,
    /// Leaderships that move all the time, in bad weather, while few keys are written and read by all.
    Handover,
    /// Disks and power.
    Disks,
    /// What nodes promise each other, and what may come between: leaders that cannot be heard, stand still or hand over while others
    /// read, connections that break, processes that are back at once, clocks that are as wrong as they may be.
    Promises,
}

/// Whom faults strike.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// Of 1000 faults, how many strike the leader of some shard, if they can.
    pub leader_permille: u64,
    /// Of 1000 faults, how many strike who suffers already, if somebody does: a leader that is cut off *and* has a slow disk.
    pub again_permille: u64,
    /// Of 1000 clients and routers, how many are cut off together with whom a fault cuts off: they go on asking it.
    pub stranded_permille: u64,
}

impl Profile {
    /// All profiles.
    pub const ALL: &[Self] = &[Self::Mixed, Self::Divergence, Self::Handover, Self::Disks, Self::Promises];

    /// The profile of a world.
    pub fn draw(chance: &mut Chance) -> Self {
        match chance.below(24) {
            0..7 => Self::Mixed,
            7..12 => Self::Divergence,
            12..16 => Self::Handover,
            16..20 => Self::Disks,
            _ => Self::Promises,
        }
    }

    /// As users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Divergence => "divergence",
            Self::Handover => "handover",
            Self::Disks => "disks",
            Self::Promises => "promises",
        }
    }

    /// What it is about; all the others are rare in it. Nothing: each as likely as any other.
    const fn favours(self) -> &'static [FaultKind] {
        use FaultKind as Kind;
        match self {
            Self::Mixed => &[],
            Self::Divergence => &[
                Kind::Isolate,
                Kind::Split,
                Kind::Mute,
                Kind::Deaf,
                Kind::Pause,
                Kind::SlowDisk,
                Kind::Kill,
                Kind::PowerCut,
            ],
            Self::Handover => &[
                Kind::Transfer,
                Kind::Storm,
                Kind::OneWay,
                Kind::Clog,
                Kind::Isolate,
                Kind::Pause,
                Kind::Drift,
                Kind::SlowReads,
            ],
            Self::Disks => &[
                Kind::PowerCut,
                Kind::PowerCutAll,
                Kind::Kill,
                Kind::SlowDisk,
                Kind::SlowReads,
                Kind::ShortWrites,
                Kind::FullDisk,
                Kind::SyncError,
                Kind::ReadError,
                Kind::FlusherStall,
                Kind::BaseFails,
                Kind::Flush,
            ],
            Self::Promises => &[
                Kind::Isolate,
                Kind::Mute,
                Kind::Deaf,
                Kind::OneWay,
                Kind::Clog,
                Kind::Reset,
                Kind::Bounce,
                Kind::Pause,
                Kind::Suspend,
                Kind::SlowDisk,
                Kind::Transfer,
                Kind::Drift,
            ],
        }
    }

    /// Which faults are on (swarm testing, Groce et al. 2012).
    pub fn faults(self, chance: &mut Chance) -> Vec<FaultKind> {
        let favours = self.favours();
        let permille = |kind: FaultKind| match favours {
            [] => 500,
            favours if favours.contains(&kind) => 800,
            _ => 200,
        };
        let kinds = FaultKind::ALL.iter().copied().filter(|kind| !kind.is_of_moves());
        kinds.filter(|kind| chance.permille(permille(*kind))).collect()
    }

    /// The mean time between two faults lies in this range, in milliseconds.
    #[must_use]
    pub const fn fault_every_ms(self) -> RangeInclusive<u64> {
        match self {
            Self::Mixed | Self::Disks => 400..=1600,
            Self::Divergence => 200..=900,
            Self::Handover | Self::Promises => 150..=600,
        }
    }

    /// How many crowds of clients there are.
    pub fn crowds(self, chance: &mut Chance) -> u64 {
        match self {
            Self::Divergence => chance.between(1, 3),
            Self::Mixed | Self::Handover | Self::Disks | Self::Promises => {
                1 + u64::from(chance.permille(150))
            }
        }
    }

    /// Whom faults strike.
    pub fn aim(self, chance: &mut Chance) -> Aim {
        let (leader, again, stranded) = match self {
            Self::Mixed => (300, 200, 100),
            Self::Divergence => (900, 500, 400),
            Self::Handover => (700, 300, 250),
            Self::Disks => (300, 500, 50),
            Self::Promises => (600, 300, 200),
        };
        Aim {
            leader_permille: chance.below(2 * leader).min(1000),
            again_permille: chance.below(2 * again),
            stranded_permille: chance.below(2 * stranded),
        }
    }

    /// What clients are like. So many of them share their keys.
    pub fn habits(self, chance: &mut Chance, clients: u64) -> Habits {
        let hurried = matches!(self, Self::Divergence | Self::Handover | Self::Promises);
        let few = chance.permille(if hurried { 700 } else { 300 });
        let large = chance.permille(if self == Self::Disks { 700 } else { 150 });
        Habits {
            rest_us_max: if hurried { 60_000 << chance.below(2) } else { 120_000 },
            groups_at_once: if few { chance.between(1, 4) } else { u64::MAX },
            // What the judges take of one group, less the reads of the end.
            operations_per_group: (flotilla_history::OPERATIONS_MAX as u64 - 40) / clients.max(1),
            attempt_ms_max: if hurried { 40 << chance.below(5) } else { 100 << chance.below(4) },
            lost_permille: [0, 20, 200][chance.below(3) as usize],
            reborn_permille: [0, 5, 30][chance.below(3) as usize],
            large_permille: if large { 400 } else { 50 },
            large_bytes_max: if large { 6000 } else { 2000 },
        }
    }
}
