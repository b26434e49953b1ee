//! `Status` and `ShardStatus`: what one node sees of itself. Never forwarded.

use std::sync::Arc;
use std::time::Instant;

use flotilla_daemon::causes::Causes;
use flotilla_proto::v1::{self, PeerStatus, ShardStatusRequest, ShardStatusResponse, StatusResponse};
use flotilla_raft::{ProgressKind, ReplicaId, RoleKind};
use flotilla_store::Stats;
use flotilla_store::disk::Room;
use flotilla_topology::{NodeId, ShardId};
use tonic::{Response, Status};
use tracing::debug;

use super::answers::unexpected;
use super::front::Front;
use super::refusals;
use crate::host::{Answer, FollowerStatus, ReplicaStatus};
use crate::runtime::{Input, Runtime};
use crate::transport::Transport;
use crate::transport::codec::encode_configuration;

/// What a node says of itself beside its replicas.
#[derive(Debug)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// When it started.
    pub started: Instant,
    /// Its line to its peers.
    pub transport: Transport,
}

pub(super) async fn status(
    front: &Arc<Front>,
    node: &Arc<NodeStatus>,
) -> Result<Response<StatusResponse>, Status> {
    let map = front.newest_map();
    let found = match front.runtime.inspect().await.map_err(|_| refusals::ending(None))? {
        Answer::Status(replicas) => replicas,
        Answer::Refused(refusal) => return Err(refusals::refused(ShardId::META, &refusal)),
        answer => return Err(unexpected(&answer)),
    };
    let (numbers, room) =
        resting(&front.runtime, found.iter().map(|replica| replica.shard).collect()).await?;
    let replicas = found.iter().zip(numbers);
    let replicas = replicas.map(|(replica, stats)| {
        encode_replica(replica, stats.as_ref(), |to| node.transport.snapshot_bytes_sent(replica.shard, to))
    });
    let peers = node.transport.peers().into_iter();
    Ok(Response::new(StatusResponse {
        node: node.node.0,
        cluster: map.as_ref().map(|map| map.cluster.into()),
        version: crate::VERSION.to_string(),
        commit: crate::COMMIT.to_string(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(node.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        map_epoch: map.as_ref().map_or(0, |map| map.epoch.0),
        replicas: replicas.collect(),
        peers: peers.map(|peer| PeerStatus { node: peer.node.0, connected: peer.connected }).collect(),
        quarantined: encode_quarantine(&front.runtime),
        room,
    }))
}

pub(super) async fn shard_status(
    front: &Arc<Front>,
    node: &Arc<NodeStatus>,
    request: ShardStatusRequest,
) -> Result<Response<ShardStatusResponse>, Status> {
    let shard = ShardId(request.shard);
    if request.flush {
        let flushed = front.runtime.ask(shard, 0, |token| Input::Flush { shard, token }).await;
        match flushed.map_err(|_| refusals::ending(Some(shard)))? {
            Answer::Flushed(_) => {}
            Answer::Refused(crate::host::Refusal::NotHosted { .. }) => return Err(absent(shard)),
            Answer::Refused(refusal) => return Err(refusals::refused(shard, &refusal)),
            answer => return Err(unexpected(&answer)),
        }
    }
    let asked = front.runtime.ask(shard, 0, |token| Input::Inspect { token }).await;
    let replicas = match asked.map_err(|_| refusals::ending(Some(shard)))? {
        Answer::Status(replicas) => replicas,
        Answer::Refused(refusal) => return Err(refusals::refused(shard, &refusal)),
        answer => return Err(unexpected(&answer)),
    };
    let Some(replica) = replicas.iter().find(|replica| replica.shard == shard) else {
        return Err(absent(shard));
    };
    let stats = resting(&front.runtime, vec![shard]).await?.0.pop().flatten();
    let sent = |to| node.transport.snapshot_bytes_sent(shard, to);
    let encoded = encode_replica(replica, stats.as_ref(), sent);
    Ok(Response::new(ShardStatusResponse { replica: Some(encoded) }))
}

/// What is out of service, for the wire.
pub(crate) fn encode_quarantine(runtime: &Runtime) -> Vec<v1::QuarantineStatus> {
    let encode = |(shard, out): (ShardId, flotilla_wal::Quarantined)| v1::QuarantineStatus {
        shard: shard.0,
        replica: out.replica.0,
        segment: out.at.segment,
        offset: out.at.offset,
    };
    runtime.quarantine().all().into_iter().map(encode).collect()
}

fn absent(shard: ShardId) -> Status {
    refusals::not_found(shard, format!("{shard} has no replica on this node"))
}

/// What the base says of these shards, and what room its disk has: read away from the threads of the services, because it may wait
/// for that disk.
pub(crate) async fn resting(
    runtime: &Arc<Runtime>,
    shards: Vec<ShardId>,
) -> Result<(Vec<Option<Stats>>, Option<v1::DiskRoom>), Status> {
    let runtime = Arc::clone(runtime);
    let read = tokio::task::spawn_blocking(move || {
        let view = runtime.view();
        let stats = shards.into_iter().map(|shard| flotilla_store::stats(&view, shard));
        let stats = stats.collect::<Result<Vec<_>, flotilla_store::Error>>()?;
        let room = runtime.room().inspect_err(|error| debug!(%error, "the disk does not tell its room"));
        let encode = |room: Room| v1::DiskRoom {
            free_bytes: room.free,
            total_bytes: room.total,
            reserve_bytes: room.reserve(),
        };
        Ok::<_, flotilla_store::Error>((stats, room.ok().map(encode)))
    });
    match read.await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(refusals::precondition(None, Causes(&error).to_string())),
        Err(error) => Err(refusals::precondition(None, error.to_string())),
    }
}

/// A replica for the wire. `sent`: how much of a snapshot is sent to a follower, in bytes.
pub fn encode_replica(
    replica: &ReplicaStatus,
    stats: Option<&Stats>,
    sent: impl Fn(ReplicaId) -> u64,
) -> v1::ReplicaStatus {
    let follower = |follower: &FollowerStatus| v1::FollowerStatus {
        snapshot_bytes_sent: sent(follower.replica),
        ..encode_follower(replica, follower)
    };
    v1::ReplicaStatus {
        shard: replica.shard.0,
        replica: replica.replica.0,
        role: role(replica.role).into(),
        membership: membership(replica).into(),
        term: replica.term.0,
        leader: replica.leader.map_or(0, |leader| leader.0),
        leader_node: replica.leader_node.map_or(0, |node| node.0),
        commit_index: replica.commit.0,
        applied_index: replica.applied.index.0,
        durable_index: replica.durable.index.0,
        last_index: replica.last.0,
        persisted_index: replica.persisted.0,
        compacted_index: replica.compacted.0,
        keys: stats.map_or(0, |stats| stats.keys.keys),
        bytes: stats.map_or(0, |stats| stats.keys.bytes),
        digest: stats.map(|stats| stats.state.0.into()),
        digest_index: stats.map_or(0, |stats| stats.applied.index.0),
        version: replica.version,
        shard_time_ms: replica.time_ms,
        slots: u32::try_from(replica.slots).unwrap_or(u32::MAX),
        followers: replica.followers.iter().map(follower).collect(),
        configuration: Some(encode_configuration(&replica.configuration)),
        configuration_index: replica.configuration_index.0,
        configuration_settled: replica.settled,
    }
}

fn role(role: RoleKind) -> v1::Role {
    match role {
        RoleKind::Follower => v1::Role::Follower,
        RoleKind::PreCandidate => v1::Role::PreCandidate,
        RoleKind::Candidate => v1::Role::Candidate,
        RoleKind::Leader => v1::Role::Leader,
    }
}

fn progress(state: ProgressKind) -> v1::Progress {
    match state {
        ProgressKind::Probe => v1::Progress::Probe,
        ProgressKind::Replicate => v1::Progress::Replicate,
        ProgressKind::Snapshot => v1::Progress::Snapshot,
    }
}

fn membership(replica: &ReplicaStatus) -> v1::Membership {
    if replica.configuration.voters.contains(&replica.replica) {
        v1::Membership::Voter
    } else {
        v1::Membership::Learner
    }
}

fn encode_follower(leader: &ReplicaStatus, follower: &FollowerStatus) -> v1::FollowerStatus {
    v1::FollowerStatus {
        replica: follower.replica.0,
        node: follower.node.map_or(0, |node| node.0),
        match_index: follower.matched.0,
        next_index: follower.next.0,
        progress: progress(follower.state).into(),
        lag: leader.last.0.saturating_sub(follower.matched.0),
        active: follower.active,
        snapshot_bytes_sent: 0,
    }
}
