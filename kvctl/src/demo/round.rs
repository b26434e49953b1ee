//! One leader killed, one gap measured, one node brought back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flotilla_topology::{NodeId, ShardId};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::admin::Admin;
use crate::demo::gap::{self, Acknowledged};
use crate::demo::keys::Tag;
use crate::demo::load::{Running, Writers};
use crate::failure::Failure;
use crate::local::fleet::LocalFleet;
use crate::local::process::NodeProcess;
use crate::view::Fleet;

/// Acknowledged writes of the probe before the kill: the shard is surely at work.
const WARM_UP_WRITES: usize = 100;

/// How long anything of a round may take before the demo has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A replica this close to its leader has caught up: writes never stop, so a moment's lag is never quite zero.
const CAUGHT_UP_ENTRIES: u64 = 200;

const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// What happened in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The victim's shard.
    pub shard: ShardId,
    /// Who led it, in which term.
    pub old: (NodeId, u64),
    /// Who leads it now, in which term.
    pub new: (NodeId, u64),
    /// The longest time without an acknowledged write of that shard.
    pub gap: Duration,
    /// From the node's next start until it answered and all its replicas had caught up.
    pub back: Duration,
}

/// Kills the leader of the tag's shard.
///
/// # Errors
/// Something did not happen within 30 s.
pub async fn run(
    fleet: &mut LocalFleet,
    admin: &Admin,
    writers: &Arc<Writers>,
    tag: &Tag,
) -> Result<Round, Failure> {
    let (probe, mut moments) = Running::probe(writers, tag.clone());
    let measured = measure(fleet, admin, &mut moments, tag.shard).await;
    probe.stop().await;
    let (old, new, gap) = measured?;
    let started = Instant::now();
    fleet.restart(number(old.0)?)?;
    let seen = fleet.ready(admin, PATIENCE).await?;
    caught_up(admin, seen, old.0, started).await?;
    Ok(Round { shard: tag.shard, old, new, gap, back: started.elapsed() })
}

type Leader = (NodeId, u64);

/// From the kill to the new leader.
async fn measure(
    fleet: &LocalFleet,
    admin: &Admin,
    probe: &mut UnboundedReceiver<Acknowledged>,
    shard: ShardId,
) -> Result<(Leader, Leader, Duration), Failure> {
    let mut writes = Vec::new();
    while writes.len() < WARM_UP_WRITES {
        writes.push(next(probe, "its shard to take writes").await?);
    }
    let old = leader(admin, shard, 0).await?;
    let victim = fleet.nodes().find(|node| u64::from(node.id()) == old.0.0);
    victim
        .map(NodeProcess::kill)
        .ok_or_else(|| Failure::Internal(format!("node {} leads but is not ours", old.0.0)))?;
    let killed = Instant::now();
    let gap = loop {
        writes.push(next(probe, "a write after the kill to succeed").await?);
        if let Some(gap) = gap::longest(&writes, killed) {
            break gap;
        }
    };
    Ok((old, leader(admin, shard, old.1).await?, gap))
}

async fn next(probe: &mut UnboundedReceiver<Acknowledged>, what: &str) -> Result<Acknowledged, Failure> {
    let late = || Failure::Refused(format!("waited {} s for {what}", PATIENCE.as_secs()));
    timeout(PATIENCE, probe.recv()).await.ok().flatten().ok_or_else(late)
}

/// Who leads a shard in a term above this one.
async fn leader(admin: &Admin, shard: ShardId, above: u64) -> Result<Leader, Failure> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let fleet = admin.fleet().await?;
        let seen = fleet.shard(shard).and_then(|shard| Some((shard.leader?, shard.term)));
        match seen {
            Some((node, term)) if term > above => return Ok((node, term)),
            _ if Instant::now() > give_up => {
                return Err(Failure::Refused(format!("shard {}: no leader above term {above}", shard.0)));
            }
            _ => tokio::time::sleep(LOOK_PAUSE).await,
        }
    }
}

/// Waits until the node's replicas are close to their leaders.
async fn caught_up(admin: &Admin, mut seen: Fleet, node: NodeId, started: Instant) -> Result<(), Failure> {
    while let Some((shard, lag)) = behind(&seen, node) {
        if started.elapsed() > PATIENCE {
            let lag = lag.map_or_else(|| "unknown".to_string(), |lag| format!("{lag} entries"));
            return Err(Failure::Refused(format!(
                "node {}: lag in shard {} is still {lag}",
                node.0, shard.0
            )));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
        seen = admin.fleet().await?;
    }
    Ok(())
}

/// A shard in which the node's replica has not caught up, and its lag.
fn behind(fleet: &Fleet, node: NodeId) -> Option<(ShardId, Option<u64>)> {
    let mut replicas = fleet
        .shards
        .iter()
        .flat_map(|shard| shard.replicas.iter().map(move |replica| (shard.id, replica)))
        .filter(|(_, replica)| replica.node == node);
    replicas
        .find(|(_, replica)| replica.lag.is_none_or(|lag| lag > CAUGHT_UP_ENTRIES))
        .map(|(shard, replica)| (shard, replica.lag))
}

/// A node's id as local fleets count them.
fn number(node: NodeId) -> Result<u16, Failure> {
    u16::try_from(node.0).map_err(|_| Failure::Internal(format!("node {} is not ours", node.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::{answer, map, three_nodes};

    #[test]
    fn a_node_has_caught_up_when_every_leader_says_so() {
        assert_eq!(behind(&Fleet::of(&map(), three_nodes()), NodeId(3)), None);
        let mut answers = three_nodes();
        let two = answer(2, |replica| replica.followers.iter_mut().for_each(|follower| follower.lag = 201));
        answers.insert(NodeId(2), Ok(two));
        assert_eq!(behind(&Fleet::of(&map(), answers), NodeId(3)), Some((ShardId(1), Some(201))));
        let mut answers = three_nodes();
        answers.insert(NodeId(1), Err("connection refused".to_string()));
        assert_eq!(behind(&Fleet::of(&map(), answers), NodeId(3)), Some((ShardId(0), None)));
    }
}
