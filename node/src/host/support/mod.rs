//! Support between pairs of nodes: one small beat for all shards that two nodes share.
//!
//! ```text
//!   A  ── Beat {boot of A, sent, groups that A leads no more} ──▶  B    given: until received + support, under a number
//!   A  ◀── BeatAnswer {boot of A, sent, number, support} ────────  B
//!   held: until sent + support, less the drift
//! ```
//!
//! B promises: *no replica of mine that acknowledged a leader of yours under this number votes for another until then.* What that is
//! good for, and why each rule is as it is, with the trace that breaks without it: `docs/architecture/liveness.md`.
//!
//! One table for a whole node, because a promise binds the whole node: its workers, and whoever carries beats, hold clones of a
//! handle. Behind the handle is a value without I/O; time is an argument, always that of this node's clock.
//!
//! What it does not do: it knows no terms and no logs. Who acknowledged what under which number is the core's business
//! (`raft/src/support.rs`).

mod fallen;
mod given;
mod held;
mod restart;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flotilla_raft::{Held, Life, ReplicaId, Sign, SupportNumber, Term, Time};
use flotilla_topology::{NodeId, ShardId};

use fallen::Fallen;
use given::Given;
use held::Holding;

pub use restart::Restart;

/// What one node says to another at every beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// How often the sender was started: what it says is worth nothing to those who have heard it in a later life.
    pub boot: u64,
    /// When it was sent, on the sender's clock. Comes back in the answer.
    pub sent: Time,
    /// What the sender leads no more: in every beat until one is answered.
    pub fallen: Vec<FallenLeader>,
}

/// The answer to a [`Beat`]: a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeatAnswer {
    /// As in the beat.
    pub boot: u64,
    /// As in the beat.
    pub sent: Time,
    /// The number under which the promise stands.
    pub number: SupportNumber,
    /// How long it stands, from the moment at which the beat was received, on the clock of whoever promises.
    pub support: Duration,
}

/// A leader that leads no more, in this term or any before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallenLeader {
    /// Its shard.
    pub shard: ShardId,
    /// The replica.
    pub leader: ReplicaId,
    /// The last term in which it led.
    pub term: Term,
}

/// What a node hears of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The newest life in which it beats; none: it never did.
    pub life: Option<Life>,
    /// When its last beat arrived.
    pub beaten: Time,
    /// The newest number under which it promises something to this node.
    pub number: Option<SupportNumber>,
    /// When the newest of the beats was sent that it has answered: then, or later, both directions worked.
    pub answered: Time,
}

impl Pair {
    /// When it was last heard under this sign; nothing, if it shows another one now.
    #[must_use]
    pub fn shown(&self, sign: Sign) -> Option<Time> {
        match sign {
            Sign::Life(life) => (self.life == Some(life)).then_some(self.beaten),
            Sign::Number(number) => (self.number == Some(number)).then_some(self.answered),
        }
    }

    /// Whether it shows other signs than before.
    #[must_use]
    pub fn differs(&self, before: &Self) -> bool {
        (self.life, self.number) != (before.life, before.number)
    }
}

/// What a node knows when it starts.
#[derive(Clone, Copy, Debug, Default)]
pub struct SupportOptions {
    /// How often the node was started, this start included.
    pub boot: u64,
    /// How long it promises.
    pub support: Duration,
    /// By how many millionths its clock, and any other node's, may be too fast or too slow.
    pub clock_drift_ppm_max: u32,
    /// Until then something may stand that it promised before it was started: it votes for nobody.
    pub restart_until: Time,
}

/// The table of one node. Clones are handles of the same.
#[derive(Clone, Debug, Default)]
pub struct Supports {
    life: Life,
    restart_until: Time,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    options: SupportOptions,
    given: Given,
    holding: Holding,
    fallen: Fallen,
}

impl Supports {
    /// The table of a node that has just started: it has promised nothing and holds nothing. Without beats it stays so, and then
    /// binds nobody.
    #[must_use]
    pub fn new(options: SupportOptions) -> Self {
        let table = Table { options, given: Given::new(options), ..Table::default() };
        let life = Life(options.boot);
        Self { life, restart_until: options.restart_until, table: Arc::new(Mutex::new(table)) }
    }

    /// The beat for another node, to be sent at once.
    #[must_use]
    pub fn beat(&self, to: NodeId, now: Time) -> Beat {
        let mut table = self.lock();
        Beat { boot: table.options.boot, sent: now, fallen: table.fallen.of_beat(to, now) }
    }

    /// A beat arrived: the promise that answers it; nothing, if it is of an earlier life of its sender.
    #[must_use]
    pub fn beaten(&self, from: NodeId, beat: &Beat, now: Time) -> Option<BeatAnswer> {
        let mut table = self.lock();
        let number = table.given.renew(from, beat.boot, now)?;
        Some(BeatAnswer { boot: beat.boot, sent: beat.sent, number, support: table.options.support })
    }

    /// An answer arrived.
    pub fn answered(&self, from: NodeId, answer: BeatAnswer, now: Time) {
        let mut table = self.lock();
        // What was said to an earlier life has a time of another clock; what comes from the future has none at all.
        if answer.boot != table.options.boot || answer.sent > now {
            return;
        }
        let drift_ppm = table.options.clock_drift_ppm_max;
        table.holding.take(from, answer, drift_ppm);
        table.fallen.heard(from, answer.sent);
    }

    /// The number under which this node supports another, and the life in which it hears that.
    #[must_use]
    pub fn number(&self, to: NodeId) -> Option<(SupportNumber, Life)> {
        self.lock().given.number(to)
    }

    /// The life of this node.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.life
    }

    /// What this node hears of another.
    #[must_use]
    pub fn pair(&self, node: NodeId) -> Pair {
        let table = self.lock();
        let (life, beaten) = table.given.heard(node).unzip();
        let (number, answered) = table.holding.heard(node).unzip();
        let never = Time::default();
        Pair { life, beaten: beaten.unwrap_or(never), number, answered: answered.unwrap_or(never) }
    }

    /// Someone here is about to vote, who acknowledged a leader on that node under this number: until when it is bound. In the
    /// past only if the promise is withdrawn, now or before: then it is for ever, and for the whole node.
    #[must_use]
    pub fn bound_until(&self, to: NodeId, number: SupportNumber, now: Time) -> Time {
        self.lock().given.bound_until(to, number, now)
    }

    /// Until when this node votes for nobody, because it may have promised something before it was started.
    #[must_use]
    pub const fn restart_until(&self) -> Time {
        self.restart_until
    }

    /// The support that this node has from another.
    #[must_use]
    pub fn held(&self, from: NodeId) -> Option<Held> {
        self.lock().holding.of(from)
    }

    /// A leader here leads no more: these nodes must hear of it.
    pub fn fell(&self, leader: FallenLeader, followers: impl IntoIterator<Item = NodeId>) {
        let mut table = self.lock();
        followers.into_iter().for_each(|node| table.fallen.add(node, leader));
    }

    // Consistent at every step: a panic while the lock is held ends the process elsewhere.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
