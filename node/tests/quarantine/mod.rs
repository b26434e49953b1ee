//! Rot in the log of one node: whom it concerns answers nothing any more, and is replaced on the same node; the others go on.

use std::time::Duration;

use flotilla_node::host::Input;
use flotilla_raft::{Change, Leave, ReplicaId};
use flotilla_topology::{NodeId, ShardId};

use crate::fleet::{Fleet, SHARD};
use crate::members::{change, late_messages, set};
use crate::small;

const OTHER: ShardId = ShardId(2);
const SICK: NodeId = NodeId(3);

/// A fleet of two shards, one of which is out of service on node 3.
fn rotten(seed: u64) -> Fleet {
    let mut fleet = Fleet::new(seed, 3, 2, small());
    for number in 0..20 {
        fleet.put_to_owner(&format!("k{number}"), &format!("{number:->100}"));
    }
    fleet.until("node 3 has something of both in its base", Duration::from_secs(5), |fleet| {
        [SHARD, OTHER].iter().all(|shard| fleet.base_holds(SICK, *shard))
    });
    fleet.crash(SICK);
    fleet.rot(SICK, SHARD);
    fleet.start(SICK);
    fleet.run(Duration::from_millis(100));
    assert_eq!(fleet.quarantined(SICK), [SHARD]);
    fleet
}

fn check(fleet: &mut Fleet) {
    for number in 0..20 {
        assert_eq!(fleet.get_from_owner(&format!("k{number}")), Some(format!("{number:->100}")));
    }
}

#[test]
fn it_answers_nothing_and_still_counts() {
    let mut fleet = rotten(81);
    late_messages(&mut fleet, SICK, ReplicaId(3));
    assert!(fleet.status(OTHER).contains_key(&SICK), "the others go on");
    check(&mut fleet);
    // Two of three are needed, and it is none of them: not for a write, not for an election.
    fleet.crash(NodeId(2));
    fleet.run(Duration::from_secs(5));
    assert_eq!(fleet.leader(SHARD), None, "who is out of service voted");
    assert!(fleet.leader(OTHER).is_some(), "the other shard has two that vote");
    // A second start does not forget it, and the old map does not bring it back.
    fleet.crash(SICK);
    fleet.start(SICK);
    fleet.run(Duration::from_secs(5));
    assert_eq!((fleet.leader(SHARD), fleet.quarantined(SICK)), (None, vec![SHARD]));
    assert!(fleet.base_holds(SICK, SHARD), "what is left is kept as long as nobody else leads");
    fleet.start(NodeId(2));
    check(&mut fleet);
}

#[test]
fn it_is_replaced_on_its_own_node() {
    let mut fleet = rotten(82);
    fleet.place(ReplicaId(4), SICK);
    change(&mut fleet, &Change::AddLearners(set(&[4])), "voters(1 2 3) learners(4)");
    let replace =
        Change::Enter { promote: set(&[4]), demote: set(&[]), remove: set(&[3]), leave: Leave::Auto };
    change(&mut fleet, &replace, "voters(1 2 4)");
    assert_eq!(fleet.quarantined(SICK), []);
    check(&mut fleet);
    fleet.converge(SHARD);
    // What the map now says of the old one changes nothing.
    fleet.tell(SICK, Input::Retire { shard: SHARD, replica: ReplicaId(3) });
    fleet.crash(SICK);
    fleet.start(SICK);
    assert_eq!(fleet.quarantined(SICK), []);
    fleet.crash(NodeId(2));
    check(&mut fleet);
}

/// The replacement is born and ends again before it votes: who was replaced is a voter still, and out of service still.
#[test]
fn a_replacement_that_is_called_off_leaves_it_out_of_service() {
    let mut fleet = rotten(84);
    fleet.place(ReplicaId(4), SICK);
    change(&mut fleet, &Change::AddLearners(set(&[4])), "voters(1 2 3) learners(4)");
    fleet.until("the replacement lives", Duration::from_secs(5), |fleet| fleet.quarantined(SICK).is_empty());
    change(&mut fleet, &Change::RemoveLearners(set(&[4])), "voters(1 2 3)");
    fleet.tell(SICK, Input::Retire { shard: SHARD, replica: ReplicaId(4) });
    fleet.unplace(ReplicaId(4));
    fleet.run(Duration::from_secs(1));
    assert_eq!(fleet.quarantined(SICK), [SHARD], "the map still places the lost one there");
    fleet.crash(SICK);
    fleet.start(SICK);
    fleet.run(Duration::from_secs(1));
    assert_eq!(fleet.quarantined(SICK), [SHARD]);
    late_messages(&mut fleet, SICK, ReplicaId(3));
    fleet.crash(NodeId(2));
    fleet.run(Duration::from_secs(5));
    assert_eq!(fleet.leader(SHARD), None, "who is out of service voted");
    fleet.start(NodeId(2));
    fleet.place(ReplicaId(5), SICK);
    change(&mut fleet, &Change::AddLearners(set(&[5])), "voters(1 2 3) learners(5)");
    let replace =
        Change::Enter { promote: set(&[5]), demote: set(&[]), remove: set(&[3]), leave: Leave::Auto };
    change(&mut fleet, &replace, "voters(1 2 5)");
    assert_eq!(fleet.quarantined(SICK), []);
    check(&mut fleet);
    fleet.converge(SHARD);
}

/// The replacement is called off before there was room for it: it is not born when there is.
#[test]
fn a_replacement_that_is_called_off_before_its_birth_is_not_born() {
    let mut fleet = rotten(85);
    fleet.stall(SICK);
    fleet.place(ReplicaId(4), SICK);
    fleet.run(Duration::from_millis(100));
    assert_eq!(fleet.quarantined(SICK), [SHARD], "what is left in the base is still to be dropped");
    fleet.tell(SICK, Input::Retire { shard: SHARD, replica: ReplicaId(4) });
    fleet.unplace(ReplicaId(4));
    fleet.run(Duration::from_millis(100));
    fleet.resume(SICK);
    fleet.until("the base is empty", Duration::from_secs(5), |fleet| !fleet.base_holds(SICK, SHARD));
    fleet.run(Duration::from_secs(1));
    assert_eq!(fleet.quarantined(SICK), [SHARD], "the map places nobody there but the lost one");
    assert!(!fleet.status(SHARD).contains_key(&SICK), "nobody placed this one");
    // Another one is.
    fleet.place(ReplicaId(5), SICK);
    change(&mut fleet, &Change::AddLearners(set(&[5])), "voters(1 2 3) learners(5)");
    let replace =
        Change::Enter { promote: set(&[5]), demote: set(&[]), remove: set(&[3]), leave: Leave::Auto };
    change(&mut fleet, &replace, "voters(1 2 5)");
    assert_eq!(fleet.quarantined(SICK), []);
    check(&mut fleet);
    fleet.converge(SHARD);
}

#[test]
fn it_is_removed_and_leaves_nothing() {
    let mut fleet = rotten(83);
    fleet.tell(SICK, Input::Retire { shard: SHARD, replica: ReplicaId(2) });
    fleet.run(Duration::from_millis(100));
    assert_eq!(fleet.quarantined(SICK), [SHARD], "somebody else was meant");
    fleet.tell(SICK, Input::Retire { shard: SHARD, replica: ReplicaId(3) });
    fleet.until("the base of node 3 is empty", Duration::from_secs(5), |fleet| {
        fleet.quarantined(SICK).is_empty() && !fleet.base_holds(SICK, SHARD)
    });
    fleet.crash(SICK);
    fleet.start(SICK);
    fleet.run(Duration::from_secs(1));
    assert_eq!(fleet.quarantined(SICK), [SHARD], "the old map still places it there: it does not live");
    assert!(!fleet.status(SHARD).contains_key(&SICK), "its id is spent");
    fleet.tell(SICK, Input::Retire { shard: SHARD, replica: ReplicaId(3) });
    fleet.run(Duration::from_millis(100));
    assert_eq!(fleet.quarantined(SICK), [], "a newer map does not");
    check(&mut fleet);
}
