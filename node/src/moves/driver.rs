//! The rounds of the mover, and what it tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flotilla_topology::{Change, ClusterMap, Move, MoveId, NodeId, ShardId};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;
use tracing::{debug, info, warn};

use super::office::Office;
use super::peers::Peers;
use crate::api::refusals;
use crate::controller::{self, Decision, Errands, FleetSeen, ShardSeen, Step, Watch, check_start};
use crate::runtime::{MapRecord, NewestMap, NotChanged, StoredMap};

/// Between two rounds, while anything moves. A round asks each node once.
const ROUND: Duration = Duration::from_millis(50);

/// Between two rounds, while something should move and cannot: there is no place for it, or too few voters are up.
const ROUND_IN_VAIN: Duration = Duration::from_secs(1);

/// Between two rounds that only ask who is alive: so many times within the grace of a dead node …
const LIFE_ROUNDS: u32 = 20;
/// … but not more often than this, nor more seldom than that.
const LIFE_ROUND_MIN: Duration = Duration::from_millis(50);
const LIFE_ROUND_MAX: Duration = Duration::from_secs(5);

/// Carries out the moves of the fleet, whenever this node leads the meta shard.
#[derive(Debug)]
pub struct Mover {
    office: Office,
    peers: Peers,
    record: MapRecord,
    maps: watch::Receiver<NewestMap>,
    /// For how long a node must have been silent for its replicas to be replaced. Nothing: they never are.
    repair_after: Option<Duration>,
    /// From when on the watch counts.
    begun: Instant,
    /// Who has been silent for how long, as far as this node has asked without a break.
    watch: Mutex<Watch>,
    /// What the last round found, for whoever lists moves. No round looks at it.
    told: Mutex<Told>,
}

/// What there is to tell of a round.
#[derive(Debug, Default)]
struct Told {
    moves: BTreeMap<MoveId, Decision>,
    waiting: BTreeMap<NodeId, String>,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// There is nothing to do.
    Nothing,
    /// There is something to do, and just now nothing can be done.
    InVain,
    /// Something is under way.
    Work,
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
    pub fn new(office: Office, maps: watch::Receiver<NewestMap>, repair_after: Option<Duration>) -> Self {
        let record = MapRecord::new(Arc::clone(&office.runtime));
        let peers = Peers::new(office.clone());
        let (begun, watch, told) = (Instant::now(), Mutex::default(), Mutex::default());
        Self { peers, office, record, maps, repair_after, begun, watch, told }
    }

    /// Runs until the node ends. Where nothing is to be done it waits for another map, and asks now and then who is alive.
    pub async fn run(self: Arc<Self>, mut ended: watch::Receiver<bool>) {
        let mut maps = self.maps.clone();
        let mut found = Found::Nothing;
        loop {
            let due = async {
                let changed = timeout(self.pause(found), maps.changed()).await;
                if changed.is_ok_and(|alive| alive.is_err()) {
                    // The keeper is gone: the node ends.
                    std::future::pending::<()>().await;
                }
                maps.mark_unchanged();
            };
            tokio::select! {
                () = due => {}
                _ = ended.wait_for(|ended| *ended) => return,
            }
            found = self.round().await;
        }
    }

    /// How long it waits for another map before it looks again.
    fn pause(&self, found: Found) -> Duration {
        match (found, self.repair_after) {
            (Found::Work, _) => ROUND,
            (Found::InVain, _) => ROUND_IN_VAIN,
            (Found::Nothing, Some(grace)) => (grace / LIFE_ROUNDS).clamp(LIFE_ROUND_MIN, LIFE_ROUND_MAX),
            // Who leads the meta shard may change without a change of the map.
            (Found::Nothing, None) => LIFE_ROUND_MAX,
        }
    }

    /// Whether this node leads the meta shard, as far as it knows.
    fn leads_meta(&self) -> bool {
        let leader = self.office.runtime.leader(ShardId::META).and_then(|(_, node)| node);
        leader == Some(self.office.node)
    }

    async fn round(&self) -> Found {
        let Some(map) = self.maps.borrow().clone() else { return Found::Nothing };
        let is_work = controller::is_work(&map);
        if !self.leads_meta() {
            *self.told() = Told::default();
            *self.watch() = Watch::default();
            // It may lead at any moment.
            return if is_work { Found::Work } else { Found::Nothing };
        }
        let concerned = controller::concerned(&map, &self.dead(self.begun.elapsed()));
        let mut seen = self.look_at(&map, &concerned).await;
        let more = controller::overlooked(&concerned, &seen);
        if !more.is_empty() {
            seen = self.look_at(&map, &(&concerned | &more)).await;
        }
        // After the observation: whoever saw what came of a cancellation reads the cancellation.
        let stored = match self.record.stored().await {
            Ok(stored) => stored,
            Err(error) => {
                debug!(%error, "the map cannot be read; moves wait");
                return if is_work { Found::Work } else { Found::Nothing };
            }
        };
        let orders = controller::orders(&stored.map, &seen);
        let (is_busy, is_waiting) = (orders.is_busy(), !orders.errands.waiting.is_empty());
        self.run_errands(&stored, &orders.errands).await;
        let carried: Vec<_> =
            orders.moves.into_iter().map(|it| async { self.carry_out(&stored.map, it).await }).collect();
        let moves = join_all(carried).await.into_iter().collect();
        *self.told() = Told { moves, waiting: orders.errands.waiting };
        match (is_busy, is_waiting) {
            (true, _) => Found::Work,
            (false, true) => Found::InVain,
            (false, false) => Found::Nothing,
        }
    }

    fn dead(&self, now: Duration) -> BTreeSet<NodeId> {
        self.repair_after.map(|grace| self.watch().dead(now, grace)).unwrap_or_default()
    }

    /// Begins what was decided.
    async fn run_errands(&self, stored: &StoredMap, errands: &Errands) {
        if !errands.changes.is_empty() {
            match self.record.replace(stored, &errands.changes).await {
                Ok(true) => {
                    errands
                        .changes
                        .iter()
                        .for_each(|change| info!(%change, "begun by the controller itself"));
                }
                Ok(false) => debug!("the map changed meanwhile; what was decided on it is decided again"),
                Err(status) => info!(why = status.message(), "not begun yet"),
            }
        }
        let asked = errands.hand_overs.iter().map(|it| async {
            info!(shard = %it.shard, node = %it.at, to = %it.to, "asking for another leader: the node shall be empty");
            let done = self.peers.hand_over(&stored.map, it.at, it.shard, Some(it.to)).await;
            if let Some(why) = said(done) {
                info!(shard = %it.shard, why, "not yet");
            }
        });
        join_all(asked).await;
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
                said(self.peers.hand_over(map, at, shard, None).await)
            }
        };
        if let Some(why) = failed {
            info!(%id, %shard, why, "not yet");
            decision.waiting = why;
        }
        (id, decision)
    }

    /// Asks every node: whether it is alive, and what it sees of its replicas of these shards.
    pub(super) async fn look_at(&self, map: &ClusterMap, shards: &BTreeSet<ShardId>) -> FleetSeen {
        let asked =
            map.nodes.keys().map(|node| async { (*node, self.peers.inspect(map, *node, shards).await) });
        let mut seen = FleetSeen::default();
        for (node, answer) in join_all(asked).await {
            match answer {
                Ok(found) => {
                    seen.up.insert(node);
                    if !found.quarantined.is_empty() {
                        seen.quarantined.insert(node, found.quarantined);
                    }
                    seen.rooms.extend(found.room.map(|room| (node, room)));
                    for (shard, replica) in found.replicas {
                        seen.shards.entry(shard).or_default().replicas.insert(node, replica);
                    }
                }
                Err(failure) => debug!(%node, reason = failure.message(), "it says nothing of its replicas"),
            }
        }
        let Some(grace) = self.repair_after else { return seen };
        let now = self.begun.elapsed();
        let before = self.dead(now);
        self.watch().asked(now, grace, map.nodes.keys().copied(), &seen.up);
        seen.dead = self.dead(now);
        for node in seen.dead.difference(&before) {
            warn!(%node, "silent for so long that its replicas are replaced, where that is possible");
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
        // What is on its way to the same disk needs room too.
        let arriving = started.moves.values().filter(|it| it.to == to).map(|it| it.shard);
        let seen = self.look_at(map, &arriving.collect()).await;
        check_start(&started, moving, &seen).map_err(|danger| {
            refusals::precondition(Some(shard.0), format!("shard {}: {danger}", shard.0))
        })?;
        let leader = seen.shards.get(&shard).and_then(ShardSeen::leader).map(|(_, leader)| leader);
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
        self.told().moves.clone()
    }

    /// Why nodes do not become empty just now, as the last round of this node found it.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<NodeId, String> {
        self.told().waiting.clone()
    }

    /// The map in the meta shard.
    pub(super) const fn record(&self) -> &MapRecord {
        &self.record
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why something failed, if it did.
fn said(done: Result<(), Status>) -> Option<String> {
    done.err().map(|status| status.message().to_string())
}
