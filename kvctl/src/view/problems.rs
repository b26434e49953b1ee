//! What is wrong with the fleet, or could be better, and the command that mends it.

use flotilla_daemon::table::bytes;
use flotilla_proto::v1 as wire;
use flotilla_topology::NodeId;

use super::{Fleet, Node, Shard};
use crate::admin::LATE;

/// A replica may be this far behind before it is worth a word: less is what a busy fleet looks like at any moment.
const LAG_ENTRIES_MAX: u64 = 10_000;

/// Something to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether something is wrong; else it only could be better.
    pub is_grave: bool,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// Everything that is wrong, the worst first.
#[must_use]
pub fn problems(fleet: &Fleet, listed: &wire::ListMovesResult) -> Vec<Problem> {
    let mut found: Vec<Problem> = fleet.shards.iter().filter_map(leaderless).collect();
    found.extend(fleet.nodes.iter().filter_map(|node| silent(fleet, node)));
    found.extend(fleet.nodes.iter().flat_map(out_of_service));
    found.extend(fleet.nodes.iter().filter_map(full));
    found.extend(listed.moves.iter().filter_map(|it| stuck(fleet, it)));
    found.extend(listed.waiting.iter().map(|it| held_up(fleet, it)));
    found.extend(fleet.shards.iter().filter_map(|shard| lagging(fleet, shard)));
    found.extend(fleet.nodes.iter().filter_map(|node| unconnected(fleet, node)));
    found.extend(fleet.nodes.iter().filter_map(|node| drained(fleet, node)));
    // What moves, or is about to, is not where it will be.
    let is_settled = listed.moves.is_empty() && !fleet.nodes.iter().any(|node| is_emptied(fleet, node));
    if is_settled {
        found.extend(crowded(fleet));
        found.extend(uneven(fleet));
    }
    found
}

/// Whether a node shall become empty, and is not yet.
fn is_emptied(fleet: &Fleet, node: &Node) -> bool {
    node.leaving != wire::Leaving::Stays && fleet.replicas_on(node.id) > 0
}

/// A shard without a leader serves nothing.
fn leaderless(shard: &Shard) -> Option<Problem> {
    if shard.leader.is_some() {
        return None;
    }
    // Who does not vote does not help.
    let voters = || shard.replicas.iter().filter(|it| it.membership == wire::Membership::Voter);
    let all = voters().count();
    let down: Vec<String> = voters()
        .filter(|replica| replica.seen.is_none())
        .map(|replica| format!("node {}", replica.node.0))
        .collect();
    let up = all - down.len();
    let fix = if up * 2 > all {
        "an election takes less than a second: ask again".to_string()
    } else {
        format!("it needs a majority of its replicas: start {}", down.join(" or "))
    };
    Some(Problem {
        is_grave: true,
        what: format!("shard {} has no leader; {up} of {all} replicas are up", shard.id.0),
        fix,
    })
}

/// A node that does not answer.
fn silent(fleet: &Fleet, node: &Node) -> Option<Problem> {
    let why = node.answer.as_ref().err()?;
    let id = node.id.0;
    let again = if why.starts_with(LATE) {
        "it hangs, or its machine does, or the network swallows what is sent: look there, and at its log"
            .to_string()
    } else {
        format!("start it again, with its data directory: kvnode --id {id} …")
    };
    let fix = match (node.leaving, fleet.replicas_on(node.id)) {
        (wire::Leaving::Removed, _) => "its replicas are being replaced, then it is removed".to_string(),
        (_, 0) => format!("{again}; nobody needs it: kvctl node remove {id}"),
        _ => format!("{again}; if it is lost for good: kvctl node remove {id} --force"),
    };
    Some(Problem {
        is_grave: true,
        what: format!("node {id} does not answer at {}: {why}", node.client_addr),
        fix,
    })
}

/// Shards of which a node's log lost something.
fn out_of_service(node: &Node) -> Vec<Problem> {
    let Ok(answer) = &node.answer else { return Vec::new() };
    let problem = |it: &wire::QuarantineStatus| {
        let why = match it.segment {
            0 => "its log lost it, and its replacement was called off".to_owned(),
            segment => format!("its log is rotten (segment {segment}, byte {})", it.offset),
        };
        Problem {
            is_grave: true,
            what: format!("shard {} is out of service on node {}: {why}", it.shard, node.id.0),
            fix: format!(
                "it is replaced by itself as long as a majority of its voters is up; look after the disk of node {}",
                node.id.0
            ),
        }
    };
    answer.quarantined.iter().map(problem).collect()
}

/// A node on whose disk nothing should come any more.
fn full(node: &Node) -> Option<Problem> {
    let room = node.answer.as_ref().ok()?.room.filter(|room| room.free_bytes < room.reserve_bytes)?;
    let (id, free, total) = (node.id.0, bytes(room.free_bytes), bytes(room.total_bytes));
    Some(Problem {
        is_grave: true,
        what: format!(
            "the disk of node {id} is nearly full: {free} of {total} are free; it gets no new replicas"
        ),
        fix: format!("make room there, or move a shard away: kvctl shard move SHARD --from {id} --to NODE"),
    })
}

fn has_out_of_service(node: &Node) -> bool {
    node.answer.as_ref().is_ok_and(|answer| !answer.quarantined.is_empty())
}

/// A node that should become empty, or is dead, and does not come on.
fn held_up(fleet: &Fleet, it: &wire::NodeWaiting) -> Problem {
    let (id, why) = (it.node, &it.why);
    let leaves = fleet.node(NodeId(id)).is_some_and(|node| node.leaving != wire::Leaving::Stays);
    let (what, fix) = if leaves {
        let fix = format!("mend that, or let it stay: kvctl node undrain {id}");
        (format!("node {id} does not become empty: {why}"), fix)
    } else if fleet.node(NodeId(id)).is_some_and(has_out_of_service) {
        let what = format!("what is out of service on node {id} is not replaced: {why}");
        (what, "mend that".to_string())
    } else {
        let what = format!("the replicas of node {id}, which is dead, are not replaced: {why}");
        (what, format!("mend that, or start it again: kvnode --id {id} …"))
    };
    Problem { is_grave: true, what, fix }
}

/// A node that became empty, as somebody wished, and is still a member.
fn drained(fleet: &Fleet, node: &Node) -> Option<Problem> {
    if node.leaving != wire::Leaving::Drained || fleet.replicas_on(node.id) > 0 {
        return None;
    }
    let id = node.id.0;
    Some(Problem {
        is_grave: false,
        what: format!("node {id} is drained and empty"),
        fix: format!("kvctl node remove {id}; or let it have replicas again: kvctl node undrain {id}"),
    })
}

/// One node has at least three replicas more than another.
fn crowded(fleet: &Fleet) -> Option<Problem> {
    let homes = fleet.nodes.iter().filter(|it| it.leaving == wire::Leaving::Stays && it.answer.is_ok());
    let mut counts: Vec<(usize, &Node)> = homes.map(|it| (fleet.replicas_on(it.id), it)).collect();
    counts.sort_unstable_by_key(|(count, node)| (*count, node.id));
    // Who has no room gets nothing.
    let (least, few) =
        counts.iter().find(|(_, node)| full(node).is_none()).map(|(least, node)| (*least, node.id))?;
    let (most, many) = counts.last().map(|(most, node)| (*most, node.id))?;
    (most >= least + 3).then(|| Problem {
        is_grave: false,
        what: format!("node {} has {most} replicas, node {} has {least}", many.0, few.0),
        fix: "kvctl shard rebalance".to_string(),
    })
}

/// A move whose new replica does not vote waits for its node for ever.
fn stuck(fleet: &Fleet, it: &wire::Move) -> Option<Problem> {
    let waits = matches!(
        it.phase(),
        wire::MovePhase::Unobserved | wire::MovePhase::Creating | wire::MovePhase::Copying
    );
    if !waits || it.cancelled || fleet.answers(NodeId(it.to_node)) {
        return None;
    }
    let (id, shard, to) = (it.r#move, it.shard, it.to_node);
    Some(Problem {
        is_grave: true,
        what: format!("move {id} of shard {shard} waits for node {to}, which does not answer"),
        fix: format!("start node {to} again, or undo the move: kvctl move cancel {id}"),
    })
}

/// A replica far behind on a node that answers.
fn lagging(fleet: &Fleet, shard: &Shard) -> Option<Problem> {
    let (replica, lag) = shard
        .replicas
        .iter()
        .filter_map(|replica| Some((replica, replica.lag?)))
        .find(|(replica, lag)| *lag > LAG_ENTRIES_MAX && fleet.answers(replica.node))?;
    Some(Problem {
        is_grave: true,
        what: format!("shard {}: the replica on node {} is {lag} entries behind", shard.id.0, replica.node.0),
        fix: format!("it catches up by itself; see how with: kvctl shard show {}", shard.id.0),
    })
}

/// Nodes that answer us but do not reach each other.
fn unconnected(fleet: &Fleet, node: &Node) -> Option<Problem> {
    let answer = node.answer.as_ref().ok()?;
    let other = fleet.node(*answer.unconnected.iter().find(|other| fleet.answers(**other))?)?;
    Some(Problem {
        is_grave: true,
        what: format!("node {} has no stream to node {} at {}", node.id.0, other.id.0, other.peer_addr),
        fix: "check the network between them".to_string(),
    })
}

/// One node leads at least three shards more than another, and more than twice as many: all work goes to it.
fn uneven(fleet: &Fleet) -> Option<Problem> {
    let homes = fleet.nodes.iter().filter(|it| it.leaving == wire::Leaving::Stays);
    let led = homes.filter_map(|node| Some((node.answer.as_ref().ok()?.leaders, node.id)));
    let mut led: Vec<(usize, NodeId)> = led.collect();
    led.sort_unstable();
    let (&(least, to), &(most, from)) = (led.first()?, led.last()?);
    if most < least + 3 || most <= least * 2 {
        return None;
    }
    let movable = |shard: &&Shard| {
        shard.leader == Some(from)
            && shard.replicas.iter().any(|replica| replica.node == to && replica.lag == Some(0))
    };
    let shard = fleet.shards.iter().rfind(movable)?;
    Some(Problem {
        is_grave: false,
        what: format!("node {} leads {most} shards, node {} leads {least}", from.0, to.0),
        fix: format!("kvctl shard transfer-leader {} --to {}", shard.id.0, to.0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{answer, map, three_nodes};
    use super::*;

    #[test]
    fn nothing_is_wrong_with_a_healthy_fleet() {
        assert_eq!(problems(&Fleet::of(&map(), three_nodes()), &wire::ListMovesResult::default()), []);
    }

    #[test]
    fn a_lost_majority_names_what_to_start_and_comes_first() {
        let mut answers = three_nodes();
        answers.insert(NodeId(1), Err("connection refused".to_string()));
        answers.insert(NodeId(2), Err("connection refused".to_string()));
        let found = problems(&Fleet::of(&map(), answers), &wire::ListMovesResult::default());
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0].what, "shard 0 has no leader; 1 of 3 replicas are up");
        assert_eq!(found[0].fix, "it needs a majority of its replicas: start node 1 or node 2");
        assert_eq!(found[2].what, "node 1 does not answer at 127.0.0.1:7501: connection refused");
    }

    #[test]
    fn what_is_out_of_service_is_named_with_the_place_of_the_damage() {
        let mut answers = three_nodes();
        let it = wire::QuarantineStatus { shard: 1, replica: 13, segment: 4, offset: 8192 };
        answers.get_mut(&NodeId(3)).unwrap().as_mut().unwrap().quarantined.push(it);
        let waiting = wire::NodeWaiting { node: 3, why: "s1 has no leader".to_string() };
        let listed = wire::ListMovesResult { waiting: vec![waiting], ..Default::default() };
        let found = problems(&Fleet::of(&map(), answers), &listed);
        assert_eq!(
            found[0].what,
            "shard 1 is out of service on node 3: its log is rotten (segment 4, byte 8192)"
        );
        assert!(found[0].is_grave && found[0].fix.contains("replaced by itself"), "{found:?}");
        assert_eq!(found[1].what, "what is out of service on node 3 is not replaced: s1 has no leader");
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_named_before_it_is() {
        let mut answers = three_nodes();
        let mut told = |free_bytes| {
            let room = wire::DiskRoom { free_bytes, total_bytes: 40 << 30, reserve_bytes: 2 << 30 };
            answers.get_mut(&NodeId(3)).unwrap().as_mut().unwrap().room = Some(room);
            problems(&Fleet::of(&map(), answers.clone()), &wire::ListMovesResult::default())
        };
        assert_eq!(told(2 << 30), []);
        let expected = Problem {
            is_grave: true,
            what: "the disk of node 3 is nearly full: 1.5G of 40.0G are free; it gets no new replicas"
                .to_string(),
            fix: "make room there, or move a shard away: kvctl shard move SHARD --from 3 --to NODE"
                .to_string(),
        };
        assert_eq!(told(3 << 29), [expected]);
    }

    #[test]
    fn a_learner_is_no_help_to_a_shard_that_lost_its_majority() {
        let mut map = map();
        map.shards[1].replicas[2].set_membership(wire::Membership::Learner);
        let mut answers = three_nodes();
        answers.insert(NodeId(2), Err("connection refused".to_string()));
        let found = problems(&Fleet::of(&map, answers), &wire::ListMovesResult::default());
        assert_eq!(found[0].what, "shard 1 has no leader; 1 of 2 replicas are up");
        assert_eq!(found[0].fix, "it needs a majority of its replicas: start node 2");
    }

    #[test]
    fn a_move_that_waits_for_a_dead_node_comes_with_the_command_that_undoes_it() {
        let mut answers = three_nodes();
        answers.insert(NodeId(3), Err("connection refused".to_string()));
        let fleet = Fleet::of(&map(), answers);
        let mut it = wire::Move { r#move: 7, shard: 1, from_node: 1, to_node: 3, ..wire::Move::default() };
        it.set_phase(wire::MovePhase::Copying);
        let listed =
            |it: &wire::Move| wire::ListMovesResult { moves: vec![it.clone()], ..Default::default() };
        let found = problems(&fleet, &listed(&it));
        let expected = Problem {
            is_grave: true,
            what: "move 7 of shard 1 waits for node 3, which does not answer".to_string(),
            fix: "start node 3 again, or undo the move: kvctl move cancel 7".to_string(),
        };
        assert_eq!(found[1], expected);
        it.set_phase(wire::MovePhase::Joint);
        assert_eq!(problems(&fleet, &listed(&it)).len(), 1, "a joint one finishes without it");
    }

    #[test]
    fn a_lagging_replica_and_a_broken_stream_are_named() {
        let mut answers = three_nodes();
        let two =
            answer(2, |replica| replica.followers.iter_mut().for_each(|follower| follower.lag = 10_001));
        answers.insert(NodeId(2), Ok(two));
        answers.get_mut(&NodeId(3)).unwrap().as_mut().unwrap().peers[0].connected = false;
        let found: Vec<String> = problems(&Fleet::of(&map(), answers), &wire::ListMovesResult::default())
            .into_iter()
            .map(|at| at.what)
            .collect();
        let expected = [
            "shard 1: the replica on node 1 is 10001 entries behind",
            "node 3 has no stream to node 1 at 127.0.0.1:7601",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn uneven_leaders_come_with_the_command_that_evens_them() {
        let mut map = map();
        let slots = wire::SlotRange { first: 0, last: 0 };
        for shard in 2..=4 {
            let replicas = map.shards[1]
                .replicas
                .iter()
                .map(|at| wire::Replica { replica: shard * 10 + at.node, ..*at });
            map.shards.push(wire::Shard { shard, replicas: replicas.collect(), slots: vec![slots] });
        }
        let mut answers = three_nodes();
        for status in answers.values_mut().flatten() {
            let copies = (2..=4).map(|shard| {
                let mut copy = status.replicas[1].clone();
                copy.shard = shard;
                copy.replica = shard * 10 + status.node;
                copy.followers.iter_mut().for_each(|at| (at.replica, at.lag) = (shard * 10 + at.node, 0));
                copy
            });
            let copies: Vec<_> = copies.collect();
            status.replicas.extend(copies);
        }
        let found = problems(&Fleet::of(&map, answers), &wire::ListMovesResult::default());
        let expected = Problem {
            is_grave: false,
            what: "node 2 leads 4 shards, node 3 leads 0".to_string(),
            fix: "kvctl shard transfer-leader 4 --to 3".to_string(),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn nodes_that_leave_say_what_they_wait_for_and_when_they_are_empty() {
        let mut map = map();
        map.nodes[2].set_leaving(wire::Leaving::Drained);
        let waiting = |node| wire::NodeWaiting { node, why: "s1 has no leader".to_string() };
        let listed = wire::ListMovesResult { waiting: vec![waiting(2), waiting(3)], ..Default::default() };
        let found = problems(&Fleet::of(&map, three_nodes()), &listed);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].what,
            "the replicas of node 2, which is dead, are not replaced: s1 has no leader"
        );
        assert_eq!(found[1].what, "node 3 does not become empty: s1 has no leader");
        assert_eq!(found[1].fix, "mend that, or let it stay: kvctl node undrain 3");
        map.shards.iter_mut().for_each(|shard| shard.replicas.retain(|replica| replica.node != 3));
        let found = problems(&Fleet::of(&map, three_nodes()), &wire::ListMovesResult::default());
        let expected = Problem {
            is_grave: false,
            what: "node 3 is drained and empty".to_string(),
            fix: "kvctl node remove 3; or let it have replicas again: kvctl node undrain 3".to_string(),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_dead_node_comes_with_the_command_that_takes_it_out() {
        let mut answers = three_nodes();
        answers.insert(NodeId(3), Err("connection refused".to_string()));
        let fix = |map: &wire::ClusterMap| {
            let found = problems(&Fleet::of(map, answers.clone()), &wire::ListMovesResult::default());
            found.into_iter().find(|it| it.what.starts_with("node 3")).unwrap().fix
        };
        let mut map = map();
        assert!(
            fix(&map).ends_with("; if it is lost for good: kvctl node remove 3 --force"),
            "{}",
            fix(&map)
        );
        map.shards.iter_mut().for_each(|shard| shard.replicas.retain(|replica| replica.node != 3));
        assert!(fix(&map).ends_with("; nobody needs it: kvctl node remove 3"), "{}", fix(&map));
        map.nodes[2].set_leaving(wire::Leaving::Removed);
        assert_eq!(fix(&map), "its replicas are being replaced, then it is removed");
    }

    #[test]
    fn a_node_with_few_replicas_is_a_hint() {
        let mut map = map();
        let shard =
            |shard| wire::Shard { shard, replicas: map.shards[1].replicas.clone(), slots: Vec::new() };
        let more = [shard(2), shard(3)];
        map.shards.extend(more);
        map.shards.iter_mut().for_each(|shard| shard.replicas.retain(|replica| replica.node != 3));
        let found = problems(&Fleet::of(&map, three_nodes()), &wire::ListMovesResult::default());
        let hint = found.iter().find(|it| !it.is_grave).unwrap();
        assert_eq!(hint.what, "node 2 has 4 replicas, node 3 has 0");
        assert_eq!(hint.fix, "kvctl shard rebalance");
        let mut answers = three_nodes();
        let three = answers.get_mut(&NodeId(3)).unwrap().as_mut().unwrap();
        three.room = three.room.map(|room| wire::DiskRoom { free_bytes: 0, ..room });
        let found = problems(&Fleet::of(&map, answers), &wire::ListMovesResult::default());
        assert!(found.iter().all(|it| it.is_grave), "a full disk gets nothing: {found:?}");

        // Whoever followed it now would work against what is under way.
        let hints = |map: &wire::ClusterMap, listed: &wire::ListMovesResult| {
            problems(&Fleet::of(map, three_nodes()), listed).iter().filter(|it| !it.is_grave).count()
        };
        let moving = wire::ListMovesResult { moves: vec![wire::Move::default()], ..Default::default() };
        assert_eq!(hints(&map, &moving), 0, "something moves");
        map.nodes[0].set_leaving(wire::Leaving::Drained);
        assert_eq!(hints(&map, &wire::ListMovesResult::default()), 0, "node 1 becomes empty");
    }
}
