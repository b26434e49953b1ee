//! The rounds of the mover, and what it tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flotilla_topology::{Change, ClusterMap, Move, MoveId, NodeId, ShardId};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tonic::Status;
use tracing::{debug, info};

use super::office::Office;
use super::peers::Peers;
use crate::api::refusals;
use crate::controller::{self, Decision, ShardSeen, Step, check_start};
use crate::runtime::{MapRecord, NewestMap, NotChanged};

/// Between two rounds, while anything moves. A round asks each node that has to do with it once.
const ROUND: Duration = Duration::from_millis(50);

/// Carries out the moves of the fleet, whenever this node leads the meta shard.
#[derive(Debug)]
pub struct Mover {
    office: Office,
    peers: Peers,
    record: MapRecord,
    maps: watch::Receiver<NewestMap>,
    /// What the last round found, for whoever lists moves. No round looks at it.
    told: Mutex<BTreeMap<MoveId, Decision>>,
}

/// What was seen of the shards of the moves, and who answered.
#[derive(Debug, Default)]
struct Seen {
    shards: BTreeMap<ShardId, ShardSeen>,
    up: BTreeSet<NodeId>,
}

/// A move that could begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readied {
    /// As it would be recorded.
    pub moving: Move,
    /// Keys and values of the shard, in bytes, as its leader has them.
    pub bytes: u64,
    /// The replica that would leave leads.
    pub leads: bool,
}

impl Mover {
    /// A mover that has looked at nothing yet.
    #[must_use]
    pub fn new(office: Office, maps: watch::Receiver<NewestMap>) -> Self {
        let record = MapRecord::new(Arc::clone(&office.runtime));
        Self { peers: Peers::new(office.clone()), office, record, maps, told: Mutex::default() }
    }

    /// Runs until the node ends. Without moves it waits for a map that has some.
    pub async fn run(self: Arc<Self>, mut ended: watch::Receiver<bool>) {
        let mut maps = self.maps.clone();
        let mut ticks = tokio::time::interval(ROUND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = async {
                let moves = |map: &NewestMap| map.as_ref().is_some_and(|map| !map.moves.is_empty());
                if maps.wait_for(moves).await.is_err() {
                    // The keeper is gone: the node ends.
                    std::future::pending::<()>().await;
                }
                ticks.tick().await;
            };
            tokio::select! {
                () = due => {}
                _ = ended.wait_for(|ended| *ended) => return,
            }
            self.round().await;
        }
    }

    /// Whether this node leads the meta shard, as far as it knows.
    fn leads_meta(&self) -> bool {
        let leader = self.office.runtime.leader(ShardId::META).and_then(|(_, node)| node);
        leader == Some(self.office.node)
    }

    async fn round(&self) {
        let map = self.maps.borrow().clone();
        let Some(map) = map.filter(|_| self.leads_meta()) else {
            self.told().clear();
            return;
        };
        let moves = map.moves.values();
        let seen = self.observe(&map, moves.map(|moving| (moving.shard, moving.to))).await;
        // After the observation: whoever saw what came of a cancellation reads the cancellation.
        let stored = match self.record.stored().await {
            Ok(stored) => stored.map,
            Err(error) => {
                debug!(%error, "the map cannot be read; moves wait");
                return;
            }
        };
        let nothing = ShardSeen::default();
        let decide = |(id, moving): (&MoveId, &Move)| {
            let seen = seen.shards.get(&moving.shard).unwrap_or(&nothing);
            (*id, moving.shard, controller::next(&stored, moving, seen))
        };
        let decisions: Vec<_> = stored.moves.iter().map(decide).collect();
        let carried: Vec<_> =
            decisions.into_iter().map(|it| async { self.carry_out(&stored, it).await }).collect();
        *self.told() = join_all(carried).await.into_iter().collect();
    }

    /// Does what was decided, and notes why it could not.
    async fn carry_out(
        &self,
        map: &ClusterMap,
        (id, shard, mut decision): (MoveId, ShardId, Decision),
    ) -> (MoveId, Decision) {
        let failed = match decision.step.clone() {
            Step::Wait => None,
            Step::Report(report) => {
                info!(%id, %shard, members = %report.configuration, index = %report.index, "the members changed");
                self.record
                    .change(&Change::Report { shard, report })
                    .await
                    .err()
                    .map(|error| error.to_string())
            }
            Step::Propose { at, change, derived_from } => {
                info!(%id, %shard, node = %at, ?change, %derived_from, "asking for other members");
                said(self.peers.change(map, at, shard, (change, derived_from)).await)
            }
            Step::HandOver { at } => {
                info!(%id, %shard, node = %at, "asking for another leader");
                said(self.peers.hand_over(map, at, shard).await)
            }
        };
        if let Some(why) = failed {
            info!(%id, %shard, why, "not yet");
            decision.waiting = why;
        }
        (id, decision)
    }

    /// Asks every node that has to do with these shards, and the ones that shall have.
    async fn observe(&self, map: &ClusterMap, shards: impl Iterator<Item = (ShardId, NodeId)>) -> Seen {
        let mut questions: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        for (shard, to) in shards {
            let replicas = map.shards.get(&shard).into_iter().flat_map(|info| info.replicas.values());
            for node in replicas.map(|placement| placement.node).chain([to]) {
                questions.entry(node).or_default().insert(shard);
            }
        }
        let asked = questions
            .iter()
            .map(|(node, shards)| async { (*node, self.peers.inspect(map, *node, shards).await) });
        let mut seen = Seen::default();
        for (node, answer) in join_all(asked).await {
            match answer {
                Ok(replicas) => {
                    seen.up.insert(node);
                    for (shard, replica) in replicas {
                        seen.shards.entry(shard).or_default().replicas.insert(node, replica);
                    }
                }
                Err(failure) => debug!(%node, reason = failure.message(), "it says nothing of its replicas"),
            }
        }
        seen
    }

    /// Whether a move could begin, on a map that was read from the meta shard.
    ///
    /// # Errors
    /// INVALID_ARGUMENT where it makes no sense, FAILED_PRECONDITION where it would endanger the shard or another is under way.
    pub async fn ready(
        &self,
        map: &ClusterMap,
        shard: ShardId,
        from: NodeId,
        to: NodeId,
    ) -> Result<Readied, Status> {
        let started = map.apply(Change::StartMove { shard, from, to }).map_err(refusals::map)?;
        let Some((_, moving)) = started.move_of(shard) else {
            unreachable!("a move of {shard} that was started is not there")
        };
        let seen = self.observe(map, [(shard, to)].into_iter()).await;
        let nothing = ShardSeen::default();
        let replicas = seen.shards.get(&shard).unwrap_or(&nothing);
        check_start(moving, replicas, |node| seen.up.contains(&node)).map_err(|danger| {
            refusals::precondition(Some(shard.0), format!("shard {}: {danger}", shard.0))
        })?;
        let leader = replicas.leader().map(|(_, leader)| leader);
        Ok(Readied {
            moving: *moving,
            bytes: leader.map_or(0, |leader| leader.bytes),
            leads: leader.is_some_and(|leader| leader.replica == moving.leaving),
        })
    }

    /// Records a move.
    ///
    /// # Errors
    /// The map refuses it, or it cannot be written; the status says whether it surely was not.
    pub async fn start(
        &self,
        shard: ShardId,
        from: NodeId,
        to: NodeId,
    ) -> Result<(MoveId, ClusterMap), Status> {
        let map =
            self.record.change(&Change::StartMove { shard, from, to }).await.map_err(NotChanged::status)?;
        info!(%shard, %from, %to, id = %map.greatest_move, "a move begins");
        Ok((map.greatest_move, map))
    }

    /// Has a move undone.
    ///
    /// # Errors
    /// As [`Mover::start`].
    pub async fn cancel(&self, id: MoveId) -> Result<ClusterMap, Status> {
        match self.record.change(&Change::CancelMove { id }).await {
            Ok(map) => {
                info!(%id, "a move is cancelled");
                Ok(map)
            }
            Err(NotChanged::Refused { refusal: flotilla_topology::Refusal::Unchanged, map }) => Ok(*map),
            Err(other) => Err(other.status()),
        }
    }

    /// What the last round of this node found, while it leads the meta shard.
    #[must_use]
    pub fn progress(&self) -> BTreeMap<MoveId, Decision> {
        self.told().clone()
    }

    fn told(&self) -> std::sync::MutexGuard<'_, BTreeMap<MoveId, Decision>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why something failed, if it did.
fn said(done: Result<(), Status>) -> Option<String> {
    done.err().map(|status| status.message().to_string())
}
