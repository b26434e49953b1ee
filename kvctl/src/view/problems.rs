//! What is wrong with the fleet, or could be better, and the command that mends it.

use flotilla_topology::NodeId;

use super::{Fleet, Node, Shard};

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
pub fn problems(fleet: &Fleet) -> Vec<Problem> {
    let mut found: Vec<Problem> = fleet.shards.iter().filter_map(leaderless).collect();
    found.extend(fleet.nodes.iter().filter_map(silent));
    found.extend(fleet.shards.iter().filter_map(|shard| lagging(fleet, shard)));
    found.extend(fleet.nodes.iter().filter_map(|node| unconnected(fleet, node)));
    found.extend(uneven(fleet));
    found
}

/// A shard without a leader serves nothing.
fn leaderless(shard: &Shard) -> Option<Problem> {
    if shard.leader.is_some() {
        return None;
    }
    let all = shard.replicas.len();
    let down: Vec<String> = shard
        .replicas
        .iter()
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
fn silent(node: &Node) -> Option<Problem> {
    let why = node.answer.as_ref().err()?;
    Some(Problem {
        is_grave: true,
        what: format!("node {} does not answer at {}: {why}", node.id.0, node.client_addr),
        fix: format!("start it again, with its data directory: kvnode --id {} …", node.id.0),
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
    let led = fleet.nodes.iter().filter_map(|node| Some((node.answer.as_ref().ok()?.leaders, node.id)));
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
    use flotilla_proto::v1 as wire;

    #[test]
    fn nothing_is_wrong_with_a_healthy_fleet() {
        assert_eq!(problems(&Fleet::of(&map(), three_nodes())), []);
    }

    #[test]
    fn a_lost_majority_names_what_to_start_and_comes_first() {
        let mut answers = three_nodes();
        answers.insert(NodeId(1), Err("connection refused".to_string()));
        answers.insert(NodeId(2), Err("connection refused".to_string()));
        let found = problems(&Fleet::of(&map(), answers));
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0].what, "shard 0 has no leader; 1 of 3 replicas are up");
        assert_eq!(found[0].fix, "it needs a majority of its replicas: start node 1 or node 2");
        assert_eq!(found[2].what, "node 1 does not answer at 127.0.0.1:7501: connection refused");
    }

    #[test]
    fn a_lagging_replica_and_a_broken_stream_are_named() {
        let mut answers = three_nodes();
        let two =
            answer(2, |replica| replica.followers.iter_mut().for_each(|follower| follower.lag = 10_001));
        answers.insert(NodeId(2), Ok(two));
        answers.get_mut(&NodeId(3)).unwrap().as_mut().unwrap().peers[0].connected = false;
        let found: Vec<String> =
            problems(&Fleet::of(&map(), answers)).into_iter().map(|at| at.what).collect();
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
        let found = problems(&Fleet::of(&map, answers));
        let expected = Problem {
            is_grave: false,
            what: "node 2 leads 4 shards, node 3 leads 0".to_string(),
            fix: "kvctl shard transfer-leader 4 --to 3".to_string(),
        };
        assert_eq!(found, [expected]);
    }
}
