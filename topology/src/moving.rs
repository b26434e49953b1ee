//! Replicas that move from one node to another: what the map remembers of a move, and how it learns that it is over.
//!
//! ```text
//!   StartMove    r4 is recorded on the new node, as Expected: only now may anybody create or propose it
//!   Report       the shard's configuration names r4: Learner, then Voter
//!   Report       it names r1 no more, and is settled: r1 leaves the map, and with it the move
//! ```
//!
//! A replica that is lost while its node lives, and for which no other node has room, is replaced where it is: a move from a node to
//! itself (`Replace`). Only then do two replicas of a shard have one node.
//!
//! *The shard's own log is the truth about its members.* The map holds reports of it, ordered by the index of the entry that
//! brought the configuration; an older one is refused. So a leader that was cut off long ago can say nothing that
//! the map believes.
//!
//! *A replica leaves the map only if a report named it before and a later, settled one does not.* That is the permission to
//! drop its disk: who hosts a replica that the map could know and does not name ends it ([`ClusterMap::has_ended`]). One that no
//! report ever named (`Expected`) never leaves, because a proposal that names it may still be on its way. So a move that is
//! cancelled before its replica was a member makes it a learner and removes it again: whatever was proposed before was derived
//! from an older configuration, and the shard's leader refuses it.
//!
//! What it does not do: decide the next step of a move. The controller of the node does, by what it observes.

use flotilla_raft::{Configuration, Index, ReplicaId};

use crate::{ClusterMap, Membership, MoveId, NodeId, Placement, Refusal, ShardId};

/// A replica on its way from one node to another, as a replica of another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The shard.
    pub shard: ShardId,
    /// The node that gives its replica up.
    pub from: NodeId,
    /// The node that gets one.
    pub to: NodeId,
    /// The replica that ends.
    pub leaving: ReplicaId,
    /// The replica that takes its place.
    pub arriving: ReplicaId,
    /// It shall be undone, if its replica does not vote yet.
    pub cancelled: bool,
}

/// A configuration that is in effect on the leader of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The index of the entry that brought it.
    pub index: Index,
    /// The members.
    pub configuration: Configuration,
    /// Whether nobody needs the vote of a replica that it does not name.
    pub settled: bool,
}

impl ClusterMap {
    /// The move of a shard that is under way.
    #[must_use]
    pub fn move_of(&self, shard: ShardId) -> Option<(MoveId, &Move)> {
        self.moves.iter().find(|(_, moving)| moving.shard == shard).map(|(id, moving)| (*id, moving))
    }

    /// Whether a replica is one that this map would name, and that has left it: its disk may be dropped. Of a replica that is
    /// younger than the map nothing is known.
    #[must_use]
    pub fn has_ended(&self, shard: ShardId, replica: ReplicaId) -> bool {
        self.shards
            .get(&shard)
            .is_some_and(|info| replica <= info.greatest_replica && !info.replicas.contains_key(&replica))
    }

    pub(crate) fn start_move(&mut self, shard: ShardId, from: NodeId, to: NodeId) -> Result<(), Refusal> {
        if !self.shards.contains_key(&shard) {
            return Err(Refusal::UnknownShard { shard });
        }
        for node in [from, to] {
            if !self.nodes.contains_key(&node) {
                return Err(Refusal::UnknownNode { node });
            }
        }
        if !self.is_home(to) {
            return Err(Refusal::Leaving { node: to });
        }
        if let Some((id, _)) = self.move_of(shard) {
            return Err(Refusal::Moving { shard, id });
        }
        let leaving = self.replica_on(shard, from).ok_or(Refusal::NotMember { shard, node: from })?;
        if self.replica_on(shard, to).is_some() {
            return Err(Refusal::Member { shard, node: to });
        }
        self.begin_move(shard, (from, leaving), to)
    }

    pub(crate) fn replace(&mut self, shard: ShardId, node: NodeId) -> Result<(), Refusal> {
        if !self.shards.contains_key(&shard) {
            return Err(Refusal::UnknownShard { shard });
        }
        if !self.nodes.contains_key(&node) {
            return Err(Refusal::UnknownNode { node });
        }
        if !self.is_home(node) {
            return Err(Refusal::Leaving { node });
        }
        if let Some((id, _)) = self.move_of(shard) {
            return Err(Refusal::Moving { shard, id });
        }
        let leaving = self.replica_on(shard, node).ok_or(Refusal::NotMember { shard, node })?;
        self.begin_move(shard, (node, leaving), node)
    }

    fn begin_move(
        &mut self,
        shard: ShardId,
        (from, leaving): (NodeId, ReplicaId),
        to: NodeId,
    ) -> Result<(), Refusal> {
        let info = self.shards.get(&shard).ok_or(Refusal::UnknownShard { shard })?;
        let arriving = ReplicaId(info.greatest_replica.0 + 1);
        let id = MoveId(self.greatest_move.0 + 1);
        let moving = Move { shard, from, to, leaving, arriving, cancelled: false };
        if let Some(info) = self.shards.get_mut(&shard) {
            info.greatest_replica = arriving;
            info.replicas.insert(arriving, Placement { node: to, membership: Membership::Expected });
        }
        self.greatest_move = id;
        self.moves.insert(id, moving);
        Ok(())
    }

    pub(crate) fn cancel_move(&mut self, id: MoveId) -> Result<(), Refusal> {
        let moving = self.moves.get_mut(&id).ok_or(Refusal::UnknownMove { id })?;
        if moving.cancelled {
            return Err(Refusal::Unchanged);
        }
        let placement = self.shards.get(&moving.shard).and_then(|info| info.replicas.get(&moving.arriving));
        if placement.is_some_and(|placement| placement.membership == Membership::Voter) {
            return Err(Refusal::TooLate { id });
        }
        moving.cancelled = true;
        Ok(())
    }

    pub(crate) fn report(&mut self, shard: ShardId, report: &Report) -> Result<(), Refusal> {
        let info = self.shards.get_mut(&shard).ok_or(Refusal::UnknownShard { shard })?;
        if report.index <= info.reported {
            return Err(Refusal::OldReport { shard, index: report.index, reported: info.reported });
        }
        let stays = |replica: ReplicaId, placement: &Placement| {
            report.configuration.is_member(replica) || placement.membership == Membership::Expected
        };
        let leaves = info.replicas.iter().find(|(replica, placement)| !stays(**replica, placement));
        if let Some((replica, _)) = leaves.filter(|_| !report.settled) {
            return Err(Refusal::Unsettled { shard, replica: *replica });
        }
        info.replicas.retain(|replica, placement| stays(*replica, placement));
        for (replica, placement) in &mut info.replicas {
            if report.configuration.is_voter(*replica) {
                placement.membership = Membership::Voter;
            } else if report.configuration.is_member(*replica) {
                placement.membership = Membership::Learner;
            }
        }
        info.reported = report.index;
        // It is over when one of its two replicas has left: done, or undone.
        let both = |moving: &Move| {
            [moving.leaving, moving.arriving].iter().all(|replica| info.replicas.contains_key(replica))
        };
        self.moves.retain(|_, moving| moving.shard != shard || both(moving));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Change;
    use crate::genesis::tests::fleet;

    const SHARD: ShardId = ShardId(1);

    fn set(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    fn start(map: &ClusterMap, from: u64, to: u64) -> Result<ClusterMap, Refusal> {
        map.apply(Change::StartMove { shard: SHARD, from: NodeId(from), to: NodeId(to) })
    }

    /// A report of voters, outgoing voters and learners.
    fn report(
        map: &ClusterMap,
        index: u64,
        members: [&[u64]; 3],
        settled: bool,
    ) -> Result<ClusterMap, Refusal> {
        let [voters, outgoing, learners] = members.map(set);
        let configuration = Configuration { voters, outgoing, learners };
        let report = Report { index: Index(index), configuration, settled };
        map.apply(Change::Report { shard: SHARD, report })
    }

    fn membership(map: &ClusterMap, replica: u64) -> Option<Membership> {
        map.shards[&SHARD].replicas.get(&ReplicaId(replica)).map(|placement| placement.membership)
    }

    /// Three nodes, three replicas: who is lost on node 1 can only be replaced there.
    #[test]
    fn a_replica_is_replaced_where_it_is() {
        let replace =
            |map: &ClusterMap, node| map.apply(Change::Replace { shard: SHARD, node: NodeId(node) });
        let map = fleet(3, 1, 3);
        let started = replace(&map, 1).unwrap();
        let here: Vec<_> = started.replicas_on(NodeId(1)).filter(|(shard, _)| *shard == SHARD).collect();
        assert_eq!(here, [(SHARD, ReplicaId(1)), (SHARD, ReplicaId(4))]);
        assert_eq!(replace(&started, 2).unwrap_err(), Refusal::Moving { shard: SHARD, id: MoveId(1) });
        assert_eq!(
            replace(&fleet(4, 1, 3), 4).unwrap_err(),
            Refusal::NotMember { shard: SHARD, node: NodeId(4) }
        );
        let learning = report(&started, 3, [&[1, 2, 3], &[], &[4]], true).unwrap();
        let joint = report(&learning, 4, [&[2, 3, 4], &[1, 2, 3], &[]], true).unwrap();
        let done = report(&joint, 5, [&[2, 3, 4], &[], &[]], true).unwrap();
        assert_eq!((done.moves.len(), done.replica_on(SHARD, NodeId(1))), (0, Some(ReplicaId(4))));
        assert!(done.has_ended(SHARD, ReplicaId(1)));
        let undone = learning.apply(Change::CancelMove { id: MoveId(1) }).unwrap();
        let undone = report(&undone, 4, [&[1, 2, 3], &[], &[]], true).unwrap();
        assert_eq!((undone.moves.len(), undone.replica_on(SHARD, NodeId(1))), (0, Some(ReplicaId(1))));
    }

    /// Four nodes, three replicas; r1 of the shard is on node 1, and node 4 has none.
    fn before() -> ClusterMap {
        let map = fleet(4, 1, 3);
        assert_eq!(
            (map.replica_on(SHARD, NodeId(1)), map.replica_on(SHARD, NodeId(4))),
            (Some(ReplicaId(1)), None)
        );
        map
    }

    #[test]
    fn a_move_goes_from_report_to_report() {
        let started = start(&before(), 1, 4).unwrap();
        assert_eq!(started.epoch, before().epoch.next());
        assert_eq!(started.replica_on(SHARD, NodeId(4)), Some(ReplicaId(4)));
        assert_eq!(membership(&started, 4), Some(Membership::Expected));
        assert_eq!(started.shards[&SHARD].configuration().to_string(), "voters(1 2 3)");
        assert!(!started.preference(SHARD).any(|node| node == NodeId(4)), "who is expected does not lead");
        let (id, moving) = started.move_of(SHARD).unwrap();
        assert_eq!((id, moving.leaving, moving.arriving), (MoveId(1), ReplicaId(1), ReplicaId(4)));

        let learning = report(&started, 10, [&[1, 2, 3], &[], &[4]], true).unwrap();
        assert_eq!(membership(&learning, 4), Some(Membership::Learner));
        let joint = report(&learning, 20, [&[2, 3, 4], &[1, 2, 3], &[]], false).unwrap();
        assert_eq!(
            (membership(&joint, 1), membership(&joint, 4)),
            (Some(Membership::Voter), Some(Membership::Voter))
        );
        let unsettled = report(&joint, 21, [&[2, 3, 4], &[], &[]], false).unwrap_err();
        assert_eq!(unsettled, Refusal::Unsettled { shard: SHARD, replica: ReplicaId(1) });
        let done = report(&joint, 21, [&[2, 3, 4], &[], &[]], true).unwrap();
        assert_eq!((done.moves.len(), done.replica_on(SHARD, NodeId(1))), (0, None));
        assert!(done.has_ended(SHARD, ReplicaId(1)) && !done.has_ended(SHARD, ReplicaId(4)));
        assert!(!done.has_ended(SHARD, ReplicaId(5)), "nothing is known of the future");

        let back = start(&done, 4, 1).unwrap();
        assert_eq!(back.replica_on(SHARD, NodeId(1)), Some(ReplicaId(5)), "under another id");
        assert_eq!(back.move_of(SHARD).unwrap().0, MoveId(2));
    }

    #[test]
    fn an_old_report_is_not_believed() {
        let started = start(&before(), 1, 4).unwrap();
        let joint = report(&started, 20, [&[2, 3, 4], &[1, 2, 3], &[]], false).unwrap();
        for index in [0, 19, 20] {
            let refused = report(&joint, index, [&[1, 2, 3], &[], &[]], true).unwrap_err();
            assert_eq!(
                refused,
                Refusal::OldReport { shard: SHARD, index: Index(index), reported: Index(20) }
            );
        }
    }

    /// The trace against dropping it: AddLearners(r4) is on its way, the move is cancelled and r4 dropped, and then it arrives.
    #[test]
    fn who_is_expected_stays_until_a_report_named_it() {
        let started = start(&before(), 1, 4).unwrap();
        let cancelled = started.apply(Change::CancelMove { id: MoveId(1) }).unwrap();
        let silent = report(&cancelled, 5, [&[1, 2, 3], &[], &[]], true).unwrap();
        assert_eq!((membership(&silent, 4), silent.moves.len()), (Some(Membership::Expected), 1));
        let named = report(&silent, 6, [&[1, 2, 3], &[], &[4]], true).unwrap();
        let gone = report(&named, 7, [&[1, 2, 3], &[], &[]], true).unwrap();
        assert_eq!((membership(&gone, 4), gone.moves.len()), (None, 0));
        assert_eq!(gone.replica_on(SHARD, NodeId(1)), Some(ReplicaId(1)), "the other one stays");
    }

    #[test]
    fn a_move_is_cancelled_once_and_before_its_replica_votes() {
        let started = start(&before(), 1, 4).unwrap();
        let cancel = |map: &ClusterMap, id| map.apply(Change::CancelMove { id: MoveId(id) });
        let cancelled = cancel(&started, 1).unwrap();
        assert!(cancelled.moves[&MoveId(1)].cancelled);
        assert_eq!(cancel(&cancelled, 1).unwrap_err(), Refusal::Unchanged);
        assert_eq!(cancel(&started, 2).unwrap_err(), Refusal::UnknownMove { id: MoveId(2) });
        let joint = report(&started, 20, [&[2, 3, 4], &[1, 2, 3], &[]], false).unwrap();
        assert_eq!(cancel(&joint, 1).unwrap_err(), Refusal::TooLate { id: MoveId(1) });
    }

    #[test]
    fn a_move_that_makes_no_sense_is_refused() {
        let map = before();
        let no_shard =
            map.apply(Change::StartMove { shard: ShardId(9), from: NodeId(1), to: NodeId(4) }).unwrap_err();
        assert_eq!(no_shard, Refusal::UnknownShard { shard: ShardId(9) });
        assert_eq!(start(&map, 1, 9).unwrap_err(), Refusal::UnknownNode { node: NodeId(9) });
        assert_eq!(start(&map, 9, 4).unwrap_err(), Refusal::UnknownNode { node: NodeId(9) });
        assert_eq!(start(&map, 4, 1).unwrap_err(), Refusal::NotMember { shard: SHARD, node: NodeId(4) });
        assert_eq!(start(&map, 1, 2).unwrap_err(), Refusal::Member { shard: SHARD, node: NodeId(2) });
        assert_eq!(start(&map, 1, 1).unwrap_err(), Refusal::Member { shard: SHARD, node: NodeId(1) });
        let started = start(&map, 1, 4).unwrap();
        assert_eq!(start(&started, 2, 4).unwrap_err(), Refusal::Moving { shard: SHARD, id: MoveId(1) });
    }
}
