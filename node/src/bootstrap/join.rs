//! How a node with an empty directory comes into a fleet that runs.
//!
//! ```text
//!   GetMap         to the client address of any member (or a router): who is where
//!   Probe          to a member: with what was the fleet founded, which protocol does it speak
//!   Join           to the leader of the meta shard: the map names this node, with its directory
//!   GENESIS, STAMP that map, then: founded
//! ```
//!
//! The map is told of the directory before the directory is told of the fleet. A crash in between is healed by asking again: the map
//! knows this directory. A directory that was wiped has another id, and is refused for good.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flotilla_proto::v1::cluster_client::ClusterClient;
use flotilla_proto::v1::get_map_response::Outcome as MapOutcome;
use flotilla_proto::v1::join_reply::Outcome;
use flotilla_proto::{PROTOCOL_VERSION, v1};
use flotilla_tls::Whom;
use flotilla_topology::{ClusterMap, NodeId, ShardId};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::answer::Introduction;
use super::door::Inner;
use super::error::BootstrapError;
use crate::storage::{ClusterId, Founding, Membership};
use crate::transport::{Backoff, connect, explained};

/// How many nodes are asked one after the other in one attempt, each being named by the one before.
const ASKED_MAX: usize = 8;

/// What a fleet that let this node in has told.
struct Admission {
    cluster: ClusterId,
    founding: Founding,
    map: Bytes,
}

/// Why an attempt failed.
enum Failed {
    /// There is no use in another one.
    Refused(BootstrapError),
    /// Nobody was there, or nobody leads just now.
    NotNow(String),
}

/// Asks again and again until the fleet has let this node in, or refuses it for good.
pub(super) async fn join(inner: &Arc<Inner>, address: &str) -> Result<(), BootstrapError> {
    let seed = inner.directory.stamp().directory.0 ^ inner.directory.boot().id.0;
    let mut backoff = Backoff::new(inner.options.backoff_min, inner.options.backoff_max, seed);
    let mut said = String::new();
    loop {
        match attempt(inner, address).await {
            Ok(Admission { cluster, founding, map }) => {
                let membership = Membership::Founded { cluster, founding };
                super::driver::blocking(inner, move |inner| {
                    let mut machine = inner.machine();
                    inner.write(&mut machine, membership, Some(map))
                })
                .await?;
                tracing::info!(%cluster, "joined the fleet");
                return Ok(());
            }
            Err(Failed::Refused(error)) => return Err(error),
            Err(Failed::NotNow(why)) => {
                if said != why {
                    tracing::info!(%address, %why, "waiting for the fleet to let this node in");
                    said = why;
                }
            }
        }
        pause(backoff.next()).await;
    }
}

async fn pause(duration: Duration) {
    // Nothing to wait for but time: the fleet does not call a node that it does not know.
    let _ = timeout(duration, std::future::pending::<()>()).await;
}

async fn attempt(inner: &Inner, address: &str) -> Result<Admission, Failed> {
    let map = fleet_map(inner, address).await?;
    let cluster = ClusterId(map.cluster.map(u128::from).unwrap_or_default());
    let voters = map.shards.iter().filter(|shard| shard.shard == ShardId::META.0).flat_map(|it| &it.replicas);
    let mut candidates: Vec<u64> = voters.map(|replica| replica.node).collect();
    candidates.reverse();
    let (mut founding, mut last) = (None, "the map names no replica of shard 0".to_string());
    for _ in 0..ASKED_MAX {
        let Some(node) = candidates.pop() else { break };
        let Some(peer) = map.nodes.iter().find(|it| it.node == node).map(|it| it.peer_addr.clone()) else {
            continue;
        };
        if founding.is_none() {
            founding = probed(inner, &peer, node, cluster).await?;
        }
        let Some(known) = founding.clone() else {
            last = format!("node {node} at {peer} does not say with what the fleet was founded");
            continue;
        };
        match asked(inner, &peer, node, cluster).await {
            Ok(Outcome::Map(map)) => {
                let own = inner.directory.stamp().node;
                let names = ClusterMap::decode(&map).is_ok_and(|it| it.nodes.contains_key(&own));
                if names {
                    return Ok(Admission { cluster, founding: known, map });
                }
                last = format!("node {node} at {peer} sent a map that cannot be read, or without this node");
            }
            Ok(Outcome::Redirect(redirect)) => {
                last = format!("node {node} does not lead the meta shard");
                candidates.extend((redirect.leader_node != 0).then_some(redirect.leader_node));
            }
            Err(status) if status.code() == Code::FailedPrecondition => {
                let why = status.message().to_string();
                return Err(Failed::Refused(BootstrapError::NotLetIn { peer: NodeId(node), why }));
            }
            Err(status) => last = format!("node {node} at {peer}: {}", status.message()),
        }
    }
    Err(Failed::NotNow(last))
}

/// The map, by any member or router.
async fn fleet_map(inner: &Inner, address: &str) -> Result<v1::ClusterMap, Failed> {
    let work = async {
        let channel =
            connect(address, Whom::Server, inner.options.patience(), inner.options.tls.as_ref()).await;
        let channel = channel.map_err(|error| error.to_string())?;
        match ClusterClient::new(channel).get_map(v1::GetMapRequest::default()).await {
            Ok(answer) => match answer.into_inner().outcome {
                Some(MapOutcome::Result(map)) => Ok(map),
                _ => Err("it sent no map".to_string()),
            },
            Err(status) => {
                Err(explained(address, status, inner.options.tls.as_ref()).await.message().to_string())
            }
        }
    };
    let answered = timeout(inner.options.call_timeout, work).await;
    let map = answered.unwrap_or_else(|_| Err("no answer in time".to_string()));
    map.map_err(|why| Failed::NotNow(format!("{address}: {why}")))
}

/// With what the fleet was founded, if this member is the one that the map means.
async fn probed(
    inner: &Inner,
    peer: &str,
    node: u64,
    cluster: ClusterId,
) -> Result<Option<Founding>, Failed> {
    let Ok(it) = inner.ask_introduction(NodeId(node), peer).await else { return Ok(None) };
    let Introduction { version, .. } = it;
    if version != PROTOCOL_VERSION {
        let error = BootstrapError::Version { peer: NodeId(node), theirs: version, ours: PROTOCOL_VERSION };
        return Err(Failed::Refused(error));
    }
    let is_meant = it.node == NodeId(node) && it.cluster == Some(cluster);
    Ok(it.founding.filter(|_| is_meant))
}

/// Asks one member to let this node in.
async fn asked(inner: &Inner, peer: &str, node: u64, cluster: ClusterId) -> Result<Outcome, Status> {
    let stamp = inner.directory.stamp();
    let request = v1::JoinRequest {
        cluster: Some(cluster.0.into()),
        node: stamp.node.0,
        directory: Some(stamp.directory.0.into()),
        client_addr: inner.addresses.client.clone(),
        peer_addr: inner.addresses.peer.clone(),
        http_addr: inner.addresses.http.clone(),
    };
    let reply = inner.call(NodeId(node), peer, async |mut client| client.join(request).await).await?;
    reply.outcome.ok_or_else(|| Status::unknown("its answer has no outcome that this version knows"))
}
