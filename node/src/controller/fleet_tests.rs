//! Every state that a fleet can come into while nodes leave, die, stay after all and are removed, with controllers that observe
//! anything at all, act late or die; and what single observations lead to.
//!
//! A move is only what the map says of it here: how it gets from one of its states to the next is walked through in `tests.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flotilla_raft::{Configuration, Index, ProgressKind, ReplicaId, Term};
use flotilla_store::disk::Room;
use flotilla_topology::{
    Change, ClusterMap, Epoch, Leaving, Membership, MoveId, NodeId, NodeInfo, Report, ShardId, plan_initial,
};

use super::*;

const ONE: NodeId = NodeId(1);
const FOUR: NodeId = NodeId(4);

/// So many moves are begun in one walk. What is beyond is still carried to its end.
const MOVES_WALKED: u64 = 3;

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn info(id: u64) -> NodeInfo {
    NodeInfo {
        client_addr: format!("127.0.0.1:{id}"),
        peer_addr: format!("127.0.0.1:{}", id + 100),
        http_addr: String::new(),
    }
}

/// `old` nodes with `shards` shards of three replicas, and nodes without a replica up to `all`.
fn fleet(old: u64, all: u64, shards: u64) -> ClusterMap {
    let founders = (1..=old).map(|id| (NodeId(id), info(id))).collect();
    let mut map = plan_initial(1, founders, shards, 3).expect("numbers that fit");
    for id in old + 1..=all {
        let join = Change::Join { node: NodeId(id), info: info(id), directory: id.into() };
        map = map.apply(join).expect("a new node");
    }
    map
}

fn applied(map: &ClusterMap, changes: &[Change]) -> ClusterMap {
    changes
        .iter()
        .fold(map.clone(), |map, change| map.apply(change.clone()).expect("a change that makes sense"))
}

/// What is seen when these nodes answer, those are taken for dead, and each shard is led where `leader` says.
fn seen(
    map: &ClusterMap,
    up: &BTreeSet<NodeId>,
    dead: &BTreeSet<NodeId>,
    leader: &dyn Fn(ShardId) -> NodeId,
) -> FleetSeen {
    let shards = map.shards.iter().map(|(shard, info)| {
        let voters = info.configuration().voters;
        let at = leader(*shard);
        let follower = |replica: &ReplicaId| {
            let active = map.node_of(*shard, *replica).is_some_and(|node| up.contains(&node));
            let state = ProgressKind::Replicate;
            (*replica, FollowerSeen { lag: 0, state, active, bytes_sent: 0 })
        };
        let replica = map.replica_on(*shard, at).expect("who leads has a replica");
        let leads = ReplicaSeen {
            replica,
            term: Term(5),
            leads: true,
            configuration: Configuration { voters: voters.clone(), ..Configuration::default() },
            configuration_index: info.reported,
            settled: true,
            followers: voters.iter().filter(|voter| **voter != replica).map(follower).collect(),
            bytes: 700,
        };
        (*shard, ShardSeen { replicas: BTreeMap::from([(at, leads)]) })
    });
    FleetSeen { shards: shards.collect(), up: up.clone(), dead: dead.clone(), ..FleetSeen::default() }
}

/// A voter of a shard among these nodes: the first, or the last.
fn voter(map: &ClusterMap, shard: ShardId, among: &BTreeSet<NodeId>, last: bool) -> Option<NodeId> {
    let mut voters: Vec<NodeId> = map.preference(shard).filter(|node| among.contains(node)).collect();
    voters.sort_unstable();
    if last { voters.last().copied() } else { voters.first().copied() }
}

/// All is seen as it is: everybody up leads what it can from the lowest id on.
fn plain(map: &ClusterMap, up: &[u64], dead: &[u64]) -> FleetSeen {
    let up = nodes(up);
    seen(map, &up, &nodes(dead), &|shard| voter(map, shard, &up, false).expect("a voter that is up"))
}

/// The starts of a round, as shard, from, to.
fn starts(errands: &Errands) -> Vec<(u64, u64, u64)> {
    let start = |change: &Change| match change {
        Change::StartMove { shard, from, to } => Some((shard.0, from.0, to.0)),
        _ => None,
    };
    errands.changes.iter().filter_map(start).collect()
}

#[test]
fn leaders_go_first_and_no_more_than_four_replicas_at_once() {
    let map = applied(&fleet(3, 5, 8), &[Change::Drain { node: ONE }]);
    let all_on_one = seen(&map, &nodes(&[1, 2, 3, 4, 5]), &nodes(&[]), &|_| ONE);
    let first = errands(&map, &all_on_one);
    assert_eq!((first.changes.len(), first.hand_overs.len()), (0, 9), "{first:?}");
    let heirs: Vec<u64> = first.hand_overs.iter().map(|it| it.to.0).collect();
    assert_eq!(heirs, [2, 3, 2, 3, 2, 3, 2, 3, 2], "in turn");

    let none_on_one = seen(&map, &nodes(&[1, 2, 3, 4, 5]), &nodes(&[]), &|_| NodeId(2));
    let then = errands(&map, &none_on_one);
    assert_eq!(starts(&then), [(0, 1, 4), (1, 1, 5), (2, 1, 4), (3, 1, 5)], "to the emptiest");
    assert_eq!(then.hand_overs, []);
    let begun = applied(&map, &then.changes);
    assert_eq!(errands(&begun, &none_on_one), Errands::default(), "the next ones wait");
}

/// A disk of 100,000 bytes.
fn room(node: u64, free: u64) -> (NodeId, Room) {
    (NodeId(node), Room { free, total: 100_000 })
}

#[test]
fn who_has_no_room_gets_nothing() {
    // A shard takes 1400 bytes while it comes, and 5000 stay free.
    let map = applied(&fleet(3, 5, 8), &[Change::Drain { node: ONE }]);
    let mut shown = seen(&map, &nodes(&[1, 2, 3, 4, 5]), &nodes(&[]), &|_| NodeId(2));
    shown.rooms = [room(4, 9199), room(5, 7800)].into();
    assert_eq!(starts(&errands(&map, &shown)), [(0, 1, 4), (1, 1, 5), (2, 1, 4), (3, 1, 5)]);
    shown.rooms = [room(4, 7799), room(5, 7800)].into();
    assert_eq!(starts(&errands(&map, &shown)), [(0, 1, 4), (1, 1, 5), (2, 1, 5)], "what is coming counts");
    shown.rooms = [room(4, 6399), room(5, 6399)].into();
    let none = errands(&map, &shown);
    assert_eq!(none.changes, []);
    assert!(none.waiting[&ONE].contains("room on its disk"), "{none:?}");

    let asked = plan_emptying(&map, &shown, ONE).expect_err("there is room for none");
    assert_eq!(asked, Obstacle::Homeless((0..=8).map(ShardId).collect()));
    // The last of a plan takes twice its bytes while it comes, those before it are there by then.
    shown.rooms = [room(4, 100_000), room(5, 5000 + 4 * 700 + 700)].into();
    let planned = plan_emptying(&map, &shown, ONE).expect("there is room");
    let to: Vec<u64> = planned.iter().map(|it| it.to.0).collect();
    assert_eq!(to, [4, 5, 4, 5, 4, 5, 4, 5, 4], "four at the most");
    shown.rooms = [room(4, 100_000), room(5, 5000 + 3 * 700)].into();
    let planned = plan_emptying(&map, &shown, ONE).expect("there is room");
    assert_eq!(planned.iter().map(|it| it.to.0).collect::<Vec<_>>(), [4, 5, 4, 5, 4, 4, 4, 4, 4]);
}

#[test]
fn nothing_is_evened_out_onto_a_full_disk() {
    let map = fleet(3, 4, 8);
    let mut shown = plain(&map, &[1, 2, 3, 4], &[]);
    let all = even(&map, &shown).moves.len();
    assert!(all > 3, "{all}");
    shown.rooms = [room(4, 5000 + 4 * 700)].into();
    let moves = even(&map, &shown).moves;
    assert_eq!(moves.len(), 3, "no more than there is room for");
    let done = moves.iter().fold(map.clone(), |map, it| settled(&map, it));
    let mut then = plain(&done, &[1, 2, 3, 4], &[]);
    then.rooms = [room(4, 5000 + 700)].into();
    assert_eq!(even(&done, &then).moves, [], "a plan that was carried out is followed by none");
    shown.rooms = [room(4, 5000)].into();
    assert_eq!(even(&map, &shown).moves, []);
}

/// A move that was carried out.
fn settled(map: &ClusterMap, it: &Planned) -> ClusterMap {
    let map = applied(map, &[Change::StartMove { shard: it.shard, from: it.from, to: it.to }]);
    let (_, moving) = map.move_of(it.shard).expect("it has begun");
    let mut voters = map.shards[&it.shard].configuration().voters;
    let report = |map: &ClusterMap, configuration: Configuration| Change::Report {
        shard: it.shard,
        report: Report { index: map.shards[&it.shard].reported.next(), configuration, settled: true },
    };
    let learns = Configuration {
        voters: voters.clone(),
        learners: BTreeSet::from([moving.arriving]),
        ..Configuration::default()
    };
    voters.remove(&moving.leaving);
    voters.insert(moving.arriving);
    let map = applied(&map, &[report(&map, learns)]);
    applied(&map, &[report(&map, Configuration { voters, ..Configuration::default() })])
}

#[test]
fn what_a_replica_on_its_way_has_already_is_reckoned_once() {
    let map = applied(&fleet(3, 4, 2), &[Change::StartMove { shard: ShardId(1), from: ONE, to: FOUR }]);
    let mut shown = plain(&map, &[1, 2, 3, 4], &[]);
    let (_, moving) = map.move_of(ShardId(1)).expect("it has begun");
    shown.rooms = [room(4, 5000 + 1400 + 700)].into();
    let next = applied(&map, &[Change::StartMove { shard: ShardId(2), from: ONE, to: FOUR }]);
    let (_, second) = next.move_of(ShardId(2)).expect("it would begin");
    assert!(matches!(check_start(&next, second, &shown), Err(Danger::Full { needed: 2800, .. })));
    let copied = ReplicaSeen {
        replica: moving.arriving,
        leads: false,
        bytes: 700,
        ..shown.shards[&ShardId(1)].replicas[&ONE].clone()
    };
    shown.shards.get_mut(&ShardId(1)).expect("it is seen").replicas.insert(FOUR, copied);
    assert_eq!(check_start(&next, second, &shown), Ok(()));
}

/// What is out of service on a node, and the ids that are spent there.
fn out(node: u64, shard: u64, spent: u64) -> BTreeMap<NodeId, BTreeMap<ShardId, ReplicaId>> {
    [(NodeId(node), [(ShardId(shard), ReplicaId(spent))].into())].into()
}

#[test]
fn what_is_out_of_service_goes_where_there_is_room_or_is_replaced_where_it_is() {
    let shard = ShardId(1);
    let map = fleet(3, 4, 1);
    let spent = map.replica_on(shard, NodeId(3)).expect("a replica").0;
    let mut shown = plain(&map, &[1, 2, 3, 4], &[]);
    // Its leader may have heard it a moment ago: its node's own word counts.
    shown.quarantined = out(3, 1, spent);
    assert_eq!(starts(&errands(&map, &shown)), [(1, 3, 4)]);
    let begun = applied(&map, &errands(&map, &shown).changes);
    assert_eq!(errands(&begun, &shown), Errands::default(), "once");

    let map = fleet(3, 3, 1);
    let mut shown = plain(&map, &[1, 2, 3], &[]);
    shown.quarantined = out(3, 1, spent);
    let round = errands(&map, &shown);
    assert_eq!(round.changes, [Change::Replace { shard, node: NodeId(3) }], "nobody else has room");
    let begun = applied(&map, &round.changes);
    assert_eq!(errands(&begun, &shown), Errands::default(), "once");
    // It rotted again, before the new replica was anything: that one is spent too.
    shown.quarantined = out(3, 1, 4);
    assert_eq!(errands(&begun, &shown).changes, [Change::CancelMove { id: MoveId(1) }]);
    let undone = applied(&begun, &[Change::CancelMove { id: MoveId(1) }]);
    assert_eq!(errands(&undone, &shown), Errands::default());
}

#[test]
fn what_is_out_of_service_waits_for_a_leader_and_for_a_quorum() {
    let shard = ShardId(1);
    let map = fleet(3, 4, 1);
    let spent = map.replica_on(shard, NodeId(3)).expect("a replica").0;
    let mut shown = plain(&map, &[1, 2, 3, 4], &[]);
    shown.quarantined = out(3, 1, spent);
    for leader in shown.shards.values_mut().flat_map(|it| it.replicas.values_mut()) {
        leader.followers.values_mut().for_each(|it| it.active = false);
    }
    // Two of the three after the move: the leader and the new one.
    assert_eq!(starts(&errands(&map, &shown)), [(1, 3, 4)], "below no quorum of the living");
    shown.shards.clear();
    let waits = errands(&map, &shown);
    assert_eq!(waits.changes, []);
    assert!(waits.waiting[&NodeId(3)].contains("no leader"), "{waits:?}");
    let mut replaced = plain(&map, &[1, 2, 3, 4], &[]);
    replaced.quarantined = out(3, 1, spent - 1);
    assert_eq!(errands(&map, &replaced), Errands::default(), "what the map places there is younger");
}

/// The trace: a leader that nobody can follow would keep its shard on a node that shall be empty.
#[test]
fn a_leader_without_an_heir_moves_as_it_is() {
    let map = applied(&fleet(3, 4, 1), &[Change::Drain { node: ONE }]);
    let mut alone = seen(&map, &nodes(&[1, 2, 3, 4]), &nodes(&[]), &|_| ONE);
    for shown in alone.shards.values_mut().flat_map(|it| it.replicas.values_mut()) {
        shown.followers.values_mut().for_each(|it| it.lag = CAUGHT_UP_ENTRIES_MAX + 1);
    }
    assert_eq!(starts(&errands(&map, &alone)), [(0, 1, 4), (1, 1, 4)]);
}

#[test]
fn a_node_that_nobody_hears_is_replaced_and_one_that_a_leader_hears_is_not() {
    let map = fleet(3, 4, 1);
    assert_eq!(errands(&map, &plain(&map, &[1, 2, 4], &[])), Errands::default(), "it is not dead yet");
    let dead = plain(&map, &[1, 2, 4], &[3]);
    assert_eq!(starts(&errands(&map, &dead)), [(0, 3, 4), (1, 3, 4)]);
    let mut heard = dead.clone();
    for shown in heard.shards.values_mut().flat_map(|it| it.replicas.values_mut()) {
        shown.followers.values_mut().for_each(|it| it.active = true);
    }
    let nothing = errands(&map, &heard);
    assert_eq!(
        (starts(&nothing).len(), nothing.waiting[&NodeId(3)].as_str()),
        (0, "the leader of s0 hears its replica")
    );
    let nowhere = errands(&map, &plain(&map, &[1, 2], &[3, 4]));
    assert_eq!(starts(&nowhere), []);
    assert!(nowhere.waiting[&NodeId(3)].starts_with("no node could take the replicas of s0"), "{nowhere:?}");
    let leaderless = FleetSeen { shards: BTreeMap::new(), ..dead };
    assert_eq!(errands(&map, &leaderless).waiting[&NodeId(3)], "s0 has no leader");
}

/// Of five voters three are down, one of them for good: with a new one in its place only two would be up.
#[test]
fn nothing_is_begun_below_the_quorum() {
    let map = fleet(5, 6, 1);
    let homes = map.preference(ShardId(1)).collect::<Vec<_>>();
    assert_eq!(homes.len(), 3);
    assert_eq!(homes[0], ONE);
    let mut lonely = plain(&map, &[2, 3, 4, 5, 6], &[1]);
    lonely.shards.remove(&ShardId::META);
    let map = applied(&map, &[Change::StartMove { shard: ShardId::META, from: ONE, to: FOUR }]);
    let shown = lonely.shards.get_mut(&ShardId(1)).expect("it is there");
    let mut leader = shown.replicas.pop_first().expect("it is led").1;
    leader.replica = map.replica_on(ShardId(1), homes[1]).expect("a voter");
    leader.followers.clear();
    leader.configuration.voters.extend([ReplicaId(7), ReplicaId(8)]);
    shown.replicas.insert(homes[1], leader);
    let nothing = errands(&map, &lonely);
    assert!(!starts(&nothing).iter().any(|(shard, ..)| *shard == 1), "{nothing:?}");
    let why = "s1: only 2 of its 5 voters would be up after the move, and a majority is 3";
    assert!(nothing.waiting.values().any(|it| it == why), "{nothing:?}");
}

#[test]
fn a_move_to_a_node_that_leaves_is_undone() {
    let start = Change::StartMove { shard: ShardId(1), from: ONE, to: FOUR };
    let map = applied(&fleet(3, 5, 1), &[start, Change::Drain { node: FOUR }]);
    let round = errands(&map, &plain(&map, &[1, 2, 3, 4, 5], &[]));
    assert_eq!(round.changes, [Change::CancelMove { id: MoveId(1) }]);
    assert_eq!(errands(&applied(&map, &round.changes), &plain(&map, &[1, 2, 3, 4, 5], &[])).changes, []);
}

#[test]
fn who_is_alive_is_not_removed_by_force_and_no_shard_is_lost() {
    let map = fleet(3, 4, 1);
    assert_eq!(
        check_force(&map, &plain(&map, &[1, 2, 3, 4], &[]), NodeId(3)),
        Err(Obstacle::Answers { node: NodeId(3) })
    );
    assert_eq!(check_force(&map, &plain(&map, &[1, 2, 4], &[]), NodeId(3)), Ok(()));
    let mut heard = plain(&map, &[1, 2, 3, 4], &[]);
    heard.up.remove(&NodeId(3));
    assert_eq!(
        check_force(&map, &heard, NodeId(3)),
        Err(Obstacle::Answers { node: NodeId(3) }),
        "only we do not hear it"
    );
    let homeless = Obstacle::Homeless(vec![ShardId(0), ShardId(1)]);
    assert_eq!(check_force(&map, &plain(&map, &[1, 2], &[]), NodeId(3)), Err(homeless));
    let mut lost = plain(&map, &[1, 2, 4], &[]);
    lost.shards.clear();
    let obstacle = Obstacle::Shard { shard: ShardId(0), danger: Danger::NoLeader };
    assert_eq!(check_force(&map, &lost, NodeId(3)), Err(obstacle));
}

/// A fleet with its map, as somebody can find it.
#[derive(Clone)]
struct World(ClusterMap);

impl World {
    /// Three old nodes with all replicas, and two new ones.
    fn begin() -> Self {
        Self(fleet(3, 5, 1)).settled()
    }

    /// The epoch does not count.
    fn settled(self) -> Self {
        Self(ClusterMap { epoch: Epoch(1), ..self.0 })
    }

    /// A change by somebody, if it makes sense.
    fn after(&self, change: Change) -> Option<Self> {
        self.0.apply(change).ok().map(|map| Self(map).settled())
    }

    /// The next thing that the leader of a moving shard reports.
    fn progress(&self, id: MoveId) -> Self {
        let moving = self.0.moves[&id];
        let info = &self.0.shards[&moving.shard];
        let membership = info.replicas[&moving.arriving].membership;
        let mut it = Configuration { voters: info.configuration().voters, ..Configuration::default() };
        match (membership, moving.cancelled) {
            (Membership::Expected, _) => it.learners.extend([moving.arriving]),
            (Membership::Learner, true) => {}
            (Membership::Learner, false) => {
                it.outgoing.clone_from(&it.voters);
                it.voters.remove(&moving.leaving);
                it.voters.insert(moving.arriving);
            }
            (Membership::Voter, _) => drop(it.voters.remove(&moving.leaving)),
        }
        let report = Report { index: Index(info.reported.0 + 1), configuration: it, settled: true };
        self.after(Change::Report { shard: moving.shard, report }).expect("it is news")
    }

    /// What a controller makes of it that has seen this, at any time before, true or not.
    fn decided(&self, seen: &FleetSeen) -> Self {
        let round = errands(&self.0, seen);
        for (shard, from, to) in starts(&round) {
            let (from, to) = (NodeId(from), NodeId(to));
            assert!(
                self.0.is_home(to) && seen.up.contains(&to),
                "s{shard} goes to {to}, which leaves or is down"
            );
            let is_dead = seen.dead.contains(&from) && !seen.up.contains(&from);
            assert!(self.0.leaving.contains_key(&from) || is_dead, "s{shard} leaves {from} for no reason");
        }
        for change in &round.changes {
            if let Change::RemoveNode { node } = change {
                assert_eq!(self.0.leaving.get(node), Some(&Leaving::Removed), "nobody wished that");
            }
        }
        Self(applied(&self.0, &round.changes)).settled()
    }

    /// Everything that may be seen: who is up, who is dead, and who leads.
    fn observations(&self) -> Vec<FleetSeen> {
        let everybody: BTreeSet<NodeId> = self.0.nodes.keys().copied().collect();
        let mut all = Vec::new();
        for (down, dead) in [(&[][..], &[][..]), (&[1], &[]), (&[1], &[1]), (&[4], &[4])] {
            let up: BTreeSet<NodeId> = everybody.difference(&nodes(down)).copied().collect();
            for last in [false, true] {
                let leader = |shard| voter(&self.0, shard, &up, last).expect("two of three are up");
                all.push(seen(&self.0, &up, &nodes(dead), &leader));
            }
        }
        all
    }

    fn successors(&self) -> Vec<Self> {
        let mut all: Vec<Self> = self.observations().iter().map(|seen| self.decided(seen)).collect();
        all.extend(self.0.moves.keys().map(|id| self.progress(*id)));
        let cancel = self.0.moves.keys().map(|id| Change::CancelMove { id: *id });
        let wishes = [ONE, FOUR].into_iter().flat_map(|node| {
            [
                Change::Drain { node },
                Change::Undrain { node },
                Change::RemoveByForce { node },
                Change::RemoveNode { node },
            ]
        });
        all.extend(wishes.chain(cancel).filter_map(|change| self.after(change)));
        all
    }

    /// No shard has fewer voters than it began with, whatever happens.
    fn check(&self) {
        for (shard, info) in &self.0.shards {
            let voters = info.configuration().voters.len();
            assert!(voters >= 3, "{shard} is left with {voters} voters: {:?}", info.replicas);
        }
    }

    /// From here on all goes well: who leaves becomes empty, who is to be removed is removed, and nothing moves any more.
    fn finish(mut self, dead: &BTreeSet<NodeId>) {
        let begun = self.0.clone();
        for _ in 0..60 {
            let up: BTreeSet<NodeId> =
                self.0.nodes.keys().filter(|node| !dead.contains(node)).copied().collect();
            // As long as it can, a node that leaves leads.
            let leader = |shard| voter(&self.0, shard, &up, false).expect("two of three are up");
            let shown = seen(&self.0, &up, dead, &leader);
            let round = errands(&self.0, &shown);
            let quiet = round.changes.is_empty() && round.hand_overs.is_empty() && self.0.moves.is_empty();
            if quiet {
                assert_eq!(round.waiting, BTreeMap::new());
                break;
            }
            let handed: BTreeMap<ShardId, NodeId> =
                round.hand_overs.iter().map(|it| (it.shard, it.to)).collect();
            let then = seen(&self.0, &up, dead, &|shard| {
                handed.get(&shard).copied().unwrap_or_else(|| leader(shard))
            });
            self = self.decided(&then);
            for id in self.0.moves.keys().copied().collect::<Vec<_>>() {
                let moving = self.0.moves[&id];
                let membership = self.0.shards[&moving.shard].replicas[&moving.arriving].membership;
                let waits = membership != Membership::Voter && !moving.cancelled && dead.contains(&moving.to);
                if !waits {
                    self = self.progress(id);
                }
            }
        }
        assert!(self.0.moves.is_empty(), "it hangs: {:?} after {:?}", self.0.moves, begun.moves);
        for node in self.0.leaving.keys().chain(dead.iter().filter(|node| self.0.nodes.contains_key(node))) {
            assert_eq!(self.0.replicas_on(*node).count(), 0, "{node} is not empty: {:?}", self.0.shards);
        }
        let removed = self.0.leaving.values().filter(|how| **how == Leaving::Removed).count();
        assert_eq!(removed, 0, "who is to be removed is still a member: {:?}", self.0.leaving);
    }
}

/// Breadth first through every map that drains, forced removals, cancellations, changes of mind and controllers that have seen
/// anything at all, at any time, can lead to: no new replica goes to a node that leaves, none leaves a node without reason, no
/// shard loses a voter, and from everywhere all that was wished comes true, also when a node is dead.
#[test]
fn from_every_state_who_leaves_becomes_empty_and_no_shard_loses_a_voter() {
    let begin = World::begin();
    let mut known = BTreeSet::from([begin.0.encode()]);
    let mut waiting = VecDeque::from([begin]);
    let (mut drained, mut removed, mut busy) = (0, 0, 0);
    while let Some(world) = waiting.pop_front() {
        world.check();
        drained += usize::from(world.0.leaving.len() > 1);
        removed += usize::from(!world.0.removed_nodes.is_empty());
        busy += usize::from(world.0.moves.len() > 1);
        world.clone().finish(&nodes(&[]));
        world.clone().finish(&nodes(&[1]));
        if world.0.greatest_move > MoveId(MOVES_WALKED) {
            continue;
        }
        for next in world.successors() {
            if known.insert(next.0.encode()) {
                waiting.push_back(next);
            }
        }
    }
    assert!(
        known.len() > 1_000 && drained > 100 && removed > 100 && busy > 100,
        "{} {drained} {removed} {busy}",
        known.len()
    );
}

#[test]
fn what_is_even_enough_is_left_alone_and_a_plan_is_followed_by_none() {
    let even_fleet = fleet(3, 3, 8);
    assert_eq!(even(&even_fleet, &spread_leaders(&even_fleet)).moves, []);
    // Nine replicas on each of three nodes, none on two.
    let mut map = fleet(3, 5, 8);
    let plan = even(&map, &spread_leaders(&map));
    assert_eq!((plan.moves.len(), plan.hand_overs.len()), (10, 0), "{plan:?}");
    for it in &plan.moves {
        map = map
            .apply(Change::StartMove { shard: it.shard, from: it.from, to: it.to })
            .expect("in this order");
        while let Some((id, _)) = map.move_of(it.shard) {
            map = World(map).progress(id).0;
        }
    }
    let mut counts: Vec<usize> = map.nodes.keys().map(|node| map.replicas_on(*node).count()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [5, 5, 5, 6, 6]);
    assert_eq!(even(&map, &spread_leaders(&map)).moves, [], "the second time there is nothing to do");
    // One more or two more on a node is no reason.
    let (shard, to) =
        (ShardId(3), map.nodes.keys().find(|it| map.replica_on(ShardId(3), **it).is_none()).copied());
    let from = map.preference(shard).next().expect("a voter");
    let to = to.expect("a node without it");
    map = applied(&map, &[Change::StartMove { shard, from, to }]);
    assert_eq!(even(&map, &spread_leaders(&map)).moves, []);
}

/// Each shard is led by the first of its voters.
fn spread_leaders(map: &ClusterMap) -> FleetSeen {
    let up: BTreeSet<NodeId> = map.nodes.keys().copied().collect();
    seen(map, &up, &nodes(&[]), &|shard| map.preference(shard).next().expect("a voter"))
}

#[test]
fn leaders_are_evened_with_the_same_patience() {
    let map = fleet(3, 3, 8);
    let up = nodes(&[1, 2, 3]);
    let led =
        |leader: &dyn Fn(ShardId) -> NodeId| even(&map, &seen(&map, &up, &nodes(&[]), leader)).hand_overs;
    assert_eq!(led(&|shard| NodeId(shard.0 % 3 + 1)), []);
    let plan = led(&|_| ONE);
    assert_eq!(plan.len(), 6, "{plan:?}");
    let after = |shard| plan.iter().find(|it| it.shard == shard).map_or(ONE, |it| it.to);
    assert_eq!(led(&after), [], "the second time there is nothing to do");
    // 4, 3 and 2 are even enough.
    assert_eq!(led(&|shard| NodeId([1, 1, 1, 1, 2, 2, 2, 3, 3][shard.0 as usize])), []);
}

#[test]
fn who_leaves_or_is_down_takes_no_part_in_the_evening() {
    let map = applied(&fleet(3, 5, 8), &[Change::Drain { node: FOUR }]);
    let mut shown = spread_leaders(&map);
    shown.up.remove(&NodeId(5));
    assert_eq!(even(&map, &shown).moves, [], "there is nobody to give anything to");
    shown.up.insert(NodeId(5));
    let plan = even(&map, &shown);
    assert!(!plan.moves.is_empty() && plan.moves.iter().all(|it| it.to == NodeId(5)), "{plan:?}");
}
