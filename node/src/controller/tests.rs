//! Every state that a move can come into, with controllers that die, doubt and overlap; and what each single observation leads to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flotilla_raft::{Change, Configuration, Index, Leave, ProgressKind, ReplicaId, Term};
use flotilla_store::disk::Room;
use flotilla_topology::{
    Change as MapChange, ClusterMap, Epoch, Membership, Move, MoveId, NodeId, NodeInfo, ShardId, plan_initial,
};

use super::*;

const SHARD: ShardId = ShardId(1);
const MOVE: MoveId = MoveId(1);
const LEAVING: ReplicaId = ReplicaId(1);
const ARRIVING: ReplicaId = ReplicaId(4);

/// Four nodes, and a shard with the replicas 1 to 3 on the nodes 1 to 3.
fn fleet() -> ClusterMap {
    let address = |port: u64| format!("127.0.0.1:{port}");
    let node = |id: u64| NodeInfo {
        client_addr: address(id),
        peer_addr: address(id + 10),
        http_addr: String::new(),
    };
    let nodes = (1..=4).map(|id| (NodeId(id), node(id))).collect();
    let map = plan_initial(1, nodes, 1, 3).expect("numbers that fit");
    assert_eq!(map.replica_on(SHARD, NodeId(1)), Some(LEAVING));
    map
}

/// r1 shall move from node 1 to node 4, as r4.
fn started() -> ClusterMap {
    fleet()
        .apply(MapChange::StartMove { shard: SHARD, from: NodeId(1), to: NodeId(4) })
        .expect("a sound move")
}

fn set(ids: &[u64]) -> BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

fn members(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Configuration {
    Configuration { voters: set(voters), outgoing: set(outgoing), learners: set(learners) }
}

/// What a leader says; its followers are all well unless `follower` says otherwise.
fn leads(replica: u64, index: u64, configuration: Configuration) -> ReplicaSeen {
    let well = FollowerSeen { lag: 0, state: ProgressKind::Replicate, active: true, bytes_sent: 0 };
    let followers = configuration.members().filter(|id| id.0 != replica).map(|id| (id, well)).collect();
    ReplicaSeen {
        replica: ReplicaId(replica),
        term: Term(5),
        leads: true,
        configuration,
        configuration_index: Index(index),
        settled: true,
        followers,
        bytes: 700,
    }
}

fn follows(replica: u64) -> ReplicaSeen {
    let seen = leads(replica, 0, members(&[1, 2, 3], &[], &[]));
    ReplicaSeen { leads: false, followers: BTreeMap::new(), ..seen }
}

/// The leader is on the node of its replica's number, and r4 is created on node 4.
fn seen(leader: ReplicaSeen) -> ShardSeen {
    let at = NodeId(leader.replica.0);
    ShardSeen { replicas: [(NodeId(4), follows(4)), (at, leader)].into() }
}

fn reported(map: &ClusterMap, seen: &ReplicaSeen) -> ClusterMap {
    let report = flotilla_topology::Report {
        index: seen.configuration_index,
        configuration: seen.configuration.clone(),
        settled: seen.settled,
    };
    map.apply(MapChange::Report { shard: SHARD, report }).expect("news")
}

fn decide(map: &ClusterMap, seen: &ShardSeen) -> Decision {
    next(map, &map.moves[&MOVE], seen)
}

fn propose(at: u64, change: Change, derived_from: u64) -> Step {
    Step::Propose { at: NodeId(at), change, derived_from: Index(derived_from) }
}

fn enter() -> Change {
    Change::Enter { promote: set(&[4]), demote: set(&[]), remove: set(&[1]), leave: Leave::Auto }
}

#[test]
fn each_observation_leads_to_one_step() {
    let map = started();
    let simple = leads(2, 0, members(&[1, 2, 3], &[], &[]));
    let alone = ShardSeen { replicas: [(NodeId(2), simple.clone())].into() };
    assert_eq!((decide(&map, &alone).step, decide(&map, &alone).phase), (Step::Wait, Phase::Creating));
    let add = propose(2, Change::AddLearners(set(&[4])), 0);
    assert_eq!(decide(&map, &seen(simple)).step, add);

    let mut learning = leads(2, 7, members(&[1, 2, 3], &[], &[4]));
    assert!(matches!(decide(&map, &seen(learning.clone())).step, Step::Report(_)), "before anything else");
    let map = reported(&map, &learning);
    assert_eq!(decide(&map, &seen(learning.clone())).step, propose(2, enter(), 7));
    let led_by_it = leads(1, 7, members(&[1, 2, 3], &[], &[4]));
    assert_eq!(decide(&map, &seen(led_by_it)).step, Step::HandOver { at: NodeId(1) });

    let slow = FollowerSeen {
        lag: CAUGHT_UP_ENTRIES_MAX + 1,
        state: ProgressKind::Replicate,
        active: true,
        bytes_sent: 9,
    };
    for follower in [
        slow,
        FollowerSeen { lag: 0, state: ProgressKind::Snapshot, ..slow },
        FollowerSeen { lag: 0, state: ProgressKind::Probe, ..slow },
        FollowerSeen { lag: 0, active: false, ..slow },
    ] {
        learning.followers.insert(ARRIVING, follower);
        let decision = decide(&map, &seen(learning.clone()));
        assert_eq!((decision.step, decision.phase), (Step::Wait, Phase::Copying), "{follower:?}");
        assert_eq!((decision.bytes_total, decision.bytes_sent), (700, 9));
        assert!(!decision.waiting.is_empty());
    }

    let mut left = leads(2, 9, members(&[2, 3, 4], &[], &[]));
    left.settled = false;
    assert_eq!(
        (decide(&map, &seen(left.clone())).step, decide(&map, &seen(left.clone())).phase),
        (Step::Wait, Phase::Settling)
    );
    left.settled = true;
    assert!(matches!(decide(&map, &seen(left.clone())).step, Step::Report(_)));
    assert!(reported(&map, &left).moves.is_empty(), "which ends the move");
}

#[test]
fn an_old_leader_is_not_believed() {
    let map = reported(&started(), &leads(2, 7, members(&[1, 2, 3], &[], &[4])));
    let old = leads(3, 0, members(&[1, 2, 3], &[], &[]));
    assert_eq!(decide(&map, &seen(old.clone())).step, Step::Wait);
    // Beside one of a later term it is not even the leader.
    let mut both = seen(ReplicaSeen { term: Term(6), ..leads(2, 7, members(&[1, 2, 3], &[], &[4])) });
    both.replicas.insert(NodeId(3), old);
    assert_eq!(both.leader().map(|(node, _)| node), Some(NodeId(2)));
}

#[test]
fn a_lone_voter_is_replaced_without_a_hand_over() {
    let nodes = fleet().nodes;
    let map = plan_initial(1, nodes, 1, 1).expect("numbers that fit");
    let map =
        map.apply(MapChange::StartMove { shard: SHARD, from: NodeId(1), to: NodeId(4) }).expect("a move");
    let learning = leads(1, 3, members(&[1], &[], &[2]));
    let map = reported(&map, &learning);
    let seen = ShardSeen { replicas: [(NodeId(1), learning)].into() };
    let change =
        Change::Enter { promote: set(&[2]), demote: set(&[]), remove: set(&[1]), leave: Leave::Auto };
    assert_eq!(decide(&map, &seen).step, propose(1, change, 3));
}

#[test]
fn a_move_that_would_endanger_the_shard_does_not_begin() {
    let map = started();
    let moving = map.moves[&MOVE];
    let up: BTreeSet<NodeId> = map.nodes.keys().copied().collect();
    let healthy = leads(2, 0, members(&[1, 2, 3], &[], &[]));
    let fleet = |leader: &ReplicaSeen| {
        let shown = ShardSeen { replicas: [(NodeId(2), leader.clone())].into() };
        FleetSeen { shards: [(SHARD, shown)].into(), up: up.clone(), ..FleetSeen::default() }
    };
    let check = |seen: &FleetSeen| check_start(&map, &moving, seen);
    assert_eq!(check(&fleet(&healthy)), Ok(()));
    let mut without_four = fleet(&healthy);
    without_four.up.remove(&NodeId(4));
    assert_eq!(check(&without_four), Err(Danger::Down { node: NodeId(4) }));
    assert_eq!(check(&FleetSeen { shards: BTreeMap::new(), ..fleet(&healthy) }), Err(Danger::NoLeader));
    for changing in [members(&[1, 2, 3], &[], &[5]), members(&[1, 2, 5], &[1, 2, 3], &[])] {
        assert_eq!(check(&fleet(&leads(2, 0, changing))), Err(Danger::Changing));
    }
    let without = |gone: &[u64]| {
        let mut leader = healthy.clone();
        leader.followers.retain(|id, _| !gone.contains(&id.0));
        check(&fleet(&leader))
    };
    assert_eq!(without(&[1]), Ok(()), "who leaves may be down");
    assert_eq!(without(&[3]), Ok(()), "one of the others too");
    let wide = leads(2, 0, members(&[1, 2, 3, 5, 6], &[], &[]));
    let mut lonely = wide;
    lonely.followers.retain(|id, _| id.0 == 1);
    assert_eq!(check(&fleet(&lonely)), Err(Danger::Quorum { up: 2, voters: 5, majority: 3 }));
}

#[test]
fn a_move_to_a_disk_that_is_too_full_does_not_begin() {
    let map = started();
    let moving = map.moves[&MOVE];
    let mut leader = leads(2, 0, members(&[1, 2, 3], &[], &[]));
    leader.bytes = 1000;
    let check = |map: &ClusterMap, moving: &Move, room| {
        let shown = ShardSeen { replicas: [(NodeId(2), leader.clone())].into() };
        check_start(
            map,
            moving,
            &FleetSeen {
                shards: [(SHARD, shown)].into(),
                up: map.nodes.keys().copied().collect(),
                rooms: [(moving.to, room)].into(),
                ..FleetSeen::default()
            },
        )
    };
    // Twice its bytes, and a twentieth stays free.
    assert_eq!(check(&map, &moving, Room { free: 4000, total: 40_000 }), Ok(()));
    let full = check(&map, &moving, Room { free: 3999, total: 40_000 });
    assert_eq!(full, Err(Danger::Full { node: NodeId(4), needed: 2000, free: 3999, reserve: 2000 }));
    assert_eq!(
        full.expect_err("it is full").to_string(),
        "the disk of node 4 is too full: 3.9K are free, what is to come needs 1.9K, and 1.9K shall stay free"
    );
    let rest = map.apply(MapChange::CancelMove { id: MOVE }).expect("a move that is cancelled");
    let rest = reported(&rest, &leads(2, 3, members(&[1, 2, 3], &[], &[4])));
    let rest = reported(&rest, &leads(2, 4, members(&[1, 2, 3], &[], &[])));
    let replaced = rest.apply(MapChange::Replace { shard: SHARD, node: NodeId(3) }).expect("a replacement");
    let (_, moving) = replaced.move_of(SHARD).expect("it is under way");
    assert_eq!(check(&replaced, moving, Room { free: 0, total: 40_000 }), Ok(()), "it takes its own place");
}

/// A shard, a map, and controllers, one at each place of its way: it has observed, it has read the map and its proposal is under way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    /// The map, encoded so that worlds can be ordered; its epoch does not count.
    map: Vec<u8>,
    /// Every configuration that was ever in effect; an index is a place in it.
    log: Vec<String>,
    settled: bool,
    leader: u64,
    created: bool,
    caught_up: bool,
    /// What a controller has observed: a configuration, perhaps of an old leader, whether it was settled, and who led.
    observed: Option<(usize, bool, u64)>,
    /// A proposal under way.
    proposal: Option<(Change2, usize)>,
}

/// The changes that a move makes, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change2 {
    Add,
    Remove,
    Enter,
}

impl World {
    fn begin() -> Self {
        Self {
            map: started().encode(),
            log: vec!["1 2 3||".into()],
            settled: true,
            leader: 1,
            created: false,
            caught_up: false,
            observed: None,
            proposal: None,
        }
    }

    fn map(&self) -> ClusterMap {
        ClusterMap::decode(&self.map).expect("a sound map")
    }

    fn set_map(&mut self, map: ClusterMap) {
        let ended = |id: ReplicaId| map.has_ended(SHARD, id);
        for replica in [LEAVING, ARRIVING].into_iter().filter(|id| ended(*id)) {
            let (now, map) = (self.now(), &self.log);
            assert!(
                !now.is_member(replica) && self.settled,
                "{replica} is dropped while it is a member of {map:?}"
            );
        }
        self.map = ClusterMap { epoch: Epoch(1), ..map }.encode();
    }

    fn at(&self, index: usize) -> Configuration {
        let sets: Vec<BTreeSet<ReplicaId>> = self.log[index]
            .split('|')
            .map(|set| set.split_whitespace().map(|id| ReplicaId(id.parse().expect("a number"))).collect())
            .collect();
        Configuration { voters: sets[0].clone(), outgoing: sets[1].clone(), learners: sets[2].clone() }
    }

    fn now(&self) -> Configuration {
        self.at(self.log.len() - 1)
    }

    fn push(&mut self, next: &Configuration) {
        let map = self.map();
        for replica in next.members() {
            assert!(
                !map.has_ended(SHARD, replica),
                "{replica} comes back after it was dropped: {:?}",
                self.log
            );
        }
        let text =
            |set: &BTreeSet<ReplicaId>| set.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ");
        self.log.push(format!("{}|{}|{}", text(&next.voters), text(&next.outgoing), text(&next.learners)));
        if !next.is_voter(ReplicaId(self.leader)) {
            self.leader = next.voters.first().expect("a voter").0;
        }
    }

    fn is_over(&self) -> bool {
        self.map().moves.is_empty()
    }

    /// What a controller sees that asks now, or asked when `index` was in effect.
    fn seen(&self, (index, settled, leader): (usize, bool, u64)) -> ShardSeen {
        let mut it = leads(leader, index as u64, self.at(index));
        it.settled = settled;
        if !self.caught_up
            && let Some(follower) = it.followers.get_mut(&ARRIVING)
        {
            follower.state = ProgressKind::Snapshot;
        }
        let mut replicas = BTreeMap::from([(NodeId(leader), it)]);
        if self.created {
            replicas.entry(NodeId(4)).or_insert_with(|| follows(4));
        }
        ShardSeen { replicas }
    }

    /// Reads the map and decides; a report takes effect at once (compare and swap), a proposal sets out.
    fn carry_out(&mut self, observed: (usize, bool, u64)) {
        let map = self.map();
        let Some(moving) = map.moves.get(&MOVE) else { return };
        match next(&map, moving, &self.seen(observed)).step {
            Step::Report(report) => {
                let change = MapChange::Report { shard: SHARD, report };
                self.set_map(map.apply(change).expect("planned with this map"));
            }
            Step::Propose { change, derived_from, .. } => {
                let change = match change {
                    Change::AddLearners(_) => Change2::Add,
                    Change::RemoveLearners(_) => Change2::Remove,
                    Change::Enter { .. } => Change2::Enter,
                    Change::Leave => unreachable!("the leader leaves by itself"),
                };
                self.proposal = Some((change, derived_from.0 as usize));
            }
            Step::HandOver { .. } => {
                if let Some(heir) = self.now().voters.iter().find(|id| id.0 != self.leader) {
                    self.leader = heir.0;
                }
            }
            Step::Wait => {}
        }
    }

    /// The proposal under way reaches the leader.
    fn deliver(&mut self) {
        let Some((change, derived_from)) = self.proposal.take() else { return };
        if derived_from != self.log.len() - 1 {
            return;
        }
        let change = match change {
            Change2::Add => Change::AddLearners(set(&[4])),
            Change2::Remove => Change::RemoveLearners(set(&[4])),
            Change2::Enter => enter(),
        };
        if let Ok(next) = self.now().changed(&change) {
            self.push(&next);
        }
    }

    fn leave_joint(&mut self) {
        if self.now().is_joint() {
            let left = self.now().changed(&Change::Leave).expect("it is joint");
            self.push(&left);
            self.settled = false;
        }
    }

    fn cancel(&mut self) {
        if let Ok(map) = self.map().apply(MapChange::CancelMove { id: MOVE }) {
            self.set_map(map);
        }
    }

    fn observe(&self) -> (usize, bool, u64) {
        (self.log.len() - 1, self.settled, self.leader)
    }

    /// Everything that can happen next.
    fn successors(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |act: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            act(&mut next);
            if next != *self {
                all.push(next);
            }
        };
        // A leader that was cut off at any time answers what was true then.
        for index in 0..self.log.len() {
            let is_now = index + 1 == self.log.len();
            let settled = !is_now || self.settled;
            let leader = if is_now { self.leader } else { self.at(index).voters.first().expect("a voter").0 };
            add(&|world| world.observed = Some((index, settled, leader)));
        }
        if let Some(observed) = self.observed {
            add(&|world| {
                world.observed = None;
                world.carry_out(observed);
            });
            add(&|world| world.observed = None);
        }
        add(&Self::deliver);
        add(&|world| world.proposal = None);
        add(&Self::leave_joint);
        add(&|world| world.settled = true);
        for voter in self.now().voters {
            add(&|world| world.leader = voter.0);
        }
        let map = self.map();
        add(&|world| world.created = !map.has_ended(SHARD, ARRIVING));
        add(&|world| world.caught_up |= world.created && world.now().is_member(ARRIVING));
        add(&Self::cancel);
        all
    }

    /// From here on all goes well: the move ends.
    fn finish(mut self) {
        let was_voter = |world: &Self| (0..world.log.len()).any(|index| world.at(index).is_voter(ARRIVING));
        // What is over was judged before it was.
        let cancelled = self.map().moves.get(&MOVE).is_none_or(|moving: &Move| moving.cancelled);
        let voted_before = was_voter(&self);
        let story = self.log.clone();
        for _ in 0..40 {
            if self.is_over() {
                break;
            }
            self.deliver();
            self.leave_joint();
            self.settled = true;
            self.created = true;
            self.caught_up |= self.now().is_member(ARRIVING);
            self.carry_out(self.observe());
        }
        assert!(self.is_over(), "the move hangs after {story:?}: {:?}", self.log);
        let (map, done) = (self.map(), was_voter(&self));
        assert!(done || cancelled, "nobody cancelled the move, and it was undone: {:?}", self.log);
        assert!(done || !voted_before, "a move that was joint was undone: {:?}", self.log);
        let placed: Vec<(u64, Membership)> =
            map.shards[&SHARD].replicas.iter().map(|(id, at)| (id.0, at.membership)).collect();
        let expected = if done { [2, 3, 4] } else { [1, 2, 3] };
        assert_eq!(placed, expected.map(|id| (id, Membership::Voter)), "{:?}", self.log);
    }
}

/// Breadth first through every world: controllers that die before and after each step, that observe old leaders, whose proposals
/// are lost or come late, leaders that change, and a cancellation at any moment. No replica is ever dropped that the shard may need or that
/// comes back, and from everywhere the move comes to its end.
#[test]
fn from_every_state_a_move_ends_and_nobody_is_dropped_too_early() {
    let mut known = BTreeSet::from([World::begin()]);
    let mut waiting = VecDeque::from([World::begin()]);
    let (mut over, mut cancelled) = (0, 0);
    while let Some(world) = waiting.pop_front() {
        if world.is_over() {
            over += 1;
        }
        cancelled += usize::from(world.map().moves.get(&MOVE).is_some_and(|moving| moving.cancelled));
        world.clone().finish();
        for next in world.successors() {
            assert!(next.log.len() <= 6, "the members change for ever: {:?}", next.log);
            if known.insert(next.clone()) {
                waiting.push_back(next);
            }
        }
    }
    assert!(known.len() > 1_000 && over > 10 && cancelled > 100, "{} {over} {cancelled}", known.len());
}
